"""How many sessions with how many threads; measured figures are replaced, never judged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from deal import read_results
from deal.errors import UsageError
from deal.run import sessions as layout_module
from deal.run.config import ScoreConfig, parse_sessions
from deal.run.pipeline import score_pool
from deal.run.sessions import layout_for
from deal.run.workers import open_session
from tests.helpers.models import scenes


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    (tmp_path / "pool").mkdir()
    (tmp_path / "pool" / "0.png").write_bytes(b"damaged")
    for index, pixels in enumerate(scenes(4)):
        Image.fromarray(pixels).save(tmp_path / "pool" / f"{index + 1}.png")
    return tmp_path / "pool"


@pytest.fixture
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout_module, "available_cores", lambda: 4)


def timed(monkeypatch: pytest.MonkeyPatch, narrow: float, wide: float) -> None:
    """Let every batch take a second, and layouts reach so many a second, whatever is true."""
    monkeypatch.setattr(layout_module, "_seconds", lambda _: 1.0)
    found = {"narrow": [narrow] * 3, "wide": [wide] * 3}
    monkeypatch.setattr(layout_module, "_interleaved", lambda *_: found)


def layout(pool: Path, model: Path, left: int = 100_000, **options: Any) -> Any:
    config = ScoreConfig.parse(pool, model=model, output=pool / "out", device="cpu", **options)
    with open_session(config) as scorer:
        return layout_for(config, scorer, left)


@pytest.mark.usefixtures("four_cores")
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (4, 1, 1)),
        ({"threads": 3}, (1, 3, 1)),
        ({"threads": 9, "batch_size": 2}, (1, 9, 2)),
        ({"sessions": "3"}, (3, 1, 1)),
    ],
)
def test_without_auto_the_rule_decides(
    pool: Path, model: Path, options: dict[str, Any], expected: tuple[int, int, int]
) -> None:
    found = layout(pool, model, **options)
    assert (found.sessions, found.threads, found.batch_size) == expected
    assert (found.measured, found.notes()) == (None, [])


@pytest.mark.usefixtures("four_cores")
@pytest.mark.parametrize(
    ("narrow", "wide", "expected"), [(1.0, 1.2, (1, 4)), (1.0, 1.04, (4, 1)), (2.0, 1.0, (4, 1))]
)
def test_auto_takes_the_faster_and_in_doubt_one_session_a_core(
    pool: Path,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    narrow: float,
    wide: float,
    expected: tuple[int, int],
) -> None:
    timed(monkeypatch, narrow, wide)
    found = layout(pool, model, sessions="auto")
    assert (found.sessions, found.threads) == expected
    assert found.measured["images_per_second"] == {"4x1": narrow, "1x4": wide}
    assert found.measured["rounds"] == 3
    chosen = "x".join(map(str, expected))
    speeds = f"4x1: {narrow:.1f} images/s, 1x4: {wide:.1f} images/s"
    assert found.notes() == [f"--sessions auto chose {chosen} (sessions x threads): {speeds}"]


@pytest.mark.usefixtures("four_cores")
def test_auto_measures_nothing_for_a_small_pool_or_without_an_image(
    pool: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = layout(pool, model, left=5, sessions="auto")
    assert few.sessions == 4
    assert "too few" in few.measured["skipped"]
    (note,) = few.notes()
    assert note.startswith("--sessions auto chose 4x1 (sessions x threads): not measured, 5 images")
    for path in pool.glob("*.png"):
        path.write_bytes(b"damaged")
    none = layout(pool, model, sessions="auto")
    assert "can be scored" in none.measured["skipped"]
    monkeypatch.setattr(layout_module, "available_cores", lambda: 1)
    assert "one core" in layout(pool, model, sessions="auto").measured["skipped"]


def test_both_layouts_are_really_run(
    pool: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout_module, "available_cores", lambda: 2)
    monkeypatch.setattr(layout_module, "_SECONDS", 0.0)
    found = layout(pool, model, sessions="auto").measured
    assert found["rounds"] >= 1
    assert set(found["images_per_second"]) == {"2x1", "1x2"}


@pytest.mark.usefixtures("four_cores")
def test_every_layout_stores_the_same_rows_and_is_recorded(
    pool: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout_module, "_SHARE", 1e6)
    tables = []
    for name, wide in (("narrow", 0.5), ("wide", 2.0)):
        timed(monkeypatch, 1.0, wide)
        report = score_pool(
            pool, model=model, output=tmp_path / name, sessions="auto", device="cpu"
        )
        assert any("--sessions auto chose" in note for note in report.notes)
        record = json.loads((tmp_path / name / "runs/0-of-1.json").read_text(encoding="utf-8"))
        assert record["sessions_measured"]["fastest"] == name
        expected = (4, 1) if name == "narrow" else (1, 4)
        assert (record["sessions"], record["threads"]) == expected
        tables.append(read_results([tmp_path / name]).sort_by("id"))
    assert tables[0].equals(tables[1])


def test_sessions_are_a_number_or_auto(pool: Path, model: Path) -> None:
    assert [parse_sessions(value) for value in (None, 3, "3", "auto")] == [None, 3, 3, "auto"]
    with pytest.raises(UsageError, match="a number or auto"):
        parse_sessions("many")
    with pytest.raises(UsageError, match="leave out --threads"):
        layout(pool, model, sessions="auto", threads=2)
    with pytest.raises(UsageError, match="sessions must be at least 1"):
        layout(pool, model, sessions="0")
