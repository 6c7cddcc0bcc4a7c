"""What TensorRT needs, asked before it is touched; what is said where something is missing."""

from __future__ import annotations

import logging
import re
import sys
from types import SimpleNamespace

import pytest

from deal._install import pip_install
from deal.engines import device, open_engine, tensorrt_library
from deal.engines.tensorrt_library import Messages, import_tensorrt, release, tensorrt_device
from deal.errors import EngineUnavailableError, UsageError
from deal.machine.driver import Driver


@pytest.fixture
def machine(monkeypatch):
    """A machine with everything there, for tests to take something away."""

    def change(devices=("NVIDIA H200",), own=True, version="10.16.1.11"):
        def find_driver():
            if not devices:
                raise EngineUnavailableError(
                    "no CUDA driver: install NVIDIA's driver, or use --device cpu"
                )
            return Driver((13, 0), devices)

        monkeypatch.setattr(tensorrt_library, "find_driver", find_driver)
        info = f"isa=portable cuda={'yes' if own else 'no'}"
        monkeypatch.setattr(device._native, "build_info", lambda: info)
        module = None if version is None else SimpleNamespace(__version__=version)
        monkeypatch.setitem(sys.modules, "tensorrt", module)

    change()
    return change


def test_devices_are_chosen_by_what_is_there(machine):
    assert (tensorrt_device("auto"), tensorrt_device("cuda")) == (0, 0)
    machine(devices=("one", "two"))
    assert tensorrt_device("cuda:1") == 1
    with pytest.raises(UsageError, match="unknown"):
        tensorrt_device("gpu")


@pytest.mark.parametrize(
    ("change", "wanted", "message"),
    [
        ({}, "cpu", "CUDA devices only: use --engine ort"),
        ({"devices": ()}, "auto", "engine trt: no CUDA driver: install NVIDIA's driver"),
        ({}, "cuda:1", r"there are 1 devices \(driver for CUDA 13.0; cuda:0 NVIDIA H200\)"),
        ({"own": False}, "cuda", "no CUDA kernels.* DEAL_CUDA=1"),
    ],
)
def test_a_device_that_cannot_be_is_an_error_with_the_remedy(machine, change, wanted, message):
    machine(**change)
    with pytest.raises(EngineUnavailableError, match=message):
        tensorrt_device(wanted)


def test_tensorrt_is_not_imported_where_there_is_no_driver(machine, monkeypatch, model):
    machine(devices=())
    monkeypatch.setattr(tensorrt_library.importlib, "import_module", None)
    with pytest.raises(EngineUnavailableError, match="no CUDA driver"):
        open_engine(model, "trt")


@pytest.mark.parametrize("version", ["10.0.1", "10.16.1.11", "11.4.0.12"])
def test_versions_10_and_11_are_taken(machine, version):
    machine(version=version)
    assert import_tensorrt().__version__ == version


@pytest.mark.parametrize("version", ["8.6.1", "12.0.0"])
def test_other_versions_are_refused_with_what_to_install(machine, version):
    machine(version=version)
    said = f"uses 10.x and 11.x: {pip_install('trt')}"[:-6]
    with pytest.raises(EngineUnavailableError, match=re.escape(said)):
        import_tensorrt()


def test_without_tensorrt_one_line_says_what_to_install(machine):
    machine(version=None)
    with pytest.raises(EngineUnavailableError, match=re.escape(pip_install("trt"))):
        import_tensorrt()


def test_a_tensorrt_that_does_not_load_is_named(machine, monkeypatch, tmp_path):
    (tmp_path / "tensorrt.py").write_text("raise FileNotFoundError('libnvinfer.so.10')\n")
    monkeypatch.delitem(sys.modules, "tensorrt")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(EngineUnavailableError, match=r"does not load \(libnvinfer.so.10\)"):
        import_tensorrt()


def test_versions_are_numbers():
    assert release(SimpleNamespace(__version__="10.16.1.11")) == (10, 16, 1, 11)
    assert release(SimpleNamespace(__version__="11.0.0.dev3")) == (11, 0, 0)


def test_errors_are_kept_for_the_exception_and_warnings_logged(caplog):
    caplog.set_level(logging.INFO, "deal.tensorrt")

    class Base:
        Severity = SimpleNamespace(INTERNAL_ERROR=0, ERROR=1, WARNING=2, INFO=3, VERBOSE=4)

        def __init__(self) -> None:
            self.made = True

    messages = Messages(SimpleNamespace(ILogger=Base, __version__="10.16.1.11"))
    for level, text in enumerate(["broken", "out of\nmemory", "slow", "hello", "chatter"]):
        messages.logger.log(level, text)
    assert messages.logger.made
    assert messages.take() == "broken; out of memory"
    assert messages.take() == ""
    assert caplog.messages == ["slow"]
