from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path

import pytest

from deal import cli, doctor
from deal._install import pip_install
from deal.doctor import Finding, cuda_driver, demo_file, examine
from deal.errors import DealError
from deal.machine import driver as driver_module
from tests.helpers.models import metadata, save_model


def findings() -> dict[str, Finding]:
    return {f"{finding.topic}/{finding.name}": finding for finding in examine()}


@pytest.fixture
def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = save_model(tmp_path / "model.onnx", props=metadata())
    monkeypatch.setattr(doctor, "demo_file", lambda name: model)


@pytest.mark.slow
@pytest.mark.usefixtures("demo")
def test_what_works_here_is_found_working() -> None:
    found = findings()
    for name in ("deal/deal-score", "packages/numpy", "packages/simplejpeg", "engines/ort on cpu"):
        assert found[name].works, found[name]
        assert found[name].remedy is None
    assert found["engines/ort on cpu"].detail == "ran the bundled model on cpu"
    assert "isa=" in found["kernel/cpu"].detail


@pytest.mark.usefixtures("demo")
def test_everything_that_does_not_work_has_a_remedy() -> None:
    for finding in examine():
        assert (finding.remedy is None) == (finding.works is True), finding


@pytest.mark.usefixtures("demo")
def test_a_missing_package_has_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    version = importlib.metadata.version

    def without(name: str) -> str:
        if name in ("pyarrow", "torch"):
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", without)
    found = findings()
    assert found["packages/pyarrow"].works is False
    assert found["packages/torch"].works is None
    assert str(found["packages/torch"].remedy).startswith(pip_install("train"))
    assert found["packages/pyarrow"].remedy == pip_install()


@pytest.mark.usefixtures("demo")
def test_another_package_named_deal_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "namesake", lambda: "4.24.4")
    clash = findings()["deal/deal"]
    assert clash.works is False
    assert "4.24.4" in clash.detail
    assert "pip uninstall deal" in str(clash.remedy)


def test_this_distribution_is_not_its_own_namesake() -> None:
    assert doctor.namesake() is None


def test_a_missing_driver_is_told_without_loading_an_engine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(driver_module.ctypes, "CDLL", missing)
    with pytest.raises(DealError, match=r"no CUDA driver .* install NVIDIA's driver"):
        cuda_driver()
    found = findings()
    for name in ("devices/cuda", "engines/ort on cuda", "engines/torch on cuda"):
        assert found[name].works is False
        assert "install NVIDIA's driver" in str(found[name].remedy)


class Driver:
    """A CUDA driver with one device, or one that does not start."""

    def __init__(self, code: int = 0, devices: int = 1) -> None:
        self.code, self.devices = code, devices

    def cuInit(self, flags: int) -> int:  # noqa: N802
        return self.code

    def cuDriverGetVersion(self, version: object) -> None:  # noqa: N802
        version._obj.value = 13020  # type: ignore[attr-defined]

    def cuDeviceGetCount(self, count: object) -> None:  # noqa: N802
        count._obj.value = self.devices  # type: ignore[attr-defined]

    def cuDeviceGetName(self, name: object, length: int, index: int) -> None:  # noqa: N802
        name.value = b"NVIDIA H200"  # type: ignore[attr-defined]


def test_a_driver_names_its_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver_module.ctypes, "CDLL", lambda name: Driver())
    assert cuda_driver() == "driver for CUDA 13.2; cuda:0 NVIDIA H200"


@pytest.mark.parametrize(
    ("driver", "match"), [(Driver(code=100), "error 100"), (Driver(devices=0), "finds no device")]
)
def test_a_driver_that_does_not_work_says_why(
    monkeypatch: pytest.MonkeyPatch, driver: Driver, match: str
) -> None:
    monkeypatch.setattr(driver_module.ctypes, "CDLL", lambda name: driver)
    with pytest.raises(DealError, match=match):
        cuda_driver()


def test_a_bundled_file_that_is_missing_says_so() -> None:
    with pytest.raises(
        DealError, match=r"bundled nothing\.onnx is missing: pip install --force-reinstall"
    ):
        demo_file("nothing.onnx")


@pytest.mark.usefixtures("demo")
def test_the_command_prints_findings_and_exits_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(cli.deal, ["doctor"], "deal") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "deal"
    assert any(line.startswith("  ok     numpy ") for line in lines)
    assert any("→ " in line for line in lines)


@pytest.mark.usefixtures("demo")
def test_the_command_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(cli.deal, ["doctor", "--json"], "deal") == 0
    document = json.loads(capsys.readouterr().out)
    assert {entry["topic"] for entry in document} == {
        "deal",
        "packages",
        "kernel",
        "devices",
        "engines",
    }
