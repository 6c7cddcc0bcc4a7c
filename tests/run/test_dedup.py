"""Near-duplicates: what is compared with what, and that no run loses an image by it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from deal import read_results, select
from deal.cli.score import command
from deal.errors import UsageError
from deal.pool.digests import digest
from deal.pool.locator import LocalFile
from deal.pool.signature import difference
from deal.run.dedup import DEDUP_THRESHOLD, Neighbours, parse_dedup
from deal.run.ledger import Ledger
from deal.run.pipeline import RunReport, score_pool
from deal.types import PoolItem
from tests.helpers.models import metadata, save_model, scenes

SIZE = (24, 32)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model") / "m.onnx", exact=True, props=metadata())


def write(path: Path, pixels: np.ndarray, level: int = 0) -> None:
    """A frame; ``level`` moves half of it by so many grey levels against the other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    moved = np.clip(pixels.astype(int), 40, 210)
    moved[:, : SIZE[1] // 2] += level
    Image.fromarray(moved.astype(np.uint8)).save(path)


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """Two drives: a0 ← a1 ← a2 | a3 ← a4, which is like a0 too | a5; b0 shows what a5 does."""
    views = scenes(3, SIZE)
    frames = [("a0", 0, 0), ("a1", 0, 2), ("a2", 0, 4), ("a3", 0, 20), ("a4", 0, 18)]
    frames += [("a5", 1, 0), ("b0", 1, 0), ("b1", 1, 1), ("b2", 2, 0)]
    for name, view, level in frames:
        write(tmp_path / "pool" / f"{name}.png", views[view], level)
    return tmp_path / "pool"


@pytest.fixture
def score(pool: Path, model: Path, tmp_path: Path) -> Callable[..., RunReport]:
    def run(name: str = "out", **options: Any) -> RunReport:
        options = {"dedup": 3.0, "sequence_from": "^(.)", "model": model, **options}
        return score_pool(pool, output=tmp_path / name, **options)

    return run


def decisions(output: Path) -> dict[str, str | None]:
    """Id → what it repeats; ``error`` for failures."""
    rows = read_results([output], ["id", "status", "duplicate_of"]).to_pylist()
    assert all((row["status"] == "duplicate") == bool(row["duplicate_of"]) for row in rows)
    assert len({row["id"] for row in rows}) == len(rows)
    return {
        row["id"][:2]: "error" if row["status"] == "error" else (row["duplicate_of"] or "")[:2]
        for row in rows
    }


FOUND = {
    **{"a0": "", "a1": "a0", "a2": "a0", "a3": "", "a4": "a3", "a5": ""},
    **{"b0": "", "b1": "b0", "b2": ""},
}


@pytest.mark.parametrize(
    ("value", "expected"), [(None, None), (False, None), (True, 2.0), ("4.5", 4.5), (0, 0.0)]
)
def test_a_bare_dedup_has_the_default_threshold(value: Any, expected: float | None) -> None:
    assert parse_dedup(value) == expected


@pytest.mark.parametrize("value", ["pool", "-1", "256", "nan"])
def test_what_is_no_threshold_is_refused_with_the_remedy(value: str) -> None:
    with pytest.raises(UsageError, match="give a number, such as --dedup="):
        parse_dedup(value)


def test_frames_are_compared_with_the_last_one_kept_of_their_sequence(
    score: Callable[..., RunReport], tmp_path: Path
) -> None:
    report = score()
    assert decisions(tmp_path / "out") == FOUND
    assert (report.scored, report.duplicates, report.exit_code) == (5, 4, 0)
    rows = {row["id"]: row for row in read_results([tmp_path / "out"]).to_pylist()}
    assert (rows["a1.png"]["width"], rows["a1.png"]["sequence"]) == (32, "a")
    assert rows["a1.png"]["entropy_mean"] is None
    record = json.loads((tmp_path / "out/runs/0-of-1.json").read_text(encoding="utf-8"))
    assert record["counts"]["duplicates"] == 4


@pytest.mark.parametrize(
    "options", [{"sessions": 3}, {"decode_threads": 4}, {"batch_size": 3}, {"batch_size": 64}]
)
def test_threads_sessions_and_batches_change_no_decision(
    score: Callable[..., RunReport], tmp_path: Path, options: dict[str, int]
) -> None:
    score(**options)
    assert decisions(tmp_path / "out") == FOUND


def test_without_sequences_neighbours_share_a_folder_and_always_a_camera(
    score: Callable[..., RunReport], pool: Path, model: Path, tmp_path: Path
) -> None:
    score("folder", sequence_from=None)
    assert decisions(tmp_path / "folder") == {**FOUND, "b0": "a5", "b1": "a5"}
    lines = ["uri,camera", "a0.png,left", "a1.png,right", "a2.png,left", "b0.png,", "b1.png,"]
    (pool / "list.csv").write_text("\n".join(lines), encoding="utf-8")
    score_pool(pool / "list.csv", model=model, output=tmp_path / "csv", dedup=3)
    found = {"a0": "", "a1": "", "a2": "a0", "b0": "", "b1": "b0"}
    assert decisions(tmp_path / "csv") == found


@pytest.mark.parametrize("stop", range(1, 9))
def test_an_interrupted_run_goes_on_to_the_same_decisions(
    score: Callable[..., RunReport],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stop: int,
) -> None:
    class StoppedError(Exception):
        pass

    store = Ledger.store

    def stopping(self: Ledger, outcome: Any) -> None:
        if self.scored + self.duplicates >= stop:
            raise StoppedError
        store(self, outcome)

    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "store", stopping)
        with pytest.raises(StoppedError):
            score(sessions=2)
    report = score()
    assert report.skipped == stop
    assert report.skipped + report.scored + report.duplicates == 9
    assert decisions(tmp_path / "out") == FOUND


