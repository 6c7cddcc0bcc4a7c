"""Results and selections in notebooks: data frames, and HTML that a browser's parser reads."""

from __future__ import annotations

import base64
import copy
import importlib
import pickle
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from PIL import Image

from deal import Results, acquisition_scores, read_regions, read_results, score_pool, select
from deal.errors import UsageError
from deal.results import frames
from tests.helpers.runs import write_pool

EVIL = '<img src=x onerror="alert(1)">&\n.png'


class Page(HTMLParser):
    """Cells of the table as text, and attributes of the pictures."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.pictures: list[dict[str, str | None]] = []
        self.rows: list[list[str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "img":
            self.pictures.append(dict(attrs))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    folder = tmp_path_factory.mktemp("frames")
    pool = write_pool(folder / "pool", 12, (120, 160))
    score_pool(pool, model=model, output=folder / "out", regions="grid:40", device="cpu")
    return folder / "out"


def thumbnails(page: Page) -> list[Image.Image]:
    found = []
    for picture in page.pictures:
        kind, _, data = str(picture["src"]).partition(",")
        assert kind == "data:image/jpeg;base64"
        found.append(Image.open(BytesIO(base64.b64decode(data))))
    return found


def test_results_are_an_arrow_table(output: Path) -> None:
    results = read_results(output)
    assert isinstance(results, Results)
    assert isinstance(results.table, pa.Table)
    assert len(results) == results.num_rows == 12
    assert results.column("id").to_pylist() == results["id"].to_pylist()
    assert pa.table(results).equals(results.table)  # by the Arrow C interface
    assert pc.mean(results["entropy_mean"]).as_py() > 0
    assert results == read_results(output)
    assert results.equals(results.table)
    assert b"deal.classes" in results.schema.metadata
    assert "12 rows" in repr(results)
    assert len(read_regions(output)) == len(read_regions(output).to_pylist()) > 0


def test_results_are_copied_and_pickled(output: Path) -> None:
    results = read_results(output)
    for twin in (copy.copy(results), copy.deepcopy(results), pickle.loads(pickle.dumps(results))):
        assert twin == results


def test_results_can_be_ranked(output: Path) -> None:
    results = read_results(output)
    assert select(results, acquisition="entropy").ids == select(output, acquisition="entropy").ids
    assert select([results], budget=3).ids == select(output, budget=3).ids
    scores = acquisition_scores(results, "entropy")
    assert scores.tolist() == results["entropy_mean"].to_pylist()


def test_pandas_and_polars_hold_the_same(output: Path) -> None:
    for table in (read_results(output), read_regions(output), select(output, budget=5)):
        pandas, polars = table.to_pandas(), table.to_polars()
        assert list(pandas.columns) == polars.columns
        assert len(pandas) == polars.height > 0
        assert pandas["id"].tolist() == polars["id"].to_list()
    selection = select(output, budget=5)
    frame = selection.to_pandas()
    assert frame.columns.tolist() == [
        "rank",
        "id",
        "score",
        "uri",
        "region",
        "polygon",
        "cost",
        "why",
    ]
    assert frame["rank"].tolist() == [1, 2, 3, 4, 5]
    np.testing.assert_array_equal(frame["score"], selection.scores)
    assert selection.to_polars()["why"].to_list() == [row["why"] for row in selection.records()]


@pytest.mark.parametrize(("method", "package"), [("to_pandas", "pandas"), ("to_polars", "polars")])
def test_a_package_that_is_missing_is_named_with_its_command(
    output: Path, monkeypatch: pytest.MonkeyPatch, method: str, package: str
) -> None:
    found = importlib.import_module

    def missing(name: str) -> Any:
        if name == package:
            raise ModuleNotFoundError(name)
        return found(name)

    tables = (read_results(output), select(output))
    monkeypatch.setattr(importlib, "import_module", missing)
    for table in tables:
        with pytest.raises(UsageError, match=f"pip install {package}"):
            getattr(table, method)()


def test_a_notebook_shows_the_first_ten_with_their_images(output: Path) -> None:
    page = Page(read_results(output)._repr_html_())
    assert page.rows[0][:3] == ["", "id", "status"]
    assert len(page.rows) == 11
    images = thumbnails(page)
    assert len(images) == 10
    assert {image.size for image in images} == {(128, 96)}
    first = np.asarray(Image.open(output.parent / "pool" / page.rows[1][1]).resize((128, 96)))
    assert np.abs(first.astype(int) - np.asarray(images[0])).mean() < 20
    assert len(read_results(output)._repr_html_()) < 200_000


def test_a_notebook_shows_a_selection_in_its_order(output: Path) -> None:
    selection = select(output, budget=3)
    text = selection._repr_html_()
    page = Page(text)
    assert page.rows[0] == ["", "rank", "score", "id", "why"]
    assert [row[3] for row in page.rows[1:]] == list(selection.ids)
    assert [row[1] for row in page.rows[1:]] == ["1", "2", "3"]
    assert len(page.pictures) == 3
    assert "3 of 12 selected by difficulty (DS)" in text
    regions = Page(select(output, budget="regions:2")._repr_html_())
    assert regions.rows[0] == ["", "rank", "score", "region", "id", "why"]


def test_images_that_are_not_at_hand_are_left_out(output: Path, tmp_path: Path) -> None:
    table = read_results(output).table
    gone = pa.array([f"/nowhere/{n}.png" for n in range(12)])
    table = table.set_column(table.column_names.index("uri"), "uri", gone)
    for shown in (Results(table), Results(table.drop_columns(["uri"])), select(table)):
        page = Page(shown._repr_html_())
        assert page.pictures == []
        assert len(page.rows) == 11
        assert "" not in page.rows[0]


def test_ids_cannot_inject(tmp_path: Path) -> None:
    table = pa.table(
        {
            "id": [EVIL, "ok.png"],
            "uri": [EVIL, "</td><script>alert(1)</script>"],
            "status": ["ok", "ok"],
            "entropy_mean": [0.5, 0.4],
        }
    )
    for shown in (Results(table), select(table, acquisition="entropy")):
        page = Page(shown._repr_html_())
        assert not {"img", "script"} & set(page.tags)
        assert any(EVIL.replace("\n", r"\n") in row for row in page.rows)


def test_an_empty_table_is_shown(output: Path) -> None:
    empty = read_results(output).table.slice(0, 0)
    assert len(Page(Results(empty)._repr_html_()).rows) == 1
    assert len(Page(select(empty)._repr_html_()).rows) == 1
    assert "rows" in Results(pa.table({"x": [1]}))._repr_html_()


def test_large_images_do_not_keep_a_notebook_waiting(
    output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "_MOST_PIXELS", 1000)
    assert Page(read_results(output)._repr_html_()).pictures == []
