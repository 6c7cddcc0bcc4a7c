"""A model, a pool and the command ``deal``, for tests that need no particular ones."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

# Workers of pytest-xdist share the cores. Read when PyTorch is loaded, as what follows.
if workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
    share = max(1, len(os.sched_getaffinity(0)) // int(workers))
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(variable, str(share))

# PyTorch's threads spin while they wait for one another: on a machine that is busy beside the
# tests, those that spin take the cores from those that compute. Read when PyTorch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# The extension that emulates CUDA (make build/emulated/_native.so) in the place of the installed.
if native := os.environ.get("DEAL_NATIVE"):
    loader = importlib.machinery.ExtensionFileLoader("deal._native", native)
    spec = importlib.util.spec_from_loader(loader.name, loader)
    sys.modules[loader.name] = importlib.util.module_from_spec(spec)
    loader.exec_module(sys.modules[loader.name])

from deal import cli
from tests.helpers.models import metadata, save_model
from tests.helpers.runs import Deal, write_pool

if TYPE_CHECKING:
    from tests.helpers.checkpoints import Exported

# No test depends on the clock: an example takes long where others compute.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def heard_interrupts() -> Iterator[None]:
    """Ctrl-C as in a terminal, for every test: what a shell starts in the background has it
    ignored, and a command that ended in this process lets it end the process.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def drawn_alike() -> None:
    """Let PyTorch draw the same in each run of a test, whichever tests ran before it."""
    if torch := sys.modules.get("torch"):
        torch.manual_seed(1)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its logits are the same bits in any batch and on any number of threads."""
    return save_model(tmp_path_factory.mktemp("model") / "m.onnx", exact=True, props=metadata())


@pytest.fixture(scope="session")
def light(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The light network, exported once for every test that runs it."""
    pytest.importorskip("torch")
    from tests.helpers.checkpoints import export_light
    from tests.helpers.exports import kept_exports

    with kept_exports():
        return export_light(tmp_path_factory.mktemp("light"))


@pytest.fixture
def kept_exports() -> Iterator[None]:
    """Networks that were traced in an earlier run of the tests are not traced again."""
    pytest.importorskip("torch")
    from tests.helpers import exports

    with exports.kept_exports():
        yield


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    return write_pool(tmp_path / "pool", 4, name="good{}.png")


@pytest.fixture
def deal(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Deal:
    """Run ``deal`` and give exit code, stdout and stderr."""
    monkeypatch.delenv("DEAL_MODEL", raising=False)
    monkeypatch.delenv("DEAL_DEBUG", raising=False)

    def call(*arguments: object) -> tuple[int, str, str]:
        code = cli.run(cli.deal, list(map(str, arguments)), "deal")
        out, err = capfd.readouterr()
        return code, out, err

    return call


@pytest.fixture
def score(deal: Deal, pool: Path, model: Path, tmp_path: Path) -> Deal:
    """Run ``deal score`` on the pool, with the model and into ``out`` unless told otherwise."""

    def call(*arguments: object) -> tuple[int, str, str]:
        defaults = ["--output", tmp_path / "out", "--quiet"]
        if "--model" not in arguments:  # a second one would make a committee
            defaults += ["--model", model]
        return deal("score", pool, *defaults, *arguments)

    return call
