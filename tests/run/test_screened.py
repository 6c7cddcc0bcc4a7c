"""Runs that screen: what is scored exactly, what is skipped, and what such results can answer."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deal import acquisition_scores, read_results, select
from deal.errors import ModelError, UsageError
from deal.pool.fetch import Fetcher
from deal.run.pipeline import score_pool
from deal.run.progress import InterruptedRunError, Progress, RunReport
from deal.run.workers import Line
from deal.selection.ranking import Ranking
from deal.selection.screened import is_bounded
from tests.helpers.models import metadata, save_model
from tests.helpers.runs import Deal, rows, write_pool

COUNT = 160
LOOSE: dict[str, Any] = {"budget": "5%", "spread": "off", "screen_keep": 0.5}


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pool(tmp_path_factory.mktemp("screened") / "pool", COUNT, (32, 48))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    return save_model(path, props=metadata(input_size=[32, 48]))


@pytest.fixture(scope="module")
def whole(pool: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pool, scored exactly."""
    output = tmp_path_factory.mktemp("whole") / "out"
    score_pool(pool, model=model, output=output)
    return output


@pytest.fixture(scope="module")
def screened(pool: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> RunReport:
    """The report of a run with screening; tests only read its output."""
    output = tmp_path_factory.mktemp("once") / "out"
    return score_pool(pool, model=model, output=output, screen="0.5", **LOOSE)


@pytest.fixture
def copied(screened: RunReport, tmp_path: Path) -> Path:
    """Its output once more, to change."""
    return Path(shutil.copytree(screened.output, tmp_path / "out"))


def exact_scores(output: Path, acquisition: str = "ds") -> dict[str, float]:
    table = read_results(output, status="ok")
    values = acquisition_scores(table, acquisition)
    return dict(zip(table.column("id").to_pylist(), values.tolist(), strict=True))


def statistics(output: Path) -> dict[str, dict[str, Any]]:
    return {item_id: row for item_id, row in rows(output).items() if row["status"] == "ok"}


def test_picks_are_exact_and_reach_what_is_promised(whole: Path, screened: RunReport) -> None:
    report = screened
    stored, scores = rows(report.output), exact_scores(whole)
    assert len(stored) == COUNT
    assert all(stored[item_id]["status"] == "ok" for item_id in report.selection.ids)
    best = sorted(scores.values(), reverse=True)[: len(report.selection)]
    share = sum(scores[item_id] for item_id in report.selection.ids) / sum(best)
    assert report.screen is not None
    assert share >= report.screen.kept >= 0.5
    assert len(report.selection) == COUNT // 20


def test_exact_rows_have_the_bits_of_a_run_without_screening(
    whole: Path, screened: RunReport
) -> None:
    exact, all_rows = statistics(screened.output), rows(whole)
    assert 0 < len(exact) < COUNT
    assert exact == {item_id: all_rows[item_id] for item_id in exact}


def test_a_model_that_boxes_images_is_screened_on_its_whole_input(
    pool: Path, model: Path, tmp_path: Path
) -> None:
    options = {"model_options": {"resize": "letterbox"}, "output": tmp_path / "out"}
    report = score_pool(pool, model=model, screen="0.5", **options, **LOOSE)
    assert report.screen is not None
    assert report.screen.skipped > 0
    metadata = read_results(report.screen.folder, ["id"]).schema.metadata
    assert json.loads(metadata[b"deal.settings"])["raster"] == "input"


def test_skipped_rows_have_the_statistics_of_the_screen(
    pool: Path, model: Path, tmp_path: Path, screened: RunReport
) -> None:
    report = screened
    options = {"input_size": [16, 24]}
    score_pool(pool, model=model, output=tmp_path / "small", model_options=options, raster="half")
    small = rows(tmp_path / "small")
    skipped = {n: r for n, r in rows(report.output).items() if r["status"] == "skipped"}
    assert report.screen is not None
    assert report.screen.skipped == len(skipped) > 0
    for item_id, row in skipped.items():
        assert row["screen_entropy_mean"] == small[item_id]["entropy_mean"]
        assert row["screen_difficulty_mean"] == small[item_id]["difficulty_mean"]
        assert row["entropy_mean"] is row["n_pixels"] is None
        assert (row["width"], row["height"]) == (48, 32)
    assert read_results(report.screen.folder, ["status"]).num_rows == COUNT


def test_the_same_output_without_screening_completes_the_skipped_rows(
    pool: Path, model: Path, whole: Path, screened: RunReport, copied: Path
) -> None:
    assert screened.screen is not None
    report = score_pool(pool, model=model, output=copied)
    assert (report.scored, report.skipped) == (screened.screen.skipped, screened.screen.exact)
    assert rows(copied) == rows(whole)
    again = score_pool(pool, model=model, output=copied, screen="0.5", **LOOSE)
    assert again.scored == 0
    assert again.screen is not None
    assert again.screen.kept == 1  # nothing is left that could be better


def test_an_output_that_was_overwritten_is_screened_anew(
    pool: Path, copied: Path, tmp_path: Path
) -> None:
    other = save_model(tmp_path / "b.onnx", gain=0.07, props=metadata(input_size=[32, 48]))
    score_pool(pool, model=other, output=copied, overwrite=True)
    report = score_pool(pool, model=other, output=copied, screen="0.5", **LOOSE)
    assert report.screen is not None
    assert (report.scored, report.screen.screened, report.screen.exact) == (0, COUNT, COUNT)
    small = read_results(report.screen.folder, ["id", "entropy_mean"]).to_pylist()
    score_pool(pool, model=other, output=tmp_path / "new", screen="0.5", **LOOSE)
    fresh = read_results(tmp_path / "new/screen/16x24", ["id", "entropy_mean"]).to_pylist()
    assert sorted(small, key=str) == sorted(fresh, key=str)


def test_an_exact_row_counts_before_a_skipped_one_of_another_writer(
    pool: Path, model: Path, whole: Path, copied: Path
) -> None:
    output = copied
    for part in (whole / "images").glob("*.parquet"):  # as engines add rows: under other names
        (output / "images" / f"zz-{part.name}").write_bytes(part.read_bytes())
    assert rows(output) == rows(whole)
    assert score_pool(pool, model=model, output=output).scored == 0
    assert rows(output) == rows(whole)


def test_another_function_is_answered_from_the_exact_rows_with_a_note(screened: RunReport) -> None:
    report = screened
    assert report.screen is not None
    chosen = select(report.output, budget="5%", spread="off", acquisition="entropy")
    assert len(chosen) == COUNT // 20  # of the pool, not of the exact rows
    note = next(note for note in chosen.notes if "only screened" in note)
    assert "entropy" in note
    assert "without --screen" in note
    same = select(report.output, budget="5%", spread="off")
    assert list(same.ids) == list(report.selection.ids)
    assert "best possible mean score by ds" in next(n for n in same.notes if "screened" in n)
    assert same.metadata["skipped"] == report.screen.skipped


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        ({"acquisition": "random"}, "a biased part of the pool"),
        ({"acquisition": "balanced:entropy"}, "better ones by balanced:entropy"),
        ({"stochastic": "power"}, "better ones by ds"),
        ({"diverse": 3}, "better ones by ds"),
    ],
    ids=str,
)
def test_a_note_advises_no_screening_that_would_be_refused(
    screened: RunReport, rules: dict[str, Any], says: str
) -> None:
    chosen = select(screened.output, budget=5, **rules)
    note = next(note for note in chosen.notes if "only screened" in note)
    assert says in note
    assert "run deal-score without --screen to score all" in note
    assert "with --screen" not in note