def test_a_second_run_decodes_nothing_anew(
    score: Callable[..., RunReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    score()
    monkeypatch.setattr("deal.run.steps.decode", lambda *_, **__: pytest.fail("decoded again"))
    assert (score().skipped, score().duplicates) == (9, 0)


def test_duplicates_of_a_frame_that_fails_are_scored_themselves(pool: Path, tmp_path: Path) -> None:
    bright = np.asarray(Image.open(pool / "a3.png")) + np.uint8(45)
    Image.fromarray(bright).save(pool / "a3.png")
    image = np.asarray(Image.open(pool / "a4.png"))
    limit = (float(image.mean()) + float(bright.mean())) / 2
    model = save_model(tmp_path / "nan.onnx", nan_above=limit, props=metadata())
    run = {"model": model, "output": tmp_path / "out", "dedup": 3, "sequence_from": "^(.)"}
    report = score_pool(pool, **run, sessions=2)
    expected = {**FOUND, "a3": "error", "a4": ""}
    assert decisions(tmp_path / "out") == expected
    assert (report.scored, report.duplicates, report.errors) == (5, 3, {"nonfinite": 1})
    # a3 is tried again, and what was scored in its stead stays
    report = score_pool(pool, **run)
    assert (report.skipped, report.errors) == (8, {"nonfinite": 1})
    assert decisions(tmp_path / "out") == expected


def test_duplicates_are_decided_anew_when_their_frame_changes_or_goes(
    score: Callable[..., RunReport], pool: Path, tmp_path: Path
) -> None:
    score()
    write(pool / "a0.png", scenes(3, SIZE)[2])
    report = score()
    assert decisions(tmp_path / "out") == {**FOUND, "a1": "", "a2": "a1"}
    assert (report.skipped, report.scored, report.duplicates) == (6, 2, 1)
    (pool / "a0.png").write_bytes(b"damaged")
    (pool / "a3.png").unlink()
    report = score()
    assert decisions(tmp_path / "out") == {**FOUND, "a0": "error", "a1": "", "a2": "a1", "a4": ""}
    assert (report.scored, report.errors) == (1, {"decode": 1})


@pytest.mark.parametrize("acquisition", ["ds", "de", "random", "entropy", "core-set"])
def test_no_acquisition_function_selects_a_duplicate(
    score: Callable[..., RunReport], tmp_path: Path, acquisition: str
) -> None:
    score()
    selection = select([tmp_path / "out"], acquisition=acquisition, seed=3)
    assert sorted(item[:2] for item in selection.ids) == ["a0", "a3", "a5", "b0", "b2"]


def test_the_threshold_belongs_to_the_fingerprint(score: Callable[..., RunReport]) -> None:
    score()
    with pytest.raises(Exception, match="dedup"):
        score(dedup=2.0)
    with pytest.raises(Exception, match="→ absent"):
        score(dedup=None)


def test_shards_are_refused(score: Callable[..., RunReport]) -> None:
    with pytest.raises(UsageError, match="--dedup compares neighbours"):
        score(shard="0/2")


frames = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 12)), min_size=1, max_size=14)


