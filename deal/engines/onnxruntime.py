"""ONNX Runtime on the CPU, and functions that the engine on CUDA shares."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deal._install import pip_install
from deal.engines.base import HostEngine
from deal.engines.onnx_files import computed_in_float, first_line, not_run
from deal.errors import EngineUnavailableError, ModelError
from deal.machine.cores import available_cores
from deal.model.dropout import Masks
from deal.model.header import read_header
from deal.model.spec import read_spec
from deal.types import EngineOutput

try:
    import onnxruntime as ort
except ImportError as error:
    raise EngineUnavailableError(
        f"engine ort needs ONNX Runtime ({error}): {pip_install('ort')} (or [ort-gpu] for CUDA)"
    ) from error

__all__ = [
    "FLOAT_STAYS",
    "QDQ_IN_FLOAT",
    "OnnxRuntimeEngine",
    "load",
    "open_session",
    "ort",
]

_BFLOAT16 = "tensor(bfloat16)"

QDQ_IN_FLOAT = ("session.disable_quant_qdq", "1")
"""Session entry: compute int8 values as the float32 numbers they stand for, exact on any CPU."""

FLOAT_STAYS = ("optimization.disable_specified_optimizers", "WeightBiasQuantization")
"""Session entry: compute a convolution in float32 if an int8 model has it in float32. Otherwise
ONNX Runtime rounds its weights to 8 bits, with one scale for all channels. What ``deal export``
writes for CPUs needs no entry (:mod:`deal.export.float_layers`); older and other models may."""

_AS_ONNX = ("session.load_model_format", "ONNX")  # even if the first bytes look like ORT format


class OnnxRuntimeEngine(HostEngine):
    """One inference session on the CPU.

    An int8 model that was made for GPUs is computed in float32, with the same numbers but not with
    the speed of int8.

    Parameters
    ----------
    path, threads, options
        As in :func:`deal.engines.open_engine`.
    """

    name = "ort"

    def __init__(
        self,
        path: Path,
        threads: int | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        spec = read_spec(path, options)
        super().__init__(spec, "cpu")
        self._threads = threads or available_cores()
        in_float = computed_in_float(spec)
        self._session = open_session(path, self._threads, in_float=in_float)
        self._outputs = spec.output_names
        types = {value.name: value.type for value in self._session.get_outputs()}
        # NumPy has no bfloat16, so ONNX Runtime cannot return such outputs as arrays.
        self._has_bfloat16 = any(types[name] == _BFLOAT16 for name in self._outputs.values())

    def feeds(self, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """The graph's inputs by name, for uint8 RGB [B, H, W, 3] of a size that it takes."""
        return self._feeds(self._prepared(images), self._keep_all)

    def needed_entries(self) -> tuple[tuple[str, str], ...]:
        """As of every engine: a second session, without the entries, runs on the same noise."""
        path = self.spec.path
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as onnx:
            if onnx.find(b"DequantizeLinear") < 0:  # no name, no such operator
                return ()
        plain = load(path, self._threads, ["CPUExecutionProvider"], plain=True)
        feeds, names = self.feeds(self.noise(self.spec.batch or 1)), [self._outputs["logits"]]
        ours, theirs = (self._values(item, names, feeds)[0] for item in (self._session, plain))
        if ours.tobytes() == theirs.tobytes():
            return ()
        return (FLOAT_STAYS, QDQ_IN_FLOAT) if computed_in_float(self.spec) else (FLOAT_STAYS,)

    def _feeds(self, batch: NDArray[Any], masks: Masks) -> dict[str, NDArray[Any]]:
        names = [layer.input for layer in self.spec.dropout]
        return {self.spec.input_name: batch, **dict(zip(names, masks, strict=True))}

    def _infer(self, batch: NDArray[Any], masks: Masks) -> EngineOutput:
        feeds = self._feeds(batch, masks)
        try:
            values = self._values(self._session, list(self._outputs.values()), feeds)
        except Exception as error:  # the runtime's exceptions share no other base
            raise not_run(self.spec, batch.shape, error) from error
        outputs = dict(zip(self._outputs, values, strict=True))
        embedding = outputs.get("embedding")
        return EngineOutput(
            outputs["logits"],
            outputs.get("difficulty"),
            None if embedding is None else embedding.astype(np.float32),
        )

    def _values(
        self, session: Any, names: list[str], feeds: dict[str, NDArray[Any]]
    ) -> list[NDArray[Any]]:
        if not self._has_bfloat16:
            values: list[NDArray[Any]] = session.run(names, feeds)
            return values
        given = {name: ort.OrtValue.ortvalue_from_numpy(array) for name, array in feeds.items()}
        return [_as_array(value) for value in session.run_with_ort_values(names, given)]


def _as_array(value: Any) -> NDArray[Any]:
    """Return a value of ONNX Runtime on the host; bfloat16 becomes float32, which is exact."""
    if value.data_type() != _BFLOAT16:
        array: NDArray[Any] = value.numpy()
        return array
    shape = value.shape()
    halves = (ctypes.c_uint16 * prod(shape)).from_address(value.data_ptr())
    bits = np.frombuffer(halves, np.uint16).astype(np.uint32) << 16
    return bits.view(np.float32).reshape(shape)


def open_session(path: Path, threads: int, *, in_float: bool = False) -> Any:
    """Open the ``InferenceSession`` that the CPU engine runs, with its settings.

    Raises ModelError if ONNX Runtime cannot load the file.
    """
    return load(path, threads, ["CPUExecutionProvider"], in_float=in_float)


def load(
    path: Path,
    threads: int,
    providers: list[Any],
    *,
    in_float: bool = False,
    plain: bool = False,
) -> Any:
    """Open an ``InferenceSession`` on these providers; ModelError if that fails.

    ``plain`` leaves out the entries that change logits.
    """
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = threads
    # Idle threads that busy-wait would take cores from decoding and from other sessions.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry(*_AS_ONNX)
    if not plain:
        options.add_session_config_entry(*FLOAT_STAYS)
    if in_float:
        options.add_session_config_entry(*QDQ_IN_FLOAT)
    options.log_severity_level = 4  # failures are raised; other messages do not concern users
    source = _source(path)
    try:
        return ort.InferenceSession(source, options, providers=providers, enable_fallback=0)
    except Exception as error:  # the runtime's exceptions share no other base
        raise ModelError(
            f"model {path} cannot be loaded by ONNX Runtime {ort.__version__}: re-export it, or "
            f"upgrade onnxruntime ({first_line(error)})"
        ) from error


def _source(path: Path) -> Path | bytes:
    """What ONNX Runtime opens: the path, or the content, as it takes no path but in UTF-8."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        if read_header(path).external:
            raise ModelError(
                f"model {path} has weights in files of their own, which ONNX Runtime finds only "
                "below folders whose names are UTF-8: rename the folder"
            ) from None
        return path.read_bytes()
    return path