def test_what_each_of_two_outputs_holds_is_not_claimed_of_both_together(
    pool: Path, model: Path, tmp_path: Path
) -> None:
    """The best of both may all lie in one of them, below what it was screened for."""
    outputs = [tmp_path / "a", tmp_path / "b"]
    for number, output in enumerate(outputs):
        shard = f"{number}/2"
        score_pool(pool, model=model, output=output, screen="0.5", shard=shard, **LOOSE)
    served = [(output / "screen" / "serves.json").read_text() for output in outputs]
    assert served[0] == served[1]
    note = next(n for n in select(outputs, budget="5%", spread="off").notes if "screened" in n)
    assert "hold picks of at least" not in note
    assert "over all their images into one output" in note


@pytest.mark.parametrize("unit", ["pixels", "clicks"])
def test_a_percentage_of_what_screened_images_lack_says_of_what_it_is(
    screened: RunReport, unit: str
) -> None:
    assert screened.screen is not None
    notes = select(screened.output, budget=f"{unit}:5%").notes
    told = next(note for note in notes if "are not known" in note)
    assert f"{unit}:5% is a part of those of the {screened.screen.exact} others" in told
    assert not any("are not known" in n for n in select(screened.output, budget=f"{unit}:50").notes)


def test_another_function_with_screening_scores_only_what_it_lacks(
    pool: Path, model: Path, whole: Path, copied: Path
) -> None:
    other = {**LOOSE, "acquisition": "entropy"}
    report = score_pool(pool, model=model, output=copied, screen="0.5", **other)
    scores = exact_scores(whole, "entropy")
    assert report.screen is not None
    assert report.skipped + report.scored == report.screen.exact < COUNT
    share = sum(scores[name] for name in report.selection.ids)
    share /= sum(sorted(scores.values())[-len(report.selection) :])
    assert share >= report.screen.kept >= 0.5


