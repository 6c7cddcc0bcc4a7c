"""What a selection reads: output folders and tables, piece by piece, and chosen rows again."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from deal.errors import ResultsError
from deal.schema import IMAGE_COLUMNS, REGION_COLUMNS

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Source", "Sources"]

Source: TypeAlias = "str | os.PathLike[str] | pa.Table"

_PIECE_ROWS = 65_536


class Sources:
    """Rows of one table in all sources: the tables as given, then the parts of the folders.

    Parameters
    ----------
    sources : path, pyarrow.Table, or several of them
    table : ``images`` or ``regions``
        Rows of regions are joined with the columns of their image that they lack; regions of
        images that are not ok do not exist.

    Attributes
    ----------
    classes : tuple of str or None
        Class names of the model, if the sources say.
    fingerprint : str or None
        Of the settings the rows were scored with; None for tables that do not say.

    Raises
    ------
    ResultsError
        Sources without results, damaged, or scored with different settings.
    """

    def __init__(self, sources: Source | Iterable[Source], table: str = "images") -> None:
        import pyarrow as pa

        from deal.results import list_results

        if isinstance(sources, (str, os.PathLike, pa.Table)):
            sources = [sources]
        self.table = table
        self._tables: list[pa.Table] = []
        folders: list[str | os.PathLike[str]] = []
        for source in sources:
            if isinstance(source, pa.Table):
                self._tables.append(source)
            else:
                folders.append(source)
        self._folders = [Path(folder) for folder in folders]
        self._parts = list_results(folders, table)
        if folders and not self._parts:  # of images there is one in every folder
            raise ResultsError(
                f"{self._folders[0]} holds no regions: score with --regions, such as grid:40"
            )
        self._first: tuple[Path, dict[str, str]] | None = None
        self._lengths: list[int] = []
        self.fingerprint, self.classes = self._settings()

    def read(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Pieces of at most 65,536 rows, the same in every pass.

        Columns that a table lacks are left out; those that a part lacks are null.
        """
        lengths = []
        for source in self._sources():
            rows = 0
            for piece in self._pieces(source, columns):
                rows += len(piece)
                yield piece
            lengths.append(rows)
        self._lengths = lengths

    def take(self, rows: NDArray[np.int64], columns: Sequence[str]) -> pa.Table:
        """Columns of some rows, in their order; only files that hold any are read.

        Parameters
        ----------
        rows : ndarray of int64 [k]
            Numbers of rows as :meth:`read` counted them, in a pass that was read to its end.

        Raises
        ------
        ResultsError
            The results have changed since they were read.
        """
        import pyarrow as pa

        order = np.argsort(rows, kind="stable")
        ascending = rows[order]
        taken: list[pa.Table] = []
        start = 0
        for source, length in zip(self._sources(), self._lengths, strict=True):
            low, high = np.searchsorted(ascending, [start, start + length])
            if low < high:
                seen = 0
                wanted = ascending[low:high] - start
                for piece in self._pieces(source, columns):
                    a, b = np.searchsorted(wanted, [seen, seen + len(piece)])
                    taken.append(piece.take(pa.array(wanted[a:b] - seen)))
                    seen += len(piece)
                if seen != length:
                    raise ResultsError(
                        f"{source} has changed while it was read: run the same command again"
                    )
            start += length
        if not taken:
            return pa.table({})
        present = [name for name in columns if all(name in t.column_names for t in taken)]
        table = pa.concat_tables([t.select(present) for t in taken], promote_options="permissive")
        return table.take(pa.array(np.argsort(order)))

    def regions(self) -> Sources | None:
        """The regions stored in the folders; None when there are none."""
        folders = [folder for folder in self._folders if any((folder / "regions").glob("[!_]*"))]
        return Sources(folders, "regions") if folders and self.table == "images" else None

    def _sources(self) -> list[pa.Table | Path]:
        return [*self._tables, *self._parts]

    def _settings(self) -> tuple[str | None, tuple[str, ...] | None]:
        from deal.parts import deal_metadata
        from deal.results import open_part, part_footer

        footers = [deal_metadata(table.schema.metadata) for table in self._tables]
        for part in self._parts:
            file = open_part(part)
            if file is not None:
                with file:
                    self._first = part, part_footer(file)
                footers.append(self._first[1])
                break
        fingerprints = {footer.get("deal.fingerprint") for footer in footers}
        if len(fingerprints) > 1:
            raise ResultsError(
                "the sources were scored with different settings (model, head, raster, mask, …), "
                "so their scores do not compare: score them alike, or select from each alone"
            )
        classes = next((f["deal.classes"] for f in footers if "deal.classes" in f), None)
        return (
            next(iter(fingerprints), None),
            None if classes is None else tuple(json.loads(classes)),
        )

    def _pieces(self, source: pa.Table | Path, columns: Sequence[str]) -> Iterator[pa.Table]:
        if isinstance(source, Path):
            yield from self._part_pieces(source, columns)
            return
        present = [name for name in columns if name in source.column_names]
        if "id" not in source.column_names:
            raise ResultsError("the table has no column id, which names its images")
        for start in range(0, max(len(source), 1), _PIECE_ROWS):
            yield source.slice(start, _PIECE_ROWS).select(present)

    def _part_pieces(self, part: Path, columns: Sequence[str]) -> Iterator[pa.Table]:
        import pyarrow as pa

        from deal.results import check_alike, open_part, part_batches, part_footer

        known = IMAGE_COLUMNS if self.table == "images" else REGION_COLUMNS
        own = [name for name in columns if name in known]
        file = open_part(part)
        if file is None:
            return
        with file:
            footer = part_footer(file)
            if self._first is not None:
                check_alike(self._first, (part, footer))
            join = None
            if self.table == "regions":
                join = _Images(part, [name for name in columns if name not in known])
                own = list(dict.fromkeys([*own, "id"]))
            for batch in part_batches(file, own, _PIECE_ROWS):
                table = pa.Table.from_batches([batch])
                yield table if join is None else join(table)


class _Images:
    """The images that the regions of a part belong to."""

    def __init__(self, part: Path, columns: Sequence[str]) -> None:
        from deal.results import ok_images

        self._columns = [name for name in columns if name in IMAGE_COLUMNS]
        self._images = ok_images(part, self._columns)

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
