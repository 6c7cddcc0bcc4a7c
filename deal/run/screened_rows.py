"""Rows of a screened run: exact ones and screened ones in one table, and those that are skipped."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from deal.acquisitions import Bound
from deal.machine.arrow import compute as pc
from deal.machine.files import write_text
from deal.results.output import Output
from deal.results.parts import list_parts
from deal.results.reading import iter_results, read_results
from deal.results.schema import images_schema
from deal.run.bound import Floats, Line
from deal.run.config import ScoreConfig
from deal.run.progress import Screened
from deal.run.screen import FOLDER
from deal.selection import Ranking
from deal.selection.diverse import FEATURE_COLUMNS
from deal.selection.screened import SERVES

__all__ = ["EXPECTED", "RowReader", "Rows", "failed_ids", "write_serves", "write_skipped"]

_DESCRIBED = ("id", "uri", "source_version", "sequence", "camera", "timestamp_ns", "attributes")
_SHAPE = ("width", "height", "orientation", "color_mode", "thumbnail")
_SCREENED = tuple(
    name.removeprefix("screen_") for name in images_schema().names if name.startswith("screen_")
)
_EMBEDDING = "embedding"
_ROWS = 4096

EXPECTED = "expected_score"
"""Column of `Rows.expected`."""


@dataclass(frozen=True)
class Rows:
    """Images of a pool that are ok: scored exactly, or else as the screen scored them.

    Attributes
    ----------
    table : pyarrow.Table
        What a selection reads of them; exact rows come first.
    exact, screen : ndarray of float64 [n]
        Scores; NaN where there is none.
    is_exact : ndarray of bool [n]
    gone : int
        Further images that were only screened, and that the pool has lost since: percentages count
        them, and nothing picks them.
    same_network : bool
        Whether embeddings of exact rows and of the others compare.
    """

    table: pa.Table
    exact: Floats
    screen: Floats
    is_exact: NDArray[np.bool_]
    gone: int = 0
    same_network: bool = True

    def __len__(self) -> int:
        return len(self.table)

    @property
    def exact_count(self) -> int:
        """How many are scored exactly."""
        return int(self.is_exact.sum())

    def names(self, places: NDArray[np.int64]) -> list[str]:
        """Ids of rows."""
        found: list[str] = self.table.column("id").take(pa.array(places, pa.int64())).to_pylist()
        return found

    def places(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Places of the rows of these ids."""
        found = pc.index_in(pa.array(ids, pa.string()), self.table.column("id").combine_chunks())
        return np.asarray(found.to_numpy(zero_copy_only=False), np.int64)

    def expected(self, line: Line) -> pa.Table:
        """The table, with exact scores and, where there are none, forecasts in a column.

        A screen's scores need not have the scale of exact ones, so the two do not compare.
        """
        table = self.table
        if not self.same_network and _EMBEDDING in table.column_names:
            place, field = table.column_names.index(_EMBEDDING), table.schema.field(_EMBEDDING)
            table = table.set_column(place, field, pa.nulls(len(table), field.type))
        return _with(table, np.where(self.is_exact, self.exact, line(self.screen)))

    def selectable(self) -> pa.Table:
        """The table as the selection at the end of the run finds it: the others are skipped."""
        place, status = self.table.column_names.index("status"), self.table.column("status")
        skipped = pa.scalar("skipped", status.type)
        status = pc.if_else(pa.array(self.is_exact, pa.bool_()), status, skipped)
        return _with(self.table.set_column(place, "status", status), self.exact)

    def unscored(self, line: Line) -> NDArray[np.int64]:
        """Places of the rows that have only the screen's score, the best forecasts first."""
        open_rows = np.flatnonzero(~self.is_exact & np.isfinite(self.screen))
        return open_rows[np.argsort(-line(self.screen[open_rows]), kind="stable")]