def test_an_image_that_changed_is_not_counted_as_stored_before(
    pool: Path, model: Path, copied: Path, tmp_path: Path
) -> None:
    changed = Path(shutil.copytree(pool, tmp_path / "pool"))
    exact = next(iter(statistics(copied)))
    Image.new("RGB", (48, 32)).save(changed / exact)
    report = score_pool(changed, model=model, output=copied, screen="0.5", **LOOSE)
    assert report.screen is not None
    assert report.scored >= 1
    assert report.skipped + report.scored + report.screen.skipped == COUNT


@pytest.mark.parametrize(
    "rules",
    [
        {"quota": "folder=60%", "spread": "off"},
        {"spread": "auto"},
        {"spread": "off", "near_duplicates": 3},
        {"min_gap": "3f", "sequence_from": "^(.)"},
    ],
    ids=str,
)
def test_rules_hold_as_they_do_without_screening(
    pool: Path, model: Path, whole: Path, tmp_path: Path, rules: dict[str, Any]
) -> None:
    options = {**LOOSE, **rules}
    report = score_pool(pool, model=model, output=tmp_path / "out", screen="0.5", **options)
    expected = select(whole, budget="5%", **rules)
    scores = exact_scores(whole)
    assert len(report.selection) == len(expected)
    assert report.screen is not None
    reached = sum(scores[name] for name in report.selection.ids)
    assert reached >= report.screen.kept * sum(scores[name] for name in expected.ids)


def test_screening_stops_by_itself_where_it_does_not_pay(
    pool: Path, model: Path, whole: Path, tmp_path: Path
) -> None:
    strict = {**LOOSE, "screen_keep": 0.9999}
    report = score_pool(pool, model=model, output=tmp_path / "out", screen="0.5", **strict)
    assert report.screen is not None
    assert report.screen.reason is not None
    assert rows(tmp_path / "out") == rows(whole)
    few = write_pool(tmp_path / "few", 12, (32, 48))
    report = score_pool(few, model=model, output=tmp_path / "small", screen="0.5", **LOOSE)
    assert report.screen is not None
    assert report.screen.reason == "the pool has only 12 images"
    assert report.scored == 12


