"""``BatchScorer``: a table of items → a table of rows, for engines that spread work."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Literal, Unpack

import numpy as np
import pyarrow as pa

from deal._options import refuse_unknown, takes
from deal.engines.choosing import AUTO
from deal.errors import ItemError, UsageError
from deal.machine.threads import ordered
from deal.pool.decode import MAX_PIXELS
from deal.pool.fetch import Fetcher
from deal.pool.locator import locate
from deal.results.schema import images_schema, part_metadata, to_table
from deal.run.rows import Columns, Outcome, each_storable, to_rows
from deal.run.sessions import default_batch_size, default_threads
from deal.run.steps import Batch, Ready, Steps, batched
from deal.scoring.options import Network, Pixels, Runtime, Scoring, ScoringOptions, Voting
from deal.scoring.session import Session
from deal.types import Locator, PoolItem

__all__ = ["ITEM_COLUMNS", "BatchScorer", "check_item_columns", "items_of", "rows_of_failed"]

_TEXT = pa.string()
ITEM_COLUMNS: dict[str, pa.DataType] = {
    "id": _TEXT,
    "uri": _TEXT,
    "source_version": _TEXT,
    "bytes": pa.large_binary(),
    "read_error": _TEXT,
    "sequence": _TEXT,
    "camera": _TEXT,
    "timestamp_ns": pa.int64(),
    "attributes": pa.map_(_TEXT, _TEXT),
}
"""Columns of a table of items; all but ``id`` and ``uri`` may be absent."""


@dataclass(frozen=True, slots=True)
class Given:
    """A locator of what an item of a table holds; ``data`` is None for an unreadable one."""

    data: bytes | None
    error: str

    def version(self) -> str:
        """See `deal.types.Locator`."""
        return "" if self.data is None else f"{len(self.data)}-crc32:{zlib.crc32(self.data):08x}"

    def read(self, max_pixels: int = MAX_PIXELS) -> bytes:
        """See `deal.types.Locator`."""
        if self.data is None:
            raise ItemError("io", self.error)
        return self.data


@dataclass(slots=True)
class _Opened:
    session: Session
    steps: Steps
    schema: pa.Schema
    batch_size: int


_REGIONS = "its rows are those of images: score regions with deal-score, in shards (--shard)"


@takes(
    ScoringOptions,
    *(Runtime, Network, Voting, Pixels),
    without=dict.fromkeys(("regions", "keep_regions", "outlines"), _REGIONS),
)
class BatchScorer:
    """Scores tables of items: for Ray, Spark, Daft and whatever else spreads tables over processes.

    It can be pickled, and opens the network at the first call. One process scores with one core
    unless ``threads`` and ``decode_threads`` say otherwise, as such engines run one process per
    core. The rows have the bits of ``deal-score`` with the same options.

    Parameters
    ----------
    model : path, or sequence of paths
        As in `Scorer`; relative paths are made absolute here. Every process must find it there.
    on_error : ``row`` or ``raise``
        What becomes of an image that fails: a row of status ``error``, as in ``deal-score``, or an
        ItemError that names it.
    decode_threads : int
        Threads that decode images beside the thread that runs the network.
    max_pixels : int
        Images with more pixels are not decoded and become error rows.
    endpoint_url : str, optional
        Where a store speaks S3, if it is not Amazon's.

    Raises
    ------
    UsageError
        An option is invalid. What only the model can tell is raised when it is opened.

    Examples
    --------
    >>> scorer = deal.BatchScorer("model.onnx")
    >>> rows = scorer(pa.table({"id": ["a.jpg"], "uri": ["/pool/a.jpg"]}))
    >>> deal.results.write(rows, "scored/")
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        on_error: Literal["row", "raise"] = "row",
        decode_threads: int = 1,
        max_pixels: int = MAX_PIXELS,
        endpoint_url: str | None = None,
        **options: Unpack[ScoringOptions],
    ) -> None:
        if on_error not in ("row", "raise"):
            raise UsageError(f"on_error must be row or raise, not {on_error!r}")
        if decode_threads < 1:
            raise UsageError(f"decode_threads must be at least 1, not {decode_threads}")
        models = [model] if isinstance(model, (str, os.PathLike)) else model
        self._models = tuple(os.path.abspath(one) for one in models)  # noqa: PTH100 (any bytes)
        self._on_error = on_error
        self._decode_threads = decode_threads
        self._max_pixels = max_pixels
        self._endpoint_url = endpoint_url
        self._scoring = _for_one_process(Scoring.of(**options))
        self._opened: _Opened | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    @property
    def schema(self) -> pa.Schema:
        """The schema of the rows, with the metadata that every part of results has.

        ``deal.fingerprint`` in it tells which results the rows may join. Opens the network.
        """
        return self._open().schema

    def __call__(self, items: pa.Table) -> pa.Table:
        """Score the images of a table.

        Parameters
        ----------
        items : pyarrow.Table or RecordBatch, n rows
            Columns ``id`` and ``uri``, strings that are never null, and any of

            - ``bytes``, binary: the content of the image file; null for one that could not be read,
              and ``read_error`` says why. Without this column images are read by their ``uri``.
            - ``source_version``: changes when the image does. By default that of the file, or the
              size and a checksum of ``bytes``.
            - ``sequence``, ``camera``, strings; ``timestamp_ns``, int64; ``attributes``,
              map<string, string>.

        Returns
        -------
        pyarrow.Table, n rows
            The columns of ``images/*.parquet``, one row per item, in the order of the items.

        Raises
        ------
        UsageError
            A column is missing, unknown or of another type, or two items have the same id.
        ItemError
            An image failed, with ``on_error="raise"``.
        ModelError, EngineUnavailableError
            The network cannot be opened.
        """
        opened = self._open()
        listed = [self._versioned(item) for item in items_of(items, self._endpoint_url)]
        found: list[Outcome] = [one for one in listed if isinstance(one, Outcome)]
        todo = [one for one in listed if isinstance(one, PoolItem)]
        for outcome in found:
            self._check(outcome)
        with ThreadPoolExecutor(self._decode_threads, "deal-decode") as executor:
            for outcome in self._outcomes(opened, todo, executor):
                self._check(outcome)
                found.append(outcome)
        classes = len(opened.session.spec.classes)
        ids = items.column("id").cast(pa.string()).to_pylist()
        return _in_order(found, ids, opened.schema, classes)

    def close(self) -> None:
        """Release the network; the next call opens it again. Closing twice is harmless."""
        if self._opened is not None:
            self._opened.session.close()
            self._opened = None

    def _open(self) -> _Opened:
        if self._opened is None:
            session = Session(self._models, self._scoring)
            metadata = part_metadata(session.fingerprint_settings(), session.spec.classes)
            self._opened = _Opened(
                session,
                Steps(session, max_pixels=self._max_pixels),
                images_schema().with_metadata(metadata),
                default_batch_size(self._scoring.runtime, session),
            )
        return self._opened

    def _versioned(self, item: PoolItem) -> PoolItem | Outcome:
        """The item with a version; its failure if there is no such image."""
        if item.source_version:
            return item
        try:
            return replace(item, source_version=item.locator.version())
        except ItemError as error:
            return Outcome.failure(item, error)

    def _outcomes(
        self, opened: _Opened, items: Sequence[PoolItem], executor: ThreadPoolExecutor
    ) -> Iterator[Outcome]:
        fetcher = Fetcher(opened.session.meter, max_pixels=self._max_pixels)
        ahead = self._decode_threads + opened.batch_size

        def decoded() -> Iterator[Ready | Outcome]:
            for _, result in ordered(executor, opened.steps.decoded, fetcher(items), ahead):
                yield result

        entry: Batch | Outcome
        for entry in batched(decoded(), opened.batch_size):
            if isinstance(entry, Outcome):
                yield entry
            else:
                yield from opened.steps.scored(opened.session, entry)

    def _check(self, outcome: Outcome) -> None:
        if self._on_error == "raise":
            for index, error in outcome.failures.items():
                item = outcome.images[index][0]
                raise ItemError(error.code, f"image {item.id!r}: {error.message}")


