"""``fit_head``: fit the difficulty head of a segmentation network on labeled images."""

from __future__ import annotations

import json
import tempfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deal import _options
from deal._version import __version__
from deal.engines import open_engine
from deal.errors import OutputError, PoolError, UsageError
from deal.fitting.examples import drawn_examples, head_of, joined
from deal.fitting.images import HELD_OUT, LabeledImage, find_images, find_void
from deal.fitting.logistic import Examples, fit_numbers
from deal.fitting.measures import UNCERTAINTIES, Collector, Measures
from deal.fitting.pixels import bands, pixel_scores, resize
from deal.fitting.runner import Runner
from deal.machine.files import check_not_read, write_text
from deal.model.files import with_model_files
from deal.model.head import DifficultyHead
from deal.pool.ids import path_to_id

__all__ = ["FitReport", "default_grid", "fit_head"]

_MAX_CELLS = 4800  # the paper's 60×80
_PIXELS = 200_000

Size = tuple[int, int]


@dataclass(frozen=True)
class FitReport:
    """A fitted head and how well it finds wrong pixels.

    Attributes
    ----------
    head : DifficultyHead
    provenance : dict
        What the head file says beside the head: where it comes from, and ``held_out``.
    measures : Measures
        On the held-out images.
    seconds : dict of stage to float
        ``reading``, ``inference``, ``fitting`` (attention averages, sampling, regression) and
        ``measuring``. They are not in the file, so that the same inputs give the same bytes.
    notes : tuple of str
    """

    head: DifficultyHead
    provenance: dict[str, Any]
    measures: Measures
    seconds: dict[str, float]
    notes: tuple[str, ...]


