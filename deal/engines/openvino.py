"""OpenVINO on the CPU, in float32, bfloat16 or int8.

Left to itself OpenVINO computes float32 models in bfloat16 where the processor can, takes the cores
of the machine and not those of a container, pins its threads to the first of them, and tells its
makers that it was imported. All of that is set otherwise here.

Logits are the same bits for any number of threads and sessions and in any batch, but not on another
processor.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deal._install import pip_install
from deal.engines.base import HostEngine, parse_device
from deal.engines.onnx_files import computed_in_float, first_line, not_run
from deal.errors import EngineUnavailableError, ModelError
from deal.machine.cores import available_cores
from deal.machine.processor import has_bfloat16
from deal.model.dropout import Masks
from deal.model.spec import ModelSpec, read_spec
from deal.types import EngineOutput

__all__ = ["OpenVinoEngine", "cpu_only", "ov"]

_TELEMETRY = "openvino_telemetry"


def _imported() -> Any:
    """The package openvino, without the message that its import sends over the network.

    Where its telemetry cannot be imported it uses a stub of its own. A program that has imported
    openvino before deal has chosen for itself.
    """
    absent = _TELEMETRY not in sys.modules
    if absent:
        sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
    try:
        import openvino
        import openvino.frontend
    finally:
        if absent:
            del sys.modules[_TELEMETRY]
    return openvino


try:
    ov = _imported()
except ImportError as error:
    raise EngineUnavailableError(
        f"engine openvino needs OpenVINO ({error}): {pip_install('openvino')}, or use --engine ort"
    ) from error

_HINTS = {"fp32": "f32", "bf16": "bf16"}
_CHOSEN_HERE = {
    "NUM_STREAMS": 1,  # a session runs one batch at a time; further sessions run beside it
    "ENABLE_CPU_PINNING": False,  # the threads of several sessions would share the first core
    "ENABLE_HYPER_THREADING": True,  # threads are counted as everywhere in deal
}


def cpu_only(device: str) -> None:
    """Refuse devices but the CPU: UsageError, EngineUnavailableError with the remedy."""
    if parse_device(device)[0] == "cuda":
        raise EngineUnavailableError(
            f"engine openvino runs on processors only, not on {device}: {pip_install('ort-gpu')} "
            "and use --engine ort, or choose --device cpu"
        )


class OpenVinoEngine(HostEngine):
    """One compiled network on the CPU.

    A float32 model is computed in float32, or in bfloat16 if that is asked for; an int8 model in
    int8, with the layers that it has in float32 in float32; a float16 model in float32, with its
    weights. A bfloat16 model is computed in bfloat16.

    Parameters
    ----------
    path, precision, threads, options
        As in :func:`deal.engines.open_engine`.

    Raises
    ------
    EngineUnavailableError
        The processor does not compute bfloat16.
    ModelError
        OpenVINO cannot load the model.
    """

    name = "openvino"

    def __init__(
        self,
        path: Path,
        precision: str | None = None,
        threads: int | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        spec = read_spec(path, options)
        super().__init__(spec, "cpu")
        if computed_in_float(spec):
            raise ModelError(
                f"model {path} is int8 for GPUs: use --engine ort, which computes it in float32, "
                "or convert the fp32 model with deal export --precision int8"
            )
        if precision == "bf16" and spec.precision in (None, "fp32"):
            self.precision = "bf16"
        graph = _read(spec)
        self._quantised = any(node.get_type_name() == "FakeQuantize" for node in graph.get_ops())
        self._request = _compiled(graph, spec, self.precision, threads).create_infer_request()
        self._outputs = spec.output_names

    def own_numbers(self) -> dict[str, Any]:
        """As of every engine: in int8 OpenVINO rounds otherwise than ONNX Runtime."""
        return {**super().own_numbers(), **({"int8_by": self.name} if self._quantised else {})}

    def _infer(self, batch: NDArray[Any], masks: Masks) -> EngineOutput:
        names = [layer.input for layer in self.spec.dropout]
        feeds = {self.spec.input_name: batch, **dict(zip(names, masks, strict=True))}
        try:
            values = self._request.infer(feeds, share_inputs=True)
        except RuntimeError as error:
            raise not_run(self.spec, batch.shape, _reason(error)) from error
        outputs = {kind: values[name] for kind, name in self._outputs.items()}
        embedding = outputs.get("embedding")
        return EngineOutput(
            outputs["logits"],
            outputs.get("difficulty"),
            None if embedding is None else embedding.astype(np.float32),
        )


@cache
def _core() -> Any:
    return ov.Core()


def _read(spec: ModelSpec) -> Any:
    """The graph of an ONNX file, whatever its name is; bfloat16 outputs as float32."""
    reader = ov.frontend.FrontEndManager().load_by_framework("onnx")
    try:
        graph = reader.convert(reader.load(spec.path))
        steps = ov.preprocess.PrePostProcessor(graph)
        for output in graph.outputs:
            if output.get_element_type() == ov.Type.bf16:  # NumPy has no such numbers
                steps.output(output.get_any_name()).tensor().set_element_type(ov.Type.f32)
        return steps.build()
    except Exception as error:  # the frontend's exceptions share no other base
        raise _not_loaded(spec, error) from error


def _compiled(graph: Any, spec: ModelSpec, precision: str | None, threads: int | None) -> Any:
    computed = "bf16" if precision == "bf16" else "fp32"
    if computed == "bf16" and not has_bfloat16():
        raise EngineUnavailableError(
            f"model {spec.path} cannot be computed in bf16 here: the processor has neither "
            "avx512_bf16 nor amx_bf16; leave out --precision bf16 and give the fp32 model, or "
            "convert it with deal export --precision int8"
        )
    settings = {
        **_CHOSEN_HERE,
        "INFERENCE_NUM_THREADS": threads or available_cores(),
        "INFERENCE_PRECISION_HINT": _HINTS[computed],
    }
    try:
        compiled = _core().compile_model(graph, "CPU", settings)
    except RuntimeError as error:
        raise _not_loaded(spec, error) from error
    used = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    if used != _HINTS[computed]:
        raise EngineUnavailableError(
            f"OpenVINO {ov.__version__} computes in {used} here, not in {computed}: use --engine "
            "ort"
        )
    return compiled


def _not_loaded(spec: ModelSpec, error: Exception) -> ModelError:
    return ModelError(
        f"model {spec.path} cannot be loaded by OpenVINO {ov.__version__}: use --engine ort, or "
        f"re-export it ({first_line(_reason(error))})"
    )


def _reason(error: Exception) -> Exception:
    """An error whose only line is the last one of another: OpenVINO begins with lines of code."""
    lines = str(error).strip().splitlines()
    return RuntimeError(lines[-1].strip()) if lines else error
