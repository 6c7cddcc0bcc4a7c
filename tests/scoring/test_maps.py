"""Maps of single images: what the statistics sum up, drawn at every image's own size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from deal.acquisitions import bind
from deal.acquisitions.measures import Measure, measure_of
from deal.engines import open_engine
from deal.errors import UsageError
from deal.model.placing import Placement, placement
from deal.scoring.maps import void
from deal.scoring.scorer import Scorer
from deal.scoring.session import Session
from tests.helpers.models import CLASSES, metadata, save_model, scenes
from tests.oracle import reference

SIZE = (48, 64)


def logits_of(model: Path, image: NDArray[np.uint8]) -> NDArray[np.float64]:
    output = open_engine(model, engine="ort", device="cpu").infer(image[None])
    return np.asarray(output.logits[0], np.float64)


def at_point(z: NDArray[np.float64], place: Placement, y: float, x: float, align: bool) -> Any:
    """Logits [C] at a point of the window, whose pixels are squares of side 1."""
    found = z
    for at, length in ((y, place.size[0]), (x, place.size[1])):
        cells = found.shape[1]
        on_grid = (at - 0.5) * (cells - 1) / (length - 1) if align else at * cells / length - 0.5
        on_grid = min(max(on_grid, 0.0), cells - 1.0)
        first = min(int(on_grid), cells - 2)
        share = on_grid - first
        found = (1 - share) * found[:, first] + share * found[:, first + 1]
    return found


def model_of(folder: Path, **props: Any) -> Path:
    return save_model(folder / "m.onnx", exact=True, props=metadata(**props))


@pytest.mark.parametrize("align_corners", [True, False])
def test_a_prediction_at_raster_size_has_the_stored_pixels_of_each_class(
    tmp_path: Path, align_corners: bool
) -> None:
    images = scenes(3, SIZE)
    with Scorer(model_of(tmp_path, align_corners=align_corners), device="cpu") as scorer:
        stored = scorer.score(images)["class_pixels"]
        predicted = scorer.predict(images)
    for pixels, classes in zip(stored, predicted, strict=True):
        assert classes is not None
        assert classes.shape == SIZE
        assert classes.dtype == np.uint8
        assert np.bincount(classes.ravel(), minlength=5).tolist() == pixels.tolist()


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("own", [(48, 64), (31, 90), (200, 123)])
def test_a_prediction_is_the_argmax_of_bilinear_logits_at_the_images_own_size(
    tmp_path: Path, align_corners: bool, own: tuple[int, int]
) -> None:
    path = model_of(tmp_path, align_corners=align_corners, input_size=list(SIZE))
    image = scenes(1, own)[0]
    with Session.open(path, device="cpu") as session:
        seen, _ = session.prepared(image)
        found = session.predict([image])[0]
    assert found is not None
    z = reference.resize(logits_of(path, seen), own, align_corners)
    first, second = np.sort(z, axis=0)[-1:-3:-1]
    clear = first - second > 1e-4
    assert clear.mean() > 0.99
    assert found.shape == own
    np.testing.assert_array_equal(found[clear], z.argmax(axis=0)[clear])


def test_maps_have_the_stored_means(tmp_path: Path) -> None:
    images = scenes(2, SIZE)
    wanted = {
        "ds": "difficulty_mean",
        "de": "difficulty_mean",
        "ds:entropy": "difficulty_weighted_entropy_mean",
        "ds:margin": "difficulty_weighted_margin_mean",
        "entropy": "entropy_mean",
        "margin": "margin_mean",
        "least-confidence": "least_confidence_mean",
        "tail:entropy": "entropy_mean",
    }
    with Session.open(model_of(tmp_path), device="cpu") as session:
        stored = session.score_batch(images).columns
        for name, column in wanted.items():
            for row, maps in enumerate(session.maps(images, acquisition=name)):
                assert maps is not None
                assert maps.difficulty is not None
                assert maps.score.mean() == pytest.approx(stored[column][row], abs=2e-6), name
                assert maps.entropy.mean() == pytest.approx(stored["entropy_mean"][row], abs=2e-6)
                assert maps.difficulty.max() == pytest.approx(stored["difficulty_max"][row])


def test_a_committee_shows_the_first_model_and_its_members_disagreement(tmp_path: Path) -> None:
    first = save_model(tmp_path / "1.onnx", exact=True, props=metadata())
    second = save_model(tmp_path / "2.onnx", exact=True, seed=8, props=metadata())
    images = scenes(2, SIZE)
    names = {
        "vote-entropy": "vote_entropy_mean",
        "bald": "mutual_information_mean",
        "consensus-entropy": "consensus_entropy_mean",
    }
    with Session.open(first, device="cpu") as one, Session.open([first, second], flip=True) as many:
        stored = many.score_batch(images).columns
        alone = one.predict(images)
        for name, column in names.items():
            for row, maps in enumerate(many.maps(images, acquisition=name)):
                assert maps is not None
                assert maps.score.mean() == pytest.approx(stored[column][row], abs=2e-6), name
                np.testing.assert_array_equal(maps.classes, alone[row])
        with pytest.raises(UsageError, match="committee"):
            one.maps(images, acquisition="bald")


def test_a_model_without_a_head_has_entropy_alone(tmp_path: Path) -> None:
    with Session.open(model_of(tmp_path, difficulty_head=None), device="cpu") as session:
        maps = session.maps(scenes(1, SIZE))[0]
    assert maps is not None
    assert maps.difficulty is None
    np.testing.assert_array_equal(maps.score, maps.entropy)


def test_masked_pixels_are_void_and_nothing_else_changes(tmp_path: Path) -> None:
    image, mask = scenes(1, SIZE)[0], np.ones(SIZE, np.uint8)
    mask[30:] = 0
    path = model_of(tmp_path)
    with Session.open(path, device="cpu") as bare:
        whole = bare.maps([image])[0]
    with Scorer(path, mask=mask, device="cpu") as scorer:
        stored = scorer.score([image])["class_pixels"][0]
        maps = scorer._session.maps([image])[0]
    assert maps is not None
    assert whole is not None
    assert maps.difficulty is not None
    np.testing.assert_array_equal(void(maps.classes), mask == 0)
    assert np.bincount(maps.classes[:30].ravel(), minlength=5).tolist() == stored.tolist()
    for name in ("score", "difficulty", "entropy"):
        assert not getattr(maps, name)[30:].any()
        np.testing.assert_array_equal(getattr(maps, name)[:30], getattr(whole, name)[:30])


def test_a_mask_of_its_camera_applies(tmp_path: Path) -> None:
    left = np.ones(SIZE, np.uint8)
    left[:, :20] = 0
    images = scenes(2, SIZE)
    with Scorer(model_of(tmp_path), mask={"left": left}, device="cpu") as scorer:
        one, other = scorer.predict(images, cameras=["left", None])
        with pytest.raises(UsageError, match="2 images, but 1 cameras"):
            scorer.predict(images, cameras=["left"])
    assert one is not None
    assert other is not None
    np.testing.assert_array_equal(void(one), left == 0)
    assert not void(other).any()


def test_an_image_that_fails_is_none_and_the_others_are_not(tmp_path: Path) -> None:
    path = save_model(tmp_path / "m.onnx", exact=True, nan_above=200, props=metadata())
    good, white = scenes(1, SIZE)[0], np.full((*SIZE, 3), 255, np.uint8)
    small = good[:30]
    with Scorer(path, mask=np.ones(SIZE, np.uint8), device="cpu") as scorer:
        found = scorer.predict([white, good, small])
        assert [classes is None for classes in found] == [True, False, True]
        maps = scorer._session.maps([white, good, small])
        assert [entry is None for entry in maps] == [True, False, True]


@pytest.mark.parametrize(
    "options",
    [
        {"resize": "letterbox", "input_size": [64, 64]},
        {"resize": "letterbox", "input_size": [64, 64], "pad_position": "top-left"},
        {"resize": "crop", "input_size": [32, 32]},
        {"resize": "letterbox", "size_multiple": 32},
        {"resize": "crop", "size_multiple": 32},
    ],
)
@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("own", [(60, 120), (100, 40)])
def test_a_boxed_or_cropped_image_gets_its_part_of_the_window(
    tmp_path: Path, options: dict[str, Any], align_corners: bool, own: tuple[int, int]
) -> None:
    """Each pixel shows the class of the logits at its own place in the window, by the oracle."""
    path = model_of(tmp_path, align_corners=align_corners, interpolation="nearest", **options)
    image = scenes(1, own)[0]
    with Session.open(path, device="cpu") as session:
        place = placement(session.spec, *own)
        seen, _ = session.prepared(image)
        maps = session.maps([image])[0]
        stored = session.score_batch([image]).columns
    assert maps is not None
    assert maps.difficulty is not None
    z = logits_of(path, seen)
    height, width = own
    clear = 0
    for y, x in np.ndindex(own):
        at_y = (y + 0.5) * place.content[0] / height + place.offset[0]
        at_x = (x + 0.5) * place.content[1] / width + place.offset[1]
        if not (0 <= at_y <= place.size[0] and 0 <= at_x <= place.size[1]):
            assert maps.classes[y, x] == 255
            continue
        values = at_point(z, place, at_y, at_x, align_corners)
        first, second = np.sort(values)[-1:-3:-1]
        if first - second > 1e-4:
            clear += 1
            assert maps.classes[y, x] == values.argmax()
    shown = ~void(maps.classes)
    assert clear > 0.99 * shown.sum()
    if place.content == own:  # nothing is scaled, so every raster pixel is a pixel of the image
        counts = np.bincount(maps.classes[shown], minlength=5)
        assert counts.tolist() == stored["class_pixels"][0].tolist()
        assert maps.entropy[shown].mean() == pytest.approx(stored["entropy_mean"][0], abs=2e-6)
        assert maps.difficulty[shown].mean() == pytest.approx(
            stored["difficulty_mean"][0], abs=2e-6
        )


def test_the_entropy_of_a_larger_image_is_that_of_its_raster(tmp_path: Path) -> None:
    path = model_of(tmp_path, input_size=[24, 32])
    with Session.open(path, device="cpu") as session:
        image = scenes(1, (240, 320))[0]
        maps = session.maps([image])[0]
        stored = session.score_batch([image]).columns["entropy_mean"][0]
    assert maps is not None
    assert maps.entropy.shape == (240, 320)
    assert maps.entropy.mean() == pytest.approx(stored, rel=0.02)


def test_many_classes_are_uint16(tmp_path: Path) -> None:
    path = save_model(tmp_path / "m.onnx", num_classes=256, props=metadata(256, input_size=[8, 8]))
    with Scorer(path, mask=np.eye(16, dtype=np.uint8), device="cpu") as scorer:
        classes = scorer.predict(scenes(1, (16, 16)))[0]
    assert classes is not None
    assert classes.dtype == np.uint16
    assert (classes == 65_535).sum() == 16 * 15
    assert classes[np.eye(16, dtype=bool)].max() < 256


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("ds", {}, Measure(True, None)),
        ("de", {}, Measure(True, None)),
        ("ds:least-confidence", {}, Measure(True, "least_confidence")),
        ("balanced:ds-entropy", {}, Measure(True, "entropy")),
        ("focus:entropy", {"focus": "sky,pole"}, Measure(False, "entropy", (1, 3))),
        ("focus:pixels", {"focus": "car"}, Measure(False, None, (2,))),
        ("ripu", {}, Measure(False, "entropy")),
        ("random", {}, Measure(True, None)),
        ("core-set", {}, Measure(True, None)),
    ],
)
def test_the_columns_of_a_function_say_what_it_measures(
    name: str, options: dict[str, Any], expected: Measure
) -> None:
    bound = bind(name, classes=CLASSES, **options)
    assert measure_of(bound, has_difficulty=True) == expected


def test_a_function_of_focus_shows_its_classes_alone(tmp_path: Path) -> None:
    images = scenes(1, SIZE)
    acquisition = {"acquisition": "focus:pixels", "focus": "sky"}
    with Session.open(model_of(tmp_path), device="cpu") as session:
        maps = session.maps(images, acquisition=acquisition)[0]
    assert maps is not None
    assert 0 < maps.score.mean() < 1
    np.testing.assert_array_equal(maps.score, (maps.classes == 1).astype(np.float32))


def test_an_image_that_the_network_refuses_fails_alone(tmp_path: Path) -> None:
    path = save_model(tmp_path / "m.onnx", exact=True, props=metadata())
    images = [scenes(1, size)[0] for size in ((24, 32), (2, 2), (24, 32))]  # 2×2 is too small
    for batch_size in (4, 1):
        with Scorer(path, device="cpu", batch_size=batch_size) as scorer:
            for found in (scorer.predict(images), scorer.difficulty_maps(images)):
                assert [entry is None for entry in found] == [False, True, False]


def test_difficulty_maps_run_no_more_images_together_than_a_batch(tmp_path: Path) -> None:
    path = save_model(tmp_path / "m.onnx", exact=True, props=metadata())
    with Scorer(path, device="cpu", batch_size=2) as scorer:
        network, sizes = scorer._session._engine.model, []
        run = network._run
        network._run = lambda images, masks: sizes.append(len(images)) or run(images, masks)
        maps = scorer.difficulty_maps(scenes(5))
    assert (len(maps), sizes) == (5, [2, 2, 1])
