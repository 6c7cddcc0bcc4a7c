"""Boxed and cropped images: what is padded or cut off does not count, boxes lie in the original."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from deal.errors import ModelError, UsageError
from deal.kernel.regions import Grid
from deal.model.placing import half_size
from deal.model.spec import ModelSpec
from deal.regions.sources import Components, GivenSegments, Superpixels
from deal.scoring.committee import Committee, Members
from deal.scoring.inputs import Inputs
from deal.scoring.masks import Masks
from deal.scoring.scorer import Scorer
from deal.scoring.session import Session
from tests.helpers.models import metadata, save_model, scenes

BOXED = {"resize": "letterbox", "input_size": [64, 64], "interpolation": "nearest"}
CROPPED = {"resize": "crop", "input_size": [32, 32], "interpolation": "nearest"}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("m") / "m.onnx", props=metadata())


def stretched(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """By Pillow, whose nearest neighbour is the contract's."""
    return np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.NEAREST))


def test_a_boxed_image_scores_as_its_padded_self_under_a_mask(path: Path) -> None:
    image = scenes(1, (60, 120))[0]
    padded = np.full((64, 64, 3), (9, 8, 7), np.uint8)
    padded[16:48] = stretched(image, (32, 64))
    mask = np.zeros((64, 64), np.uint8)
    mask[16:48] = 1
    options = BOXED | {"pad_value": [9, 8, 7]}
    with Scorer(path, model_options=options, device="cpu") as scorer:
        found = scorer.score([image])
    with Scorer(path, mask=mask, device="cpu") as scorer:
        expected = scorer.score([padded])
    assert (found["width"], found["height"]) == (120, 60)
    assert found["n_pixels"] == 32 * 64
    for name in set(found) - {"width", "height"}:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def test_a_cropped_image_scores_as_its_middle(path: Path) -> None:
    image = scenes(1, (64, 128))[0]
    middle = stretched(image, (32, 64))[:, 16:48]
    with Scorer(path, model_options=CROPPED, device="cpu") as scorer:
        found = scorer.score([image])
    with Scorer(path, device="cpu") as scorer:
        expected = scorer.score([middle])
    assert found["n_pixels"] == 32 * 32
    for name in set(found) - {"width", "height"}:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def test_a_mask_is_boxed_with_its_image(path: Path) -> None:
    image = scenes(1, (60, 120))[0]
    mask = np.ones((60, 120), np.uint8)
    mask[:, :60] = 0
    with Scorer(path, model_options=BOXED, mask=mask, device="cpu") as scorer:
        assert scorer.score([image])["n_pixels"] == 32 * 32


@pytest.mark.parametrize(
    ("options", "boxes"),
    [
        # The original is 60×120; the box shows it halved in rows 16 to 48 of 64.
        (BOXED, [(0, 0, 60, 30), (60, 0, 120, 30), (0, 30, 60, 60), (60, 30, 120, 60)]),
        # The crop shows columns 30 to 90 of the original, in 32 columns.
        (CROPPED | {"input_size": [32, 32]}, [(30, 0, 90, 60)]),
    ],
)
def test_boxes_of_a_grid_lie_in_the_original(
    path: Path, options: dict[str, Any], boxes: list[tuple[int, ...]]
) -> None:
    image = scenes(1, (60, 120))[0]
    with Scorer(
        path, model_options=options, regions=Grid(32), outlines=True, device="cpu"
    ) as scorer:
        _, regions = scorer.score_with_regions([image])
    assert regions is not None
    found = np.stack([regions[name] for name in ("x0", "y0", "x1", "y1")], axis=1)
    np.testing.assert_array_equal(found, boxes)
    corners = [
        f"POLYGON (({x0} {y0}, {x1} {y0}, {x1} {y1}, {x0} {y1}, {x0} {y0}))"
        for x0, y0, x1, y1 in boxes
    ]
    assert list(regions["polygon"]) == corners


@pytest.mark.parametrize("options", [BOXED, CROPPED])
def test_segments_lie_where_their_image_lies(path: Path, options: dict[str, Any]) -> None:
    image = scenes(1, (60, 120))[0]
    segments = np.zeros((60, 120), np.int32)
    segments[:, 60:] = 1
    with Scorer(
        path, model_options=options, regions=GivenSegments(), outlines=True, device="cpu"
    ) as scorer:
        _, regions = scorer.score_with_regions([image], segments=[segments])
    assert regions is not None
    left = 0 if options is BOXED else 30
    np.testing.assert_array_equal(regions["x0"], [left, 60])
    np.testing.assert_array_equal(regions["x1"], [60, 120 - left])
    np.testing.assert_array_equal(regions["y1"] - regions["y0"], [60, 60])
    assert regions["n_pixels"].sum() == (32 * 64 if options is BOXED else 32 * 32)
    assert regions["polygon"][0].startswith(f"POLYGON (({left} 0, 60 0, 60 60")


@pytest.mark.parametrize("regions", [Components(1), Superpixels(8)])
def test_no_region_holds_padding(path: Path, regions: Any) -> None:
    image = scenes(1, (60, 120))[0]
    with Scorer(path, model_options=BOXED, regions=regions, device="cpu") as scorer:
        _, rows = scorer.score_with_regions([image])
    assert rows is not None
    assert rows["n_pixels"].sum() == 32 * 64
    assert (rows["y0"].min(), rows["y1"].max()) == (0, 60)


def test_what_was_prepared_ahead_scores_as_what_was_not(path: Path) -> None:
    image = scenes(1, (60, 120))[0]
    options = BOXED | {"interpolation": "bilinear-antialias"}
    with Session.open(path, model_options=options, regions=Grid(16), device="cpu") as scorer:
        ready, extras = scorer.prepared(image)
        assert ready.shape == (64, 64, 3)
        ahead, plain = scorer.score_batch([ready], [extras]), scorer.score_batch([image])
    for name, values in plain.columns.items():
        np.testing.assert_array_equal(ahead.columns[name], values, err_msg=name)


def test_difficulty_maps_are_of_the_whole_image(path: Path) -> None:
    image = scenes(1, (60, 120))[0]
    for options, shape, shown in (
        (BOXED, (32, 64), slice(0, 64)),
        (CROPPED, (32, 64), slice(16, 48)),
    ):
        with Scorer(path, model_options=options, device="cpu") as scorer:
            (found,) = scorer.difficulty_maps([image])
        assert found is not None
        assert found.shape == shape
        assert (found[:, shown] > 0).all()
        assert np.count_nonzero(found) == found[:, shown].size


@pytest.mark.parametrize("raster", ["image", "half"])
def test_statistics_of_another_size_are_refused(path: Path, raster: Any) -> None:
    with pytest.raises(UsageError, match="use raster input"):
        Scorer(path, model_options=BOXED, raster=raster, device="cpu")


def test_half_of_an_odd_length_is_rounded_up() -> None:
    assert half_size((7, 10)) == (4, 5)
    assert half_size((1, 2)) == (1, 1)


def test_members_of_a_committee_see_one_image(path: Path, tmp_path: Path) -> None:
    other = save_model(tmp_path / "o.onnx", props=metadata(**BOXED))
    with pytest.raises(ModelError, match="the second by resize letterbox"):
        Committee(Members.of([path, other]), device="cpu")


def test_images_of_one_size_share_one_mask() -> None:
    spec = ModelSpec(
        path=Path("m.onnx"), classes=("a", "b"), resize="letterbox", input_size=(64, 64)
    )
    (group,), _ = Inputs(spec, "input", Masks()).groups(scenes(3, (60, 120)))
    assert group.mask is not None
    assert group.mask.ndim == 2
