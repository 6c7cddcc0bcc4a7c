"""Reading output folders and tables: all rows piece by piece, then the chosen rows once more."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from deal.errors import ResultsError
from deal.machine.cores import available_cores
from deal.machine.threads import ordered
from deal.pool.remote_path import place
from deal.results.schema import IMAGE_COLUMNS, REGION_COLUMNS
from deal.selection.attributes import plain

if TYPE_CHECKING:
    import pyarrow as pa

    from deal.results.frames import Results
    from deal.results.partfile import Part
    from deal.results.repeats import SecondRows

__all__ = ["Source", "Sources"]

Source: TypeAlias = "str | os.PathLike[str] | pa.Table | Results"
_Found = TypeVar("_Found")

_PIECE_ROWS = 16_384
_TAKEN_ROWS = 1024
_LARGE_ROWS = 65_536
_THREADS = 4
_TASK_BYTES = 4 << 20
_TASK_SOURCES = 4


class Sources:
    """Rows of one table in all sources: first the given tables, then the parts of the folders.

    Parameters
    ----------
    sources : path, Results, pyarrow.Table, or several of them
    table : ``images`` or ``regions``
        Rows of regions get the columns of their image that they lack. Regions of images that are
        not ok are left out.

    Attributes
    ----------
    classes : tuple of str or None
        Class names of the model, if the sources store them.
    fingerprint : str or None
        Fingerprint of the settings the rows were scored with; None for tables without one.

    Raises
    ------
    ResultsError
        A source has no results or is damaged, or the sources were scored with different settings.
    """

    def __init__(self, sources: Source | Iterable[Source], table: str = "images") -> None:
        import pyarrow as pa

        from deal.results.frames import Results
        from deal.results.reading import list_results

        known = (str, os.PathLike, pa.Table, Results)
        # Frames of other libraries yield the names of their columns, which are no folders.
        is_one = not isinstance(sources, Iterable) or hasattr(sources, "__arrow_c_stream__")
        several = cast(
            "list[Source]", [sources] if is_one or isinstance(sources, known) else [*sources]
        )
        if not several:
            raise ResultsError("there is no source: give an output folder of deal-score")
        self.table = table
        self._tables: list[pa.Table] = []
        folders: list[str | os.PathLike[str]] = []
        for source in several:
            if isinstance(source, Results):
                self._tables.append(plain(source.table))
            elif isinstance(source, pa.Table):
                self._tables.append(plain(source))
            elif isinstance(source, (str, os.PathLike)):
                folders.append(source)
            else:
                raise ResultsError(
                    f"a source is a {type(source).__name__}: give an output folder of deal-score, "
                    "what read_results returned, or a pyarrow.Table (frame.to_arrow() of Polars, "
                    "pyarrow.Table.from_pandas(frame) of pandas)"
                )
        self._folders = [place(folder) for folder in folders]
        self._parts = list_results(folders, table)
        if folders and not self._parts:  # only for regions: every folder has a part of images
            raise ResultsError(
                f"{self._folders[0]} holds no regions: score with --regions, such as grid:40"
            )
        self._first: tuple[Path, dict[str, str]] | None = None
        self._lengths: list[int] = []  # rows of each source
        self._coming: list[int] = []  # the same, as far as the pass has come
        self._second: SecondRows = {}
        self.fingerprint, self.classes = self._settings()

    @property
    def folders(self) -> list[Path]:
        """The output folders among the sources."""
        return list(self._folders)

    def has(self, column: str) -> bool:
        """Whether any source has a column; parts have all, of an earlier version perhaps null."""
        return bool(self._parts) or any(column in table.column_names for table in self._tables)

    def read(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Yield all rows in pieces of at least 16,384, in the same order in every pass.

        A column that a table lacks is left out; a column that a part lacks is null.
        """
        self._coming = lengths = []
        sources = self._sources()

        def load(task: Sequence[int]) -> list[Iterable[pa.Table]]:
            return [self._load(sources[index], columns) for index in task]

        def pieces() -> Iterator[pa.Table]:
            for source in self._ahead(load, range(len(sources))):
                lengths.append(0)
                for piece in source:
                    lengths[-1] += len(piece)
                    yield piece

        yield from _gathered(pieces())
        self._lengths = lengths

    def take(
        self,
        rows: NDArray[np.int64],
        columns: Sequence[str],
        summary: Callable[[pa.Table], pa.Table] | None = None,
    ) -> pa.Table:
        """Return columns of chosen rows, in the order of ``rows``; reads only files that hold some.

        Parameters
        ----------
        rows : ndarray of int64 [k]
            Row numbers as :meth:`read` counted them, in a pass that was read to its end.
        columns : sequence of str
            Columns that a source lacks are left out.
        summary : callable, optional
            Turns a piece into a table of as many rows, which is kept instead of the wide columns.

        Raises
        ------
        ResultsError
            The results have changed since they were read.
        """
        import pyarrow as pa

        order = np.argsort(rows, kind="stable")
        ascending = rows[order]
        starts = np.concatenate([[0], np.cumsum(self._lengths, dtype=np.int64)])
        bounds = np.searchsorted(ascending, starts)
        sources = self._sources()

        def picked(index: int) -> Iterator[pa.Table]:
            wanted = ascending[bounds[index] : bounds[index + 1]] - starts[index]
            rows = 0
            for piece in self._load(sources[index], columns):
                low, high = np.searchsorted(wanted, [rows, rows + len(piece)])
                yield piece.take(pa.array(wanted[low:high] - rows))
                rows += len(piece)
            if rows != self._lengths[index]:
                raise ResultsError(
                    f"{sources[index]} has changed while it was read: run the same command again"
                )

        def summaries(task: Sequence[int]) -> list[pa.Table]:
            pieces = _gathered(chain.from_iterable(map(picked, task)), _TAKEN_ROWS)
            return list(pieces if summary is None else map(summary, pieces))

        touched = np.flatnonzero(np.diff(bounds)).tolist()
        taken = list(self._ahead(summaries, touched))
        names = taken[0].column_names if taken and summary else columns
        return _in_order(taken, names, order)

    def expected(self, rows: int) -> int:
        """Estimate the rows of all sources by their sizes, while `read` has yielded so many."""
        sizes = [_bytes(source) for source in self._sources()]
        return math.ceil(rows * sum(sizes) / max(sum(sizes[: len(self._coming)]), 1))

    def settle(self) -> bool:
        """Leave out second rows from now on (:mod:`deal.results.repeats`); True if there are any.

        They are searched for only after an id has occurred twice.

        Raises
        ------
        ResultsError
            The results do not say which of the rows counts.
        """
        from deal.results.reading import list_results
        from deal.results.repeats import second_rows

        before = self._second
        self._second = second_rows(list_results(self._folders))
        return bool(self._second) and not before

    def regions(self) -> Sources | None:
        """The regions stored in the folders; None when there are none."""
        folders = [folder for folder in self._folders if any((folder / "regions").glob("[!_]*"))]
        return Sources(folders, "regions") if folders and self.table == "images" else None

    def _sources(self) -> list[pa.Table | Path]:
        return [*self._tables, *self._parts]

    def _settings(self) -> tuple[str | None, tuple[str, ...] | None]:
        from deal.results.partfile import deal_metadata
        from deal.results.reading import check_without_regions, open_part

        footers = [deal_metadata(table.schema.metadata) for table in self._tables]
        for path in self._parts:
            part = open_part(path)
            if part is not None:
                with part:
                    self._first = path, part.footer
                footers.append(self._first[1])
                break
        if self.table == "regions":
            check_without_regions(self._folders, self._first)
        fingerprints = {footer.get("deal.fingerprint") for footer in footers}
        if len(fingerprints) > 1:
            raise ResultsError(
                "the sources were scored with different settings (model, head, raster, mask, …), "
                "so their scores cannot be compared: score all with the same settings, or select "
                "from each source alone"
            )
        classes = next((f["deal.classes"] for f in footers if "deal.classes" in f), None)
        return (
            next(iter(fingerprints), None),
            None if classes is None else tuple(json.loads(classes)),
        )

    def _ahead(
        self, function: Callable[[Sequence[int]], list[_Found]], indices: Iterable[int]
    ) -> Iterator[_Found]:
        """Call ``load`` with runs of sources in threads that work ahead; yield results in order."""
        threads = min(available_cores(), _THREADS)
        with ThreadPoolExecutor(threads) as executor:
            for _, found in ordered(executor, function, self._tasks(indices), threads + 2):
                yield from found

    def _tasks(self, indices: Iterable[int]) -> Iterator[list[int]]:
        """Group sources into runs of about 4 MiB of files, since each handover costs time.

        A run has at most four sources: files that compress well are large in memory.
        """
        sources = self._sources()
        task: list[int] = []
        size = 0
        for index in indices:
            task.append(index)
            size += _bytes(sources[index])
            if size >= _TASK_BYTES or len(task) == _TASK_SOURCES:
                yield task
                task, size = [], 0
        if task:
            yield task

    def _load(self, source: pa.Table | Path, columns: Sequence[str]) -> Iterable[pa.Table]:
        """Return the pieces of a source, already read unless the source is a large part."""
        from deal.results.reading import open_part

        if not isinstance(source, Path):
            return self._table_pieces(source, columns)
        part = open_part(source)
        if part is None:
            raise ResultsError(
                f"{source} has changed while it was read: run the same command again"
            )
        pieces = self._part_pieces(part, columns)
        return list(pieces) if part.rows <= _LARGE_ROWS else pieces

    def _table_pieces(self, table: pa.Table, columns: Sequence[str]) -> Iterator[pa.Table]:
        if "id" not in table.column_names:
            raise ResultsError("the table has no column id, which names its images")
        present = [name for name in dict.fromkeys(["id", *columns]) if name in table.column_names]
        for start in range(0, max(len(table), 1), _LARGE_ROWS):
            yield table.slice(start, _LARGE_ROWS).select(present)

    def _part_pieces(self, part: Part, columns: Sequence[str]) -> Iterator[pa.Table]:
        import pyarrow as pa

        from deal.results.reading import check_alike, part_batches
        from deal.results.repeats import without

        known = IMAGE_COLUMNS if self.table == "images" else REGION_COLUMNS
        own = [name for name in columns if name in known]
        wanted = own
        with part:
            if self._first is not None:
                check_alike(self._first, (part.path, part.footer))
            join = None
            if self.table == "regions":
                others = [name for name in columns if name not in known]
                join = _Images(part.path, others, self._second)
                wanted = own = list(dict.fromkeys([*own, "id"]))
            elif part.path in self._second:
                wanted = list(dict.fromkeys([*own, "id"]))
            for batch in part_batches(part, wanted, _LARGE_ROWS):
                table = without(pa.Table.from_batches([batch]), self._second, part.path)
                if join is not None:
                    yield join(table)
                else:
                    yield table if own == wanted else table.select(own)


