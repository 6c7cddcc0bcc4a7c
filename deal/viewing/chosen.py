"""What was selected, as ``selection.json`` and ``selection.csv`` of an output folder say."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING, Any

from deal.errors import DealError, ResultsError, UsageError
from deal.pool.remote_path import RemotePath, place

if TYPE_CHECKING:
    import pyarrow as pa

    from deal.selection import Ranking

__all__ = ["Chosen", "ranking_of", "read_chosen"]

_END_OF_HEAD = '\n "selection": ['
_HEAD_BYTES = 1 << 24
_GUARDED = r"^'('*[=+\-@\t\r])"


@dataclass(frozen=True)
class Chosen:
    """A selection as it is stored.

    Attributes
    ----------
    metadata : mapping
        What ``selection.json`` says beside its rows; empty without a selection.
    ids : pyarrow.LargeStringArray [k]
        Ids of the picks, best first; several times where regions are selected.
    why : pyarrow.LargeStringArray [k]
        Null where nothing is known.
    polygons : pyarrow.LargeStringArray [k]
        Outlines of regions as WKT; null where images are selected.
    """

    metadata: Mapping[str, Any] = field(default_factory=dict)
    ids: pa.Array = None
    why: pa.Array = None
    polygons: pa.Array = None

    @property
    def ranks_everything(self) -> bool:
        """Whether there is no budget: then a rank is all that is known, and nothing is picked."""
        return self.metadata.get("budget") is None

    def rows_in(self, ids: pa.Array) -> pa.Array:
        """Row of each pick among ids; null where they lack it.

        An apostrophe that guards a pick against spreadsheets is no part of its id.
        """
        import pyarrow.compute as pc

        plain = pc.replace_substring_regex(self.ids, _GUARDED, r"\1")
        return pc.coalesce(pc.index_in(self.ids, ids), pc.index_in(plain, ids))


def read_chosen(folder: str | os.PathLike[str], *, needed: bool = False) -> Chosen:
    """Read the selection in a folder; an empty one if there is none and it is not ``needed``.

    Raises
    ------
    ResultsError
        It cannot be read, or there is none where one is needed.
    """
    import pyarrow as pa
    from pyarrow import csv

    path = place(folder)
    if not (path / "selection.json").exists() or not (path / "selection.csv").exists():
        if needed:
            raise ResultsError(
                f"{path} holds no selection.json and selection.csv: name a folder that deal select "
                "--output wrote"
            )
        nothing = pa.array([], pa.large_string())
        return Chosen({}, nothing, nothing, nothing)
    text = pa.large_string()
    try:
        with (path / "selection.json").open(encoding="utf-8") as file:
            head, found, _ = file.read(_HEAD_BYTES).partition(_END_OF_HEAD)
        metadata = json.loads(head.rstrip().rstrip(",") + "}" if found else head)
        ranked = path / "selection.csv"
        table = csv.read_csv(
            BytesIO(ranked.read_bytes()) if isinstance(ranked, RemotePath) else ranked,
            parse_options=csv.ParseOptions(newlines_in_values=True),
            convert_options=csv.ConvertOptions(
                include_columns=["id", "why", "polygon"],
                column_types={"id": text, "why": text, "polygon": text},
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                null_values=[""],
            ),
        )
    except (OSError, ValueError, KeyError, pa.ArrowInvalid) as error:
        raise ResultsError(
            f"the selection in {path} cannot be read ({error}): select again with deal select "
            f"--output {path}"
        ) from error
    columns = (table.column(name).combine_chunks() for name in ("id", "why", "polygon"))
    return Chosen(metadata, *columns)


def ranking_of(metadata: Mapping[str, Any]) -> tuple[Ranking, str | None]:
    """Make the ranking of images that a selection was made by, without budget and rules.

    Returns
    -------
    ranking : Ranking
        That of ``ds`` where the selection cannot be repeated.
    note : str or None
        Why it cannot.
    """
    from deal.acquisitions.lookup import find
    from deal.selection import Ranking
    from deal.selection.options import flat_options

    name = metadata.get("acquisition")
    if name is None:
        return Ranking.of(), None
    try:
        entry = find(name)
    except UsageError:
        return Ranking.of(), (
            f"the function {name} is not known here, so images are ranked by difficulty: load it "
            "with --plugin"
        )
    try:
        if "images" not in entry.tables:
            return Ranking.of(), f"{name} scores only regions, so images are ranked by difficulty"
        given = {key: metadata[key] for key in (*entry.options, "seed") if key in metadata}
        ranking = Ranking.of(**flat_options({**given, "acquisition": name, "table": "images"}))
    except (UsageError, DealError) as error:
        return Ranking.of(), f"the images are ranked by difficulty: {error}"
    if ranking.bind(None).greedy:
        return Ranking.of(), f"{name} picks by distance and has no scores: the score is difficulty"
    return ranking, None
