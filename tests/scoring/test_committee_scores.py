"""Committees from images to stored rows."""

import math
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from deal import read_results
from deal.errors import OutputError, UsageError
from deal.kernel.regions import Grid
from deal.kernel.statistics import score_logits
from deal.run.pipeline import score_pool
from deal.scoring.scorer import Scorer
from deal.types import COMMITTEE_COLUMNS
from tests.helpers.models import metadata, save_model, scenes
from tests.helpers.runs import Deal, write_pool

VOTES, INFORMATION, CONSENSUS = COMMITTEE_COLUMNS


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("models")
    return [
        save_model(folder / f"{seed}.onnx", seed=seed, exact=True, props=metadata(), gain=0.02)
        for seed in range(3)
    ]


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    return write_pool(tmp_path / "pool", 6, name="{}.png")


def constant(path: Path, *bias: float) -> Path:
    """Write a network with these logits everywhere."""
    props = metadata(len(bias), classes=["road", "sky", "car"], difficulty_head=None)
    return save_model(path, num_classes=len(bias), gain=0, bias=bias, props=props)


def test_three_members_two_of_which_agree(tmp_path: Path) -> None:
    even, odd = (math.log(8), 0, 0), (0, math.log(8), 0)  # P = 0.8, 0.1, 0.1
    paths = [
        constant(tmp_path / f"{index}.onnx", *bias) for index, bias in enumerate((even, odd, even))
    ]
    with Scorer(paths, device="cpu") as scorer:
        columns = scorer.score(scenes(2))
    votes = -(2 / 3) * math.log(2 / 3) - (1 / 3) * math.log(1 / 3)
    mean = [(0.8 + 0.1 + 0.8) / 3, (0.1 + 0.8 + 0.1) / 3, 0.1]
    consensus = -sum(p * math.log(p) for p in mean)
    own = -0.8 * math.log(0.8) - 0.2 * math.log(0.1)
    for name, value in ((VOTES, votes), (CONSENSUS, consensus), (INFORMATION, consensus - own)):
        np.testing.assert_allclose(columns[name], [value] * 2, rtol=0, atol=1e-6, err_msg=name)
    np.testing.assert_allclose(columns["entropy_mean"], [own] * 2, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(columns["class_pixels"], [[48 * 64, 0, 0]] * 2)


def test_ties_of_members_go_to_the_lowest_class(tmp_path: Path) -> None:
    paths = [constant(tmp_path / "a.onnx", 1, 1, 0), constant(tmp_path / "b.onnx", 0, 1, 1)]
    with Scorer(paths, device="cpu") as scorer:
        votes = scorer.score(scenes(1))[VOTES]
    np.testing.assert_allclose(votes, [math.log(2)], rtol=0, atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"flip": True}])
def test_columns_are_those_of_the_stacked_logits_and_the_first_models_own(
    models: list[Path], options: dict[str, bool]
) -> None:
    image = scenes(1)[0]
    with (
        Scorer(models, device="cpu", regions=Grid(16), threads=1, **options) as scorer,
        Scorer(models[0], device="cpu", regions=Grid(16), threads=1) as alone,
    ):
        found, own = scorer._session.score_batch([image]), alone._session.score_batch([image])
        members = scorer._session._engine.infer(image[None]).members
        head = scorer.spec.difficulty_head
    assert len(members) == 3 * (1 + len(options))
    expected = score_logits(members, size=(48, 64), head=head, regions=Grid(16))
    for name in COMMITTEE_COLUMNS:
        np.testing.assert_array_equal(found.columns[name], expected.images[name], err_msg=name)
        np.testing.assert_array_equal(found.regions[name], expected.regions[name][0])
    assert found.columns[VOTES] > 0.1
    for mine, theirs in ((found.columns, own.columns), (found.regions, own.regions)):
        assert set(mine) - set(theirs) == set(COMMITTEE_COLUMNS)
        for name, values in theirs.items():
            assert mine[name].tobytes() == values.tobytes(), name


