import json

import numpy as np
import pytest
from PIL import Image

from deal.errors import ModelError, UsageError
from deal.kernel.regions import Grid
from deal.model.head import DifficultyHead
from deal.regions.sources import Components, GivenSegments, Superpixels
from deal.scoring.scorer import Scorer
from deal.scoring.session import Session
from tests.helpers.models import HEAD, metadata, save_model, scenes
from tests.oracle import reference

MEANS = ("difficulty_mean", "entropy_mean", "margin_mean", "difficulty_weighted_entropy_mean")


def assert_same(left, right, tolerance=1e-6):
    assert left.keys() == right.keys()
    for name, values in left.items():
        if values.dtype.kind == "f":
            np.testing.assert_allclose(values, right[name], rtol=0, atol=tolerance, err_msg=name)
        else:
            np.testing.assert_array_equal(values, right[name], err_msg=name)


def oracle(scorer, image, size, **settings_):
    logits = scorer._session._engine.infer(image[None]).logits
    head = DifficultyHead.from_dict(HEAD)
    return reference.statistics(logits, size=size, head=head, align_corners=True, **settings_)


def test_columns_are_the_statistics_of_the_networks_logits(scorer):
    image = scenes(1)[0]
    columns = scorer.score([image])
    expected = oracle(scorer, image, (48, 64)).images
    for name in MEANS:
        np.testing.assert_allclose(columns[name], expected[name], rtol=0, atol=1e-5)
    np.testing.assert_array_equal(columns["n_pixels"], [48 * 64])
    assert set(columns) == set(expected) | {
        *("width", "height", "raster_width", "raster_height"),
        *("status", "error_code", "error"),
    }
    shape = [columns[name][0] for name in ("width", "height", "raster_width", "raster_height")]
    assert shape == [64, 48, 64, 48]


def test_rows_do_not_depend_on_the_company_of_an_image(model):
    images = [*scenes(3), *scenes(2, (32, 40), seed=1), *scenes(1, seed=2), *scenes(4, (20, 64))]
    with Scorer(model, device="cpu") as scorer:
        together = scorer.score(images)
        alone = [scorer.score([image]) for image in images]
    assert_same(
        {name: np.concatenate([row[name] for row in alone]) for name in alone[0]}, together, 0
    )


def test_a_scorer_opened_again_gives_the_same_and_outlives_the_first(path):
    first = Session.open(path, regions=Grid(16))
    images = scenes(3)
    expected = first.score_batch(images)
    second = first.again()
    first.close()
    found = second.score_batch(images)
    assert found.columns.keys() == expected.columns.keys()
    for name, values in expected.columns.items():
        assert found.columns[name].tobytes() == values.tobytes(), name
    for name, values in expected.regions.items():
        assert found.regions[name].tobytes() == values.tobytes(), name


def test_closing_twice_is_harmless(path):
    with Scorer(path) as scorer:
        scorer.close()
    with pytest.raises(UsageError, match="closed"):
        scorer.score(scenes(1))


@pytest.mark.parametrize(
    "use",
    [
        lambda scorer: scorer.score(scenes(1)),
        lambda scorer: scorer.difficulty_maps(scenes(1)),
        lambda scorer: scorer._session.again(),
        lambda scorer: scorer.spec,
    ],
)
def test_a_closed_scorer_says_so(path, use):
    scorer = Scorer(path)
    scorer.close()
    with pytest.raises(UsageError, match="closed: open another"):
        use(scorer)


def test_no_images_give_empty_columns_of_the_same_kind(scorer):
    none, some = scorer.score([]), scorer.score(scenes(1))
    assert {name: (column.dtype, column.shape[1:]) for name, column in none.items()} == {
        name: (column.dtype, column.shape[1:]) for name, column in some.items()
    }
    assert all(len(column) == 0 for column in none.values())


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3)),
        Image.new("RGB", (4, 4)),
        "image.jpg",
    ],
)
def test_what_is_no_rgb_image_is_a_usage_error(scorer, image):
    with pytest.raises(UsageError, match=r"image 1 is .*; .* uint8 \[H, W, 3\] is needed"):
        scorer.score([*scenes(1), image])


