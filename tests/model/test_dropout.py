import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deal.engines import open_engine
from deal.errors import ModelError, UsageError
from deal.model.dropout import DropoutLayer, draw_masks, keep_all
from deal.model.spec import read_spec
from deal.scoring.committee import Committee, Members
from deal.scoring.options import Voting
from tests.helpers.models import metadata, save_model, scenes

LAYERS = (DropoutLayer("a", 64, 0.5), DropoutLayer("b", 64, 0.1), DropoutLayer("c", 64, 0.5))
MASK = {"input": "mask", "channels": 5, "rate": 0.5}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A network whose five logits are multiplied by the mask."""
    path = tmp_path_factory.mktemp("dropout") / "m.onnx"
    return save_model(path, dropout=True, props=metadata(dropout=[MASK]))


def passes(path, count, seed=0):
    return Committee(Members((path,), dropout_passes=count, dropout_seed=seed), device="cpu")


def test_masks_are_one_scaled_channel_each():
    masks = draw_masks(LAYERS, seed=3, index=1)
    assert [(mask.shape, mask.dtype) for mask in masks] == [((1, 64, 1, 1), np.float32)] * 3
    for layer, mask in zip(LAYERS, masks, strict=True):
        assert set(np.unique(mask)) == {np.float32(0), np.float32(1 / (1 - layer.rate))}
    assert all((mask == 1).all() for mask in keep_all(LAYERS))


def test_masks_repeat_and_differ_by_seed_pass_and_layer():
    drawn = [
        mask.tobytes()
        for seed in (0, 1, 2**63 - 1)
        for index in (1, 2)
        for mask in draw_masks((LAYERS[0], LAYERS[2]), seed, index)
    ]
    assert len(set(drawn)) == len(drawn) == 12
    assert all(map(np.array_equal, draw_masks(LAYERS, 0, 1), draw_masks(LAYERS, 0, 1)))


def philox(counter, key):
    """One block of Philox4x64-10 (Salmon et al., SC 2011): four 64-bit words."""
    word = 2**64 - 1
    a, b, c, d = counter
    first, second = key
    for _ in range(10):
        left, right = 0xD2E7470EE14C6C93 * a, 0xCA5A826395121157 * c
        a, b, c, d = right >> 64 ^ b ^ first, right & word, left >> 64 ^ d ^ second, left & word
        first, second = (first + 0x9E3779B97F4A7C15) & word, (second + 0xBB67AE8584CAA73B) & word
    return a, b, c, d


@pytest.mark.parametrize(("seed", "index"), [(0, 1), (12345, 7)])
def test_masks_are_philox_of_seed_pass_and_layer(seed, index):
    for number, (layer, mask) in enumerate(
        zip(LAYERS, draw_masks(LAYERS, seed, index), strict=True)
    ):
        blocks = range(1, 1 + layer.channels // 4)
        words = [w for block in blocks for w in philox((block, 0, number, index), (seed, 0))]
        assert (mask.ravel() > 0).tolist() == [w >= int(layer.rate * 2**64) for w in words]


@settings(deadline=None, max_examples=20)
@given(rate=st.floats(0.01, 0.99), seed=st.integers(0, 2**63 - 1))
def test_channels_are_dropped_at_the_rate_of_the_layer(rate, seed):
    (mask,) = draw_masks((DropoutLayer("a", 20_000, rate),), seed, 1)
    assert (mask == 0).mean() == pytest.approx(rate, abs=0.02)
    assert mask.mean() == pytest.approx(1, abs=0.02 / (1 - rate))


def test_nothing_is_dropped_unless_asked(path, tmp_path):
    plain = save_model(tmp_path / "plain.onnx", props=metadata())
    images = np.stack(scenes(2))
    expected = open_engine(plain, device="cpu").infer(images).logits
    for found in (open_engine(path, device="cpu"), passes(path, 3)):
        np.testing.assert_allclose(found.infer(images).logits, expected, rtol=0, atol=1e-4)


def test_passes_are_the_network_under_the_drawn_masks(path):
    images = np.stack(scenes(2))
    members = passes(path, 4, seed=5).infer(images).members
    layers = read_spec(path).dropout
    assert members.shape == (5, 2, 5, 12, 16)
    for index in range(1, 5):
        (mask,) = draw_masks(layers, 5, index)
        np.testing.assert_allclose(members[index], members[0] * mask, rtol=0, atol=1e-4)


def test_passes_do_not_depend_on_batch_or_how_many_there_are(path):
    images = np.stack(scenes(3))
    together = passes(path, 3).infer(images).members
    for row in range(3):
        alone = passes(path, 2).again().infer(images[row : row + 1]).members
        np.testing.assert_allclose(alone[:, 0], together[:3, row], rtol=0, atol=1e-4)


def test_passes_of_a_model_without_masks_name_the_export(tmp_path):
    plain = save_model(tmp_path / "plain.onnx", props=metadata())
    with pytest.raises(ModelError, match=r"plain\.onnx has no inputs .* deal export --dropout"):
        passes(plain, 1)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"model": ["a", "b"], "dropout_passes": 2}, "leave out the other models, or --dropout-p"),
        ({"model": "a", "flip": True, "dropout_passes": 2}, "leave out --flip, or --dropout-pass"),
        ({"model": "a", "dropout_passes": -1}, "dropout_passes must be at least 0, not -1"),
        ({"model": "a", "dropout_passes": 64}, "committee of 65 members: at most 64"),
        ({"model": "a", "dropout_seed": -1}, "dropout_seed must be in"),
        ({"model": "a", "dropout_seed": 2**63}, "dropout_seed must be in"),
    ],
)
def test_what_does_not_go_together_is_a_usage_error(members, message):
    with pytest.raises(UsageError, match=message):
        Members.of(members.pop("model"), Voting(**members))


@pytest.mark.parametrize(
    ("dropout", "message"),
    [
        ([{**MASK, "channels": 4}], r"names the input 'mask' \(float32 \[1,4,1,1\]\)"),
        ([{**MASK, "input": "other"}], r"names the input 'other' .* --dropout"),
        ([], "has the inputs"),
        ([{**MASK, "rate": 1.0}], "rate"),
        ([{**MASK, "rate": "half"}], "rate"),
        ([{**MASK, "channels": 0}], "at least 1"),
        ([{"input": "mask"}], "rate"),
        ({"mask": 0.5}, "a list of"),
    ],
)
def test_metadata_that_does_not_fit_the_graph_is_a_model_error(tmp_path, dropout, message):
    path = save_model(tmp_path / "m.onnx", dropout=True, props=metadata(dropout=dropout))
    with pytest.raises(ModelError, match=message):
        read_spec(path)


def test_a_foreign_graph_can_say_its_masks_in_a_side_car_or_an_option(tmp_path):
    path = save_model(tmp_path / "m.onnx", dropout=True, props=metadata())
    assert read_spec(path, {"dropout": [MASK]}).dropout == (DropoutLayer("mask", 5, 0.5),)
