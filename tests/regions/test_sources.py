"""Kinds of regions: their text, their records, and what a scorer makes of them."""

from __future__ import annotations

import json
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import deal
from deal._install import pip_install
from deal.errors import ItemError, UsageError
from deal.kernel.regions import Grid
from deal.regions import sources as region_sources
from deal.regions.files import nearest
from deal.regions.sources import Components, GivenSegments, RegionSource, Superpixels, parse_regions
from deal.scoring.inputs import ImageExtras
from deal.scoring.scorer import Scorer
from tests.helpers.models import metadata, save_model, scenes

SIZE = (48, 64)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model") / "m.onnx", props=metadata())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("none", None),
        ("grid:1", Grid(1)),
        ("grid:40", Grid(40)),
        ("slic:200", Superpixels(200)),
        ("components", Components(64)),
        ("components:9", Components(9)),
    ],
)
def test_texts_are_records_and_records_texts(text: str, expected: RegionSource | None) -> None:
    found = parse_regions(text)
    assert found == expected
    assert parse_regions(found) is found
    if found is not None:
        assert parse_regions(str(found)) == found


def test_segments_are_a_folder_that_is_there(tmp_path: Path) -> None:
    found = parse_regions(f"segments:{tmp_path}")
    assert found == GivenSegments(str(tmp_path))
    assert str(found) == f"segments:{tmp_path}"
    with pytest.raises(UsageError, match=r"segments:.*/none: no such folder"):
        parse_regions(f"segments:{tmp_path}/none")


@pytest.mark.parametrize(
    "text",
    [
        "grid",
        "grid:",
        "grid:0",
        "grid:-4",
        "grid:4x4",
        "slic",
        "slic:0",
        "slic:²",
        "components:",
        "components:0",
        "components:1.5",
        "segments",
        "segments:",
        "Grid:4",
        "",
    ],
)
def test_texts_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="none, grid:PX, segments:DIR, slic:N or components"):
        parse_regions(text)


@pytest.mark.parametrize("count", [0, 65_536, 2.5])
def test_numbers_of_superpixels_out_of_range_are_refused(count: Any) -> None:
    with pytest.raises(UsageError, match="1 to 65535"):
        Superpixels(count)


def test_numbers_of_numpy_are_numbers() -> None:
    for made, text in (
        (Components(np.int64(9)), "components:9"),
        (Superpixels(np.int32(9)), "slic:9"),
    ):
        assert str(made) == text
        assert json.loads(json.dumps(made.settings())) == parse_regions(text).settings()


def test_without_scikit_image_one_line_names_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "skimage.segmentation", None)
    with pytest.raises(UsageError, match=re.escape(pip_install("superpixel"))):
        parse_regions("slic:100")


def test_kinds_have_settings_of_their_own(tmp_path: Path) -> None:
    sources = [Grid(4), Grid(5), GivenSegments(), Superpixels(4), Superpixels(5), Components(4)]
    found = [source.settings() for source in [*sources, Components(5)]]
    assert all(found.count(one) == 1 for one in found)
    assert GivenSegments(tmp_path).settings() == GivenSegments().settings()


# ---- superpixels ------------------------------------------------------------------------------


def test_superpixels_are_about_as_many_connected_areas_as_asked_for() -> None:
    image = scenes(1, (96, 128))[0]
    ids = Superpixels(40).segments(image)
    assert (ids.dtype, ids.shape) == (np.int32, (96, 128))
    count = ids.max() + 1
    assert 20 <= count <= 80
    assert np.unique(ids).tolist() == list(range(count))
    logits = (ids == np.arange(count)[:, None, None]).astype(np.float32)[None]
    found = deal.components(logits, size=(96, 128), min_pixels=1)
    assert found.count == count


def test_superpixels_follow_edges() -> None:
    image = np.zeros((60, 60, 3), np.uint8)
    image[:, 25:] = 200
    ids = Superpixels(9).segments(image)
    assert not set(np.unique(ids[:, :24])) & set(np.unique(ids[:, 26:]))


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (40, 50)])
@pytest.mark.parametrize("level", [0, 255])
def test_blank_and_tiny_images_have_superpixels_too(size: tuple[int, int], level: int) -> None:
    ids = Superpixels(100).segments(np.full((*size, 3), level, np.uint8))
    assert ids.shape == size
    assert ids.min() == 0


def test_superpixels_are_the_same_in_any_thread() -> None:
    images = scenes(4)
    expected = [Superpixels(30).segments(image) for image in images]
    with ThreadPoolExecutor(3) as executor:
        found = list(executor.map(Superpixels(30).segments, images))
    for one, other in zip(found, expected, strict=True):
        assert (one == other).all()


# ---- through a scorer -------------------------------------------------------------------------


