"""Store the results of a run: write rows, count them, and stop if too many images fail."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from deal.errors import DealError, ItemError, TooManyErrorsError
from deal.results.output import Output
from deal.run.config import ErrorLimit
from deal.run.progress import Progress
from deal.run.rows import Outcome, each_storable, to_rows
from deal.scoring.doubts import PoolDoubts
from deal.scoring.faults import NetworkItemError
from deal.types import PoolItem

__all__ = ["Ledger"]

# If the process is killed, rows of at most this many seconds are lost.
_FLUSH_SECONDS = 30.0
# Smaller tables take more time and memory for their structure than for their values.
_TABLE_ROWS = 256
# Rows that are described anew at once; parts hold rows in about the order of the pool.
_DESCRIBED_ROWS = 4096
# If this many images failed in the network and none was scored, the cause is the model and not the
# images. If this many fail one after the other, the cause is the model or the device.
_PROOF = 100


class Ledger:
    """Stores outcomes and counts them.

    Parameters
    ----------
    output : Output
    total : int
        Images of the pool, in this shard.
    limit : ErrorLimit or None
    progress : callable, optional
        Called after every outcome.
    by_camera : bool
        What is scored depends on an image's camera: one that the pool describes otherwise than it
        is stored is scored again.

    Attributes
    ----------
    skipped, scored, duplicates : int
        Images that an earlier run stored, that this run scored, and that this run stored as
        duplicates.
    redescribed : int
        Of those stored by earlier runs: rows that got the sequence, camera, time or attributes
        that the pool gives now.
    errors : Counter of error code
    marks : Counter of str
        Counts of the text after each ``;`` in the color_mode of images that this run scored.
    doubts : PoolDoubts
        Doubts about the images that this run scored.
    """

    def __init__(
        self,
        output: Output,
        total: int,
        limit: ErrorLimit | None = None,
        progress: Callable[[Progress], None] | None = None,
        *,
        by_camera: bool = False,
    ) -> None:
        self.output = output
        self.total = total
        self.skipped = self.scored = self.duplicates = self.redescribed = 0
        self.errors: Counter[str] = Counter()
        self.marks: Counter[str] = Counter()
        self.doubts = PoolDoubts()
        self._limit = limit
        self._in_a_row = 0
        self._network: list[tuple[str, ItemError]] = []
        self._progress = progress
        self._stored_before = output.done_count
        self._waiting: list[Outcome] = []
        self._by_camera = by_camera
        self._to_describe: list[PoolItem] = []
        self._rows = 0
        # The thread that lists the pool asks what is done while the calling thread writes.
        self._lock = threading.Lock()
        self._started = self._flushed = time.monotonic()

    def is_done(self, item: PoolItem) -> bool:
        """Whether an earlier run stored this version of the image."""
        with self._lock:
            if not self.output.is_done(item.id, item.source_version):
                return False
            if self.output.differs(item):
                if self._by_camera:
                    return False
                self._to_describe.append(item)
                if len(self._to_describe) >= _DESCRIBED_ROWS:
                    self._describe()
            return True

    def duplicate_of(self, item: PoolItem) -> int | None:
        """Digest of the id that an image repeats, if an earlier run stored it as a duplicate."""
        with self._lock:
            return self.output.duplicate_of(item.id)

    def skip(self) -> None:
        """Count an image as stored by an earlier run."""
        self.skipped += 1

    def store(self, outcome: Outcome) -> None:
        """Write the rows of an outcome.

        Raises
        ------
        OutputError
            The output cannot be written.
        TooManyErrorsError, DealError
            Too many images failed for the run to go on.
        """
        self._waiting.append(outcome)
        self._rows += len(outcome.images)
        self.duplicates += 0 if outcome.duplicate_of is None else len(outcome.images)
        self._judge(outcome)
        if time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self.flush()
        elif self._rows >= _TABLE_ROWS:
            self._write()
        if self._progress is not None:
            self._progress(self.state())
        self._check(at_end=False)

    def flush(self) -> None:
        """Write the rows so far to files, so that readers see them."""
        self._write()
        with self._lock:
            self.output.flush()
            self._describe()
        self._flushed = time.monotonic()

    def check(self) -> None:
        """Raise DealError if the run, which is at its end, has failed as a whole."""
        self._check(at_end=True)

    def state(self) -> Progress:
        """Return the counts as they are now."""
        failed = self.errors.total()
        seconds = time.monotonic() - self._started
        done = self.scored + self.duplicates + failed
        return Progress(self.total, self.skipped, done, failed, seconds)

    def say_stopping(self) -> None:
        """Tell that the run is to end; takes no lock, so signal handlers may call it."""
        if self._progress is not None:
            self._progress(replace(self.state(), stopping=True))

    def _describe(self) -> None:
        items, self._to_describe = self._to_describe, []
        self.redescribed += self.output.describe(items)

    def _write(self) -> None:
        outcomes, self._waiting, self._rows = self._waiting, [], 0
        with self._lock:
            for images, regions in to_rows(outcomes):
                if "class_pixels" in images:
                    self.doubts.add(images)
                for row in each_storable(images, regions, self.output.write):
                    self.scored -= row["status"] == ["ok"]
                    self.duplicates -= row["status"] == ["duplicate"]
                    self.errors.subtract([code for code in row.get("error_code", []) if code])
                    self.errors["internal"] += 1

    def _judge(self, outcome: Outcome) -> None:
        """Update the counts of an outcome, and those that show whether the network is at fault."""
        ok = outcome.ok
        self.scored += len(ok)
        for _, shape in ok:
            if shape is not None and ";" in shape.color_mode:
                self.marks.update(shape.color_mode.split(";")[1:])
        if ok:
            self._in_a_row = 0
        for index, error in outcome.failures.items():
            self.errors[error.code] += 1
            if isinstance(error, NetworkItemError):
                self._in_a_row += error.code in ("network", "internal")
                self._network.append((outcome.images[index][0].id, error))
                del self._network[_PROOF:]

    def _check(self, *, at_end: bool) -> None:
        nonfinite, failed = self.errors["nonfinite"], self.errors.total()
        went_in = nonfinite + len(self._network)
        nothing = self.scored == 0 and self._stored_before == 0
        if went_in and nothing and (at_end or went_in >= _PROOF):
            raise DealError(self._likely_cause(nonfinite, went_in))
        if self._in_a_row >= _PROOF:
            item_id, error = self._network[-1]
            raise DealError(
                f"{self._in_a_row} images in a row failed in the network, the last of them "
                f"{item_id!r}: {error.message}; the images scored so far are stored, and the same "
                "command continues from there"
            )
        limit = self._limit
        if limit is None or limit.allows(failed, self.total):
            return
        if at_end or limit.count is not None:
            codes = ", ".join(f"{count} {code}" for code, count in self.errors.most_common())
            raise TooManyErrorsError(
                f"{failed} of {self.total} images failed ({codes}), more than --max-errors "
                f"{limit} allows: see the column error in {self.output.path}/images, or allow more"
            )

    def _likely_cause(self, nonfinite: int, went_in: int) -> str:
        if nonfinite == went_in:
            return (
                f"all {nonfinite} images that went through the network gave NaN or infinite "
                "logits: its weights are damaged or diverged, mean and std do not fit, or half "
                "precision overflows; check the model, or export it at fp32"
            )
        item_id, error = self._network[0]
        return (
            f"none of the {went_in} images that reached the network could be scored; the first, "
            f"{item_id!r}: {error.message}"
        )
