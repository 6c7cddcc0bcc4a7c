"""Difficulty measured on labeled images, against the oracle's maps and plain definitions."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from deal.engines import open_engine
from deal.errors import ModelError, PoolError, UsageError
from deal.fitting.quality import measure_difficulty
from deal.fitting.variants import find_variants
from deal.model.head import DifficultyHead
from tests.helpers.labeled import predictions, with_errors, write_labeled
from tests.helpers.models import CLASSES, metadata, save_model, scenes
from tests.oracle import reference

OWN = DifficultyHead(6.0, [3.0, -2.0, 1.0, -3.0, 2.0], -6.0, (9, 12))
DRIVE = r"([a-z])_\d+"
SIZE = (48, 64)


def write_head(path, head):
    path.write_text(json.dumps(head.to_dict()))
    return path


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A model with a head, labels often wrong where the head says so, and its maps."""
    folder = tmp_path_factory.mktemp("world")
    model = save_model(
        folder / "model.onnx", gain=0.05, props=metadata(difficulty_head=OWN.to_dict())
    )
    images = scenes(5)
    engine, rng = open_engine(model), np.random.default_rng(1)
    logits = np.concatenate([engine.infer(image[None]).logits for image in images])
    right = predictions(model, images)
    d = difficulty(logits, OWN)
    labels = [with_errors(p, rng.random(SIZE) < m, 5) for p, m in zip(right, d, strict=True)]
    for label in labels:
        label[:3] = 255
    pairs = list(zip(images, labels, strict=True))
    write_labeled(folder / "data", "test", pairs[:2], prefix="a")
    write_labeled(folder / "data", "test", pairs[2:], prefix="b")
    write_labeled(folder / "data", "val", pairs[:1])
    return model, folder / "data", logits, np.stack(right), np.stack(labels)


@pytest.fixture(scope="module")
def measured(world, tmp_path_factory):
    model, data, *_ = world
    path = write_head(tmp_path_factory.mktemp("heads") / "other.json", other_head())
    return measure_difficulty(
        model,
        data,
        difficulty_heads=[path],
        grids=[(5, 7)],
        ablations=True,
        sequence_from=DRIVE,
    )


def other_head():
    return DifficultyHead(0.5, [1.0, 0.0, -1.0, 2.0, 0.5], 0.25)


def difficulty(logits, head):
    grid = reference.difficulty_grid(logits, head, True)
    return reference.difficulty_map(grid, SIZE, True)