def test_a_mask_on_an_image_is_refused_instead_of_ignored(scorer):
    hidden = np.ma.masked_array(scenes(1)[0], mask=True)
    for method in (scorer.score, scorer.predict, scorer.difficulty_maps):
        with pytest.raises(UsageError, match=r"image 0 is a masked array.*mask="):
            method([hidden])


@pytest.mark.parametrize("images", [None, 3, "image.jpg", iter([]), {}])
def test_what_holds_no_images_is_a_usage_error(scorer, images):
    for method in (scorer.score, scorer.predict, scorer.difficulty_maps):
        with pytest.raises(UsageError, match="images are a list of NumPy arrays"):
            method(images)


def test_images_may_come_from_anything_that_can_be_sliced(scorer):
    class Stored:  # as a data set of HDF5 or Zarr
        def __len__(self):
            return 3

        def __getitem__(self, index):
            return np.stack(scenes(3))[index]

    expected = scorer.score(scenes(3))["entropy_mean"]
    np.testing.assert_array_equal(scorer.score(Stored())["entropy_mean"], expected)


def test_images_are_stretched_to_the_input_size_by_the_recorded_filter(path):
    image = scenes(1, (90, 110))[0]
    for name, resample in (
        ("bilinear-antialias", Image.Resampling.BILINEAR),
        ("bicubic-antialias", Image.Resampling.BICUBIC),
        ("nearest", Image.Resampling.NEAREST),
    ):
        options = {"input_size": [48, 64], "interpolation": name}
        with Scorer(path, model_options=options) as stretched:
            columns = stretched.score([image])
            resized = np.asarray(Image.fromarray(image).resize((64, 48), resample))
            expected = stretched.score([resized]) | {
                "width": np.array([110]),
                "height": np.array([90]),
            }
            assert_same(columns, expected)
            assert columns["raster_width"] == [64]


def test_the_raster_can_be_the_original_image(path):
    image = scenes(1, (90, 110))[0]
    options = {"input_size": [48, 64]}
    with Scorer(path, raster="image", regions=Grid(50), model_options=options) as original:
        batch = original._session.score_batch([image, *scenes(1, (48, 64))])
        small = np.asarray(Image.fromarray(image).resize((64, 48), Image.Resampling.BILINEAR))
        expected = oracle(original, small, (90, 110)).images
    np.testing.assert_array_equal(batch.columns["raster_height"], [90, 48])
    np.testing.assert_array_equal(batch.columns["n_pixels"], [90 * 110, 48 * 64])
    for name in MEANS:
        np.testing.assert_allclose(batch.columns[name][0], expected[name][0], rtol=0, atol=1e-5)
    first = batch.regions["image"] == 0
    assert batch.regions["x1"][first].tolist() == [50, 100, 110, 50, 100, 110]