def test_given_segments_are_those_of_score_logits(path: Path) -> None:
    images = [*scenes(2), *scenes(1, (40, 56))]
    rng = np.random.default_rng(0)
    segments = [rng.integers(-1, 9, image.shape[:2]) for image in images]
    with Scorer(path, regions=GivenSegments()) as scorer:
        columns, regions = scorer.score_with_regions(images, segments=segments)
        assert regions is not None
        for index, (image, ids) in enumerate(zip(images, segments, strict=True)):
            expected = deal.score_logits(
                scorer._session._engine.infer(image[None]).logits,
                size=image.shape[:2],
                head=scorer.spec.difficulty_head,
                regions=deal.Segments(ids.astype(np.int32)[None]),
                align_corners=scorer.spec.align_corners,
            ).regions
            assert expected is not None
            mine = regions["image"] == index
            assert regions["region"][mine].tolist() == list(range(9))
            for name in ("n_pixels", "difficulty_mean", "entropy_mean", "majority_class"):
                np.testing.assert_allclose(regions[name][mine], expected[name][0], atol=1e-6)
    assert columns["status"].tolist() == ["ok"] * 3


@settings(deadline=None, max_examples=15)
@given(
    original=st.tuples(st.integers(4, 70), st.integers(4, 70)),
    raster=st.tuples(st.integers(4, 40), st.integers(4, 40)),
)
def test_segments_reach_the_raster_by_nearest_neighbour(
    path: Path, original: tuple[int, int], raster: tuple[int, int]
) -> None:
    ids = np.arange(original[0] * original[1]).reshape(original) % 97 - 1
    options = {"input_size": list(raster)}
    with Scorer(path, regions=GivenSegments(), model_options=options) as scorer:
        _, regions = scorer.score_with_regions(scenes(1, original), segments=[ids])
        again = scorer._session.score_batch(
            scenes(1, original), [ImageExtras(segments=nearest(ids.astype(np.int32), raster))]
        ).regions
    assert regions is not None
    assert again is not None
    found, counts = np.unique(nearest(ids.astype(np.int32), raster), return_counts=True)
    assert regions["region"].tolist() == found[found >= 0].tolist()
    assert regions["n_pixels"].tolist() == counts[found >= 0].tolist()
    for name, values in regions.items():
        assert values.tobytes() == again[name].tobytes()


@pytest.mark.parametrize(
    ("ids", "says"),
    [
        (np.zeros((4, 4), int), "4×4 (H×W), but the oriented image is 48×64"),
        (np.zeros(SIZE), "integers"),
        (np.full(SIZE, 70_000), "above the limit of 65534"),
        (None, "no segments were given"),
    ],
)
def test_segments_that_do_not_fit_fail_their_image_alone(path: Path, ids: Any, says: str) -> None:
    good = np.zeros(SIZE, np.int64)
    with Scorer(path, regions=GivenSegments()) as scorer:
        columns, regions = scorer.score_with_regions(scenes(2), segments=[ids, good])
    assert columns["error_code"].tolist() == ["segments", None]
    assert says in columns["error"][0]
    assert regions is not None
    assert regions["image"].tolist() == [1]


def test_segments_need_a_scorer_for_them_and_one_an_image(path: Path) -> None:
    ids = np.zeros(SIZE, np.int64)
    with Scorer(path, regions=Grid(8)) as scorer, pytest.raises(UsageError, match="GivenSegments"):
        scorer.score(scenes(1), segments=[ids])
    with Scorer(path, regions=GivenSegments()) as scorer:
        for wrong in ({"segments": [ids]}, {"cameras": ["a", "b", "c"]}):
            with pytest.raises(UsageError, match=r"2 images, but \d \w+: give one per image"):
                scorer.score(scenes(2), **wrong)
        with pytest.raises(UsageError, match="2 images, but 1 extras: give one per image"):
            scorer._session.score_batch(scenes(2), [ImageExtras()])


def test_regions_may_be_as_many_as_the_limit_allows(path: Path) -> None:
    image = scenes(1, (256, 256))
    ids = np.minimum(np.arange(256 * 256).reshape(256, 256), 65_534)
    with Scorer(path, regions=GivenSegments()) as scorer:
        _, regions = scorer.score_with_regions(image, segments=[ids])
    assert regions is not None
    assert regions["region"].tolist() == list(range(65_535))
    assert regions["n_pixels"].sum() == 256 * 256


