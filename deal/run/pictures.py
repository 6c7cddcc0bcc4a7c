"""What a selection adds to its list: a contact sheet, and maps of what is selected."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

from deal.errors import UsageError
from deal.run.previews import write_previews
from deal.run.progress import Progress
from deal.run.reopen import reopen
from deal.run.storing import store_maps
from deal.selection import Ranking, Selection
from deal.selection.options import SelectOptions

__all__ = ["Pictures", "draw_pictures"]

Source = str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class Pictures:
    """What was drawn.

    Attributes
    ----------
    previews : Path or None
        The contact sheet.
    notes : tuple of str
    """

    previews: Path | None
    notes: tuple[str, ...]


def draw_pictures(
    outputs: Source | Sequence[Source],
    selection: Selection,
    *,
    model: Source | None = None,
    folder: Source | None = None,
    previews: int = 0,
    store: bool = False,
    progress: Callable[[Progress], None] | None = None,
    **options: Unpack[SelectOptions],
) -> Pictures:
    """Open the model of scored results again, and draw the first picks, or store their maps.

    Parameters
    ----------
    outputs : path or sequence of paths
        The output folders that were selected from.
    selection : Selection
    model : path, optional
        Where the model is now.
    folder : path, optional
        Gets ``previews.jpg``.
    previews : int
        Number of picks on the sheet.
    store : bool
        Store the maps of all picks in ``outputs``.
    progress : callable, optional
    **options
        The options of `deal.select` by which the selection was made.

    Raises
    ------
    UsageError, ResultsError, ModelError, EngineUnavailableError
        As :func:`deal.run.reopen.reopen`.
    OutputError
        A file cannot be written.
    """
    if previews and folder is None:
        raise UsageError("previews need a folder: give --output DIR")
    folders = [outputs] if isinstance(outputs, (str, os.PathLike)) else list(outputs)
    path, notes = None, []
    with reopen(folders[0], model) as session:
        if store:
            notes += store_maps(folders, session, set(selection.ids), progress=progress)
        if previews and folder is not None:
            path, more = write_previews(
                folder,
                selection,
                session,
                sources=folders,
                ranking=Ranking.of(**options),
                count=previews,
                progress=progress,
            )
            notes += more
    return Pictures(path, tuple(notes))
