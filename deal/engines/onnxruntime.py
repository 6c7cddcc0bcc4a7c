"""ONNX Runtime on the CPU, or on CUDA where the installed wheel has it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deal.cores import available_cores
from deal.dropout import Masks
from deal.engines.base import HostEngine, parse_device
from deal.errors import EngineUnavailableError, ModelError
from deal.model import ModelSpec, read_spec
from deal.processor import has_int8_dot_product
from deal.types import EngineOutput

try:
    import onnxruntime as ort
except ImportError as error:
    raise EngineUnavailableError(
        f"engine ort needs ONNX Runtime ({error}): pip install 'deal-score[ort]' (or [ort-gpu] "
        "for CUDA)"
    ) from error

__all__ = ["OnnxRuntimeEngine", "open_session"]

_CUDA = "CUDAExecutionProvider"
_CPU = "CPUExecutionProvider"


class OnnxRuntimeEngine(HostEngine):
    """One inference session; parameters as in :func:`deal.engines.open_engine`."""

    name = "ort"

    def __init__(
        self,
        path: Path,
        device: str = "auto",
        threads: int | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        spec = read_spec(path, options)
        used = _resolve_device(device)
        super().__init__(spec, used)
        if used == "cpu":
            _check_sums(spec)
        self._session = open_session(path, used, threads or available_cores())
        names = {
            "logits": spec.output_name,
            "difficulty": spec.difficulty_name,
            "embedding": spec.embedding_name,
        }
        self._outputs = {role: name for role, name in names.items() if name is not None}

    def feeds(self, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """What the graph is given, by input name, for uint8 RGB [B, H, W, 3] of a size it takes."""
        return self._feeds(self._prepare(images), self._keep_all)

    def _feeds(self, batch: NDArray[Any], masks: Masks) -> dict[str, NDArray[Any]]:
        names = [layer.input for layer in self.spec.dropout]
        return {self.spec.input_name: batch, **dict(zip(names, masks, strict=True))}

    def _infer(self, batch: NDArray[Any], masks: Masks) -> EngineOutput:
        feeds = self._feeds(batch, masks)
        try:
            values = self._session.run(list(self._outputs.values()), feeds)
        except Exception as error:  # the runtime's exceptions share no other base
            raise ModelError(
                f"model {self.spec.path} does not run on a batch {list(batch.shape)}: set "
                f"input_size or size_multiple to what it takes ({_first_line(error)})"
            ) from error
        outputs = dict(zip(self._outputs, values, strict=True))
        embedding = outputs.get("embedding")
        return EngineOutput(
            outputs["logits"],
            outputs.get("difficulty"),
            None if embedding is None else embedding.astype(np.float32),
        )


def _resolve_device(device: str) -> str:
    kind, index = parse_device(device)
    has_cuda = _CUDA in ort.get_available_providers()
    if kind == "cuda" and not has_cuda:
        raise EngineUnavailableError(
            f"device {device}: the installed onnxruntime {ort.__version__} has no CUDA; "
            "pip uninstall onnxruntime, then pip install 'deal-score[ort-gpu]', or use --device cpu"
        )
    return f"cuda:{index}" if kind == "cuda" or (kind == "auto" and has_cuda) else "cpu"


def open_session(path: Path, device: str, threads: int) -> Any:
    """Open the ``InferenceSession`` that the engine runs, with its settings.

    Parameters
    ----------
    path : Path
    device : ``cpu`` or ``cuda:<index>``
    threads : int

    Raises
    ------
    ModelError
        ONNX Runtime cannot load the file.
    EngineUnavailableError
        CUDA does not start.
    """
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = threads
    # Idle threads that spin take cores from decoding and from other sessions.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4  # failures are raised; what it logs besides is for its makers
    providers: list[Any] = [_CPU]
    if device != "cpu":
        providers.insert(0, (_CUDA, {"device_id": int(device.partition(":")[2])}))
    try:
        session = ort.InferenceSession(path, options, providers=providers, enable_fallback=0)
    except Exception as error:  # the runtime's exceptions share no other base
        raise ModelError(
            f"model {path} cannot be loaded by ONNX Runtime {ort.__version__}: re-export it, or "
            f"upgrade onnxruntime ({_first_line(error)})"
        ) from error
    if device != "cpu" and _CUDA not in session.get_providers():
        raise EngineUnavailableError(
            f"device {device}: onnxruntime-gpu {ort.__version__} is installed but CUDA does not "
            "start (driver, CUDA or cuDNN missing); install what its release notes name, or use "
            "--device cpu"
        )
    return session


def _check_sums(spec: ModelSpec) -> None:
    """Refuse an int8 model of ``deal export`` whose sums would overflow here, unnoticed."""
    facts = spec.provenance.get("conversion")
    needs_dot_product = isinstance(facts, Mapping) and facts.get("reduce_range") is False
    if spec.precision == "int8" and needs_dot_product and not has_int8_dot_product():
        raise ModelError(
            f"model {spec.path} has int8 weights of 8 bits, whose sums overflow on this processor "
            "(x86 without VNNI): convert it again with --reduce-range on"
        )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
