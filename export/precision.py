"""Convert a model to another precision; it is written only if it selects the same images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnx
import onnxruntime as ort

from deal.engines.onnxruntime import OnnxRuntimeEngine
from deal.errors import ModelError, UsageError
from deal.export.deadline import Deadline, Progress
from deal.export.fidelity import Fidelity, FidelityGate
from deal.export.files import new_file, write_model
from deal.export.graph import Layer, check, reduced_precision, simplified
from deal.export.half import emulated, halved
from deal.export.images import divided
from deal.export.int8 import Int8Conversion
from deal.export.search import Sensitivity, fewest_float_layers, fidelity_table
from deal.machine.processor import has_int8_dot_product
from deal.model.keys import PRECISIONS
from deal.model.spec import ModelSpec, contract_values, read_spec

__all__ = ["SEARCH_SECONDS", "TARGETS", "Conversion", "convert"]

SEARCH_SECONDS = 1800.0
"""Default bound of a conversion, in seconds."""

TARGETS = ("cpu", "gpu")
"""Where int8 models are to run."""

_SCENE = (240, 320)


@dataclass(frozen=True)
class Conversion:
    """The outcome of a conversion.

    Attributes
    ----------
    precision : str
    target : str or None
        Of int8, ``cpu`` or ``gpu``; None for half, which runs where there are kernels.
    calibration : str or None
        What int8 was calibrated on, in words; None for half.
    held_out : str
        What the selections were compared on.
    reduce_range : bool or None
        Whether int8 weights have 7 bits; None for half and for GPUs.
    float_layers : tuple of str
        Layers that stayed in float32, by the name of their first node.
    sensitivities : tuple of Sensitivity
        All layers, the worst first; empty if none had to stay.
    fidelity : Fidelity
    """

    precision: str
    target: str | None
    calibration: str | None
    held_out: str
    reduce_range: bool | None
    float_layers: tuple[str, ...]
    sensitivities: tuple[Sensitivity, ...]
    fidelity: Fidelity

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def convert(
    model: str | Path,
    output: str | Path,
    precision: str,
    *,
    images: str | None = None,
    held_out: str | None = None,
    target: str = "cpu",
    reduce_range: str = "auto",
    search_seconds: float = SEARCH_SECONDS,
    progress: Progress | None = None,
) -> Conversion:
    """Convert a float32 ONNX model and compare its selections with those of the original.

    Parameters
    ----------
    model, output : path
        Keeps the model contract; ``output`` appears only once the gate has passed
        (:mod:`deal.export.fidelity`).
    precision : ``int8``, ``fp16`` or ``bf16``
        Half is judged by the same arithmetic in float32, every value rounded to half: the
        processor here need not be one that can run it.
    images, held_out : str, optional
        Pools to calibrate on and to judge on (:func:`deal.export.images.divided`).
    target : ``cpu`` or ``gpu``
        What int8 is for. Processors want uint8 activations with zero points; TensorRT takes int8
        around zero only. On the CPU a model for GPUs is computed in float32, without gain.
    reduce_range : ``auto``, ``on`` or ``off``
        int8 weights of 7 bits: x86 without VNNI adds pairs of products in 16 bits, which 8 would
        overflow. ``auto`` asks this processor.
    search_seconds : float
        Bound of everything: calibration, comparisons, and the search for layers to leave in
        float32, of which the best found until then counts.
    progress : callable of (stage, done, total or None), optional

    Raises
    ------
    UsageError
        Unknown precision or option, held-out images that are too few or also calibrated on, or
        the output is read.
    ModelError
        The model does not keep the contract, is not a float32 model, cannot be converted, or
        would select other images; the time runs out before one that does not is found.
    OutputError, PoolError
        The file cannot be written; images cannot be read.
    """
    model, output = Path(model), Path(output)
    if precision not in PRECISIONS[1:]:
        raise UsageError(
            f"precision {precision!r} is unknown; convert to {', '.join(PRECISIONS[1:])}"
        )
    if reduce_range not in ("auto", "on", "off"):
        raise UsageError(f"reduce_range {reduce_range!r} is unknown; use auto, on or off")
    for_gpu = target == "gpu"
    if target not in TARGETS:
        raise UsageError(f"target {target!r} is unknown; use {' or '.join(TARGETS)}")
    if for_gpu and (precision != "int8" or reduce_range == "on"):
        raise UsageError(
            "target gpu is for int8 with weights of 8 bits: fp16 and bf16 run on GPUs as they are, "
            "and reduce_range is for x86 processors; leave one of them out"
        )
    spec = read_spec(model)
    found = spec.precision if spec.precision not in (None, "fp32") else reduced_precision(model)
    if found is not None:
        raise ModelError(f"model {model} is {found} already: convert the fp32 one")
    report = Deadline(search_seconds, progress or (lambda stage, done, total: None))
    reduced = reduce_range == "on" or (reduce_range == "auto" and not has_int8_dot_product())
    contract = {**contract_values(model), "precision": precision}
    with new_file(output, contract, read=(model, images, held_out)) as temporary:
        report("reading the model", 0, None)
        calibration, judged = divided(images, held_out, spec.input_size or _SCENE)
        gate = FidelityGate(
            OnnxRuntimeEngine(model),
            judged,
            lambda done: report("fp32 on held-out images", done, len(judged)),
        )
        if precision != "int8":
            half = halved(simplified(model), spec, precision)
            _write(temporary, emulated(half), contract_values(model))
            fidelity = gate.judge(
                OnnxRuntimeEngine(temporary),
                lambda done: report(f"{precision} on held-out images", done, len(judged)),
            )
            if not fidelity.passed:
                table = "\n".join(fidelity_table(fidelity))
                raise ModelError(
                    f"{precision} does not select as float32 does; nothing is written\n{table}\n"
                    "keep the model in fp32" + (", or try fp16" if precision == "bf16" else "")
                )
            conversion = Conversion(precision, None, None, str(judged), None, (), (), fidelity)
            _write(temporary, half.model, _contract(model, spec, conversion))
            return conversion
        int8 = Int8Conversion(model, calibration, reduced and not for_gpu, report, for_gpu=for_gpu)
        trial = {**contract_values(model), "provenance": {"conversion": {"target": target}}}

        def judge(keep_float: Sequence[Layer]) -> Fidelity:
            stage = f"int8 on held-out images, {len(keep_float)} of {len(int8.layers)} layers float"
            _write(temporary, int8.model(keep_float), trial)
            return gate.judge(
                OnnxRuntimeEngine(temporary),
                lambda done: report(stage, done, len(judged)),
            )

        layers: tuple[Layer, ...] = ()
        ranked: list[Sensitivity] = []
        fidelity = judge(layers)
        if not fidelity.passed:
            ranked = int8.sensitivities()
            layers, fidelity = fewest_float_layers(ranked, judge, report.left)
        conversion = Conversion(
            precision=precision,
            target=target,
            calibration=str(calibration),
            held_out=str(judged),
            reduce_range=None if for_gpu else reduced,
            float_layers=tuple(layer[0] for layer in layers),
            sensitivities=tuple(ranked),
            fidelity=fidelity,
        )
        _write(temporary, int8.model(layers), _contract(model, spec, conversion))
    return conversion


def _contract(model: Path, spec: ModelSpec, conversion: Conversion) -> dict[str, Any]:
    """The model contract of the converted model."""
    facts = conversion.to_dict()
    del facts["sensitivities"]
    provenance = {
        **spec.provenance,
        "conversion": {"from_sha256": spec.digest(), "onnxruntime": ort.__version__, **facts},
    }
    return {
        **contract_values(model),
        "precision": conversion.precision,
        "provenance": provenance,
    }


def _write(path: Path, model: onnx.ModelProto, contract: dict[str, Any]) -> None:
    check(model)
    write_model(path, model, contract)
