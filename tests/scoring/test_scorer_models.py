"""What a model says of itself decides what a scorer makes of it: models of others, difficulty."""

import json

import numpy as np
import pytest

from deal.errors import ModelError, UsageError
from deal.model.head import DifficultyHead
from deal.scoring.scorer import Scorer
from tests.helpers.models import HEAD, MEAN, STD, metadata, save_model, scenes
from tests.oracle import reference

MEANS = ("difficulty_mean", "entropy_mean", "margin_mean", "difficulty_weighted_entropy_mean")
FOREIGN = {"classes": 5, "mean": list(MEAN), "std": list(STD), "difficulty_head": HEAD}


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ({"floating": True, "output": "output"}, {}),
        ({"floating": True, "kind": "softmax"}, {"output_kind": "probabilities"}),
        ({"bgr": True}, {"input_format": "bgr8", "mean": None, "std": None}),
        ({"batch": 2}, {"mean": None, "std": None}),
        ({"size": (48, 64), "extra_outputs": ["aux"]}, {"mean": None, "std": None}),
    ],
    ids=["float NCHW", "probabilities", "bgr", "fixed batch", "auxiliary output"],
)
@pytest.mark.parametrize("align_corners", [True, False])
def test_other_peoples_models_score_as_the_same_network_exported(
    tmp_path, path, model, options, align_corners
):
    images = scenes(5)
    with Scorer(path, model_options={"align_corners": align_corners}) as own:
        expected = own.score(images)
    foreign = save_model(tmp_path / "foreign.onnx", **model)
    car = FOREIGN | {"align_corners": align_corners} | options
    (tmp_path / "foreign.json").write_text(json.dumps(car))
    with Scorer(foreign) as other:
        columns = other.score(images)
    for name in MEANS:
        np.testing.assert_allclose(columns[name], expected[name], rtol=0, atol=1e-5)
    flips = np.abs(columns["class_pixels"] - expected["class_pixels"]).sum()
    assert flips <= 2, "hardly any pixel may change its class"


def test_align_corners_changes_the_numbers(path):
    images = scenes(1)
    with Scorer(path) as corners, Scorer(path, model_options={"align_corners": False}) as half:
        difference = corners.score(images)["entropy_mean"] - half.score(images)["entropy_mean"]
    assert abs(difference[0]) > 1e-4


def test_a_sigmoid_scores_as_the_softmax_of_zero_and_z(tmp_path):
    path = save_model(tmp_path / "m.onnx", num_classes=1)
    baked = save_model(tmp_path / "b.onnx", num_classes=1, kind="sigmoid")
    options = {"classes": ["other", "road"], "activation": "sigmoid", "align_corners": True}
    images = scenes(2)
    with Scorer(path, model_options=options) as plain:
        columns = plain.score(images)
        z = plain._session._engine.infer(np.stack(images)).logits
    expected = reference.statistics(z, size=(48, 64), align_corners=True).images
    np.testing.assert_allclose(columns["entropy_mean"], expected["entropy_mean"], rtol=0, atol=1e-5)
    assert not columns.keys() & {"difficulty_mean", "difficulty_hist"}
    with Scorer(baked, model_options=options | {"output_kind": "probabilities"}) as other:
        again = other.score(images)
    np.testing.assert_allclose(columns["entropy_mean"], again["entropy_mean"], rtol=0, atol=1e-5)


def test_the_option_wins_over_the_graph_and_the_graph_over_metadata(tmp_path):
    image = scenes(1)
    path = save_model(tmp_path / "m.onnx", difficulty=True, props=metadata())
    plain = save_model(tmp_path / "n.onnx", props=metadata())
    head = DifficultyHead(gamma=0.1, weight=[1, 2, 3, 4, 5], bias=-3)
    (tmp_path / "head.json").write_text(json.dumps(head.to_dict()))
    with Scorer(path) as graph, Scorer(path, difficulty_head=head) as option:
        by_graph, by_option = (scorer.score(image)["difficulty_mean"] for scorer in (graph, option))
        z = graph._session._engine.infer(image[0][None])
        sigmoid = reference.difficulty_map(z.difficulty[:, 0], (48, 64), True)
        np.testing.assert_allclose(by_graph, sigmoid.mean(), rtol=0, atol=1e-5)
        np.testing.assert_allclose(graph.difficulty_maps(image)[0], sigmoid[0], rtol=0, atol=1e-5)
        assert graph._session.fingerprint_settings()["difficulty"] == "graph"
        assert option._session.fingerprint_settings()["difficulty"] == head.to_dict()
    with Scorer(plain, difficulty_head=tmp_path / "head.json") as by_file, Scorer(plain) as own:
        np.testing.assert_array_equal(by_file.score(image)["difficulty_mean"], by_option)
        by_metadata = own.score(image)["difficulty_mean"]
    assert len({float(found[0]) for found in (by_graph, by_option, by_metadata)}) == 3


def test_a_head_for_other_classes_is_refused(path):
    with pytest.raises(ModelError, match=r"2 weights.*5 classes: give a head that was fitted"):
        Scorer(path, difficulty_head=DifficultyHead(0.1, [1, 2], 0))


def test_without_difficulty_its_columns_are_absent(path):
    with Scorer(path, model_options={"difficulty_head": None}) as scorer:
        assert not scorer.has_difficulty
        assert not [name for name in scorer.score(scenes(1)) if "difficulty" in name]
        with pytest.raises(UsageError, match="deal fit-head"):
            scorer.difficulty_maps(scenes(1))


def test_difficulty_maps_are_the_oracles(scorer):
    image = scenes(1, (40, 56))[0]
    logits = scorer._session._engine.infer(image[None]).logits
    grid = reference.difficulty_grid(logits, DifficultyHead.from_dict(HEAD), True)
    found = scorer.difficulty_maps([image])[0]
    assert found.dtype == np.float32
    expected = reference.difficulty_map(grid, (40, 56), True)[0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_embeddings_are_a_column(tmp_path):
    path = save_model(tmp_path / "m.onnx", embedding=True, props=metadata())
    images = scenes(2)
    with Scorer(path) as scorer:
        columns = scorer.score([*images, *scenes(1, (32, 40))])
        z = scorer._session._engine.infer(np.stack(images)).logits
    assert columns["embedding"].dtype == np.float32
    assert columns["embedding"].shape == (3, 5)
    np.testing.assert_allclose(columns["embedding"][:2], z.mean(axis=(2, 3)), rtol=0, atol=1e-5)
