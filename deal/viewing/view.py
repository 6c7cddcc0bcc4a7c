"""``view``: from a scored output to the page."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deal.errors import OutputError, UsageError
from deal.machine.files import write_text
from deal.pool.remote_path import RemotePath, place
from deal.pool.schemes import refuse_scheme
from deal.run.overlays import rings_of_wkt
from deal.viewing.chosen import Chosen, read_chosen
from deal.viewing.compare import Comparison, compare
from deal.viewing.drives import Drives, Facet, facets, find_drives
from deal.viewing.head import failures, head_of
from deal.viewing.layers import Layers, find_layers
from deal.viewing.pack import Pack
from deal.viewing.page import build, program, style
from deal.viewing.pictures import Pictures, draw_pictures, flat_rings, wanted_rows
from deal.viewing.rows import MOST_ROWS, Pool, read_pool
from deal.viewing.serve import open_in_browser, parse_address, serve_page
from deal.viewing.stacks import levels_of, signatures_of, stacks

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["MAX_BYTES", "Made", "make_page", "view"]

MAX_BYTES = 25_000_000
"""Size that a page stays below."""

Source = str | os.PathLike[str]


@dataclass(frozen=True)
class Made:
    """A page that was made.

    Attributes
    ----------
    text : str
        The HTML.
    pool : Pool
    notes : tuple of str
        What the user should hear.
    """

    text: str
    pool: Pool
    notes: tuple[str, ...] = field(default=())


def view(
    sources: Source | Sequence[Source],
    *,
    output: Source | None = None,
    selection: Source | None = None,
    model: Source | None = None,
    thumbnails: int = 2000,
    maps: int = 200,
    rows: int = 100_000,
    open_page: bool = False,
    serve: str | None = None,
    progress: Callable[[int, int], None] | None = None,
    note: Callable[[str], None] | None = None,
) -> Path | None:
    """Write a page to look at a scored pool and its selection: one file, no server, no network.

    Parameters
    ----------
    sources : path, or two paths
        Output folder of `deal-score`. Of two, the first is the earlier round that the second is
        compared with.
    output : path, optional
        The page; by default ``view.html`` in the (later) output folder.
    selection : path, optional
        Folder of another selection from the same results, as ``deal select --output`` writes it.
    model : path, optional
        The model that scored the pool, to draw maps of the picks, if it is no longer where it was.
        Without a model that can be opened the page has no overlays.
    thumbnails : int
        Number of images with a thumbnail in the page: the picks, their neighbours in time, the best
        of the others, and some of all the others. They get smaller until the page is below 25 MB.
    maps : int
        Number of picks with overlays and a larger picture.
    rows : int
        A larger pool is sampled evenly; every pick stays, or the first of more picks than rows.
    open_page : bool
        Open the page in the browser.
    serve : str, optional
        ``127.0.0.1:PORT``: serve the page and its images there until Ctrl-C, for pools whose
        thumbnails do not fit into a page.
    progress : callable, optional
        Called with the number of images that are drawn, and of all.
    note : callable, optional
        Called with each thing that the user should hear.

    Returns
    -------
    Path or None
        The page; None if it was served.

    Raises
    ------
    UsageError
        Options that are out of range or do not go together.
    ResultsError
        A source has no results, or two sources have no image in common.
    OutputError
        The page cannot be written.
    """
    if serve is not None and output is not None:
        raise UsageError("--serve writes no file: drop --output")
    target = page_path(sources, output)
    address = None if serve is None else parse_address(serve)
    token = token_hex(8) if address else ""
    made = make_page(
        sources,
        selection=selection,
        model=model,
        thumbnails=0 if address else thumbnails,
        maps=maps,
        rows=rows,
        token=token,
        progress=progress,
    )
    if note is not None:
        for text in made.notes:
            note(text)
    if address is not None:
        serve_page(made.text, made.pool, address, token, open_page=open_page)
        return None
    write_text(target, made.text)
    if open_page:
        open_in_browser(target.resolve().as_uri())
    return target


def page_path(sources: Source | Sequence[Source], output: Source | None) -> Path:
    """Where the page goes; refuses what cannot be a page before any work.

    Raises
    ------
    UsageError
        The name does not end in .html.
    OutputError
        It is a folder.
    """
    if output is None:
        several = [sources] if isinstance(sources, (str, os.PathLike)) else list(sources)
        folder = place(several[-1] if several else ".", what="OUT")
        if isinstance(folder, RemotePath):
            raise UsageError(
                f"{folder} lies in object storage, where no browser reads: give --output FILE.html"
            )
        return folder / "view.html"
    refuse_scheme(output, "--output", "give a file on this machine")
    path = Path(output)
    if path.is_dir():
        raise OutputError(f"cannot write {output}: it is a folder; name a file such as pool.html")
    if path.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"--output {output}: the page is HTML; end the name in .html")
    return path


def make_page(
    sources: Source | Sequence[Source],
    *,
    selection: Source | None = None,
    model: Source | None = None,
    thumbnails: int = 2000,
    maps: int = 200,
    rows: int = 100_000,
    token: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> Made:
    """Make the page; parameters and errors as of :func:`view`.

    A ``token`` is that of the server that the page gets further pictures from.
    """
    outputs = [sources] if isinstance(sources, (str, os.PathLike)) else list(sources)
    if not 1 <= len(outputs) <= 2:
        raise UsageError("name one output folder, or two rounds to compare, the earlier one first")
    if not 1 <= rows <= MOST_ROWS:
        raise UsageError(
            f"--rows {rows}: a page holds 1 to {MOST_ROWS:,} rows; of a larger pool it shows an "
            "even sample with every pick"
        )
    for name, value in (("thumbnails", thumbnails), ("maps", maps)):
        if value < 0:
            raise UsageError(f"--{name} {value}: give a number of at least 0")
    chosen = read_chosen(outputs[-1] if selection is None else selection, needed=bool(selection))
    pool = read_pool(outputs[-1], chosen, rows)
    from deal.run.reopen import latest_run, model_palette

    run = latest_run(outputs[-1])
    spread_by = (chosen.metadata.get("spreading") or {}).get("by")
    found = facets(pool.table, counted=spread_by not in ("embedding", "statistics"))
    drives = find_drives(pool.table, found)
    against = None
    if len(outputs) == 2:
        against = compare(pool, outputs[0], read_chosen(outputs[0]))
    pack = _packed(pool, chosen, found, drives, against)
    room = MAX_BYTES - len(pack.base64()) - len(program()) - len(style()) - 1_000_000
    picks = np.flatnonzero(pool.picks)
    ranked = picks[np.argsort(pool.picks[picks], kind="stable")][:maps].tolist()
    layers = find_layers(pool, ranked, model)
    where = np.empty(len(pool), np.int64)
    where[drives.along] = np.arange(len(pool))
    wanted = wanted_rows(pool, thumbnails, drives.along, where)
    pictures = draw_pictures(
        pool,
        wanted,
        room=max(room, 0),
        mapped=layers,
        mapped_count=len(layers),
        progress=progress,
    )
    if chosen.metadata.get("table") == "regions":
        pictures.regions = picked_regions(pool, chosen)
    known, signatures = signatures_of(pool, pictures.signatures)
    levels = levels_of(chosen.metadata)
    folded = stacks(pool, drives, known, signatures, levels)
    alike = int(((folded > 0) & (pool.picks > 0)).sum())
    head = head_of(
        pool,
        run,
        found,
        drives,
        near_duplicates=alike if len(known) else None,
        levels=levels,
        palette=model_palette(outputs[-1], model),
    )
    _add_pictures(pack, pictures, folded)
    head |= {
        "columns": pack.header,
        "uri_prefix": uri_prefix(pool.table),
        "shape": round(pictures.shape, 4),
        "token": token,
        "regions": {str(row): polygons for row, polygons in pictures.regions.items()},
        "tops": head["tops"] | pictures.tops,
        "unreadable": {str(row): reason for row, reason in pictures.unreadable.items()},
        "failed": failures(pool),
        "failed_total": pool.counts["error"],
        "no_maps": layers.missing,
    }
    if against is not None:
        head["compare"] = _told(against, outputs)
    notes = [*pool.notes, *_notes(pool, pictures, layers, thumbnails, bool(token))]
    head["notes"] = notes
    text = build(head, pack.base64(), pictures.data, served=bool(token))
    return Made(text, pool, tuple(notes))


def picked_regions(pool: Pool, chosen: Chosen) -> dict[int, list[list[float]]]:
    """Outlines of the selected regions of each image, in 0…1 of its width and height."""
    found: dict[int, list[list[float]]] = {}
    widths, heights = (pool.table.column(name).to_pylist() for name in ("width", "height"))
    rows = chosen.rows_in(pool.ids).to_pylist()
    for row, polygon in zip(rows, chosen.polygons.to_pylist(), strict=True):
        if row is not None and polygon and widths[row] and heights[row]:
            outlines = rings_of_wkt(polygon, (1 / widths[row], 1 / heights[row]))
            found.setdefault(row, []).extend(flat_rings(outlines))
    return found


def _packed(
    pool: Pool,
    chosen: Chosen,
    found: Sequence[Facet],
    drives: Drives,
    against: Comparison | None,
) -> Pack:
    """The columns of the page but those of pictures."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from deal.results.schema import STATUSES

    table, pack = pool.table, Pack()
    pack.numbers("time", drives.time, "f8")
    pack.numbers("score", pool.scores, "f4")
    for name in ("difficulty", "entropy"):
        column = table.column(f"{name}_mean").cast(pa.float64())
        pack.numbers(name, pc.fill_null(column, float("nan")).to_numpy(), "f4")
    pack.numbers("place", pool.places, "u4")
    pack.numbers("pick", pool.picks, "u4")
    pack.numbers("along", drives.along, "u4")
    pack.codes("drive", drives.drive, int(drives.drive.max(initial=0)) + 1)
    for index, facet in enumerate(found):
        pack.codes(f"facet{index}", facet.codes, len(facet.values))
    coded = pc.index_in(table.column("status").cast(pa.string()), pa.array(STATUSES, pa.string()))
    pack.numbers("status", coded.fill_null(0).to_numpy(), "u1")
    for name in ("width", "height"):
        size = table.column(name).fill_null(0).to_numpy()
        pack.numbers(name, np.minimum(size, 65_535), "u2")
    for name, values in zip("xy", pool.points.T, strict=True):
        pack.numbers(name, _levels(values), "u2")
    # The square root gives small shares the levels they need.
    levels = np.ceil(255 * np.sqrt(pool.shares) - 0.5)
    pack.numbers("share", np.where(pool.shares > 0, np.maximum(levels, 1), 0).T, "u1")
    if pool.codes is not None:
        pack.numbers("codes", pool.codes, "u1")
    if against is not None:
        pack.numbers("before_place", against.places, "u4")
        pack.numbers("before_pick", against.picks, "u4")
    pack.texts("id", pool.ids)
    pack.texts("why", pool.why)
    if uri_prefix(table) is None:
        pack.texts("uri", table.column("uri"))
    return pack