def test_images_of_too_many_components_fail_alone(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [*scenes(1), np.zeros((*SIZE, 3), np.uint8)]
    with Scorer(path, regions=Components(1)) as scorer:
        _, every = scorer.score_with_regions(images)
        assert every is not None
        most, least = np.bincount(every["image"])
        assert most > least
        monkeypatch.setattr(region_sources, "MAX_REGIONS", int(most) - 1)
        columns, regions = scorer.score_with_regions(images)
    assert columns["error_code"].tolist() == ["segments", None]
    assert f"{most} components, more than {most - 1}: raise MINPIXELS" in columns["error"][0]
    assert regions is not None
    for name in ("region", "n_pixels", "difficulty_mean"):
        assert regions[name].tolist() == every[name][every["image"] == 1].tolist()


def test_components_leave_out_masked_pixels_and_small_areas(path: Path) -> None:
    mask = np.full(SIZE, 255, np.uint8)
    mask[-12:] = 0
    with Scorer(path, regions=Components(20), mask=mask) as scorer:
        _, regions = scorer.score_with_regions(scenes(2))
    assert regions is not None
    assert regions["n_pixels"].min() >= 20
    assert regions["y1"].max() <= 36
    assert (regions["impurity"] == 0).all()


# ---- outlines ---------------------------------------------------------------------------------


def area(polygon: str) -> float:
    """Of WKT: exteriors and holes run in opposite directions."""
    rings = polygon.replace("MULTI", "").replace("POLYGON", "").split("(")
    total = 0.0
    for ring in rings:
        points = [p.strip(" ),").split() for p in ring.split(",") if p.strip(" ),")]
        xy = np.array(points, dtype=float).reshape(-1, 2)
        total += float((xy[:-1, 0] * xy[1:, 1] - xy[1:, 0] * xy[:-1, 1]).sum()) / 2
    return total


@pytest.mark.parametrize("source", [Grid(11), Components(5), Superpixels(30), GivenSegments()])
@pytest.mark.parametrize("raster", [SIZE, (24, 80)])
def test_outlines_have_the_area_of_their_pixels(
    path: Path, source: RegionSource, raster: tuple[int, int]
) -> None:
    images = [*scenes(2), *scenes(1, (36, 40))]
    segments = None
    if isinstance(source, GivenSegments):
        rng = np.random.default_rng(1)
        segments = [rng.integers(-1, 4, image.shape[:2]) for image in images]
    options = {"input_size": list(raster)}
    with Scorer(path, regions=source, outlines=True, model_options=options) as scorer:
        _, regions = scorer.score_with_regions(images, segments=segments)
    assert regions is not None
    for row, polygon in enumerate(regions["polygon"]):
        height, width = images[regions["image"][row]].shape[:2]
        pixel = height * width / (raster[0] * raster[1])
        assert area(polygon) == pytest.approx(regions["n_pixels"][row] * pixel, rel=2e-3)
        xy = np.array(polygon.translate({ord(c): " " for c in "MULTIPOLYGON(),"}).split(), float)
        x, y = xy[::2], xy[1::2]
        box = [regions[name][row] for name in ("x0", "y0", "x1", "y1")]
        assert box == [np.floor(x.min()), np.floor(y.min()), np.ceil(x.max()), np.ceil(y.max())]


def test_only_kept_regions_have_outlines_and_without_the_option_none(path: Path) -> None:
    with Scorer(path, regions=Grid(16), keep_regions=2, outlines=True) as scorer:
        regions = scorer.score_with_regions(scenes(2))[1]
    assert regions is not None
    assert len(regions["polygon"]) == 4
    assert all(polygon.startswith("POLYGON ((") for polygon in regions["polygon"])
    with Scorer(path, regions=Grid(16)) as scorer:
        assert "polygon" not in (scorer.score_with_regions(scenes(1))[1] or {})


# ---- masks ------------------------------------------------------------------------------------


def test_every_image_has_the_mask_of_its_camera(path: Path) -> None:
    left, right = np.ones(SIZE, np.uint8), np.ones(SIZE, np.uint8)
    left[:, :16], right[24:] = 0, 0
    image = scenes(1)[0]
    with Scorer(path, mask={"left": left, "right": right}) as scorer:
        found = scorer.score([image] * 4, cameras=["left", "right", "rear", None])
    assert found["n_pixels"].tolist() == [48 * 48, 24 * 64, 48 * 64, 48 * 64]
    for mask, row in ((left, 0), (right, 1), (None, 2)):
        with Scorer(path, mask=mask) as scorer:
            alone = scorer.score([image])
        for name in ("difficulty_mean", "entropy_hist", "class_pixels"):
            assert alone[name][0].tobytes() == found[name][row].tobytes()
    with Scorer(path, mask={"left": left, "": right}) as scorer:
        found = scorer.score([image] * 3, cameras=["left", "rear", None])
    assert found["n_pixels"].tolist() == [48 * 48, 24 * 64, 24 * 64]


def test_extras_ahead_give_what_the_scorer_would_find_itself(path: Path, tmp_path: Path) -> None:
    images = scenes(2)
    np.savez(tmp_path / "a.npz", np.arange(48 * 64).reshape(SIZE) // 500)
    with Scorer(path, regions=Superpixels(12)) as scorer:
        ahead = scorer._session.score_batch(
            images, [scorer._session.prepared(image)[1] for image in images]
        ).regions
        itself = scorer._session.score_batch(images).regions
        assert ahead is not None
        assert itself is not None
        for name, values in ahead.items():
            assert values.tobytes() == itself[name].tobytes()
    with Scorer(path, regions=GivenSegments(tmp_path)) as scorer:
        _, extras = scorer._session.prepared(images[0], item_id="a.jpg", camera="front")
        assert extras.camera == "front"
        assert extras.segments is not None
        assert extras.segments.max() == 6
        with pytest.raises(ItemError, match="there is no file"):
            scorer._session.prepared(images[1], item_id="b.jpg")
