"""What near-duplicates save and change is told by hand-made drives, where it is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

import deal
from deal.bench import dedup
from deal.bench.failed import FailedCheckError
from deal.errors import UsageError
from tests.helpers.models import metadata, save_model, scenes

SIZE = (24, 32)


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(save_model(tmp_path / "m.onnx", props=metadata()))


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """Three drives of five views each, four frames a view: nearly the same, 40 levels apart."""
    folder = tmp_path / "pool"
    folder.mkdir()
    for drive, view in enumerate(scenes(3, SIZE)):
        for frame in range(20):
            moved = np.clip(view.astype(int), 60, 120)
            moved[:, : SIZE[1] // 2] += 20 * (frame // 4) + frame % 4 // 3
            Image.fromarray(moved.astype(np.uint8)).save(folder / f"{drive}_{frame:02}.png")
    return folder


def rows(report: deal.bench.report.Report) -> dict[tuple[str, str], float]:
    return {(row.name, row.unit): row.value.median for row in report.rows}


@pytest.mark.slow
def test_what_is_skipped_and_picked_is_counted(pool: Path, model: str) -> None:
    report = dedup.run(
        pool=[str(pool)], model=model, sequence_from="^(.)_", thresholds="0,2", budget="12"
    )
    found = rows(report)
    assert found["--dedup 2: skipped", "frames"] == 45
    assert found["--dedup 2: share skipped", "%"] == 75
    assert found["--dedup 2: images/s / without", "ratio"] == pytest.approx(
        found["--dedup 2", "images/s"] / found["without --dedup", "images/s"]
    )
    assert found["--dedup 2: CPU time / without", "ratio"] > 0
    output = pool.parent / "expected"
    without = deal.score_pool(pool, model=model, output=output, device="cpu", acquisition="entropy")
    table = deal.read_results([output])
    scores = dict(
        zip(
            table.column("id").to_pylist(),
            deal.acquisition_scores(table, "entropy").tolist(),
            strict=True,
        )
    )
    ranked = [name for _, name, _ in without.selection.rows()]
    leader = {name: f"{name[:2]}{int(name[2:4]) // 4 * 4:02}.png" for name in ranked}
    best = ranked[:12]
    picks = [name for name in ranked if leader[name] == name][:12]
    title = "entropy, --dedup 2"
    share = 100 / 12
    assert found[f"{title}: distinct frames among the picks without", "%"] == pytest.approx(
        share * len({leader[name] for name in best})
    )
    assert found[f"{title}: picks shared", "%"] == pytest.approx(share * len({*best} & {*picks}))
    assert found[f"{title}: picks shared, leaders counted", "%"] == pytest.approx(
        share * sum(leader[name] in picks for name in best)
    )
    mean = np.mean([scores[name] for name in picks]) / np.mean([scores[name] for name in best])
    assert found[f"{title}: mean score of picks / without", "ratio"] == pytest.approx(mean)
    assert 0 < mean < 1
    assert found[
        "entropy: mean score of all frames / picks without --dedup", "ratio"
    ] == pytest.approx(np.mean(list(scores.values())) / np.mean([scores[name] for name in best]))


def test_another_number_in_a_kept_frame_is_found() -> None:
    def scored(**changes: list[object]) -> dedup._Scored:
        columns = {"id": ["a", "b", "c"], "duplicate_of": [None, "a", None], "x": [1.0, None, -0.0]}
        leaders = {"b": "a"}
        return dedup._Scored(pa.table(columns | changes), leaders)

    without = scored(x=[1.0, 5.0, -0.0], duplicate_of=pa.nulls(3, pa.string())).table
    dedup._check("t", without, scored())
    with pytest.raises(FailedCheckError, match="x of a frame differs"):
        dedup._check("t", without, scored(x=[1.0, None, 0.0]))
    with pytest.raises(FailedCheckError, match="x of a frame differs"):
        dedup._check("t", without, scored(x=[np.nextafter(1.0, 2), None, -0.0]))
    with pytest.raises(FailedCheckError, match="not the frames"):
        dedup._check("t", without, scored(id=["a", "b", "d"]))
    chained = dedup._Scored(scored().table, {"b": "c", "c": "a"})
    with pytest.raises(FailedCheckError, match="skipped itself"):
        dedup._check("t", without, chained)


def test_a_duplicate_that_is_picked_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dedup._Scored, "picks", lambda *_: ["b"])
    scored = dedup._Scored(pa.table({}), {"b": "a"})
    with pytest.raises(FailedCheckError, match="a duplicate is picked"):
        dedup._compared("t", ["b"], scored, "ds", {"a": 1.0, "b": 2.0}, 2.0)


@pytest.mark.parametrize(
    ("options", "says"),
    [({"thresholds": "1,x"}, "not a threshold"), ({"acquisition": ("core-set",)}, "no scores")],
)
def test_what_cannot_be_compared_is_refused_before_any_work(
    options: dict[str, object], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        dedup.run(pool=["nowhere"], model="nothing.onnx", **options)
