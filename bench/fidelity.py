"""Do other engines and precisions select the images that ONNX Runtime selects in float32?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from deal.bench.report import Report, Row
from deal.bench.timing import single
from deal.engines import open_engine
from deal.engines.base import Engine
from deal.errors import EngineUnavailableError, UsageError
from deal.export.fidelity import LIMITS, TOP, FidelityGate
from deal.export.images import PoolImages, Scenes
from deal.model.spec import read_spec
from deal.synthetic.scenes import FIRST_SEED

__all__ = ["run"]

_SIZE = (360, 480)
_FEWEST = 20  # two images are the top tenth


def run(
    model: str,
    *,
    also: Sequence[str] = (),
    images: str | None = None,
    scenes: int = 300,
) -> Report:
    """Compare the statistics of each engine and precision with those of ONNX Runtime in float32.

    OpenVINO runs the model in float32 and in bf16; it and ONNX Runtime run the other files. What
    cannot run here is left out with a note.

    Parameters
    ----------
    model : str
        A float32 ONNX file.
    also : sequence of str
        The same network converted, such as to int8.
    images : str, optional
        Pool of images; street scenes that no training saw by default.
    scenes : int
        How many scenes.

    Raises
    ------
    UsageError
        The model is not a float32 one, or there are too few images.
    ModelError
        ONNX Runtime cannot run the model.
    """
    spec = read_spec(model)
    if spec.precision not in (None, "fp32"):
        raise UsageError(f"model {model} is {spec.precision}: give the fp32 one, and it as --also")
    first = FIRST_SEED["test"]
    size = spec.input_size or _SIZE
    judged = PoolImages.of(images) if images else Scenes(range(first, first + scenes), size)
    gate = FidelityGate(open_engine(model, "ort", "cpu"), judged, least=_FEWEST)
    rows, notes = [], []
    for label, file, engine, precision in _candidates(model, also):
        try:
            opened = open_engine(file, engine, "cpu", precision)
        except EngineUnavailableError as error:
            notes.append(f"{label} is left out: {error}")
            continue
        rows += _rows(label, opened, gate)
    return Report(
        question="fidelity",
        settings={
            "models": [Path(file).name for file in (model, *also)],
            "images": len(judged),
            "pool": None if images is None else Path(images).name,
        },
        rows=tuple(rows),
        notes=tuple(notes),
    )


def _candidates(model: str, also: Sequence[str]) -> Iterator[tuple[str, str, str, str | None]]:
    """Label, file, engine and the precision that is asked for."""
    yield "OpenVINO fp32", model, "openvino", None
    yield "OpenVINO bf16", model, "openvino", "bf16"
    for file in also:
        for name, engine in (("ONNX Runtime", "ort"), ("OpenVINO", "openvino")):
            yield f"{name}, {Path(file).name}", file, engine, None


def _rows(label: str, engine: Engine, gate: FidelityGate) -> list[Row]:
    found = gate.judge(engine)
    rows = [
        Row(f"{label}: logit error / deviation", single(found.logit_error), "ratio"),
        Row(f"{label}: same class", single(found.argmax_agreement), "ratio"),
    ]
    for function, agreement in found.scores.items():
        for text, name in (
            ("Spearman", "spearman"),
            (f"top {TOP:.0%} shared", "overlap"),
            ("score of picks / best", "pick_value"),
        ):
            value = single(getattr(agreement, name))
            rows.append(Row(f"{label}: {function} {text}", value, "ratio", f">= {LIMITS[name]}"))
    return rows
