"""What a screened run asks for in each of its passes over the pool."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from deal import read_results
from deal.acquisitions import Bound
from deal.pool.locator import LocalFile
from deal.run.bound import Line as Forecast
from deal.run.pipeline import score_pool
from deal.run.progress import Progress, Screened
from deal.run.screen_choice import ScreenChoice
from deal.run.screened import Screening
from deal.run.screened_rows import EXPECTED, RowReader, Rows
from deal.run.workers import Line
from deal.selection.ranking import Ranking
from tests.helpers.models import metadata, save_model
from tests.helpers.runs import rows, write_pool

COUNT, AT_ONCE = 160, 16


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pool(tmp_path_factory.mktemp("passes") / "pool", COUNT, (32, 48))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    return save_model(path, props=metadata(input_size=[32, 48]))


def screened(pool: Path, model: Path, output: Path, **options: Any) -> Screened:
    """What a screened run that was worth it reports of its screening."""
    wanted = {"budget": "5%", "spread": "off", "screen": "0.5", "screen_keep": 0.8, **options}
    report = score_pool(pool, model=model, output=output, **wanted)
    assert report.screen is not None
    assert report.screen.reason is None
    return report.screen


def test_a_pass_scores_sixteen_images_or_all_that_are_left(
    pool: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored: list[int] = []
    run = Line.run

    def counted(line: Line) -> float:
        before = line._ledger.scored
        seconds = run(line)
        if line._config.output == tmp_path / "out":
            scored.append(line._ledger.scored - before)
        return seconds

    monkeypatch.setattr(Line, "run", counted)
    screened(pool, model, tmp_path / "out")
    _, *passes = scored  # the first is the sample
    assert passes
    assert all(count >= AT_ONCE or sum(scored) == COUNT for count in passes)


def test_versions_are_looked_up_only_of_images_that_a_pass_wants(
    pool: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0
    version = LocalFile.version

    def counted(locator: LocalFile) -> str:
        nonlocal asked
        asked += 1
        return version(locator)

    monkeypatch.setattr(LocalFile, "version", counted)
    found = screened(pool, model, tmp_path / "out")
    sample = 40 * 2  # about 40, by a hash of the ids; it is scored exactly, and screened
    assert asked <= COUNT + found.exact + 2 * sample


def test_progress_counts_every_image_once(pool: Path, model: Path, tmp_path: Path) -> None:
    told: list[Progress] = []
    screened(pool, model, tmp_path / "out", progress=told.append)
    for what in ("images", "images screened"):
        finished = [one.finished for one in told if one.what == what]
        assert finished == sorted(finished)
        assert finished[-1] <= COUNT
    assert finished[-1] == COUNT


def test_running_again_beside_broken_images_scores_no_more(model: Path, tmp_path: Path) -> None:
    """They are tried again, and bring no others with them."""
    mine = write_pool(tmp_path / "pool", COUNT, (32, 48))
    for number in (3, 4):
        (mine / f"{number:03}.png").write_bytes(b"no image")
    first = screened(mine, model, tmp_path / "out", screen_keep=0.5)
    again = screened(mine, model, tmp_path / "out", screen_keep=0.5)
    assert (again.exact, again.skipped) == (first.exact, first.skipped)
    assert first.skipped > 0


def test_picks_of_kinds_of_images_reach_what_is_asked(
    pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Among the rows that are exact in the end, kinds are other ones than in the whole pool."""
    props, small = metadata(input_size=[32, 48]), metadata(input_size=[16, 24])
    model = save_model(tmp_path / "model.onnx", embedding=True, props=props)
    cheap = save_model(tmp_path / "cheap.onnx", embedding=True, gain=0.1, props=small)
    monkeypatch.setattr(Screening, "_cost", lambda *_: 0.1)  # a measured one may say: too dear
    found = screened(pool, model, tmp_path / "out", screen=str(cheap), spread="auto")
    assert found.skipped > 0
    assert found.kept == 0.8


