"""``fit_head``: a known head found again, repeatable files, and bad input."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deal.engines import open_engine
from deal.errors import ModelError, OutputError, PoolError, UsageError
from deal.fitting import fit_head
from deal.fitting.measures import UNCERTAINTIES
from deal.fitting.pixels import resize
from deal.kernel.statistics import difficulty_map
from deal.metrics import ScoreCurve
from deal.model.head import DifficultyHead
from tests.helpers.labeled import predictions, with_errors, write_labeled
from tests.helpers.models import metadata, save_model, scenes

TRUE = DifficultyHead(0.5, [3.0, -2.0, 1.0, -3.0, 2.0], -1.0, (9, 12))


def model_at(folder: Path, head: DifficultyHead | None = None, **changes) -> Path:
    """A network of small logits, so that its probabilities differ."""
    props = metadata(difficulty_head=None if head is None else head.to_dict())
    return save_model(folder / "model.onnx", gain=0.05, exact=True, props=props, **changes)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A model with a head, and labels that are wrong as often as this head says."""
    folder = tmp_path_factory.mktemp("world")
    model, images = model_at(folder, TRUE), scenes(24)
    labels = []
    rng = np.random.default_rng(1)
    engine = open_engine(model)
    for image, right in zip(images, predictions(model, images), strict=True):
        logits = engine.infer(image[None]).logits
        d = TRUE.difficulty_map(logits, size=image.shape[:2])[0]
        labels.append(with_errors(right, rng.random(d.shape) < d, 5))
        labels[-1][:2] = 255
    pairs = list(zip(images, labels, strict=True))
    write_labeled(folder / "data", "train", pairs[:16])
    write_labeled(folder / "data", "val", pairs[16:])
    return model, folder / "data"


def labeled(folder, change, **model):
    """A model, and six images with the labels ``change(prediction)``."""
    model, images = model_at(folder, **model), scenes(6)
    labels = [change(p) for p in predictions(model, images)]
    write_labeled(folder, "", zip(images, labels, strict=True))
    return model, folder


def fit(world, output, **options):
    model, data = world
    return fit_head(model, data, output, pixels=20_000, **options)


@pytest.fixture(scope="module")
def fitted(world, tmp_path_factory):
    """A fit without options: its report and its file."""
    path = tmp_path_factory.mktemp("fitted") / "head.json"
    return fit(world, path), path


def test_a_head_is_found_that_is_as_good_as_the_one_behind_the_errors(world, tmp_path):
    report = fit(world, tmp_path / "head.json", grid=TRUE.grid)
    assert report.head.grid == TRUE.grid
    found = report.measures
    truth = found.scores["model-difficulty"]
    assert truth.auroc > 0.6
    assert found.scores["difficulty"].auroc == pytest.approx(truth.auroc, abs=0.005)
    assert found.scores["difficulty"].aurc == pytest.approx(truth.aurc, abs=0.005)
    assert found.best("auroc") not in UNCERTAINTIES
    assert report.provenance["best_score"] == found.best("auroc")
    assert found.pixels == 8 * 46 * 64
    assert report.provenance["fit"]["pixels"] == 16 * 46 * 64
    assert report.provenance["recommended_acquisition"] == "ds"
    assert report.provenance["held_out"]["wrong"] == found.wrong
    assert set(found.scores) == {
        "difficulty",
        "difficulty-without-attention",
        "difficulty-without-uncertainty",
        "model-difficulty",
        "entropy",
        "margin",
        "least-confidence",
    }


@pytest.mark.slow
def test_without_attention_gamma_is_zero(world, fitted, tmp_path):
    report = fit(world, tmp_path / "head.json", attention=False)
    assert report.head.gamma == 0
    scores = report.measures.scores
    assert scores["difficulty"] == scores["difficulty-without-attention"]
    both = fitted[0].measures.scores
    assert both["difficulty-without-attention"] == scores["difficulty"]


def test_without_uncertainty_the_head_is_the_papers(world, fitted, tmp_path):
    path = tmp_path / "head.json"
    report = fit(world, path, uncertainty=False)
    assert report.head.uncertainty_weight is None
    assert "uncertainty_weight" not in json.loads(path.read_text())
    assert "difficulty-without-uncertainty" not in report.measures.scores
    both = fitted[0]
    assert both.head.uncertainty_weight is not None
    found = both.measures.scores["difficulty-without-uncertainty"]
    assert found == report.measures.scores["difficulty"]
    losses = both.provenance["fit"]
    assert losses["loss_without_uncertainty"] == report.provenance["fit"]["loss"] >= losses["loss"]