def _bytes(source: pa.Table | Path) -> int:
    try:
        return source.stat().st_size if isinstance(source, Path) else source.nbytes
    except FileNotFoundError:  # a run has just removed the last row of the part
        return 0


def _gathered(pieces: Iterable[pa.Table], least: int = _PIECE_ROWS) -> Iterator[pa.Table]:
    """Join small pieces of one schema to pieces of at least ``least`` rows; drop empty pieces."""
    import pyarrow as pa

    waiting: list[pa.Table] = []
    rows = 0
    for piece in pieces:
        if not len(piece):
            continue
        if waiting and (rows >= least or not piece.schema.equals(waiting[0].schema)):
            yield pa.concat_tables(waiting).combine_chunks()
            waiting, rows = [], 0
        waiting.append(piece)
        rows += len(piece)
    if waiting:
        yield pa.concat_tables(waiting).combine_chunks()


def _in_order(pieces: list[pa.Table], names: Iterable[str], rows: NDArray[np.int64]) -> pa.Table:
    """Join the columns that all pieces have, with each row at the place that ``rows`` gives.

    The list of pieces is emptied.
    """
    import pyarrow as pa

    present = [name for name in names if all(name in t.column_names for t in pieces)]
    if not pieces:
        return pa.table({})
    table = pa.concat_tables([t.select(present) for t in pieces], promote_options="permissive")
    pieces.clear()
    place = pa.array(np.argsort(rows))
    columns = {}
    for name in present:  # one at a time, so that only one column is in memory in both orders
        column = table.column(name)
        table = table.drop_columns([name])
        pa.default_memory_pool().release_unused()  # memory of the files' readers
        column = column.combine_chunks()
        pa.default_memory_pool().release_unused()  # memory of the chunks
        columns[name] = column.take(place)
    return pa.table(columns)


class _Images:
    """The images that the regions of a part belong to."""

    def __init__(self, part: Path, columns: Sequence[str], second: SecondRows) -> None:
        from deal.results.reading import ok_images

        self._columns = [name for name in columns if name in IMAGE_COLUMNS]
        self._images = ok_images(part, self._columns, second)

    def __call__(self, regions: pa.Table) -> pa.Table:
        """Regions of images that are ok, with the columns of their images."""
        import pyarrow.compute as pc

        index = pc.index_in(regions.column("id"), self._images.column("id"))
        exists = pc.is_valid(index)
        regions, index = regions.filter(exists), index.filter(exists)
        for name in self._columns:
            if name != "status":
                regions = regions.append_column(name, self._images.column(name).take(index))
        return regions
