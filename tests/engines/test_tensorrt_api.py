"""What deal uses of TensorRT is there in the real bindings of its oldest and newest versions.

Nothing of TensorRT but its bindings is executed: its libraries are stubs
(``tests/tensorrt_bindings.py``).
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.helpers import tensorrt_bindings
from tests.helpers.tensorrt_bindings import BINDINGS, ROOT

SOURCES = sorted(
    path
    for folder in ("deal", "export", "bench")
    for path in (ROOT / folder).rglob("*.py")
    if re.search(r"import_tensorrt|\btrt: ModuleType|import tensorrt", path.read_text("utf-8"))
)
FAKE = ROOT / "tests/helpers/fake_tensorrt.py"
# Given back by functions that know nothing of TensorRT.
TYPES = {"TensorRTEngine._engine": "ICudaEngine"}


def checked(bindings, sources, fake=""):
    return tensorrt_bindings.run(bindings, json.dumps(TYPES), fake, *sources)


@pytest.mark.slow
@pytest.mark.parametrize("bindings", BINDINGS)
def test_everything_that_is_used_is_there(bindings):
    found = checked(bindings, SOURCES, FAKE if FAKE.exists() else "")
    assert found["problems"] == []
    assert found["version"].startswith(bindings.split()[-1])
    assert {"ILogger.Severity.ERROR", "ILogger.log", "__version__"} <= set(found["uses"])


STARTING = """
import sys
sys.path.insert(0, sys.argv[1])
import tensorrt_bindings as trt
from deal.engines.tensorrt_library import Messages
from deal.errors import EngineUnavailableError

messages = Messages(trt)
for kind in (trt.Builder, trt.Runtime):
    messages.logger.log(trt.ILogger.Severity.ERROR, "no driver")
    try:
        with messages.starting():
            kind(messages.logger)
    except EngineUnavailableError as error:
        print(error)
"""


@pytest.mark.parametrize("bindings", BINDINGS)
def test_a_tensorrt_that_does_not_start_says_so(bindings):
    """The real bindings and deal's logger, with libraries that give nothing."""
    told = tensorrt_bindings.python(
        bindings, "-c", STARTING, tensorrt_bindings.unpacked(bindings)
    ).splitlines()
    assert len(told) == 2
    for line in told:
        assert f"TensorRT {bindings.split()[-1]}." in line
        assert "does not start (no driver): its CUDA may be newer than the driver" in line


GOOD = """
def build(trt: ModuleType, path):
    class Monitor(trt.IProgressMonitor):
        def step_complete(self, phase_name, step):
            return True

    builder, made = trt.Builder(None), []
    network = builder.create_network(flags=1)
    config = builder.create_builder_config()
    config.progress_monitor = Monitor()
    config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)
    parser = trt.OnnxParser(network, None)
    made.append(path)
    return [parser.get_error(i).desc() for i in range(parser.num_errors)], made
"""

BAD = {
    "trt.Builder(None).create_netwrok()": "Builder has no create_netwrok",
    "trt.Bilder(None)": "there is no Bilder",
    "trt.BuilderFlag.FP17": "BuilderFlag has no FP17",
    "trt.ILogger.Severity.FATAL": "ILogger.Severity has no FATAL",
    "trt.Builder(None).create_network(flag=1)": "Builder.create_network takes ['flags']",
    "trt.Builder(None).build_serialized_network(1)": "build_serialized_network takes",
    "trt.Builder(None).create_builder_config().reset(1)": "IBuilderConfig.reset takes []",
    "(lambda b: b.network)(trt.Builder(None))": "the class of b cannot be told",
    "store(trt.Builder(None)).build()": "the class of store(trt.Builder(None)) cannot be told",
    "[b.reset(1) for b in [trt.Builder(None)]]": "Builder.reset takes []",
    "bind(trt.Runtime(None), 1)": "Runtime has no build",
    "trt.Runtime(None) and trt.Runtime(None).buidl": "Runtime has no buidl",
}


@pytest.mark.parametrize("code", BAD)
def test_what_is_not_there_does_not_escape(tmp_path, code):
    path = tmp_path / "code.py"
    helper = "def bind(one: Any, two: int):\n    x, y = one, two\n    x.build\n" * ("bind" in code)
    path.write_text(f"import store\n{GOOD}{helper}\ndef more(trt: ModuleType):\n    {code}\n")
    (problem,) = checked("newest 11", [path])["problems"]
    assert BAD[code] in problem


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("trt.BuilderFlag.FP16", "BuilderFlag has no FP16"),
        ("trt.Builder(None).platform_has_fast_fp16", "Builder has no platform_has_fast_fp16"),
        ("trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH", "has no EXPLICIT_BATCH"),
    ],
)
def test_what_11_took_away_is_told_from_what_10_has(tmp_path, code, problem):
    path = tmp_path / "code.py"
    path.write_text(f"{GOOD}\ndef more(trt: ModuleType):\n    return {code}\n")
    assert checked("newest 10", [path])["problems"] == []
    (found,) = checked("newest 11", [path])["problems"]
    assert problem in found


def test_a_stand_in_that_has_more_than_the_bindings_is_told(tmp_path: Path):
    fake = tmp_path / "fake.py"
    fake.write_text(
        "class Builder:\n    def create_network(self, bits=0): ...\n    def make(self): ...\n"
        "class Bilder: ...\nclass BuilderFlag:\n    TF32 = 1\n    TF64 = 2\ndef nptype(x): ...\n"
    )
    assert checked("newest 10", [], fake)["problems"] == [
        "fake.py: Builder.create_network takes ['flags'], not ['bits']",
        "fake.py: Builder has no make",
        "fake.py: there is no Bilder",
        "fake.py: BuilderFlag has no TF64",
    ]