@pytest.mark.parametrize("size", [(48, 64), (46, 62)])
def test_the_raster_can_be_half_of_the_networks_input(path, size):
    """Boxes are in pixels of the original all the same, and masks hide the same places."""
    image = scenes(1, (96, 124))[0]
    half = (size[0] // 2, size[1] // 2)
    mask = np.ones((96, 124), np.uint8)
    mask[50:] = 0
    options = {"input_size": list(size), "size_multiple": 1}
    with Scorer(path, raster="half", regions=Grid(12), model_options=options) as scorer:
        batch = scorer._session.score_batch([image])
        resized = Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR)
        expected = oracle(scorer, np.asarray(resized), half).images
    assert (batch.columns["raster_height"][0], batch.columns["raster_width"][0]) == half
    assert batch.columns["n_pixels"][0] == half[0] * half[1]
    for name in MEANS:
        np.testing.assert_allclose(batch.columns[name][0], expected[name][0], rtol=0, atol=1e-5)
    assert batch.regions["x1"].max() == 124
    assert batch.regions["y1"].max() == 96
    assert batch.regions["y1"].min() == -(-12 * 96 // half[0])
    with Scorer(path, raster="half", mask=mask, model_options=options) as scorer:
        assert scorer.score([image])["n_pixels"][0] == 12 * half[1]


def test_maps_of_half_a_raster_have_the_images_size_and_its_classes(path):
    (image,) = scenes(1, (48, 64))
    with Session.open(path) as whole, Session.open(path, raster="half") as half:
        (wanted,), (found,) = whole.maps([image]), half.maps([image])
        assert half.difficulty_maps([image])[0].shape == (24, 32)
    np.testing.assert_array_equal(found.classes, wanted.classes)
    assert found.score.shape == wanted.score.shape == (48, 64)
    np.testing.assert_allclose(found.score.mean(), wanted.score.mean(), atol=0.02)


def test_nonfinite_logits_fail_their_image_alone(tmp_path):
    path = save_model(tmp_path / "m.onnx", nan_above=200, props=metadata())
    white = np.full((48, 64, 3), 250, np.uint8)
    images = [white, *scenes(2), white, *scenes(1, (40, 40))]
    with Scorer(path, regions=Grid(16)) as scorer:
        columns = scorer.score(images)
        batch = scorer._session.score_batch(images)
        maps = scorer.difficulty_maps(images)
    assert columns["status"].tolist() == ["error", "ok", "ok", "error", "ok"]
    assert columns["error_code"].tolist() == ["nonfinite", None, None, "nonfinite", None]
    assert "960 of the network's outputs are NaN" in columns["error"][0]
    for name, values in columns.items():
        if values.dtype.kind == "f":
            assert np.isnan(values[[0, 3]]).all()
            assert np.isfinite(values[[1, 2, 4]]).all()
        elif name not in ("width", "height", "status", "error_code", "error"):
            assert not values[[0, 3]].any()
    assert columns["width"].tolist() == [64, 64, 64, 64, 40]
    assert batch.ok.tolist() == [1, 2, 4]
    assert sorted(batch.failures) == [0, 3]
    assert set(batch.regions["image"]) == {1, 2, 4}
    assert [found is None for found in maps] == [True, False, False, True, False]


def test_sizes_the_model_cannot_take_fail_their_image_alone(path):
    options = {"resize": "none", "size_multiple": 16}
    with Scorer(path, model_options=options) as scorer:
        columns = scorer.score([*scenes(1, (50, 64)), *scenes(1)])
    assert columns["error_code"].tolist() == ["size", None]


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (ModelError("the layers do not fit"), "size", "the layers do not fit"),
        (MemoryError(), "memory", "not enough memory for running the network at 61×97 (H×W)"),
    ],
)
def test_images_that_the_network_refuses_fail_alone(path, monkeypatch, error, code, reason):
    usual = scenes(4)
    odd = scenes(1, (61, 97))[0]
    score_batch = Session.score_batch

    def picky(session, images, extras):
        if any(image.shape[:2] == (61, 97) for image in images):
            raise error
        return score_batch(session, images, extras)

    with Scorer(path, regions=Grid(16)) as scorer:
        expected, expected_regions = scorer.score_with_regions(usual)
        monkeypatch.setattr(Session, "score_batch", picky)
        columns, regions = scorer.score_with_regions([*usual[:2], odd, *usual[2:]])
    assert columns["error_code"].tolist() == [None, None, code, None, None]
    assert reason in columns["error"][2]
    assert (columns["width"][2], columns["height"][2]) == (97, 61)
    kept = [0, 1, 3, 4]
    for name, values in expected.items():
        np.testing.assert_array_equal(columns[name][kept], values, err_msg=name)
    for name, values in expected_regions.items():
        if name == "image":
            values = np.array(kept)[values]
        np.testing.assert_array_equal(regions[name], values, err_msg=name)