@settings(deadline=None)
@given(frames=frames, stored=st.sets(st.integers(0, 13)), failing=st.sets(st.integers(0, 13)))
def test_what_is_stored_when_a_run_ends_changes_no_later_decision(
    frames: list[tuple[str, int]], stored: set[int], failing: set[int]
) -> None:
    """Frames are grey steps; ``failing`` fail in the network whenever they get there."""
    items = [
        PoolItem(f"{i:02}", "", LocalFile(""), "", sequence=sequence)
        for i, (sequence, _) in enumerate(frames)
    ]
    smalls = {item.id: _step(level) for item, (_, level) in zip(items, frames, strict=True)}

    def run(before: dict[str, str | None]) -> dict[str, str | None]:
        """Id → the kept frame it repeats, None if scored; without those that fail."""
        neighbours = Neighbours(2.0, lambda item: smalls[item.id])
        leaders: dict[str, str | None] = {}
        for item in items:
            leader = before.get(item.id)
            seen = None if leader is None else digest(leader)
            if item.id in before and neighbours.holds(item, seen):
                leaders[item.id] = leader
            else:
                leaders[item.id] = neighbours.duplicate_of(item, smalls[item.id])
        failed = {items[i].id for i in failing if i < len(items)}
        return {
            name: None if leader in failed else leader
            for name, leader in leaders.items()
            if not (name in failed and (leader is None or leader in failed))
        }

    whole = run({})
    kept = {items[i].id for i in stored if i < len(items)}
    # a duplicate is only stored once its frame is
    part = {n: v for n, v in whole.items() if n in kept and (v is None or v in kept)}
    assert run(part) == whole
    for name, leader in whole.items():
        assert leader is None or whole[leader] is None
        if leader is not None:
            assert difference(smalls[name], smalls[leader]) <= 2


def _step(level: int) -> np.ndarray:
    small = np.zeros((12, 16), np.uint8)
    small[:, :8] = 2 * level
    return small


@pytest.mark.parametrize(("option", "duplicates"), [("--dedup=8", 4), ("--dedup", 4), ("-q", 0)])
def test_the_option_takes_its_threshold_or_none(
    pool: Path, model: Path, tmp_path: Path, option: str, duplicates: int
) -> None:
    arguments = [str(pool), "--model", str(model), "-o", str(tmp_path / "out"), "--json", "--top=0"]
    done = CliRunner().invoke(command, [*arguments, "--sequence-from", "^(.)", option])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["duplicates"] == duplicates
    record = json.loads((tmp_path / "out/runs/0-of-1.json").read_text(encoding="utf-8"))
    threshold = {"--dedup=8": 8, "--dedup": DEDUP_THRESHOLD, "-q": None}[option]
    assert record["settings"]["dedup"] == threshold


def test_a_bare_option_before_the_pool_is_told_apart(pool: Path, model: Path) -> None:
    with pytest.raises(UsageError, match="--dedup without a number last"):
        command.main(
            ["--dedup", str(pool), "--model", str(model), "-o", "x"], standalone_mode=False
        )