def fit_head(
    model: str | Path,
    data: str | Path,
    output: str | Path,
    *,
    grid: Size | None = None,
    attention: bool = True,
    uncertainty: bool = True,
    held_out: str = HELD_OUT,
    sequence_from: str | None = None,
    ignore_index: int | None = None,
    pixels: int = _PIXELS,
    seed: int = 0,
    engine: str = "ort",
    device: str = "auto",
    threads: int | None = None,
    model_options: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> FitReport:
    """Fit the difficulty head of a network on its own errors, measure it, and write it.

    Parameters
    ----------
    model, engine, device, threads, model_options
        As :class:`deal.Scorer` takes them.
    data, held_out, sequence_from
        Labeled images, as in :func:`deal.fitting.images.find_images`.
    output : path of the head file (JSON), which ``--difficulty-head`` reads
    grid : (h, w), optional
        Attention grid; by default the logits' own, made smaller to at most 4800 cells.
    attention : bool
        False keeps gamma at 0.
    uncertainty : bool
        False leaves out ``uncertainty_weight``: the paper's head of C + 2 numbers.
    ignore_index : int, optional
        Label of void pixels; see :func:`deal.fitting.images.find_void`.
    pixels : int
        Examples for the fit, shared evenly among the images. Half of them are wrong if there are
        that many. Each is weighted by the number of pixels it stands for.
    seed : int
        Seed of the choice of examples.
    overwrite : bool
        Replace a head file.
    progress : callable, optional
        Called with images done and images in all.

    Raises
    ------
    UsageError, EngineUnavailableError
        Options do not fit, or the output would replace the model or a file beside it.
    PoolError
        Labeled images are missing, do not fit the model, or have no wrong (or no right) pixels.
    ModelError
        The model does not keep the contract, or gives NaN or infinite logits.
    OutputError
        The head file is there already or cannot be written; before any work.
    """
    # Numbers of NumPy could not be written into the head file, after all the work.
    pixels, seed, ignore_index = map(_options.plain, (pixels, seed, ignore_index))
    if pixels < 1000:
        raise UsageError(f"--pixels {pixels}: at least 1000 are needed for a fit")
    if seed < 0:
        raise UsageError(f"--seed {seed}: 0 or more")
    root, output = Path(data), Path(output)
    _check_output(output, overwrite)
    check_not_read(output, with_model_files((model, root)))
    labeled = find_images(root, held_out, sequence_from)
    opened = open_engine(model, engine, device, None, threads, model_options, batch_size=1)
    void = find_void(root, opened.spec, ignore_index)
    run = _Run(opened, void, threads, ("fitting", "measuring"))
    total = len(labeled.fit) + len(labeled.held_out)

    def done(count: int) -> None:
        if progress is not None:
            progress(count, total)

    parts = []
    counts = np.zeros(2, np.int64)
    for number, image in enumerate(labeled.fit):
        done(number)
        found = run.examples(
            image, grid, max(2, pixels // len(labeled.fit)), seed, uncertainty=uncertainty
        )
        grid, part, image_counts = found
        parts.append(part)
        counts += image_counts
    assert grid is not None
    _check_counts(counts, "labeled images", "give images the model was not trained on")
    num_classes = run.engine.spec.num_classes
    fits = {}
    with run.timed("fitting"):
        examples = joined(parts)
        numbers, plain = fit_numbers(examples)
        fits["difficulty"] = numbers if attention else plain
        fits["difficulty-without-attention"] = plain
        if uncertainty:
            numbers, plain = fit_numbers(examples.first(num_classes))
            fits["difficulty-without-uncertainty"] = numbers if attention else plain
    heads = {name: head_of(found, num_classes, grid) for name, found in fits.items()}
    head = heads["difficulty"]
    collector = Collector(run.engine.spec.classes)
    for number, image in enumerate(labeled.held_out):
        done(len(labeled.fit) + number)
        run.measure(image, heads, collector)
    done(total)
    measures = collector.measures()
    held = np.array([measures.pixels - measures.wrong, measures.wrong])
    _check_counts(held, "held-out images", "hold out more images, or harder ones")
    notes = [*labeled.notes, *_overfit_notes(counts, held)]
    spec = run.engine.spec
    best = measures.best("auroc")
    provenance = {
        "deal": __version__,
        "model": path_to_id(spec.path.name),
        "model_sha256": spec.digest(),
        "classes": list(spec.classes),
        "align_corners": spec.align_corners,
        "data": path_to_id(root.resolve().name),
        "ignore_index": run.void,
        "seed": seed,
        "fit": {
            "images": len(labeled.fit),
            "pixels": int(counts.sum()),
            "wrong": int(counts[1]),
            "examples": sum(len(part.wrong) for part in parts),
            **{
                name.replace("difficulty", "loss").replace("-", "_"): numbers.loss
                for name, numbers in fits.items()
            },
        },
        "held_out": {"rule": labeled.rule, **asdict(measures)},
        "best_score": best,
        "recommended_acquisition": best if best in UNCERTAINTIES else "ds",
        "notes": notes,
    }
    _write(output, {**head.to_dict(), "provenance": provenance})
    return FitReport(head, provenance, measures, run.seconds, tuple(notes))


class _Run(Runner):
    """Takes from an image what fitting and measuring need."""

    def examples(
        self, image: LabeledImage, grid: Size | None, count: int, seed: int, *, uncertainty: bool
    ) -> tuple[Size, Examples, NDArray[np.int64]]:
        """The attention grid, sampled pixels of an image, and how many are right and wrong."""
        output, label = self.infer(image)
        z, align = output.logits, self.engine.spec.align_corners
        with self.timed("fitting"):
            wrong = np.empty(label.shape, bool)
            for rows in bands(z.shape[1], label.shape):
                wrong[rows] = resize(z[0], label.shape, align, rows).argmax(axis=0) != label[rows]
            grid = grid or default_grid(z.shape[2:])
            rng = np.random.default_rng([seed, zlib.crc32(image.id.encode())])
            part, counts = drawn_examples(
                z, wrong, label != self.void, grid, align, count, rng, self.threads, uncertainty
            )
        return grid, part, counts

    def measure(
        self, image: LabeledImage, heads: Mapping[str, DifficultyHead], collector: Collector
    ) -> None:
        """Add the labeled pixels of a held-out image."""
        output, label = self.infer(image)
        spec, z = self.engine.spec, output.logits
        with self.timed("measuring"):
            maps = {
                name: self.difficulty_map(z, head, None, label.shape)
                for name, head in heads.items()
            }
            if output.difficulty is not None or spec.difficulty_head is not None:
                maps["model-difficulty"] = self.difficulty_map(
                    z, spec.difficulty_head, output.difficulty, label.shape
                )
            for rows in bands(z.shape[1], label.shape):
                found = pixel_scores(resize(z[0], label.shape, spec.align_corners, rows))
                valid = label[rows] != self.void
                predicted = found.predicted[valid]
                scores = {
                    **{name: values[rows][valid] for name, values in maps.items()},
                    "entropy": found.entropy[valid],
                    "margin": found.margin[valid],
                    "least-confidence": found.least_confidence[valid],
                }
                collector.add(scores, predicted, predicted != label[rows][valid])
            collector.end_image()


def default_grid(size: Size) -> Size:
    """The logits' own grid, made smaller in proportion to at most 4800 cells."""
    scale = min(1.0, (_MAX_CELLS / (size[0] * size[1])) ** 0.5)
    return max(1, int(size[0] * scale + 1e-9)), max(1, int(size[1] * scale + 1e-9))


def _check_counts(counts: NDArray[np.int64], which: str, remedy: str) -> None:
    right, wrong = counts.tolist()
    if right + wrong == 0:
        raise PoolError(f"the {which} have no labeled pixel: all are void")
    if wrong == 0:
        raise PoolError(
            f"the model is right on every labeled pixel of the {which}: there is no error to "
            f"learn from or to find; {remedy}"
        )
    if right == 0:
        raise PoolError(
            f"the model is wrong on every labeled pixel of the {which}: do labels and model agree "
            "in the order of the classes, and are input_format, mean and std right "
            "(--model-option)?"
        )


def _overfit_notes(fit: NDArray[np.int64], held_out: NDArray[np.int64]) -> list[str]:
    rates = [float(counts[1] / counts.sum()) for counts in (fit, held_out)]
    if rates[0] >= rates[1] / 2:
        return []
    return [
        f"the model is wrong on {rates[0]:.1%} of the pixels fitted on but on {rates[1]:.1%} of "
        "those held out: it was probably trained on the former, where its errors are rare; "
        "labeled images that it has not seen make a better head"
    ]


def _check_output(output: Path, overwrite: bool) -> None:
    if output.is_dir():
        raise OutputError(f"cannot write {output}: it is a folder; name a file")
    model = output.with_suffix(".onnx")
    if output.suffix == ".json" and model.exists():
        raise OutputError(
            f"{output} would be read as the side-car of {model}: name another file, such as "
            f"{output.with_name(f'{output.stem}-head.json')}"
        )
    if output.exists() and not overwrite:
        raise OutputError(f"{output} is there already: --overwrite replaces it")
    try:
        with tempfile.TemporaryFile(dir=output.parent):
            pass
    except OSError as error:
        raise OutputError(f"cannot write {output}: {error.strerror}") from error


def _write(output: Path, document: dict[str, Any]) -> None:
    text = json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_text(output, f"{text}\n")
