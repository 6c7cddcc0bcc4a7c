"""What a small network is to learn is what the model says of the image, and of nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from deal.distilling.drawing import LEAST
from deal.distilling.lessons import Teacher
from deal.engines import open_engine
from deal.errors import PoolError
from deal.fitting.pixels import softmax
from deal.kernel.statistics import difficulty_map
from deal.model.spec import choose_difficulty
from deal.pool.listing import Pool
from tests.helpers.models import metadata, save_model, scenes


def teacher_of(path, **options):
    engine = open_engine(path, threads=1, options=options or None)
    head, _ = choose_difficulty(engine.spec, None)
    return engine, Teacher(engine, head, 1)


def lessons(teacher, folder, images, *, input_size=(16, 24), map_size=(4, 6)):
    """Lessons from images, which are enough of them in that the last one repeats."""
    pool = folder / "pool"
    pool.mkdir()
    for number in range(max(len(images), LEAST)):
        Image.fromarray(images[min(number, len(images) - 1)]).save(pool / f"{number:03}.png")
    return teacher.lessons(list(Pool(pool)), input_size, map_size, lambda: None)


def test_maps_are_means_of_the_models_probabilities_and_difficulty(tmp_path):
    model = save_model(tmp_path / "m.onnx", props=metadata(input_size=[32, 48]))
    engine, teacher = teacher_of(model)
    images = scenes(2, (32, 48))
    found = lessons(teacher, tmp_path, images)
    assert found.images.shape == (LEAST, 16, 24, 3)
    assert found.images.dtype == np.uint8
    for number, image in enumerate(images):
        logits = np.asarray(engine.infer(image[None]).logits)
        assert logits.shape[2:] == (8, 12)
        blocks = softmax(logits[0]).reshape(-1, 4, 2, 6, 2).mean(axis=(2, 4))
        np.testing.assert_allclose(found.probabilities[number], blocks, atol=1e-3)
        difficulty = difficulty_map(logits, engine.spec.difficulty_head, size=(8, 12))[0]
        blocks = difficulty.reshape(4, 2, 6, 2).mean(axis=(1, 3))
        np.testing.assert_allclose(found.difficulty[number], blocks, atol=1e-3)


def test_the_graphs_own_difficulty_is_learned_where_there_is_one(tmp_path):
    props = metadata(input_size=[32, 48], difficulty_head=None)
    model = save_model(tmp_path / "m.onnx", difficulty=True, props=props)
    engine, teacher = teacher_of(model)
    image = scenes(1, (32, 48))[0]
    raw = np.asarray(engine.infer(image[None]).difficulty)[0, 0]
    blocks = (1 / (1 + np.exp(-raw))).reshape(4, 2, 6, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(lessons(teacher, tmp_path, [image]).difficulty[0], blocks, atol=1e-3)


def test_without_difficulty_there_is_none_to_learn(tmp_path):
    props = metadata(input_size=[32, 48], difficulty_head=None)
    _, teacher = teacher_of(save_model(tmp_path / "m.onnx", props=props))
    assert not teacher.has_difficulty
    assert lessons(teacher, tmp_path, scenes(1, (32, 48))).difficulty is None


@pytest.mark.parametrize("map_size", [(3, 5), (8, 12), (16, 24), (1, 1)])
def test_probabilities_of_any_size_sum_to_one(tmp_path, map_size):
    model = save_model(tmp_path / "m.onnx", props=metadata(input_size=[32, 48]))
    found = lessons(teacher_of(model)[1], tmp_path, scenes(1, (32, 48)), map_size=map_size)
    assert found.probabilities.shape == (LEAST, 5, *map_size)
    np.testing.assert_allclose(found.probabilities.astype(float).sum(axis=1), 1, atol=5e-3)


def test_padding_of_a_model_that_boxes_images_is_not_learned(tmp_path):
    """A wide image in a square box: the maps are those of its rows alone."""
    props = metadata(input_size=[48, 48], resize="letterbox", pad_value=0)
    engine, teacher = teacher_of(save_model(tmp_path / "m.onnx", props=props))
    image = np.full((24, 48, 3), 200, np.uint8)
    boxed = np.zeros((48, 48, 3), np.uint8)
    boxed[12:36] = 200
    probabilities = softmax(np.asarray(engine.infer(boxed[None]).logits)[0])
    expected = probabilities[:, 3:9].reshape(5, 6, 6, 2).mean(axis=3)
    found = lessons(teacher, tmp_path, [image], input_size=(24, 24), map_size=(6, 6))
    np.testing.assert_allclose(found.probabilities[0], expected, atol=1e-3)


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_a_model_that_gives_probabilities_is_learned_as_one_that_gives_logits(tmp_path, kind):
    is_sigmoid = kind == "sigmoid"
    props = metadata(
        2 if is_sigmoid else 5,
        input_size=[32, 48],
        output_kind="probabilities",
        activation="sigmoid" if is_sigmoid else "softmax",
    )
    model = save_model(
        tmp_path / "m.onnx", kind=kind, num_classes=1 if is_sigmoid else 5, props=props
    )
    engine, teacher = teacher_of(model)
    image = scenes(1, (32, 48))[0]
    found = lessons(teacher, tmp_path, [image])
    logits = np.asarray(engine.infer(image[None]).logits)
    blocks = softmax(logits[0]).reshape(-1, 4, 2, 6, 2).mean(axis=(2, 4))
    assert len(blocks) == (2 if is_sigmoid else 5)
    np.testing.assert_allclose(found.probabilities[0], blocks, atol=1e-3)


def test_images_that_give_no_numbers_or_cannot_be_read_or_taken_are_left_out(tmp_path):
    props = metadata(input_size=[32, 48], resize="none")
    model = save_model(tmp_path / "m.onnx", nan_above=200, props=props)
    good = [np.full((32, 48, 3), level, np.uint8) for level in range(40)]
    odd = [np.full((32, 48, 3), 255, np.uint8), np.zeros((40, 48, 3), np.uint8)]
    pool = tmp_path / "pool"
    pool.mkdir()
    for number, image in enumerate([*odd, *good]):
        Image.fromarray(image).save(pool / f"{number:03}.png")
    (pool / "005.png").write_bytes(b"no image")
    calls = []
    found = teacher_of(model)[1].lessons(
        list(Pool(pool)), (16, 24), (4, 6), lambda: calls.append(None)
    )
    assert len(calls) == 42
    levels = [level for level in range(40) if level != 3]
    assert found.images[:, 0, 0, 0].tolist() == levels
    assert len(found.probabilities) == len(found.difficulty) == 39


def test_too_few_images_that_can_be_scored_are_an_error(tmp_path):
    props = metadata(input_size=[32, 48], resize="none")
    model = save_model(tmp_path / "m.onnx", props=props)
    with pytest.raises(PoolError, match="can score 0 of the 32 images"):
        lessons(teacher_of(model)[1], tmp_path, scenes(1, (40, 48)))