def test_members_that_are_one_model_agree(models: list[Path]) -> None:
    with Scorer([models[0]] * 3, device="cpu") as scorer:
        columns = scorer.score(scenes(2))
    np.testing.assert_array_equal(columns[VOTES], [0, 0])
    np.testing.assert_allclose(columns[INFORMATION], [0, 0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(columns[CONSENSUS], columns["entropy_mean"], rtol=0, atol=1e-6)


def test_an_image_has_the_same_votes_in_any_company(models: list[Path]) -> None:
    images = [*scenes(3), *scenes(2, (32, 40), seed=1)]
    with Scorer(models, device="cpu", flip=True) as scorer:
        together = scorer.score(images)
        backwards = scorer.score(images[::-1])
        alone = [scorer.score([image]) for image in images]
    for name in COMMITTEE_COLUMNS:
        np.testing.assert_allclose(backwards[name][::-1], together[name], rtol=0, atol=1e-5)
        np.testing.assert_allclose([row[name][0] for row in alone], together[name], atol=1e-5)


def test_a_member_with_nonfinite_logits_fails_the_image(models: list[Path], tmp_path: Path) -> None:
    blind = save_model(tmp_path / "nan.onnx", props=metadata(), nan_above=250)
    white = np.full((48, 64, 3), 255, np.uint8)
    with Scorer([models[0], blind], device="cpu") as scorer:
        columns = scorer.score([*scenes(1), white])
    assert columns["error_code"].tolist() == [None, "nonfinite"]
    assert np.isfinite(columns[VOTES]).tolist() == [True, False]


def test_maps_are_of_the_first_model_alone(models: list[Path]) -> None:
    with (
        Scorer(models, device="cpu", flip=True) as scorer,
        Scorer(models[0], device="cpu") as alone,
    ):
        del scorer._session._engine._engines[1:]
        found, expected = (s.difficulty_maps(scenes(1))[0] for s in (scorer, alone))
        np.testing.assert_array_equal(found, expected)


def stored(output: Path) -> dict[str, dict[str, object]]:
    rows = read_results([output]).to_pylist()
    return {row["id"]: {name: row[name] for name in COMMITTEE_COLUMNS} for row in rows}


def test_rows_do_not_depend_on_sessions_and_a_run_resumes(
    models: list[Path], pool: Path, tmp_path: Path
) -> None:
    last = (pool / "5.png").rename(tmp_path / "5.png")
    options = {"model": models, "acquisition": "vote-entropy", "threads": 1}
    assert score_pool(pool, output=tmp_path / "a", sessions=1, **options).scored == 5
    last.rename(pool / "5.png")
    report = score_pool(pool, output=tmp_path / "a", sessions=1, **options)
    assert (report.scored, report.skipped) == (1, 5)
    score_pool(pool, output=tmp_path / "b", sessions=3, **options)
    assert stored(tmp_path / "a") == stored(tmp_path / "b")
    first, second = (tmp_path / name / "selection.csv" for name in "ab")
    assert first.read_bytes() == second.read_bytes()
    scores = [row[INFORMATION] for row in stored(tmp_path / "a").values()]
    assert len(set(scores)) == 6


def test_what_votes_is_part_of_the_fingerprint_and_only_then(
    models: list[Path], pool: Path, tmp_path: Path
) -> None:
    masked = save_model(
        tmp_path / "masked.onnx",
        dropout=True,
        props=metadata(dropout=[{"input": "mask", "channels": 5, "rate": 0.5}]),
    )
    committees = [
        {"model": models[:2]},
        {"model": [models[0], models[2]]},
        {"model": models[:2], "flip": True},
        {"model": models[0], "flip": True},
        {"model": masked, "dropout_passes": 2},
        {"model": masked, "dropout_passes": 3},
        {"model": masked, "dropout_passes": 2, "dropout_seed": 1},
    ]
    settings = []
    for options in committees:
        with Scorer(device="cpu", **options) as scorer:
            settings.append(scorer._session.fingerprint_settings())
    assert len({str(each) for each in settings}) == len(committees)
    for options in ({"model": models[0]}, {"model": masked, "dropout_seed": 1}):
        with Scorer(device="cpu", **options) as scorer:
            assert "committee" not in scorer._session.fingerprint_settings()
    score_pool(pool, output=tmp_path / "out", model=models[0], acquisition="entropy")
    with pytest.raises(OutputError, match="committee"):
        score_pool(pool, output=tmp_path / "out", model=models[:2], acquisition="entropy")


def test_without_a_committee_its_columns_are_null_and_no_ranking(
    models: list[Path], pool: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="--model several times, --flip or --dropout-passes"):
        score_pool(pool, output=tmp_path / "out", model=models[0], acquisition="bald")
    assert not (tmp_path / "out").exists()
    score_pool(pool, output=tmp_path / "out", model=models[0])
    assert all(value is None for row in stored(tmp_path / "out").values() for value in row.values())


def test_the_command_line_makes_committees(
    deal: Deal,
    models: list[Path],
    pool: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base = ["score", pool, "--quiet", "--acquisition", "bald"]
    named = [word for model in models[:2] for word in ("--model", model)]
    regions = ["--regions", "grid:8", "--keep-regions", 2]
    assert deal(*base, *named, "--flip", *regions, "--output", tmp_path / "a")[0] == 0
    monkeypatch.setenv("DEAL_MODEL", f"{models[0]}:{models[1]}")
    assert deal(*base, "--flip", *regions, "--output", tmp_path / "b")[0] == 0
    assert stored(tmp_path / "a") == stored(tmp_path / "b")
    (part,) = (tmp_path / "a/regions").glob("*.parquet")
    kept = pq.read_table(part).to_pylist()
    assert len(kept) == 12
    assert all(row[INFORMATION] > 0 for row in kept)


def test_the_command_line_runs_dropout_passes(deal: Deal, pool: Path, tmp_path: Path) -> None:
    props = metadata(dropout=[{"input": "mask", "channels": 5, "rate": 0.5}])
    model = save_model(tmp_path / "m.onnx", dropout=True, exact=True, gain=0.02, props=props)
    base = ["score", pool, "--quiet", "--acquisition", "vote-entropy", "--model", model]
    codes = {
        name: deal(*base, "--dropout-passes", 4, *more, "--output", tmp_path / name)[0]
        for name, more in (("a", []), ("b", ["--sessions", 2]), ("c", ["--dropout-seed", 1]))
    }
    assert codes == {"a": 0, "b": 0, "c": 0}
    assert stored(tmp_path / "a") == stored(tmp_path / "b") != stored(tmp_path / "c")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "nowhere.onnx"], ["nowhere.onnx"]),
        (["--precision", "fp16"], ["leave out --precision"]),
        (["--dropout-passes", "2"], ["leave out the other models"]),
    ],
)
def test_a_bad_committee_is_one_line_before_work(
    deal: Deal,
    models: list[Path],
    pool: Path,
    tmp_path: Path,
    arguments: list[str],
    words: list[str],
) -> None:
    named = [word for model in models[:2] for word in ("--model", model)]
    code, _, stderr = deal("score", pool, *named, "--output", tmp_path / "out", *arguments)
    assert code in (1, 2)
    assert len(stderr.splitlines()) == 1
    assert all(word in stderr for word in words)
    assert not (tmp_path / "out").exists()