def mask_of(size, right=None):
    mask = np.full(size, 255, np.uint8)
    mask[-size[0] // 4 :] = 0
    if right is not None:
        mask[:, right:] = 0
    return mask


def test_masked_pixels_count_nowhere(path):
    image = scenes(1)[0]
    mask = mask_of((48, 64))
    with Scorer(path, mask=mask, regions=Grid(12)) as scorer:
        batch = scorer._session.score_batch([image])
        expected = oracle(scorer, image, (48, 64), mask=mask[None]).images
    for name in MEANS:
        np.testing.assert_allclose(batch.columns[name], expected[name], rtol=0, atol=1e-5)
    assert batch.columns["n_pixels"] == [36 * 64]
    assert batch.regions["region"].tolist() == list(range(18))


def test_masks_follow_the_image_to_the_raster(path):
    image = scenes(1, (96, 128))[0]
    options = {"input_size": [48, 64]}
    with Scorer(path, mask=mask_of((96, 128), right=96), model_options=options) as scorer:
        assert scorer.score([image])["n_pixels"] == [36 * 48]
    with Scorer(path, mask=mask_of((96, 128)), model_options=options, raster="image") as scorer:
        assert scorer.score([image])["n_pixels"] == [72 * 128]


def test_masks_of_another_size_fail_the_image_with_both_sizes(path):
    with Scorer(path, mask=mask_of((48, 64))) as scorer:
        columns = scorer.score([*scenes(1), *scenes(1, (32, 40))])
    assert columns["error_code"].tolist() == [None, "mask"]
    assert "48×64" in columns["error"][1]
    assert "32×40" in columns["error"][1]


def test_a_mask_that_leaves_nothing_on_the_raster_fails_the_image(path):
    mask = np.zeros((96, 128), np.uint8)
    mask[0, 0] = 1
    with Scorer(path, mask=mask, model_options={"input_size": [12, 16]}) as scorer:
        columns = scorer.score(scenes(1, (96, 128)))
    assert columns["error_code"].tolist() == ["mask"]
    assert "no pixel" in columns["error"][0]


@pytest.mark.parametrize(
    "mask",
    [
        np.zeros((4, 4), np.uint8),
        np.ones((4, 4), bool),
        np.ones((1, 4, 4), np.uint8),
        17,
    ],
)
def test_useless_masks_are_refused_before_any_image(path, mask):
    with pytest.raises(UsageError, match="the mask must be a NumPy array of uint8"):
        Scorer(path, mask=mask)


def test_fingerprint_changes_with_what_changes_a_number_and_with_nothing_else(path, tmp_path):
    def settings_of(model=path, **arguments):
        with Scorer(model, **arguments) as scorer:
            found = scorer._session.fingerprint_settings()
        assert json.loads(json.dumps(found)) == found
        return json.dumps(found, sort_keys=True)

    base = settings_of()
    copy = tmp_path / "elsewhere.onnx"
    copy.write_bytes(path.read_bytes())
    assert settings_of(copy) == settings_of(threads=1) == settings_of(device="cpu") == base
    other = save_model(tmp_path / "other.onnx", props=metadata(provenance={"run": 2}))
    mask = np.ones((48, 64), np.uint8)
    hole = mask.copy()
    hole[0, 0] = 0
    changed = [
        settings_of(other),
        settings_of(difficulty_head=DifficultyHead(0.1, [1, 2, 3, 4, 5], 0)),
        settings_of(mask=mask),
        settings_of(mask=hole),
        settings_of(mask=mask.reshape(64, 48)),
        settings_of(regions=Grid(8)),
        settings_of(regions=Grid(9)),
        settings_of(regions=Grid(9), keep_regions=2),
        settings_of(regions=Grid(9), keep_regions=2, region_score="margin"),
        settings_of(regions=Grid(9), outlines=True),
        settings_of(regions=Components(9)),
        settings_of(regions=Superpixels(9)),
        settings_of(regions=GivenSegments()),
        settings_of(mask={"front": mask}),
        settings_of(mask={"": hole, "front": mask}),
        settings_of(raster="image"),
        settings_of(raster="half"),
        settings_of(model_options={"align_corners": False}),
        settings_of(model_options={"input_size": [48, 64]}),
        settings_of(model_options={"interpolation": "nearest"}),
    ]
    assert len({base, *changed}) == len(changed) + 1