def _add_pictures(pack: Pack, pictures: Pictures, folded: NDArray[np.uint32]) -> None:
    lengths = np.array([4 * -(-len(data) // 3) for data in pictures.data], np.int64)
    pack.numbers("stack", folded, "u4")
    pack.numbers("blob_row", pictures.rows, "u4")
    pack.numbers("blob_kind", pictures.kinds, "u1")
    pack.numbers("blob_start", np.cumsum(lengths) - lengths, "u4")
    pack.numbers("blob_chars", lengths, "u4")


def _levels(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Places on the map as 1 … 65,535; 0 where nothing is known."""
    known = np.isfinite(values)
    low, high = (values[known].min(), values[known].max()) if known.any() else (0.0, 1.0)
    scaled = np.zeros(len(values))
    scaled[known] = 1 + np.rint(65_534 * (values[known] - low) / max(high - low, 1e-12))
    return scaled


def uri_prefix(table: pa.Table) -> str | None:
    """What stands before the id in every uri; None where uris are made otherwise."""
    import pyarrow.compute as pc

    if not len(table):
        return ""
    first, own = table.column("uri")[0].as_py(), table.column("id")[0].as_py()
    if not first.endswith(own):
        return None
    prefix = first.removesuffix(own)
    made = pc.binary_join_element_wise(prefix, table.column("id"), "")
    return prefix if pc.all(pc.equal(made, table.column("uri"))).as_py() else None


def _told(against: Comparison, outputs: Sequence[Source]) -> dict[str, Any]:
    return {
        "before": place(outputs[0]).resolve().name,
        "after": place(outputs[1]).resolve().name,
        "measure": against.measure,
        "by_class": [[n, round(b, 6), round(a, 6)] for n, b, a in against.by_class],
        "common": against.common,
        "both": against.both,
        "selected": against.selected,
    }


def _notes(
    pool: Pool, pictures: Pictures, layers: Layers, thumbnails: int, served: bool
) -> list[str]:
    notes = []
    if pool.missing_picks:
        notes.append(
            f"{pool.missing_picks} picks of the selection are not in these results: select again"
        )
    if pictures.unreadable:
        reason = next(iter(pictures.unreadable.values()))
        notes.append(
            f"{len(pictures.unreadable)} of {len(pictures.unreadable) + len(pictures.signatures)} "
            f"images cannot be read where they were scored, so they have no picture ({reason})"
        )
    if pictures.left_out:
        notes.append(
            f"{pictures.left_out} pictures found no room in {MAX_BYTES // 1_000_000} MB: give "
            "fewer --thumbnails or --maps, or --serve 127.0.0.1:8000"
        )
    if layers.failed:
        notes.append(
            f"{len(layers.failed)} picks have no maps: {next(iter(layers.failed.values()))}"
        )
    if not served and thumbnails < len(pool):
        notes.append(
            f"{thumbnails:,} of {len(pool):,} images have a thumbnail in this page: --thumbnails "
            "gives more, --serve shows all"
        )
    return notes
