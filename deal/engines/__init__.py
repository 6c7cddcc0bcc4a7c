"""Engines run the network: uint8 images in, logits out.

``ort`` runs ONNX models on ONNX Runtime, ``openvino`` on OpenVINO, ``trt`` on TensorRT; ``torch``
runs checkpoints of ``deal train`` and is the reference. An engine is imported when it is opened, so
the others need not be installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deal._options import check_threads
from deal.errors import ModelError, UsageError
from deal.model.keys import PRECISIONS

if TYPE_CHECKING:
    from deal.engines.base import Engine

__all__ = ["ENGINES", "find_device", "open_engine"]

ENGINES = ("ort", "openvino", "trt", "torch")


def find_device(engine: str, device: str = "auto") -> int | None:
    """Index of the CUDA device that an engine will run on, None for the CPU; opens no model.

    Parameters are those of :func:`open_engine`.

    Raises
    ------
    UsageError
        The engine or the name of the device is unknown.
    EngineUnavailableError
        The engine or device is missing; the text says what to install.
    """
    if engine == "ort":
        from deal.engines.onnxruntime_cuda import cuda_index

        return cuda_index(device)
    if engine == "openvino":
        from deal.engines.openvino import cpu_only

        cpu_only(device)
        return None
    if engine == "trt":
        from deal.engines.tensorrt_library import import_tensorrt, tensorrt_device

        index = tensorrt_device(device)
        import_tensorrt()
        return index
    if engine == "torch":
        import deal.engines.torch  # noqa: F401  (says what to install if PyTorch is missing)
        from deal.engines import torch_cuda

        return torch_cuda.cuda_index(device)
    raise UsageError(f"engine {engine!r} is unknown; choose one of {', '.join(ENGINES)}")


def open_engine(
    model: str | Path,
    engine: str = "ort",
    device: str = "auto",
    precision: str | None = None,
    threads: int | None = None,
    options: Mapping[str, Any] | None = None,
    *,
    batch_size: int | None = None,
    probe: bool = True,
) -> Engine:
    """Open a model on an engine and check its outputs against the model contract.

    Parameters
    ----------
    model : str or Path
        An ONNX file for ``ort``, ``openvino`` and ``trt``, a checkpoint of ``deal train`` for
        ``torch``.
    engine : ``ort``, ``openvino``, ``trt`` or ``torch``
    device : ``auto``, ``cpu``, ``cuda`` or ``cuda:<index>``
        ``auto`` takes CUDA if the installed engine supports it and the driver finds a device.
    precision : str, optional
        The precision that the model's contract must state, as a safeguard; None runs the model as
        it is. Engines do not convert models; ``deal export --precision`` does. Only ``openvino``
        computes a float32 model in ``bf16``, where the processor has it.
    threads : int, optional
        Threads of one inference; None takes every core this process may use.
    options : mapping, optional
        Keys of the model contract that replace the model's own values.
    batch_size : int, optional
        The fixed number of images that run together on a CUDA device (:mod:`deal.engines.device`);
        32 by default. On the CPU every batch runs with the size it has.
    probe : bool
        Run the network on noise to check its outputs; False if they are known already.

    Raises
    ------
    UsageError
        An engine, device, precision or option is unknown, or a number of threads is impossible.
    EngineUnavailableError
        The engine or device is missing; the text says what to install.
    ModelError
        The model breaks the contract, or has another precision.
    """
    if precision is not None and precision not in PRECISIONS:
        raise UsageError(f"precision {precision!r} is unknown; use {', '.join(PRECISIONS)}")
    check_threads(threads=threads)
    path, index = Path(model), find_device(engine, device)
    opened: Engine
    if engine == "ort":
        opened = _open_ort(path, index, threads, options, batch_size)
    elif engine == "openvino":
        opened = _open_openvino(path, precision, threads, options)
    elif engine == "trt":
        assert index is not None
        opened = _open_trt(path, index, options, batch_size)
    else:
        opened = _open_torch(path, index, threads, options, batch_size)
    _check_precision(opened, precision)
    if probe:
        opened.probe()
    return opened


def _open_ort(
    path: Path,
    index: int | None,
    threads: int | None,
    options: Mapping[str, Any] | None,
    batch_size: int | None,
) -> Engine:
    from deal.engines.onnxruntime import OnnxRuntimeEngine
    from deal.engines.onnxruntime_cuda import OnnxRuntimeCudaEngine

    if index is None:
        return OnnxRuntimeEngine(path, threads, options)
    return OnnxRuntimeCudaEngine(path, index, threads, options, batch_size)


def _open_openvino(
    path: Path, precision: str | None, threads: int | None, options: Mapping[str, Any] | None
) -> Engine:
    from deal.engines.openvino import OpenVinoEngine

    return OpenVinoEngine(path, precision, threads, options)


def _open_trt(
    path: Path, index: int, options: Mapping[str, Any] | None, batch_size: int | None
) -> Engine:
    from deal.engines.tensorrt import TensorRTEngine

    return TensorRTEngine(path, index, options, batch_size)


def _open_torch(
    path: Path,
    index: int | None,
    threads: int | None,
    options: Mapping[str, Any] | None,
    batch_size: int | None,
) -> Engine:
    from deal.engines.torch import ModuleEngine, load_network
    from deal.engines.torch_cuda import TorchCudaEngine

    network, metadata = load_network(path)
    if index is None:
        return ModuleEngine(network, metadata, path, threads, options)
    return TorchCudaEngine(network, metadata, path, index, options, batch_size)


def _check_precision(opened: Engine, wanted: str | None) -> None:
    spec = opened.spec
    if wanted in (None, opened.precision):
        return
    if spec.precision is None:
        raise ModelError(
            f"model {spec.path} does not record its precision, so {wanted} cannot be checked: "
            f"leave out --precision, or state it with the model option precision={wanted}"
        )
    raise ModelError(
        f"model {spec.path} is {spec.precision}, not {wanted}: leave out --precision, or make "
        f"another with deal export --precision {wanted}"
    )