def test_a_cheaper_model_screens(pool: Path, model: Path, tmp_path: Path) -> None:
    props = metadata(input_size=[16, 24])
    cheap = save_model(tmp_path / "cheap.onnx", props=props, stride=8, pad=4)
    report = score_pool(pool, model=model, output=tmp_path / "out", screen=cheap, **LOOSE)
    assert report.screen is not None
    assert "with cheap.onnx" in report.screen.shown or report.screen.reason
    other = save_model(tmp_path / "other.onnx", num_classes=3, props=metadata(3))
    with pytest.raises(ModelError, match="same classes"):
        score_pool(pool, model=model, output=tmp_path / "no", screen=other, **LOOSE)


@pytest.mark.parametrize(
    ("acquisition", "lacks"), [("ds", "difficulty head"), ("bald", "votes of a committee")]
)
def test_a_model_that_lacks_what_is_ranked_by_cannot_screen(
    acquisition: str, lacks: str, pool: Path, model: Path, tmp_path: Path
) -> None:
    props = metadata(input_size=[16, 24], difficulty_head=None)
    bare = save_model(tmp_path / "bare.onnx", props=props)
    members = [model, save_model(tmp_path / "b.onnx", props=metadata(input_size=[32, 48]), gain=2)]
    options = {**LOOSE, "acquisition": acquisition, "screen": bare}
    with pytest.raises(UsageError, match=rf"bare\.onnx cannot forecast .* no {lacks}: screen at"):
        score_pool(pool, model=members, output=tmp_path / "out", **options)


def test_shards_screen_their_own_images_and_end_with_one_ranking(
    pool: Path, model: Path, whole: Path, tmp_path: Path
) -> None:
    for _ in range(2):
        for shard in ("0/2", "1/2"):
            options = {**LOOSE, "screen": "0.5", "shard": shard}
            report = score_pool(pool, model=model, output=tmp_path / "out", **options)
    stored, scores = rows(tmp_path / "out"), exact_scores(whole)
    assert len(stored) == COUNT
    assert report.scored == 0
    assert report.screen is not None
    assert report.screen.elsewhere == 0
    assert len(report.selection) == COUNT // 20
    best = sum(sorted(scores.values())[-len(report.selection) :])
    assert sum(scores[n] for n in report.selection.ids) >= report.screen.kept * best


@pytest.mark.parametrize("keep", [0.5, 0.9999], ids=["screened", "scored whole"])
def test_broken_images_are_error_rows_and_are_counted_once(
    keep: float, model: Path, tmp_path: Path
) -> None:
    mine = write_pool(tmp_path / "pool", COUNT, (32, 48))
    broken = {f"{number:03}.png" for number in range(3, COUNT, 16)}
    for number, name in enumerate(sorted(broken)):
        (mine / name).unlink() if number % 2 else (mine / name).write_bytes(b"no image")
    listing = tmp_path / "pool" / "pool.txt"
    listing.write_text("".join(f"{number:03}.png\n" for number in range(COUNT)))
    options = {**LOOSE, "screen": "0.5", "screen_keep": keep, "max_errors": "6.25%"}
    report = score_pool(listing, model=model, output=tmp_path / "out", **options)
    stored = rows(tmp_path / "out")
    assert len(stored) == COUNT
    assert {name for name, row in stored.items() if row["status"] == "error"} == broken
    assert report.errors == {"decode": 5, "io": 5}
    assert report.screen is not None
    assert (report.screen.reason is None) == (keep == 0.5)