def auroc(score, wrong):
    """By the ranks of the wrong pixels among all, ties sharing their mean rank."""
    _, group, counts = np.unique(score, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[group]
    n = wrong.sum()
    return (ranks[wrong].sum() - n * (n + 1) / 2) / (n * (~wrong).sum())


def ranked(left, right):
    """Spearman's correlation where no two are equal."""
    ranks = [np.argsort(np.argsort(values)) for values in (left, right)]
    return np.corrcoef(*ranks)[0, 1]


def oracle_scores(logits):
    """Main scores, [B, H, W] each."""
    p = reference.softmax(reference.resize(logits, SIZE, True))
    ordered = np.sort(p, axis=1)
    return {
        "difficulty": difficulty(logits, OWN),
        "entropy": reference.entropy(p) / np.log(5),
        "margin": 1 - (ordered[:, -1] - ordered[:, -2]),
        "least-confidence": 1 - ordered[:, -1],
    }


def test_areas_overall_and_by_class_and_sequence_are_the_oracles(world, measured):
    _, _, logits, right, labels = world
    valid = labels != 255
    wrong = right != labels
    drives = np.repeat([0, 1], [2, 3])[:, None, None] + np.zeros_like(right)
    assert (measured.images, measured.pixels) == (5, valid.sum())
    assert measured.wrong == wrong[valid].sum()
    for name, score in oracle_scores(logits).items():
        found = measured.scores[name]
        assert found.areas.auroc == pytest.approx(auroc(score[valid], wrong[valid]), abs=1e-3)
        by_image = [auroc(s[v], w[v]) for s, v, w in zip(score, valid, wrong, strict=True)]
        assert found.image_auroc == pytest.approx(np.mean(by_image), abs=1e-3)
        for rows, keys in (
            (measured.by_predicted, right),
            (measured.by_label, labels),
            (measured.by_sequence, drives),
        ):
            for row in rows:
                names = ("a", "b") if rows is measured.by_sequence else CLASSES
                kept = valid & (keys == names.index(row.name))
                assert (row.pixels, row.wrong) == (kept.sum(), wrong[kept].sum())
                if 0 < row.wrong < row.pixels:
                    expected = auroc(score[kept], wrong[kept])
                    assert row.scores[name].auroc == pytest.approx(expected, abs=2e-3)
    assert {row.name for row in measured.by_sequence} == {"a", "b"}


def test_classes_are_ranked_by_their_mean_against_one_minus_iou(world, measured):
    _, _, logits, right, labels = world
    valid = labels != 255
    present = [c for c in range(5) if (valid & ((right == c) | (labels == c))).any()]
    assert len(present) == 4
    iou = {
        c: ((right == c) & (labels == c)).sum() / (((right == c) | (labels == c)) & valid).sum()
        for c in present
    }
    assert measured.iou == tuple(map(iou.get, range(5)))
    assert measured.miou == pytest.approx(np.mean(list(iou.values())))
    for name, score in oracle_scores(logits).items():
        for side, keys in (("predicted", right), ("labeled", labels)):
            kept = {c: valid & (keys == c) for c in present}
            known = [c for c in present if kept[c].any()]
            means = {c: score[kept[c]].mean() for c in known}
            found = getattr(measured.scores[name], side)
            assert found.means == tuple(
                pytest.approx(means[c], abs=1e-4) if c in known else None for c in range(5)
            )
            errors = np.array([1 - iou[c] for c in known])
            assert found.correlation == pytest.approx(ranked(list(means.values()), errors))


def test_difficulty_that_labels_follow_is_calibrated_and_its_weights_are_undone_apart(measured):
    scores = measured.scores
    assert scores["difficulty"].calibration.error < 0.02
    assert scores["difficulty"].unweighted_calibration.error > 0.1
    assert scores["entropy"].unweighted_calibration is None


def test_images_where_difficulty_wins_are_counted(world, measured):
    _, _, logits, right, labels = world
    scores = oracle_scores(logits)
    valid = labels != 255
    aurocs = {
        name: [
            auroc(s[v], (r != y)[v]) for s, v, r, y in zip(score, valid, right, labels, strict=True)
        ]
        for name, score in scores.items()
    }
    for name in ("entropy", "margin", "least-confidence"):
        won = sum(np.greater(aurocs["difficulty"], aurocs[name]))
        assert measured.image_wins[name] == (won, 5)


def test_the_class_alone_is_its_share_of_wrong_pixels(world, measured):
    *_, right, labels = world
    valid = labels != 255
    wrong = right != labels
    score = np.zeros(right.shape)
    for c in np.unique(right):
        score[right == c] = wrong[valid & (right == c)].mean()
    expected = auroc(score[valid], wrong[valid])
    assert measured.class_alone.auroc == pytest.approx(expected, abs=1e-6)


def test_products_are_the_pixels_of_their_acquisition_functions(world, measured):
    _, _, logits, right, labels = world
    valid = labels != 255
    score = oracle_scores(logits)
    for name in ("entropy", "margin", "least-confidence"):
        expected = auroc((score["difficulty"] * score[name])[valid], (right != labels)[valid])
        assert measured.scores[f"ds:{name}"].areas.auroc == pytest.approx(expected, abs=1e-3)


def test_other_heads_and_grids_are_those_heads_on_the_same_logits(world, measured):
    _, _, logits, right, labels = world
    valid = labels != 255
    wrong = (right != labels)[valid]
    numbers = OWN.to_dict()
    expected = {
        "other": other_head(),
        "difficulty, grid 5x7": DifficultyHead.from_dict({**numbers, "grid": [5, 7]}),
        "difficulty, grid 12x16": DifficultyHead.from_dict({**numbers, "grid": None}),
        "difficulty, gamma 0": DifficultyHead.from_dict({**numbers, "gamma": 0.0}),
    }
    assert [name for name in measured.heads if name not in measured.attention] == [
        "difficulty",
        *expected,
    ]
    assert measured.heads["other"] == ("file other.json", other_head())
    for name, head in expected.items():
        score = difficulty(logits, head)[valid]
        assert measured.scores[name].areas.auroc == pytest.approx(auroc(score, wrong), abs=1e-3)


def test_polynomials_come_closer_to_all_pairs_with_every_degree(world, measured):
    _, _, logits, _, labels = world
    *degrees, pairs = measured.attention
    assert degrees == [f"difficulty, degree {degree}" for degree in (1, 2, 3, 4)]
    assert pairs == "difficulty, all pairs"
    changes = [measured.scores[name].largest_change for name in degrees]
    assert changes == sorted(changes, reverse=True)
    assert changes[0] > 1e-2
    assert changes[-1] < 5e-5
    assert measured.scores[pairs].largest_change == 0
    mean = np.mean(difficulty(logits, OWN)[labels != 255])
    bins = measured.scores[pairs].calibration.bins
    found = sum((part.mean_score or 0) * part.pixels for part in bins) / measured.pixels
    assert found == pytest.approx(mean, abs=1e-3)


def test_everything_goes_through_json(measured):
    values = json.loads(json.dumps(measured.to_dict(), allow_nan=False))
    assert values["scores"]["difficulty"]["areas"]["auroc"] == (
        measured.scores["difficulty"].areas.auroc
    )
    assert values["heads"]["other"]["head"] == other_head().to_dict()
    assert "seconds" not in values
    assert values["setting"]["split"] == "test"


def test_the_split_is_test_then_val_then_everything(world, tmp_path):
    model, data, *_ = world
    assert measure_difficulty(model, data, split="val").images == 1
    with pytest.raises(PoolError, match="train/images"):
        measure_difficulty(model, data, split="train")
    whole = measure_difficulty(model, data / "test")
    assert (whole.images, whole.setting["split"], whole.by_sequence) == (5, "", ())
    with pytest.raises(UsageError, match="has no splits"):
        measure_difficulty(model, data / "test", split="test")
    (tmp_path / "train").mkdir()
    with pytest.raises(PoolError, match="neither test/, val/ nor images/"):
        measure_difficulty(model, tmp_path)
    with pytest.raises(PoolError, match="is not a folder"):
        measure_difficulty(model, tmp_path / "nowhere")


def test_a_model_without_difficulty_takes_the_first_head_file(world, tmp_path):
    model = save_model(tmp_path / "m.onnx", gain=0.05, props=metadata(difficulty_head=None))
    data = world[1]
    with pytest.raises(UsageError, match="--difficulty-head FILE"):
        measure_difficulty(model, data)
    path = write_head(tmp_path / "own.json", OWN)
    found = measure_difficulty(model, data, split="val", difficulty_heads=[path])
    assert found.heads == {"difficulty": ("file own.json", OWN)}


def test_heads_that_do_not_fit_or_share_a_name_are_refused(world, tmp_path):
    model, data, *_ = world
    short = write_head(tmp_path / "short.json", DifficultyHead(0, [1.0, 2.0], 0))
    with pytest.raises(ModelError, match=r"short\.json has 2 weights"):
        measure_difficulty(model, data, difficulty_heads=[short])
    twice = write_head(tmp_path / "twice.json", OWN)
    with pytest.raises(UsageError, match="rename the file"):
        measure_difficulty(model, data, difficulty_heads=[twice, twice])
    for stem in ("margin", "difficulty", "ds:entropy", "difficulty, gamma 0"):
        path = write_head(tmp_path / f"{stem}.json", OWN)
        with pytest.raises(UsageError, match="rename the file"):
            measure_difficulty(model, data, difficulty_heads=[path])


def test_difficulty_of_the_graph_has_no_ablations(world, tmp_path):
    model = save_model(tmp_path / "m.onnx", gain=0.05, difficulty=True, props=metadata())
    found = measure_difficulty(model, world[1], split="val")
    assert found.heads == {"difficulty": ("output of the model's graph", None)}
    with pytest.raises(UsageError, match="graph gives the difficulty itself"):
        measure_difficulty(model, world[1], split="val", ablations=True)


def test_many_classes_have_no_polynomial_of_the_kernel(world):
    from deal.fitting.variants import Variant

    main = Variant("difficulty", "", DifficultyHead(1.0, np.ones(45), 0.0))
    _, attention = find_variants(main, 45, (4, 4), (), True)
    assert "difficulty, degree 4" not in [variant.name for variant in attention]


def test_labels_all_void_are_refused_and_all_right_have_no_areas(world, tmp_path):
    model, *_ = world
    images = scenes(1)
    write_labeled(tmp_path, "", zip(images, predictions(model, images), strict=True))
    found = measure_difficulty(model, tmp_path)
    assert found.wrong == 0
    assert found.scores["difficulty"].areas.auroc is None
    assert found.scores["difficulty"].image_auroc is None
    label = next((tmp_path / "labels").iterdir())
    Image.new("L", SIZE[::-1], 255).save(label)
    with pytest.raises(PoolError, match="no labeled pixel"):
        measure_difficulty(model, tmp_path)


def test_progress_counts_images(world):
    seen = []
    measure_difficulty(world[0], world[1], progress=lambda *counts: seen.append(counts))
    assert seen == [(done, 5) for done in range(6)]