def scorer_of(model: Sequence[str], scoring: Scoring, **own: Any) -> BatchScorer:
    """A scorer with options that are parsed already; ``own`` are those of the class alone."""
    scorer = BatchScorer(model, **own)
    scorer._scoring = _for_one_process(scoring)
    return scorer


def session_of(scorer: BatchScorer) -> Session:
    """The network of a scorer, opened: its device, what it gives, doubts and busy seconds."""
    return scorer._open().session


def _for_one_process(scoring: Scoring) -> Scoring:
    """With a core per process unless more are asked for, and nothing that cannot be pickled."""
    if scoring.runtime.engine == AUTO:
        raise UsageError(
            "engine auto measures one machine, and processes beside each other would find "
            "different engines: name one"
        )
    network = replace(scoring.network, model_options=dict(scoring.network.model_options or {}))
    runtime = replace(scoring.runtime, threads=default_threads(scoring.runtime))
    return replace(scoring, network=network, runtime=runtime)


def items_of(items: pa.Table, endpoint_url: str | None = None) -> Iterator[PoolItem]:
    """The items of a table; raises UsageError as `BatchScorer` does."""
    columns = _columns(items)
    for row in zip(*columns.values(), strict=True):
        values = dict(zip(columns, row, strict=True))
        data, error = values.pop("bytes", None), values.pop("read_error", None)
        version = values.pop("source_version", None) or ""
        locator: Locator
        if "bytes" in columns or error is not None:
            locator = Given(data, error or "the image could not be read")
        else:
            locator = locate(values["uri"], version, endpoint_url=endpoint_url)
        values["attributes"] = dict(values.get("attributes") or ())
        yield PoolItem(**values, locator=locator, source_version=version)