def test_a_shard_does_not_score_its_own_images_for_those_that_another_lacks(
    pool: Path, model: Path, tmp_path: Path
) -> None:
    options = {"screen_keep": 0.5, "acquisition": "entropy"}
    for shard, budget in (("0/2", "1"), ("1/2", "50%")):
        found = screened(pool, model, tmp_path / "out", shard=shard, budget=budget, **options)
        assert found.skipped > 0
    assert found.elsewhere > 0


def highest(pool: Path, model: Path, output: Path, count: int) -> list[str]:
    """Names of the images with the highest scores."""
    report = score_pool(
        pool, model=model, output=output, acquisition="entropy", budget=count, spread="off"
    )
    return list(report.selection.ids)


def test_images_that_only_the_screen_can_score_give_their_places_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model takes no image of another size; the screen resizes, and likes these most."""
    mine = write_pool(tmp_path / "pool", COUNT, (32, 48))
    cheap = save_model(tmp_path / "cheap.onnx", props=metadata(input_size=[32, 48]))
    for name in highest(mine, cheap, tmp_path / "found", 30):
        image = Image.open(mine / name).convert("RGB")
        image.resize((44, 32)).save(mine / name)
    sized = metadata(input_size=[32, 48], resize="none")
    model = save_model(tmp_path / "model.onnx", props=sized)
    monkeypatch.setattr(Screening, "_cost", lambda *_: 0.1)
    options = {"screen": str(cheap), "acquisition": "entropy", "budget": 12}
    found = screened(mine, model, tmp_path / "out", **options, screen_keep=0.8)
    assert found.kept == 0.8
    served = json.loads((tmp_path / "out" / "screen" / "serves.json").read_text())
    assert served["kept"] == 0.8


@pytest.mark.parametrize("budget", [24, "15%"])
def test_images_that_are_gone_give_their_places_to_others(
    pool: Path, model: Path, tmp_path: Path, budget: Any
) -> None:
    mine = write_pool(tmp_path / "pool", COUNT, (32, 48))
    options = {"acquisition": "entropy"}
    screened(mine, model, tmp_path / "out", budget=1, screen_keep=0.3, **options)
    stored = rows(tmp_path / "out")
    skipped = [name for name in highest(pool, model, tmp_path / "whole", COUNT)
               if stored[name]["status"] == "skipped"]  # fmt: skip
    for name in skipped[:30]:
        (mine / name).unlink()
    output = tmp_path / "out"
    report = score_pool(
        mine, model=model, output=output, budget=budget, screen="0.5", screen_keep=0.9,
        spread="off", **options,
    )  # fmt: skip
    assert report.screen is not None
    assert report.screen.reason is None
    assert len(report.selection) == 24
    assert report.screen.kept == 0.9
    assert report.screen.screened == COUNT - 30
    assert report.skipped + report.scored + report.screen.skipped == COUNT - 30


def test_shards_agree_on_images_that_are_gone(pool: Path, model: Path, tmp_path: Path) -> None:
    mine = write_pool(tmp_path / "pool", COUNT, (32, 48))
    options = {"acquisition": "entropy", "budget": 24, "screen_keep": 0.6}

    def both() -> list[Screened]:
        return [
            screened(mine, model, tmp_path / "out", shard=shard, **options)
            for shard in ("0/2", "1/2")
        ]

    both()
    stored = rows(tmp_path / "out")
    skipped = [name for name in highest(pool, model, tmp_path / "whole", COUNT)
               if stored[name]["status"] == "skipped"]  # fmt: skip
    for name in skipped[:10]:
        (mine / name).unlink()
    options["screen_keep"] = 0.9
    for _ in range(3):
        found = both()
    assert [one.elsewhere for one in found] == [0, 0]


def test_shards_that_are_ranges_of_rows_leave_no_image_out(
    pool: Path, model: Path, tmp_path: Path
) -> None:
    ids = [f"{number:03}.png" for number in range(COUNT)]
    manifest = tmp_path / "pool.parquet"
    table = pa.table({"id": ids, "uri": [f"{pool}/{name}" for name in ids]})
    pq.write_table(table, manifest, row_group_size=20)
    options = {"screen_keep": 0.5, "budget": 4}

    def both() -> list[Screened]:
        return [
            screened(manifest, model, tmp_path / "out", shard=shard, **options)
            for shard in ("0/2", "1/2")
        ]

    first = both()
    stored = read_results(tmp_path / "out", ["id", "status"]).table.to_pylist()
    assert len(stored) == len({row["id"] for row in stored}) == COUNT
    assert {row["status"] for row in stored} == {"ok", "skipped"}
    assert sum(one.screened for one in first) == COUNT
    assert [one.elsewhere for one in both()] == [0, 0]


def test_shards_ask_for_the_same_from_the_same_rows(
    pool: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each could ask the others for images without end."""
    needed = ScreenChoice.needed
    asked: list[tuple[ScreenChoice, Rows]] = []

    def noted(choice: ScreenChoice, rows: Rows) -> Any:
        asked.append((choice, rows))
        return needed(choice, rows)

    monkeypatch.setattr(ScreenChoice, "needed", noted)
    for shard in ("0/2", "1/2"):
        screened(pool, model, tmp_path / "out", shard=shard, screen_keep=0.5)
    (first, some), (second, more) = asked[0], asked[-1]
    assert first is not second
    for table in (some, more):
        one, other = needed(first, table), needed(second, table)
        assert one is not None
        assert other is not None
        assert np.array_equal(one[0], other[0])


