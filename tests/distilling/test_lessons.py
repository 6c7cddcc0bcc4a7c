"""What a small network is to learn is what the model says of the image, and of nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from deal.distilling.lessons import Teacher
from deal.engines import open_engine
from deal.errors import ModelError, PoolError
from deal.fitting.pixels import softmax
from deal.kernel.statistics import difficulty_map
from deal.model.spec import choose_difficulty
from tests.helpers.models import metadata, save_model, scenes


def teacher_of(path, **options):
    engine = open_engine(path, threads=1, options=options or None)
    head, _ = choose_difficulty(engine.spec, None)
    return engine, Teacher(engine, head, 1)


def lessons(teacher, images, *, input_size=(16, 24), map_size=(4, 6)):
    return teacher.lessons(images, input_size, map_size, lambda: None)


def test_maps_are_means_of_the_models_probabilities_and_difficulty(tmp_path):
    model = save_model(tmp_path / "m.onnx", props=metadata(input_size=[32, 48]))
    engine, teacher = teacher_of(model)
    images = scenes(2, (32, 48))
    found = lessons(teacher, images)
    assert found.images.shape == (2, 16, 24, 3)
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
    np.testing.assert_allclose(lessons(teacher, [image]).difficulty[0], blocks, atol=1e-3)


def test_without_difficulty_there_is_none_to_learn(tmp_path):
    props = metadata(input_size=[32, 48], difficulty_head=None)
    _, teacher = teacher_of(save_model(tmp_path / "m.onnx", props=props))
    assert not teacher.has_difficulty
    assert lessons(teacher, scenes(1, (32, 48))).difficulty is None


@pytest.mark.parametrize("map_size", [(3, 5), (8, 12), (16, 24), (1, 1)])
def test_probabilities_of_any_size_sum_to_one(tmp_path, map_size):
    model = save_model(tmp_path / "m.onnx", props=metadata(input_size=[32, 48]))
    found = lessons(teacher_of(model)[1], scenes(1, (32, 48)), map_size=map_size)
    assert found.probabilities.shape == (1, 5, *map_size)
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
    found = lessons(teacher, [image], input_size=(24, 24), map_size=(6, 6))
    np.testing.assert_allclose(found.probabilities[0], expected, atol=1e-3)


def test_outputs_that_are_no_numbers_are_refused(tmp_path):
    props = metadata(input_size=[32, 48])
    model = save_model(tmp_path / "m.onnx", nan_above=100, props=props)
    white = np.full((32, 48, 3), 255, np.uint8)
    with pytest.raises(ModelError, match=r"m\.onnx: its outputs are NaN"):
        lessons(teacher_of(model)[1], [white])


def test_images_that_the_model_cannot_take_are_an_error(tmp_path):
    props = metadata(input_size=[32, 48], resize="none")
    model = save_model(tmp_path / "m.onnx", props=props)
    with pytest.raises(PoolError, match="32×48"):
        lessons(teacher_of(model)[1], scenes(1, (40, 48)))


def test_nothing_to_learn_from_is_an_error(tmp_path):
    model = save_model(tmp_path / "m.onnx", props=metadata(input_size=[32, 48]))
    with pytest.raises(PoolError, match="none of the images"):
        lessons(teacher_of(model)[1], [])
