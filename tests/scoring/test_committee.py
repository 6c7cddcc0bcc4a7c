import numpy as np
import pytest

from deal.engines import open_engine
from deal.errors import ModelError, UsageError
from deal.kernel.statistics import difficulty_map
from deal.model.head import DifficultyHead
from deal.scoring.committee import Committee, Members
from deal.scoring.options import Voting
from tests.helpers.models import CLASSES, metadata, save_model, scenes
from tests.oracle import reference


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Networks of the same classes and other weights; ``c`` takes normalised float16."""
    path = tmp_path_factory.mktemp("committee")
    for seed, name in enumerate("ab"):
        save_model(path / f"{name}.onnx", seed=seed, props=metadata())
    floating = metadata(input_format="float-rgb", mean=[0.4, 0.5, 0.6], std=[0.2, 0.3, 0.4])
    save_model(path / "c.onnx", floating=True, half=True, seed=2, props=floating)
    return path


def committee(folder, names, options=None, **members):
    paths = [folder / f"{name}.onnx" for name in names]
    return Committee(Members.of(paths, Voting(**members)), device="cpu", threads=1, options=options)


def logits(folder, name, images):
    return open_engine(folder / f"{name}.onnx", device="cpu", threads=1).infer(images).logits


def test_one_model_is_run_as_it_is(folder):
    images = np.stack(scenes(2))
    alone = committee(folder, "a")
    output = alone.infer(images)
    assert (alone.size, output.members) == (1, None)
    np.testing.assert_array_equal(output.logits, logits(folder, "a", images))


def test_members_are_the_logits_of_each_model_by_its_own_normalisation(folder):
    images = np.stack(scenes(2))
    output = committee(folder, "abc").infer(images)
    assert output.members.shape == (3, 2, 5, 12, 16)
    assert output.members.dtype == np.float32  # c's float16 come without a change
    for name, found in zip("abc", output.members, strict=True):
        np.testing.assert_array_equal(found, logits(folder, name, images))
    np.testing.assert_array_equal(output.logits, output.members[0])


def test_a_mirrored_pass_is_a_member_mirrored_back(folder):
    images = np.stack(scenes(2))
    flipped = committee(folder, "ab", flip=True)
    members = flipped.infer(images).members
    assert flipped.size == len(members) == 4
    for model, name in enumerate("ab"):
        np.testing.assert_array_equal(members[model], logits(folder, name, images))
        mirrored = np.ascontiguousarray(images[:, :, ::-1])
        expected = logits(folder, name, mirrored)[..., ::-1]
        np.testing.assert_array_equal(members[2 + model], expected)
    assert np.abs(members[0] - members[2]).max() > 0.1


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("grid", [(3, 4), (5, 7), (1, 1), (20, 30)])
def test_resizing_commutes_with_mirroring(grid, align_corners):
    maps = np.random.default_rng(0).normal(size=(2, *grid))
    for size in ((12, 16), (11, 17)):
        there = reference.resize(maps[..., ::-1], size, align_corners)[..., ::-1]
        straight = reference.resize(maps, size, align_corners)
        np.testing.assert_allclose(there, straight, rtol=0, atol=1e-12)


@pytest.mark.parametrize("align_corners", [True, False])
def test_the_kernel_takes_logits_that_are_mirrored_back_without_a_copy(align_corners):
    maps = np.random.default_rng(0).normal(size=(1, 4, 6, 9)).astype(np.float32)
    head = DifficultyHead(gamma=0.7, weight=(1.0, -1.0, 0.5, 0.0), bias=0.1, grid=None)
    straight, mirrored = (
        difficulty_map(logits, head, size=(24, 35), align_corners=align_corners)
        for logits in (maps, maps[..., ::-1])
    )
    np.testing.assert_allclose(mirrored[..., ::-1], straight, rtol=0, atol=1e-5)


def test_a_committee_opened_again_gives_the_same(folder):
    images = np.stack(scenes(1))
    first = committee(folder, "ab", flip=True)
    np.testing.assert_array_equal(first.again().infer(images).members, first.infer(images).members)


def test_no_model_is_a_usage_error():
    with pytest.raises(UsageError, match="no model"):
        Members.of([])


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (("road", "sky", "bus", "pole", "sign"), "class 2 is 'car' in the first and 'bus' in the"),
        (("road", "sky", "car", "pole"), r"class 4 is 'sign' .* missing .*\(5 and 4 classes\)"),
        ((*CLASSES, "fence"), r"class 5 is missing .* 'fence' .*\(5 and 6 classes\)"),
    ],
)
def test_models_of_other_classes_cannot_vote_together(folder, tmp_path, classes, message):
    props = metadata(len(classes), classes=list(classes), difficulty_head=None)
    other = save_model(tmp_path / "other.onnx", num_classes=len(classes), props=props)
    with pytest.raises(ModelError, match=message) as error:
        Committee(Members((folder / "a.onnx", other)), device="cpu")
    assert "same classes in the same order" in str(error.value)
    if len(classes) == 5:  # only a name differs, and an option names them for all
        names = {"classes": list(CLASSES)}
        Committee(Members((folder / "a.onnx", other)), device="cpu", options=names)


def test_logits_on_another_grid_are_refused_and_both_grids_named(folder, tmp_path):
    other = save_model(tmp_path / "other.onnx", stride=8, props=metadata())
    with pytest.raises(ModelError, match=r"a\.onnx gives 32×32, .*other\.onnx 16×16 .*stride"):
        Committee(Members((folder / "a.onnx", other)), device="cpu")


def test_grids_that_differ_only_for_some_sizes_are_refused_when_one_comes(folder, tmp_path):
    other = save_model(tmp_path / "other.onnx", pad=3, props=metadata())
    together = Committee(Members((folder / "a.onnx", other)), device="cpu")
    assert together.infer(np.zeros((1, 48, 64, 3), np.uint8)).members.shape[3:] == (12, 16)
    with pytest.raises(ModelError, match=r"12×16, .* 13×16 \(h×w\) for an input of 50×64"):
        together.infer(np.zeros((1, 50, 64, 3), np.uint8))


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ({}, {"align_corners": False}, "align_corners is True in the first and False"),
        ({}, {"input_size": [48, 64]}, r"takes any size \(H×W\), the second 48×64"),
        ({"input_size": [48, 64]}, {"input_size": [64, 64]}, "takes 48×64 .*, the second 64×64"),
        ({"size_multiple": 8}, {"size_multiple": 32}, "multiples of 8, the second multiples of 32"),
        ({"input_size": [48, 64]}, {"size_multiple": 32}, "takes 48×64, the second multiples of"),
    ],
)
def test_conventions_that_differ_are_refused_with_the_option_to_set(
    tmp_path, first, second, message
):
    paths = [
        save_model(tmp_path / f"{index}.onnx", props=metadata(**props))
        for index, props in enumerate((first, second))
    ]
    with pytest.raises(ModelError, match=f"{message}.* model option"):
        Committee(Members(tuple(paths)), device="cpu")


def test_sizes_that_both_take_are_fine(tmp_path):
    props = [{"input_size": [48, 64]}, {"size_multiple": 16}, {"input_size": [48, 64]}]
    paths = [
        save_model(tmp_path / f"{index}.onnx", props=metadata(**each))
        for index, each in enumerate(props)
    ]
    together = Committee(Members(tuple(paths)), device="cpu")
    assert together.infer(np.stack(scenes(1))).members.shape == (3, 1, 5, 12, 16)
    assert together.spec.input_size == (48, 64)


def test_a_missing_member_is_named(folder, tmp_path):
    with pytest.raises(ModelError, match=r"nowhere\.onnx: No such file"):
        Committee(Members((folder / "a.onnx", tmp_path / "nowhere.onnx")), device="cpu")


def test_a_model_may_vote_twice(folder):
    members = committee(folder, "aa").infer(np.stack(scenes(1))).members
    np.testing.assert_array_equal(members[0], members[1])
