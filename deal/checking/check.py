"""``check_model``: everything that is wrong, missing, doubtful or assumed of a model, at once."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deal.checking.neighbours import Neighbours, read_neighbours
from deal.checking.prediction import Prediction, predict
from deal.engines import open_engine
from deal.engines.base import Engine
from deal.errors import DealError, ModelError, UsageError
from deal.machine.files import write_text
from deal.model.consistency import inconsistencies
from deal.model.graph import image_input, input_size, logits_output, without_masks
from deal.model.header import OnnxHeader, TensorInfo, read_header
from deal.model.keys import read_keys
from deal.model.spec import ModelSpec, contract_sources, drawn_spec
from deal.model.strict_json import read_json_object
from deal.scoring.doubts import PoolDoubts, doubts_of_spec

__all__ = ["Finding", "ModelReport", "check_model", "write_draft"]

# Keys whose default goes unnoticed where it is wrong, and what to hold against it.
_ASSUMED = {
    "input_format": "the order of the channels in training",
    "input_size": "the size that images had in training",
    "resize": "how images were brought to that size",
    "interpolation": "the filter that resized them",
    "align_corners": "how the network's own resizes sample",
    "output_kind": "whether the output is before or after softmax",
}
_REQUIRED = ("classes", "mean", "std")
_IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found.

    Attributes
    ----------
    level : str
        ``wrong`` and ``missing`` refuse the model, ``doubtful`` may not be meant, ``assumed`` is a
        default.
    key : str or None
        The key of the contract that it is about, if it is about one.
    text : str
        One sentence, with the remedy.
    """

    level: str
    key: str | None
    text: str