def test_an_interrupted_run_goes_on(
    pool: Path,
    model: Path,
    tmp_path: Path,
    screened: RunReport,
) -> None:
    options = {**LOOSE, "screen": "0.5", "output": tmp_path / "out", "model": model}
    for limit, what in ((5, "images"), (60, "images screened")):
        left = [signal.SIGINT]

        def stop(
            progress: Progress, limit: int = limit, what: str = what, left: list[int] = left
        ) -> None:
            if left and progress.what == what and progress.done >= limit:
                signal.raise_signal(left.pop())

        with pytest.raises(InterruptedRunError):
            score_pool(pool, progress=stop, **options)
    report = score_pool(pool, **options)
    assert report.skipped >= 5
    assert list(report.selection.ids) == list(screened.selection.ids)
    assert rows(tmp_path / "out") == rows(screened.output)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["images screened"])
def test_a_killed_run_goes_on_with_one_row_per_image(
    pool: Path, model: Path, tmp_path: Path, screened: RunReport, what: str
) -> None:
    program = (
        "import json, sys, deal.run.ledger as ledger; ledger._FLUSH_SECONDS = 0\n"
        "from deal.run.pipeline import score_pool\n"
        "pool, model, output, what, options = sys.argv[1:]\n"
        "wait = lambda p: p.what == what and p.done > 3 and (print(flush=True), sys.stdin.read())\n"
        "score_pool(pool, model=model, output=output, progress=wait, **json.loads(options))"
    )
    options = {**LOOSE, "screen": "0.5"}
    arguments = [str(pool), str(model), str(tmp_path / "out"), what, json.dumps(options)]
    with subprocess.Popen(
        [sys.executable, "-c", program, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    score_pool(pool, model=model, output=tmp_path / "out", **options)
    assert rows(tmp_path / "out") == rows(screened.output)


def test_the_command_says_what_is_promised(
    deal: Deal, pool: Path, model: Path, tmp_path: Path
) -> None:
    command = ["score", pool, "--model", model, "-o", tmp_path / "out", "--budget", "5%"]
    command += ["--screen", "auto", "--screen-keep", "0.5", "--spread", "off"]
    code, stdout, stderr = deal(*command)
    assert code == 0, stderr
    assert "of the best possible (95% confidence)" in stdout
    assert "images/s" not in stdout  # which would count those alone that are scored exactly
    code, stdout, _ = deal(*command, "--json")
    found = json.loads(stdout)["screen"]
    assert found["kept"] >= 0.5
    assert np.isfinite(found["cost"])


@pytest.mark.parametrize("keep", [0.5, 0.999])
def test_the_report_counts_what_all_passes_measured(
    keep: float, pool: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def repeating(fetcher: Fetcher, entries: Any) -> Any:
        fetcher.repeated["HTTP 503"] += 1
        return entries

    monkeypatch.setattr(Line, "bound_by", lambda line: " ".join(sorted(line.meter.seconds)))
    monkeypatch.setattr(Fetcher, "__call__", repeating)
    options = {**LOOSE, "screen_keep": keep}
    report = score_pool(pool, model=model, output=tmp_path / "out", screen="0.5", **options)
    assert report.screen is not None
    assert report.bound_by == "decode kernel network write"
    assert report.seconds > report.screen.seconds
    assert any("requests for images were repeated" in note for note in report.notes)


def test_ray_has_no_screening(deal: Deal, pool: Path, model: Path, tmp_path: Path) -> None:
    command = ["score", pool, "--model", model, "-o", tmp_path / "out", "--budget", "5%"]
    code, _, stderr = deal(*command, "--screen", "0.5", "--on", "ray")
    assert code == 2
    assert "screen on one machine" in stderr


@pytest.mark.parametrize(
    ("options", "bounded"),
    [
        ({"spread": "off"}, True),
        ({"spread": "off", "quota": "camera=20%"}, True),
        ({}, False),
        ({"spread": "off", "min_gap": "2s"}, False),
        ({"spread": "off", "near_duplicates": "1.5"}, False),
    ],
    ids=str,
)
def test_rules_that_keep_picks_apart_leave_an_estimate(
    options: dict[str, Any], bounded: bool
) -> None:
    assert is_bounded(Ranking.of(budget="5%", **options)) is bounded