def test_a_screen_of_another_scale_costs_no_more_than_one_of_the_same(
    pool: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logits a tenth as large order images alike, with entropies that all exceed the exact ones."""
    flat = save_model(tmp_path / "flat.onnx", gain=0.02, props=metadata(input_size=[32, 48]))
    options = {"acquisition": "entropy", "screen_keep": 0.5}
    monkeypatch.setattr(Screening, "_cost", lambda *_: 0.1)  # a measured one may say: too dear
    same = screened(pool, model, tmp_path / "same", screen=str(model), **options)
    other = screened(pool, model, tmp_path / "other", screen=str(flat), **options)
    assert other.exact <= same.exact + 2 * AT_ONCE


def test_one_exact_score_of_nan_does_not_spoil_the_forecast(
    pool: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A function may leave a row out by NaN, which a screen need not do for the same image."""
    scores = Bound.scores
    exact: list[int] = []

    def holed(bound: Bound, table: Any, totals: Any = None) -> Any:
        found = scores(bound, table, totals)
        if isinstance(table, pa.Table) and len(found) and exact_only(table):
            found = found.copy()
            found[0] = np.nan
            exact.append(len(found))
        return found

    def exact_only(table: pa.Table) -> bool:  # the rows that were scored exactly; a part of all
        return EXPECTED not in table.column_names and len(table) < COUNT

    monkeypatch.setattr(Bound, "scores", holed)
    found = screened(pool, model, tmp_path / "out", screen_keep=0.5)
    assert exact
    assert found.exact < COUNT


def test_embeddings_of_another_network_do_not_mix_with_those_of_the_model(
    pool: Path, tmp_path: Path
) -> None:
    """Then kinds of images would be lost; without any, they go by the statistics."""
    props = metadata(input_size=[32, 48])
    model = save_model(tmp_path / "model.onnx", embedding=True, props=props)
    outputs = []
    for name in ("exact", "screen"):
        outputs.append(tmp_path / name)
        score_pool(pool, model=model, output=outputs[-1], shard=f"{len(outputs) - 1}/2")
    ranking = Ranking.of(acquisition="entropy")
    bound = ranking.bind(None)
    for same in (True, False):
        reader = RowReader(outputs[0], str(outputs[1]), ranking, bound, same_network=same)
        found = reader.read()
        compared = found.expected(Forecast(0.0, 1.0)).column("embedding")
        assert compared.null_count == (0 if same else COUNT)
        exact = found.selectable().slice(0, found.exact_count)
        assert exact.column("embedding").null_count == 0
