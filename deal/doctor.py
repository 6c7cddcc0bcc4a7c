"""What is installed here, what works, and the remedy for what does not."""

from __future__ import annotations

import importlib
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from deal._demo import demo_file
from deal._install import pip_install
from deal._namesake import namesake
from deal._namesake import remedy as namesake_remedy
from deal._version import __version__
from deal.errors import DealError
from deal.machine.driver import find_driver
from deal.machine.packages import version_of

__all__ = ["Finding", "cuda_driver", "examine"]

# Distribution → the extra that brings it, None for deal itself; and what it is for.
_PACKAGES: dict[str, tuple[str | None, str]] = {
    **dict.fromkeys(("numpy", "pyarrow", "Pillow", "simplejpeg", "click", "rich"), (None, "")),
    "onnxruntime": ("ort", "scoring on ONNX Runtime"),
    "onnxruntime-gpu": ("ort-gpu", "instead of [ort], for CUDA"),
    "openvino": ("openvino", "scoring on OpenVINO, also in bf16"),
    "tensorrt": ("trt", "scoring on TensorRT"),
    "scikit-image": ("superpixel", "--regions slic:N"),
    "torch": ("train", "training and engine torch"),
    "onnx": ("train", "export"),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was examined.

    Attributes
    ----------
    topic : str
        ``deal``, ``packages``, ``kernel``, ``devices`` or ``engines``.
    works : bool or None
        None: an extra that is not installed.
    remedy : str or None
        What to do; None where it works.
    """

    topic: str
    name: str
    works: bool | None
    detail: str
    remedy: str | None = None


def examine() -> Iterator[Finding]:
    """Examine this installation, one finding after the other; engines are really started."""
    python = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    yield Finding("deal", "deal-score", True, f"{__version__}, {python}")
    clash = namesake()
    if clash is not None:
        yield Finding("deal", "deal", False, f"another package, deal {clash}", namesake_remedy())
    yield from _packages()
    yield _tried("kernel", "cpu", _kernel)
    yield _tried("devices", "cuda", cuda_driver)
    for engine, start in (("ort", _ort), ("torch", _torch)):
        for device in ("cpu", "cuda"):
            yield _tried("engines", f"{engine} on {device}", partial(start, device))
    yield _tried("engines", "openvino on cpu", _openvino)
    yield _tried("engines", "trt on cuda", _trt)


def cuda_driver() -> str:
    """Driver's CUDA version and the devices; EngineUnavailableError where there is none."""
    return str(find_driver())


def _packages() -> Iterator[Finding]:
    for package, (extra, purpose) in _PACKAGES.items():
        version = version_of(package)
        if version is None:
            if extra is None:
                yield Finding("packages", package, False, "not installed", pip_install())
            else:
                remedy = f"{pip_install(extra)} ({purpose})"
                yield Finding("packages", package, None, "not installed", remedy)
        else:
            yield Finding("packages", package, True, version)


def _tried(topic: str, name: str, attempt: Callable[[], str]) -> Finding:
    try:
        return Finding(topic, name, True, attempt())
    except DealError as error:
        return Finding(topic, name, False, "does not work", str(error))
    except Exception as error:  # whatever a broken installation raises is what is reported
        reason = (str(error).splitlines() or [""])[0]
        return Finding(
            topic, name, False, f"{type(error).__name__}: {reason}", "reinstall what fails here"
        )


def _kernel() -> str:
    from deal import _native

    return str(_native.build_info())


def _ort(device: str) -> str:
    if device == "cuda":
        cuda_driver()
    from deal.engines import open_engine

    engine = open_engine(demo_file("model.onnx"), "ort", device, threads=1, batch_size=1)
    return f"ran the bundled model on {engine.device}"


def _openvino() -> str:
    from deal.engines import open_engine
    from deal.machine.processor import has_bfloat16

    engine = open_engine(demo_file("model.onnx"), "openvino", threads=1)
    bf16 = "" if has_bfloat16() else "; this processor does not compute bf16"
    return f"ran the bundled model on {engine.device}{bf16}"


def _trt() -> str:
    """TensorRT is started, but no engine built: that takes minutes."""
    from deal.engines.tensorrt_cache import EngineCache
    from deal.engines.tensorrt_library import Messages, import_tensorrt, tensorrt_device

    tensorrt_device("cuda")
    trt = import_tensorrt()
    messages = Messages(trt)
    trt.Runtime(messages.logger)
    if reason := messages.take():
        raise DealError(f"TensorRT {trt.__version__} does not start: {reason}")
    cache = EngineCache()
    size = sum(entry.size for entry in cache.entries()) / 1e6
    count = len(cache.entries())
    return (
        f"TensorRT {trt.__version__} starts (no engine was built or run to see); {count} engines, "
        f"{size:.0f} MB in {cache.folder}"
    )


def _torch(device: str) -> str:
    if device == "cuda":
        cuda_driver()
    try:
        torch = importlib.import_module("torch")
    except ImportError as error:
        raise DealError(f"engine torch needs PyTorch: {pip_install('train')}") from error
    if device == "cuda" and not torch.cuda.is_available():
        raise DealError(
            f"torch {torch.__version__} is built without CUDA, or for a newer driver: install the "
            "build for this machine's CUDA from pytorch.org"
        )
    return f"computed 1 + 1 = {int(torch.ones(1, device=device).add(1))} on {device}"
