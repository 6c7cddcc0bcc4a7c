"""TensorRT's real Python bindings without TensorRT: its libraries are stubs, made here.

The bindings' wheels are small and on the package index; the libraries they are linked to need
gigabytes. Nothing in those is called when classes are only looked at, so libraries with the nine
functions that the bindings link to are enough.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "build/tensorrt"

BINDINGS = {
    "oldest 10": ("tensorrt-cu12-bindings", "==10.0.1"),
    "newest 10": ("tensorrt-cu13-bindings", ">=10,<11"),
    "newest 11": ("tensorrt-cu13-bindings", ">=11,<12"),
}
"""Package and version of what is looked at; there is no older 10 for CUDA 13."""

_LIBRARIES = {
    "nvinfer": (
        "createInferBuilder_INTERNAL",
        "createInferRefitter_INTERNAL",
        "createInferRuntime_INTERNAL",
        "getBuilderPluginRegistry",
        "getPluginRegistry",
    ),
    "nvinfer_plugin": ("initLibNvInferPlugins",),
    "nvonnxparser": (
        "createNvOnnxParser_INTERNAL",
        "createNvOnnxParserRefitter_INTERNAL",
        "getNvOnnxParserVersion",
    ),
}


@cache
def unpacked(name: str) -> Path:
    """Folder of the bindings' package; skips the test where it cannot be had."""
    package, version = BINDINGS[name]
    folder = FOLDER / name.replace(" ", "-")
    if not (folder / "tensorrt_bindings").is_dir():
        shutil.rmtree(folder, ignore_errors=True)
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        pip += ["--disable-pip-version-check", "--only-binary=:all:", "--retries=1"]
        done = subprocess.run(
            [*pip, "--timeout=20", f"--dest={folder}", package + version],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            reason = (done.stderr.strip().splitlines() or ["no reason"])[-1]
            pytest.skip(f"pip cannot download {package}{version}: {reason}")
        (wheel,) = folder.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder / "part")
        (folder / "part/tensorrt_bindings").rename(folder / "tensorrt_bindings")
    return folder


@cache
def stubs(major: int) -> Path:
    """Folder of libraries under the names that the bindings ask for."""
    if shutil.which("gcc") is None:
        pytest.skip("no gcc, which makes the stub libraries")
    folder = FOLDER / f"stubs-{major}"
    folder.mkdir(parents=True, exist_ok=True)
    for library, functions in _LIBRARIES.items():
        name = f"lib{library}.so.{major}"
        source = "".join(f"void *{function}(void) {{ return 0; }}\n" for function in functions)
        command = ["gcc", "-shared", "-fPIC", "-xc", "-", f"-Wl,-soname,{name}"]
        subprocess.run([*command, "-o", str(folder / name)], input=source, text=True, check=True)
    return folder


def run(name: str, *arguments: object) -> dict[str, object]:
    """What ``tests/tensorrt_api.py`` prints with these bindings, in a process of its own."""
    told = python(name, "-m", "tests.helpers.tensorrt_api", unpacked(name), *arguments)
    answer = json.loads(told)
    assert isinstance(answer, dict)
    return answer


def python(name: str, *arguments: object) -> str:
    """What Python prints with stub libraries for these bindings, in a process of its own."""
    libraries = stubs(int(name.split()[-1]))
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "LD_LIBRARY_PATH": str(libraries)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
