"""Which regions a scorer keeps, and their rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deal.errors import UsageError
from deal.kernel.regions import Grid, Segments
from deal.scoring.session import Session
from tests.helpers.models import metadata, save_model, scenes


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("model") / "m.onnx", props=metadata())


def test_regions_keep_the_hardest_k_of_each_image(path):
    images = [*scenes(2), *scenes(1, (40, 50))]
    with (
        Session.open(path, regions=Grid(16)) as every,
        Session.open(path, regions=Grid(16), keep_regions=3) as few,
    ):
        everything, kept = every.score_batch(images).regions, few.score_batch(images).regions
    for image in range(3):
        rows = everything["image"] == image
        order = np.argsort(-everything["difficulty_mean"][rows], kind="stable")[:3]
        best = np.sort(everything["region"][rows][order])
        assert kept["region"][kept["image"] == image].tolist() == best.tolist()
    assert len(everything["region"]) == 12 + 12 + 12
    assert everything["n_pixels"].sum() == 2 * 48 * 64 + 40 * 50


def test_regions_can_be_ranked_by_another_function(path):
    with Session.open(path, regions=Grid(16), keep_regions=1, region_score="margin") as scorer:
        kept = scorer.score_batch(scenes(1)).regions
    with Session.open(path, regions=Grid(16)) as scorer:
        everything = scorer.score_batch(scenes(1)).regions
    assert kept["region"] == [everything["region"][everything["margin_mean"].argmax()]]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"raster": "screen"}, "choose input, half or image"),
        ({"keep_regions": 3}, "needs regions"),
        ({"keep_regions": 0, "regions": Grid(8)}, "at least 1"),
        ({"regions": Segments(np.zeros((1, 4, 4), np.int32))}, r"GivenSegments\(\)"),
        ({"outlines": True}, "outlines need regions"),
        ({"regions": Grid(8), "region_score": "de"}, "scores images, not regions"),
        (
            {"regions": Grid(8), "keep_regions": 1, "region_score": "balanced:entropy"},
            "needs the pool",
        ),
        (
            {"regions": Grid(8), "keep_regions": 1, "region_score": "bald"},
            "mutual_information_mean not known",
        ),
    ],
)
def test_arguments_that_make_no_sense_are_refused(path, arguments, says):
    with pytest.raises(UsageError, match=says):
        Session.open(path, **arguments)


def test_regions_of_a_model_without_difficulty_are_ranked_by_entropy(path):
    options = {"difficulty_head": None}
    with Session.open(path, regions=Grid(8), keep_regions=2, model_options=options) as scorer:
        assert scorer.fingerprint_settings()["regions"] == {
            "cell": 8,
            "keep": 2,
            "score": {"acquisition": "entropy"},
        }
    with pytest.raises(UsageError, match=r"ranked by 'ds:none': difficulty_mean not known"):
        Session.open(
            path, regions=Grid(8), keep_regions=1, region_score="ds", model_options=options
        )


@settings(deadline=None, max_examples=15)
@given(
    original=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    size=st.tuples(st.integers(4, 60), st.integers(4, 60)),
    cell=st.integers(3, 70),
)
def test_region_boxes_cover_the_image_and_stay_inside(path, original, size, cell):
    options = {"input_size": list(size)}
    with Session.open(path, regions=Grid(cell), model_options=options) as scorer:
        boxes = scorer.score_batch(scenes(1, original)).regions
    height, width = original
    covered = np.zeros(original, bool)
    for x0, y0, x1, y1 in zip(*(boxes[name] for name in ("x0", "y0", "x1", "y1")), strict=True):
        assert 0 <= x0 < x1 <= width
        assert 0 <= y0 < y1 <= height
        covered[y0:y1, x0:x1] = True
    assert covered.all()
    assert boxes["n_pixels"].sum() == size[0] * size[1]