def check_item_columns(names: Sequence[str]) -> None:
    """Raise UsageError unless these are columns of a table of items."""
    refuse_unknown("a table of items", dict.fromkeys(names), list(ITEM_COLUMNS), _KNOWN)
    for name in ("id", "uri"):
        if name not in names:
            raise UsageError(
                f"the items have the columns {', '.join(names) or 'none'}; they need {name!r}"
            )


def _columns(items: pa.Table) -> dict[str, list[Any]]:
    """Columns of a table of items as lists of Python values; raises UsageError."""
    if not isinstance(items, (pa.Table, pa.RecordBatch)):
        raise UsageError(f"items are a pyarrow.Table or RecordBatch, not a {type(items).__name__}")
    names = items.schema.names
    check_item_columns(names)
    found: dict[str, list[Any]] = {}
    for name in names:
        kind = ITEM_COLUMNS[name]
        column = items.column(name)
        try:
            found[name] = column.cast(kind).to_pylist()
        except (pa.ArrowException, ValueError) as error:
            raise UsageError(
                f"the column {name!r} of the items is of type {column.type}, not {kind}: cast it"
            ) from error
    for name in ("id", "uri"):
        if None in found[name]:
            raise UsageError(f"the column {name!r} of the items has nulls: it names each image")
    if len(set(found["id"])) < len(items):
        raise UsageError("two items have the same id: give every image an id of its own")
    return found


_KNOWN = f"it may have {', '.join(ITEM_COLUMNS)}"


def rows_of_failed(failed: Sequence[tuple[PoolItem, ItemError]], schema: pa.Schema) -> pa.Table:
    """Rows of images that no network saw, with the reason of each; ``schema`` has the metadata."""
    outcomes = [Outcome.failure(item, error) for item, error in failed]
    classes = len(json.loads(schema.metadata[b"deal.classes"]))
    return _in_order(outcomes, [item.id for item, _ in failed], schema, classes)


def _in_order(
    outcomes: Sequence[Outcome], ids: Sequence[str], schema: pa.Schema, classes: int
) -> pa.Table:
    """Outcomes as one table, in the order of the ids."""
    bare = schema.remove_metadata()
    tables = [bare.empty_table()]

    def add(images: Columns, regions: Mapping[str, Any] | None = None) -> None:
        tables.append(to_table(images, bare, classes))

    for images, _ in to_rows(outcomes):
        for _row in each_storable(images, None, add):
            pass
    table = pa.concat_tables(tables)
    place = {item_id: row for row, item_id in enumerate(table.column("id").to_pylist())}
    rows = np.array([place[item_id] for item_id in ids], np.int64)
    return table.take(rows).combine_chunks().replace_schema_metadata(schema.metadata)