def test_errors_that_follow_uncertainty_are_found_by_its_weights(tmp_path):
    truth = DifficultyHead(0.0, np.full(5, -3.0), 0.0, None, np.full(5, 12.0))
    model, images = model_at(tmp_path), scenes(20)
    engine, rng = open_engine(model), np.random.default_rng(2)
    labels = []
    for image, right in zip(images, predictions(model, images), strict=True):
        d = truth.difficulty_map(engine.infer(image[None]).logits, size=image.shape[:2])[0]
        labels.append(with_errors(right, rng.random(d.shape) < d, 5))
    write_labeled(tmp_path, "", zip(images, labels, strict=True))
    report = fit((model, tmp_path), tmp_path / "head.json")
    scores = report.measures.scores
    assert min(report.head.uncertainty_weight) > 0
    assert scores["difficulty"].auroc > scores["difficulty-without-uncertainty"].auroc + 0.02


def test_the_file_is_a_head_and_says_where_it_comes_from(world, fitted):
    report, path = fitted
    assert DifficultyHead.load(path) == report.head
    document = json.loads(path.read_text())
    assert document["provenance"] == json.loads(json.dumps(report.provenance))
    assert document["provenance"]["data"] == "data"
    for folder in (path.parent, world[1].parent):
        assert str(folder) not in path.read_text()


@pytest.mark.slow
def test_the_same_inputs_give_the_same_bytes(world, tmp_path):
    one, two, other = (tmp_path / name for name in ("1.json", "2.json", "3.json"))
    fit(world, one, threads=1)
    fit(world, two, threads=2)
    fit(world, other, threads=1, seed=1)
    assert one.read_bytes() == two.read_bytes() != other.read_bytes()


def test_progress_counts_every_image(world, tmp_path):
    seen = []
    fit(world, tmp_path / "head.json", progress=lambda done, total: seen.append((done, total)))
    assert seen[0] == (0, 24)
    assert seen[-1] == (24, 24)


def test_the_graphs_own_difficulty_is_measured_beside(tmp_path):
    model, folder = labeled(tmp_path, lambda p: with_errors(p, p % 2 == 0, 5), difficulty=True)
    report = fit_head(model, folder, tmp_path / "head.json", pixels=2000)
    engine, pixels = open_engine(model), ScoreCurve()
    image = np.asarray(Image.open(folder / "images/frame_004.png"))  # the one held out
    label = np.asarray(Image.open(folder / "labels/frame_004.png"))
    found = engine.infer(image[None])
    d = difficulty_map(found.logits, None, size=(48, 64), difficulty=found.difficulty)[0]
    wrong = resize(found.logits[0], (48, 64), True).argmax(axis=0) != label
    pixels.update(d.ravel(), wrong.ravel())
    assert report.measures.scores["model-difficulty"].auroc == pixels.auroc()


def test_a_model_without_difficulty_has_none_to_compare(tmp_path):
    model, folder = labeled(tmp_path, lambda p: with_errors(p, p % 2 == 0, 5))
    report = fit_head(model, folder, tmp_path / "head.json", pixels=2000)
    assert "model-difficulty" not in report.measures.scores


def test_a_model_that_was_trained_on_the_images_is_noticed(tmp_path):
    model, images = model_at(tmp_path), scenes(6)
    right = predictions(model, images)
    wrong = [np.zeros((48, 64), bool) for _ in images]
    wrong[0][:2] = True
    wrong[4][:20] = True
    labels = [with_errors(r, w, 5) for r, w in zip(right, wrong, strict=True)]
    write_labeled(tmp_path, "", zip(images, labels, strict=True))
    notes = fit_head(model, tmp_path, tmp_path / "head.json", pixels=2000).notes
    assert any("probably trained on the former" in note for note in notes)


# ---- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "held_out_only", "message"),
    [
        (lambda p: p, False, "right on every labeled pixel of the labeled images"),
        (lambda p: (p + 1) % 5, False, "wrong on every labeled pixel of the labeled images: do"),
        (lambda p: np.full_like(p, 255), False, "labeled images have no labeled pixel"),
        (lambda p: p, True, "right on every labeled pixel of the held-out images"),
        (lambda p: (p + 1) % 5, True, "wrong on every labeled pixel of the held-out images"),
        (lambda p: np.full_like(p, 255), True, "held-out images have no labeled pixel"),
    ],
)
def test_errors_are_needed_and_right_pixels_too(tmp_path, change, held_out_only, message):
    def labels(index):
        return (index == 4) == held_out_only

    def some(p):
        return with_errors(p, p == p[0, 0], 5)

    model, images = model_at(tmp_path), scenes(6)
    found = predictions(model, images)
    found = [change(p) if labels(index) else some(p) for index, p in enumerate(found)]
    write_labeled(tmp_path, "", zip(images, found, strict=True))
    with pytest.raises(PoolError, match=message):
        fit_head(model, tmp_path, tmp_path / "head.json", pixels=2000)
    assert not (tmp_path / "head.json").exists()


