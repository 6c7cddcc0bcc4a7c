"""Ask NVIDIA's driver for devices before any CUDA library is loaded."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from deal.errors import EngineUnavailableError

__all__ = ["Driver", "find_driver"]

_REMEDY = "install NVIDIA's driver, or use --device cpu"


@dataclass(frozen=True, slots=True)
class Driver:
    """A driver that starts.

    Attributes
    ----------
    cuda : (major, minor)
        The newest CUDA version that the driver supports.
    devices : tuple of str
        Names of the devices, by index; at least one.
    """

    cuda: tuple[int, int]
    devices: tuple[str, ...]

    def __str__(self) -> str:
        names = ", ".join(f"cuda:{index} {name}" for index, name in enumerate(self.devices))
        return f"driver for CUDA {self.cuda[0]}.{self.cuda[1]}; {names}"


def find_driver() -> Driver:
    """The driver of this machine.

    This loads only the driver library: without a driver, runtimes and TensorRT may crash a process.

    Raises
    ------
    EngineUnavailableError
        There is no driver, it does not start, or it finds no device.
    """
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise EngineUnavailableError(
            f"no CUDA driver (libcuda.so.1 is missing): {_REMEDY}"
        ) from error
    code = cuda.cuInit(0)
    if code != 0:
        raise EngineUnavailableError(
            f"the CUDA driver does not start (cuInit gave error {code}): {_REMEDY}"
        )
    version, count = ctypes.c_int(), ctypes.c_int()
    cuda.cuDriverGetVersion(ctypes.byref(version))
    cuda.cuDeviceGetCount(ctypes.byref(count))
    if count.value == 0:
        raise EngineUnavailableError(f"the CUDA driver finds no device: {_REMEDY}")
    names = []
    for index in range(count.value):
        name = ctypes.create_string_buffer(256)
        cuda.cuDeviceGetName(name, len(name), index)
        names.append(name.value.decode())
    return Driver((version.value // 1000, version.value % 1000 // 10), tuple(names))