class RowReader:
    """Reads what is stored of a pool again and again while its exact rows become more.

    The screen's rows are read once. Memory: what ``bound`` and the rules need of every row, some
    hundred bytes, or 1 KB for functions of histograms.

    Parameters
    ----------
    output : Path
        Holds the exact rows.
    folder : str
        Holds those of the screen.
    ranking : Ranking
    bound : Bound
    same_network : bool
        Whether the screen is the model on a smaller input. Embeddings of another network do not
        compare, so kinds of images go by the statistics where there are rows of both.
    listed : container of str, optional
        Ids of the pool. Images that are only screened and no longer in it are left out.
    """

    def __init__(
        self,
        output: Path,
        folder: str,
        ranking: Ranking,
        bound: Bound,
        *,
        same_network: bool = True,
        listed: Container[str] | None = None,
    ) -> None:
        self._listed = listed
        self._gone: int | None = None  # it does not change while a run goes on
        self._same_network = same_network
        wanted = ("status", "thumbnail", *bound.columns, *FEATURE_COLUMNS[ranking.features])
        self._names = list(dict.fromkeys([*_DESCRIBED, *wanted]))
        self._output, self._bound = output, bound
        cheap = _rows(Path(folder), self._names)
        cheap = cheap.filter(pc.equal(cheap.column("status"), "ok"))
        if listed is not None:
            cheap = cheap.filter(pa.array(_which(cheap, listed), pa.bool_()))
        self._cheap = cheap
        self._scores = bound.scores(self._cheap)

    def read(self, without: Collection[str] = ()) -> Rows:
        """All rows as they are stored now.

        An exact row of another version of the image counts as none. Images that could not be
        scored exactly, and those of these ids, are left out where they have no exact row.
        """
        stored, cheap, bound = _rows(self._output, self._names), self._cheap, self._bound
        status = stored.column("status")
        exact = stored.filter(pc.equal(status, "ok"))
        failed = stored.filter(pc.equal(status, "error")).column("id")
        skipped = stored.filter(pc.equal(status, "skipped"))
        if self._gone is None:
            known_here = [] if self._listed is None else _which(skipped, self._listed)
            self._gone = known_here.count(False)
        at = pc.index_in(exact.column("id").combine_chunks(), cheap.column("id").combine_chunks())
        other = cheap.column("source_version").combine_chunks().take(at)
        same = pc.equal(exact.column("source_version").combine_chunks(), other)
        current = pc.fill_null(same, True)  # what the screen does not know is of an earlier run
        exact, at = exact.filter(current), at.filter(current)
        out = pa.array(list(without), exact.schema.field("id").type)
        parts = (exact.column("id").combine_chunks(), failed.combine_chunks(), out)
        known_ids = pa.concat_arrays(parts)
        alone = pc.invert(pc.is_in(cheap.column("id"), known_ids))
        rest = cheap.filter(alone)
        known = at.is_valid().to_numpy(zero_copy_only=False)
        of_exact = np.full(len(exact), np.nan)
        of_exact[known] = self._scores[at.drop_null().to_numpy().astype(np.int64)]
        table = pa.concat_tables([exact, rest.replace_schema_metadata(exact.schema.metadata)])
        return Rows(
            table=table.combine_chunks(),
            exact=np.concatenate([bound.scores(exact), np.full(len(rest), np.nan)]),
            screen=np.concatenate([of_exact, self._scores[alone.to_numpy().astype(bool)]]),
            is_exact=np.arange(len(table)) < len(exact),
            gone=self._gone,
            same_network=self._same_network,
        )


def failed_ids(folder: Path) -> list[str]:
    """Ids of the images that could not be scored."""
    if not list_parts(folder / "images"):
        return []
    found: list[str] = read_results(folder, ["id"], status="error").table.column("id").to_pylist()
    return found


def write_skipped(output: Output, folder: Path, is_own: Callable[[str], bool]) -> tuple[int, int]:
    """Give every screened image of the shard that has no exact row one of status ``skipped``.

    Parameters
    ----------
    output : Output
    folder : Path
        Holds the screen's rows.
    is_own : callable
        Whether the image of an id belongs to the shard.

    Returns
    -------
    screened, skipped : int
        How many images of the shard the screen has scored, and how many of them are skipped, also
        by earlier runs.
    """
    names = [*_DESCRIBED, *_SHAPE, *_SCREENED]
    screened = skipped = 0
    for batch in iter_results(folder, names, status="ok", batch_rows=_ROWS):
        keys = zip(
            batch.column("id").to_pylist(), batch.column("source_version").to_pylist(), strict=True
        )
        left, new = 0, []
        for place, (item_id, version) in enumerate(keys):
            if not is_own(item_id):
                continue
            screened += 1
            if output.is_done(item_id, version):
                continue
            left += 1
            if not output.is_skipped(item_id, version):
                new.append(place)
        skipped += left
        if new:
            rows = batch.take(pa.array(new))
            values: dict[str, Any] = {n: rows.column(n).to_pylist() for n in (*_DESCRIBED, *_SHAPE)}
            values |= {f"screen_{n}": rows.column(n).to_pylist() for n in _SCREENED}
            output.write({**values, "status": ["skipped"] * len(rows)})
    output.flush()
    return screened, skipped


def write_serves(config: ScoreConfig, found: Screened) -> None:
    """Note what the exact rows of an output serve, for later selections."""
    ranking = config.ranking.to_dict()
    text = json.dumps({"ranking": ranking, "kept": found.kept, "goal": found.goal}, indent=1)
    write_text(config.output / FOLDER / SERVES, text + "\n")


def _with(table: pa.Table, scores: Floats) -> pa.Table:
    column = pa.array(scores, pa.float64(), from_pandas=True)  # NaN becomes null
    return table.append_column(EXPECTED, column)


def _rows(folder: Path, names: list[str]) -> pa.Table:
    if not list_parts(folder / "images"):
        schema = images_schema()
        return pa.schema([schema.field(name) for name in names]).empty_table()
    return read_results(folder, names).table


def _which(rows: pa.Table, ids: Container[str]) -> list[bool]:
    """Which rows have one of these ids."""
    return [item_id in ids for item_id in rows.column("id").to_pylist()]