@dataclass(slots=True)
class ModelReport:
    """What was found of a model.

    Attributes
    ----------
    model : Path
    findings : list of Finding
        In the order in which to mend them.
    spec : ModelSpec or None
        The contract that was tried, with the draft where the model says nothing; None where it
        cannot be drawn up.
    draft : dict
        Keys to be added to the side-car, as JSON values.
    predictions : list of Prediction
        One for each image, where the network runs.
    """

    model: Path
    findings: list[Finding] = field(default_factory=list)
    spec: ModelSpec | None = None
    draft: dict[str, Any] = field(default_factory=dict)
    predictions: list[Prediction] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 good; 1 refused, by what is wrong or missing; 3 doubtful."""
        levels = {finding.level for finding in self.findings}
        if levels & {"wrong", "missing"}:
            return 1
        return 3 if "doubtful" in levels else 0

    def add(self, level: str, text: object, key: str | None = None) -> None:
        """Add a finding, once."""
        finding = Finding(level, key, str(text))
        if finding not in self.findings:
            self.findings.append(finding)

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        contract = None
        if self.spec is not None:
            contract = {"classes": list(self.spec.classes), **self.spec.number_settings()}
        return {
            "model": str(self.model),
            "exit_code": self.exit_code,
            "findings": [asdict(finding) for finding in self.findings],
            "contract": contract,
            "draft": self.draft,
            "images": [prediction.to_dict() for prediction in self.predictions],
        }


def check_model(
    model: str | Path,
    images: Sequence[tuple[str, NDArray[np.uint8]]] = (),
    *,
    options: Mapping[str, Any] | None = None,
    engine: str = "ort",
    device: str = "auto",
) -> ModelReport:
    """Look for everything that a model needs before it scores, instead of the first thing only.

    Where the model says nothing, a draft is tried: from ``config.json`` and
    ``preprocessor_config.json`` beside it, or a guess, which stays ``missing`` until it is stated.

    Parameters
    ----------
    model : str or Path
        An ONNX file.
    images : sequence of (name, ndarray of uint8 [H, W, 3]), optional
        Oriented RGB, to try it on.
    options : mapping, optional
        Keys of the contract that win over the model's own.
    engine : ``ort``, ``openvino`` or ``trt``
    device : str
        As in :func:`deal.engines.open_engine`.

    Raises
    ------
    EngineUnavailableError, UsageError
        The engine, device or an engine of that name are not there.
    """
    path = Path(model)
    report = ModelReport(path)
    try:
        header = read_header(path)
    except ModelError as error:
        report.add("wrong", error)
        return report
    values, raw, bad = _stated(report, path, header, options or {})
    for key in _REQUIRED:
        if values.get(key, "") is None:  # null states nothing, so the draft counts
            del values[key], raw[key]
    image, output = _tensors(report, path, header, values)
    is_float = image is not None and image.dtype != "uint8"
    beside = read_neighbours(path, is_float=is_float)
    for doubt in beside.doubts:
        report.add("doubtful", doubt)
    _draft(report, raw, bad, beside, image, output)
    drafted, errors = read_keys(report.draft, "draft")
    for refused in errors:
        report.add("doubtful", refused)
    try:
        tried = {key: tuple(value) for key, value in _IMAGENET.items() if key in bad}
        spec, channels = drawn_spec(path, {**tried, **drafted, **values}, header)
    except ModelError as error:
        report.add("wrong", error)
        return report
    report.spec = spec
    faults = [*inconsistencies(spec, channels)]
    for fault in faults:
        report.add("wrong", fault)
    for key, what in _ASSUMED.items():
        is_known = key in values or key in drafted or (key == "input_size" and spec.input_size)
        if not is_known:
            report.add("assumed", f"{key} is taken to be {_text(getattr(spec, key))}: {what}", key)
    if faults or bad:
        return report
    given = {key: raw[key] for key in options or {} if key in raw}
    _run(report, {**report.draft, **given}, images, engine, device)
    return report


def write_draft(report: ModelReport) -> Path:
    """Write ``MODEL.json``, or add to it: what it says stays, what the draft has is added.

    Raises
    ------
    ModelError
        There is one that cannot be read.
    OutputError
        It cannot be written.
    """
    path = report.model.with_suffix(".json")
    told: dict[str, Any] = {}
    if path.exists():
        told = read_json_object(path, "side-car")
    stated = {k: v for k, v in told.items() if v is not None or k not in report.draft}
    values = {**report.draft, **stated}
    text = json.dumps(values, indent=1, ensure_ascii=False)
    if text != text.encode(errors="ignore").decode():  # halves of letters, which no file can hold
        text = json.dumps(values, indent=1)
    write_text(path, text + "\n")
    return path


def _stated(
    report: ModelReport, path: Path, header: OnnxHeader, options: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any], set[str]]:
    """Good keys of all sources as the contract wants them and as JSON; what is not good."""
    values: dict[str, Any] = {}
    raw: dict[str, Any] = {}
    bad: set[str] = set()
    for source, found in (*contract_sources(path, header), ("model options", options)):
        if isinstance(found, ModelError):
            report.add("wrong", found)
            bad.add(source)
            continue
        good, errors = read_keys(found, source)
        for error in errors:
            report.add("wrong", error)
        bad |= set(found) - set(good)
        values |= good
        raw |= {key: found[key] for key in good}
    return values, raw, bad


def _tensors(
    report: ModelReport, path: Path, header: OnnxHeader, values: Mapping[str, Any]
) -> tuple[TensorInfo | None, TensorInfo | None]:
    """The image and the logits; None for what is refused."""
    image = output = None
    try:
        images = without_masks(path, header.inputs, values.get("dropout", ()))
        image = image_input(path, images, values.get("input_layout"))
    except ModelError as error:
        report.add("wrong", error)
    try:
        output = logits_output(path, header.outputs, values.get("output"))
    except ModelError as error:
        report.add("wrong", error)
    return image, output


def _draft(
    report: ModelReport,
    raw: Mapping[str, Any],
    bad: set[str],
    beside: Neighbours,
    image: TensorInfo | None,
    output: TensorInfo | None,
) -> None:
    """Fill in what nothing states, and say what is only guessed."""
    is_float = image is not None and image.dtype != "uint8"
    report.draft |= {key: value for key, value in beside.values.items() if key not in {*raw, *bad}}
    if image is not None and _is_fixed(report.model, image):
        report.draft.pop("input_size", None)  # the graph's own counts
    for key, value in report.draft.items():
        where = f"{beside.sources[key]}, which only deal check reads"
        level = "missing" if key in _REQUIRED else "doubtful"
        report.add(level, f"{key} is stated in {where}: {_text(value)}", key)
    told = {**report.draft, **raw}
    if "classes" not in told and "classes" not in bad:
        channels = output.shape[1] if output is not None and output.shape else None
        names = "give their names in the order of the channels"
        if channels == 1:
            report.draft |= {"classes": ["background", "foreground"], "activation": "sigmoid"}
        elif channels is not None:
            report.draft["classes"] = channels
        report.add("missing", f"classes are not stated: {names}", "classes")
    for key in ("mean", "std"):
        if is_float and told.get(key) is None and key not in bad:
            report.draft[key] = _IMAGENET[key]
            report.add(
                "missing",
                f"{key} is not stated, and the graph takes float images: give that of the training "
                f"(of 0…1); ImageNet's {_IMAGENET[key]} is tried here",
                key,
            )


def _is_fixed(path: Path, image: TensorInfo) -> bool:
    try:
        return input_size(path, {}, image) is not None
    except ModelError:  # one of height and width
        return True


def _run(
    report: ModelReport,
    options: Mapping[str, Any],
    images: Sequence[tuple[str, NDArray[np.uint8]]],
    engine: str,
    device: str,
) -> None:
    try:
        opened = open_engine(report.model, engine, device, options=options)
    except (ModelError, UsageError) as error:
        report.add("wrong", error)
        return
    report.spec = opened.spec
    for doubt in (*opened.doubts, *doubts_of_spec(opened.spec)):
        report.add("doubtful", doubt)
    if entries := opened.needed_entries():
        again = opened.spec.precision == "int8" and len(entries) == 1
        model = shlex.quote(str(report.model))
        remedy = f"; or deal export {model} -o NEW.onnx --precision int8" if again else ""
        report.add(
            "assumed",
            "your own sessions of ONNX Runtime have the entry "
            f"{' and '.join(map('='.join, entries))}, without which they give other logits: "
            f"set it there{remedy}",
        )
    _predict(report, opened, images)


def _predict(
    report: ModelReport, opened: Engine, images: Sequence[tuple[str, NDArray[np.uint8]]]
) -> None:
    alike = PoolDoubts()
    for name, pixels in images:
        try:
            prediction = predict(opened, name, pixels)
        except DealError as error:
            report.add("wrong", f"{name}: {error}")
            continue
        report.predictions.append(prediction)
        if prediction.error is not None:
            report.add("doubtful", f"{name}: {prediction.error}")
        else:
            alike.add(prediction.columns())
    for doubt in alike.sentences(opened.spec.classes, enough=1):
        report.add("doubtful", doubt)


def _text(value: Any) -> str:
    if value is None:
        return "any"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:80]}…"
