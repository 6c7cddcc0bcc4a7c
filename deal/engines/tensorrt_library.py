"""Import NVIDIA's TensorRT for Python if it can run, and collect its messages."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from deal._install import pip_install
from deal.engines.base import parse_device
from deal.engines.device import check_kernels
from deal.errors import EngineUnavailableError
from deal.machine.driver import Driver, find_driver

__all__ = ["Messages", "import_tensorrt", "log", "release", "tensorrt_device"]

_OLDEST, _TOO_NEW = (10, 0), (12,)
_INSTALL = pip_install("trt")

log = logging.getLogger("deal.tensorrt")
"""The logger for TensorRT's warnings and for the engine cache."""


def tensorrt_device(device: str) -> int:
    """Index of the CUDA device on which TensorRT will run.

    This asks the driver and does not import TensorRT, since an import without a driver may end the
    process.

    Raises
    ------
    UsageError
        The name of the device is unknown.
    EngineUnavailableError
        The CPU was requested, there is no driver, the driver finds no such device, or this build of
        deal has no CUDA kernels.
    """
    kind, index = parse_device(device)
    if kind == "cpu":
        raise EngineUnavailableError("engine trt runs on CUDA devices only: use --engine ort")
    try:
        driver: Driver = find_driver()
    except EngineUnavailableError as error:
        raise EngineUnavailableError(f"engine trt: {error} with --engine ort") from error
    if index >= len(driver.devices):
        raise EngineUnavailableError(
            f"device {device}: there are {len(driver.devices)} devices ({driver}); give one of "
            "them, counted from 0"
        )
    check_kernels(device)
    return index


def import_tensorrt() -> ModuleType:
    """Import TensorRT, after :func:`tensorrt_device`.

    Raises
    ------
    EngineUnavailableError
        TensorRT is not installed, does not load, or has a version that this code does not support.
    """
    try:
        trt = importlib.import_module("tensorrt")
    except ImportError as error:
        raise EngineUnavailableError(
            f"engine trt needs TensorRT ({error}): {_INSTALL}, or use --engine ort"
        ) from error
    except Exception as error:  # a missing library can raise any exception
        raise EngineUnavailableError(
            f"TensorRT does not load ({error}): pip install --force-reinstall tensorrt, or use "
            "--engine ort"
        ) from error
    if not _OLDEST <= release(trt) < _TOO_NEW:
        raise EngineUnavailableError(
            f"TensorRT {trt.__version__} is installed; this version of deal uses 10.x and 11.x: "
            f"{_INSTALL}"
        )
    return trt


def release(trt: ModuleType) -> tuple[int, ...]:
    """Version of TensorRT as numbers: (10, 16, 1, 11)."""
    return tuple(int(part) for part in trt.__version__.split(".") if part.isdecimal())


class Messages:
    """Keeps the errors that TensorRT reports, and passes warnings on to :data:`log`.

    Attributes
    ----------
    logger : tensorrt.ILogger
        The logger to give to TensorRT's objects.
    """

    def __init__(self, trt: ModuleType) -> None:
        severity: Any = trt.ILogger.Severity
        errors: list[str] = []

        class Logger(trt.ILogger):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, level: Any, message: str) -> None:
                if level in (severity.INTERNAL_ERROR, severity.ERROR):
                    errors.append(message)
                elif level == severity.WARNING:
                    log.warning("%s", message)

        self.logger = Logger()
        self._errors = errors
        self._version = trt.__version__

    def take(self) -> str:
        """The errors since the last call, in one line; empty if there are none."""
        text = "; ".join(" ".join(message.split()) for message in self._errors)
        self._errors.clear()
        return text[:1000]

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Make a ``Builder`` or ``Runtime`` in this block; the bindings raise TypeError on failure.

        Raises
        ------
        EngineUnavailableError
            TensorRT does not start on this machine.
        """
        try:
            yield
        except TypeError as error:
            raise EngineUnavailableError(
                f"TensorRT {self._version} does not start ({self.take() or error}): its CUDA may "
                "be newer than the driver, or the GPU's memory may be used up (nvidia-smi shows "
                "both); or use --engine ort"
            ) from error