def test_logits_that_are_not_finite_name_the_image(tmp_path):
    model = model_at(tmp_path, nan_above=150)
    images = [np.full((48, 64, 3), level, np.uint8) for level in (90, 200, 100)]
    write_labeled(tmp_path, "", [(image, np.zeros((48, 64))) for image in images])
    with pytest.raises(ModelError, match=r"frame_001\.png: \d+ of the network's outputs are NaN"):
        fit_head(model, tmp_path, tmp_path / "head.json", pixels=2000)


def test_an_image_that_does_not_fit_the_model_is_named(tmp_path):
    model = save_model(
        tmp_path / "m.onnx", props=metadata(input_size=[24, 32], resize="none"), size=(24, 32)
    )
    write_labeled(tmp_path, "", [(image, np.zeros((48, 64))) for image in scenes(2)])
    with pytest.raises(PoolError, match=r"frame_000\.png: .*48"):
        fit_head(model, tmp_path, tmp_path / "head.json", pixels=2000)


@pytest.mark.slow
def test_numbers_of_numpy_give_the_same_file(world, tmp_path):
    files = []
    for kind in (int, np.int64):
        files.append(tmp_path / f"{kind.__name__}.json")
        fit_head(*world, files[-1], pixels=kind(2000), seed=kind(3), ignore_index=kind(255))
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_file_that_exists_or_cannot_be_written_is_refused_before_work(world, tmp_path):
    path = tmp_path / "head.json"
    path.write_text("mine")
    with pytest.raises(OutputError, match="is there already: --overwrite replaces it"):
        fit_head("no model", "no data", path)
    assert path.read_text() == "mine"
    with pytest.raises(OutputError, match="it is a folder"):
        fit_head("no model", "no data", tmp_path)
    with pytest.raises(OutputError, match=r"cannot write .*No such file"):
        fit_head("no model", "no data", tmp_path / "nowhere/head.json")
    model = save_model(tmp_path / "model.onnx", props=metadata())
    with pytest.raises(OutputError, match=r"side-car of .*model\.onnx.*model-head\.json"):
        fit_head(model, "no data", model.with_suffix(".json"), overwrite=True)
    for read in (model, path):  # with --overwrite too, not what is read
        with pytest.raises(UsageError, match="would replace what is read"):
            fit_head(model, tmp_path, read, overwrite=True)
    assert path.read_text() == "mine"
    model.unlink()
    (tmp_path / "_head.json").write_text("mine")
    fit(world, path, overwrite=True)
    assert DifficultyHead.load(path).num_classes == 5
    assert sorted(each.name for each in tmp_path.iterdir()) == ["_head.json", "head.json"]
    assert (tmp_path / "_head.json").read_text() == "mine"


def test_names_that_are_not_utf8_are_told_as_ids_are(tmp_path):
    model, _ = labeled(tmp_path, lambda right: with_errors(right, np.eye(48, 64) > 0, 5))
    data = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    data.mkdir()
    for kind in ("images", "labels"):
        folder = (tmp_path / kind).rename(data / kind)
        path = folder / "frame_000.png"
        path.rename(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.png"))
    fit_head(model, data, tmp_path / "head.json", pixels=2000)
    assert json.loads((tmp_path / "head.json").read_text())["provenance"]["data"] == "caf%E9"


@pytest.mark.parametrize(
    ("options", "message"), [({"pixels": 10}, "at least 1000"), ({"seed": -1}, "0 or more")]
)
def test_options_that_make_no_sense_are_usage_errors(world, tmp_path, options, message):
    model, data = world
    with pytest.raises(UsageError, match=message):
        fit_head(model, data, tmp_path / "head.json", **options)


def test_labels_that_go_with_another_model_are_refused(world, tmp_path):
    _, data = world
    other = save_model(tmp_path / "m.onnx", num_classes=3, props=metadata(3, ignore_index=None))
    with pytest.raises(PoolError, match="has index"):
        fit_head(other, data, tmp_path / "head.json")


def test_labels_in_colour_are_refused(tmp_path):
    model, images = model_at(tmp_path), scenes(2)
    write_labeled(tmp_path, "", [(image, np.zeros((48, 64))) for image in images])
    Image.fromarray(images[0]).save(tmp_path / "labels/frame_000.png")
    with pytest.raises(PoolError, match="mode RGB"):
        fit_head(model, tmp_path, tmp_path / "head.json")
