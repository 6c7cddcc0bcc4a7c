"""A run that screens: cheap scores of the whole pool, exact ones of what can reach the budget.

::

    a uniform sample, exactly and screened ─► does it pay? ─► no: all exactly
                                                  │ yes
    the whole pool, screened ─► what the rules would pick, and what a bound asks for, exactly
                                ▲                                │
                                └── until all picks are exact and the bound holds

Screened rows lie in an output of their own below `deal.run.screen.FOLDER`, so that kills, resumes
and shards are those of every run. Nothing of a decision is stored: it follows from the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from deal.errors import DealError, ModelError, UsageError
from deal.pool.digests import DigestSet, digest
from deal.results.claim import claimed
from deal.results.output import Output
from deal.results.schema import fingerprint
from deal.run.config import ScoreConfig
from deal.run.ending import check_columns
from deal.run.ledger import Ledger
from deal.run.progress import Progress, Screened
from deal.run.screen import Screen, screens_of
from deal.run.screen_check import is_model
from deal.run.screen_choice import PAYS, Sample, ScreenChoice
from deal.run.screened_rows import (
    RowReader,
    Rows,
    failed_ids,
    write_serves,
    write_skipped,
)
from deal.run.sessions import Layout, layout_for
from deal.run.workers import Line as Workers
from deal.run.workers import open_session
from deal.scoring.session import Session
from deal.selection import Selection
from deal.selection.screened import is_bounded

__all__ = ["Screening"]

_FEWEST = 100  # images of a pool that is worth a sample
_STEP = 16  # images that a pass scores at least, since a pass alone costs as much as several

_LOOKED_UP = 1024  # rows at once

Wanted = Callable[[str], bool]


@dataclass(slots=True)
class _Pass:
    """An open output with the network that fills it."""

    config: ScoreConfig
    session: Session
    output: Output
    ledger: Ledger
    layout: Layout
    whole: Workers
    seconds: float = 0.0
    busy: dict[str, float] = field(default_factory=dict)
    done: int = 0
    spare: list[Session] = field(default_factory=list)  # opening one takes as long as some images

    def run(self, wanted: Wanted) -> None:
        """Score the items that are wanted and not stored yet."""
        before = self.ledger.scored
        line = Workers(
            self.config, self.session, self.ledger, self.layout, wanted=wanted, spare=self.spare
        )
        self.seconds += line.run()
        self.whole.include(line)
        self.done += self.ledger.scored - before
        for stage, busy in line.meter.seconds.items():
            self.busy[stage] = self.busy.get(stage, 0.0) + busy

    @property
    def per_image(self) -> float | None:
        """Busy seconds of network and kernel per image; None before any."""
        busy = sum(self.busy.get(stage, 0.0) for stage in ("network", "kernel"))
        return busy / self.done if self.done else None


@contextmanager
def _blamed(way: Screen) -> Iterator[None]:
    """Say of errors of the network inside that it is the screen's; the exact pass has another."""
    try:
        yield
    except DealError as error:
        if type(error) not in (DealError, ModelError):
            raise
        raise type(error)(
            f"--screen {way.shown}: {error}; or screen at another factor, or with another model"
        ) from error


class Screening:
    """What a screened run does between opening its output and ranking it.

    Parameters
    ----------
    config : ScoreConfig
    scorer : Session
    output : Output
    ledger : Ledger
    layout : Layout
        Of the exact passes.
    line : Workers
        What all passes measure is added to it.
    progress : callable, optional
        Told of the passes over the screen; the ledger tells of the exact ones.

    Attributes
    ----------
    exact : _Pass
        Seconds and busy seconds of all exact passes.
    """

    def __init__(
        self,
        config: ScoreConfig,
        scorer: Session,
        output: Output,
        ledger: Ledger,
        layout: Layout,
        line: Workers,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self._config = config
        self._progress = progress
        self._line = line
        self.exact = _Pass(config, scorer, output, ledger, layout, line)
        ranking, shards = config.ranking, config.shard.count
        self._listed = DigestSet(config.whole_pool.ids())
        # No hash tells the ids of a shard that is a range of rows.
        self._own = DigestSet(config.items.ids()) if config.items.takes_rows else None
        self._sample = Sample.of(len(self._listed), shards)
        self._named = {*ranking.include.images, *ranking.exclude.images}
        self._bound = ranking.bind(scorer.spec.classes)
        self._choice = ScreenChoice(
            ranking, self._bound, self._sample, config.screen_keep, len(self._listed), shards
        )
        self._has_sample = False  # whether this run has tried the sample and the named images
        self._seen: set[int] = set()  # digests of other ids that this run has tried exactly
        self._lost: set[str] = set()  # tried, and still without an exact row

    def run(self) -> Screened:
        """Score what is needed, and store the others as skipped.

        Raises
        ------
        InterruptedRunError, DealError
            As `deal.run.workers.Line.run` raises them.
        """
        try:
            return self._run()
        finally:
            self.exact.spare.clear()  # ranking needs the memory

    def _run(self) -> Screened:
        ways = screens_of(self._config, self.exact.session.spec)
        if self._choice.images < _FEWEST:
            return self._all(f"the pool has only {self._choice.images} images")
        with ExitStack() as opened:
            passes = [opened.enter_context(self._opened(way)) for way in ways]
            self._score(self._is_first)
            self._has_sample = True
            found = []
            for way, stage in zip(ways, passes, strict=True):
                with _blamed(way):
                    stage.run(self._sample.__contains__)
                found.append(self._expected_cost(way, stage))
            best = int(np.argmin(found))
            if found[best] >= PAYS:
                return self._all(
                    f"the sample says that it would take {found[best]:.2f} of the time of scoring "
                    "everything",
                )
            stage, way = passes[best], ways[best]
            with _blamed(way):
                stage.run(lambda item_id: item_id not in self._sample)  # which it has tried
            seconds = stage.seconds
        return self._decided(way, seconds, self._cost(way, stage))

    def judged(self, found: Screened, selection: Selection) -> Screened:
        """The report of a run, with the bound for what was selected in the end."""
        if found.reason is not None:
            return found
        rows = self._read(self._reader(found.folder))
        kept = self._choice.reached(rows, rows.places(list(selection.ids)))
        if kept == found.kept:
            return found
        found = replace(found, kept=kept)
        write_serves(self._config, found)
        return found

    def _all(self, reason: str) -> Screened:
        """Score everything exactly; what this run has tried and could not score stays so."""
        self._score(lambda item_id: not self._tried(item_id))
        return Screened(reason=reason, goal=self._config.screen_keep)

    def _decided(self, way: Screen, seconds: float, cost: float) -> Screened:
        """Score what the rules and the bound ask for, until they ask for no more."""
        config, folder = self._config, str(way.config.output)
        broken = failed_ids(way.config.output)  # they fail again, and get a row that says why
        failed = [name for name in broken if self._is_own(name)]
        reader = self._reader(folder)
        while True:
            rows = self._read(reader)
            asked = self._choice.needed(rows)
            if asked is None:
                return self._all("the bound asks for nearly every image")
            need, others = rows.names(asked[0]), asked[1]
            if lost := {name for name in need if self._tried(name)}:
                self._lost |= lost  # others may take their places
                continue
            own = {name for name in need if self._is_own(name)}
            elsewhere = len(need) - len(own)
            if own:
                own.update(islice(self._own_of(rows, others), max(_STEP - len(own), 0)))
            own.update(name for name in failed if not self._tried(name))
            if not own:
                break
            self._score(own.__contains__, own)
        self.exact.output.flush()
        screened, skipped = write_skipped(self.exact.output, way.config.output, self._is_own)
        exact = rows.exact_count
        found = Screened(
            shown=way.shown,
            folder=folder,
            screened=screened,
            exact=exact,
            skipped=skipped,
            elsewhere=elsewhere,
            goal=config.screen_keep,
            cost=cost + exact / max(len(rows), 1),
            seconds=seconds,
            bounded=is_bounded(config.ranking),
            kept=self._choice.reached(rows),
        )
        write_serves(config, found)
        return found

    def _score(self, wanted: Wanted, ids: set[str] | None = None) -> None:
        self.exact.run(wanted)
        self._seen.update(map(digest, ids or ()))

    def _is_first(self, item_id: str) -> bool:
        """Whether an item is scored exactly before any other."""
        return item_id in self._sample or item_id in self._named

    def _is_own(self, item_id: str) -> bool:
        """Whether an item belongs to this shard."""
        if self._own is not None:
            return item_id in self._own
        return item_id in self._listed and self._config.shard.contains(item_id)

    def _own_of(self, rows: Rows, places: NDArray[np.int64]) -> Iterator[str]:
        """Ids of this shard among rows, in their order."""
        for start in range(0, len(places), _LOOKED_UP):
            yield from filter(self._is_own, rows.names(places[start : start + _LOOKED_UP]))

    def _tried(self, item_id: str) -> bool:
        """Whether this run has tried to score an item exactly."""
        is_tried = digest(item_id) in self._seen or (self._has_sample and self._is_first(item_id))
        return is_tried and self._is_own(item_id)

    @contextmanager
    def _opened(self, way: Screen) -> Iterator[_Pass]:
        """The screen's output and network."""
        config = way.config
        with _blamed(way):
            opened = open_session(config)
        with opened as session:
            try:
                check_columns(
                    config,
                    session.spec.classes,
                    has_difficulty=session.has_difficulty,
                    has_committee=session.has_committee,
                )
            except UsageError as error:  # the exact pass has what the function needs
                needs = any("difficulty" in column for column in self._bound.columns)
                is_head = needs and not session.has_difficulty
                lacks = "difficulty head" if is_head else "votes of a committee"
                learn = ", such as deal distill makes with --difficulty-head" if is_head else ""
                raise UsageError(
                    f"--screen {config.model[0]} cannot forecast {config.ranking.acquisition}, as "
                    f"it has no {lacks}: screen at a factor such as 0.5, or with another model"
                    f"{learn}"
                ) from error
            settings = session.fingerprint_settings()
            stored = claimed(config.output)
            # The output below which the screen lies was overwritten since; its rows fit no more.
            is_stale = stored is not None and stored["deal.fingerprint"] != fingerprint(settings)
            with Output.open(
                config.output,
                settings=settings,
                classes=session.spec.classes,
                overwrite=config.overwrite or is_stale,
                shard=config.shard,
                by_rows=self._own is not None,
            ) as output:
                total = self.exact.ledger.total
                progress = None if self._progress is None else self._tell
                mask = config.scoring.pixels.mask
                by_camera = mask is not None and bool(mask.cameras)
                ledger = Ledger(output, total, None, progress, by_camera=by_camera)
                layout = layout_for(config, session, max(total - output.done_count, 0))
                stage = _Pass(config, session, output, ledger, layout, self._line)
                try:
                    yield stage
                finally:
                    stage.spare.clear()

    def _tell(self, progress: Progress) -> None:
        assert self._progress is not None
        self._progress(replace(progress, what="images screened"))

    def _reader(self, folder: str) -> RowReader:
        config = self._config
        return RowReader(
            config.output,
            folder,
            config.ranking,
            self._bound,
            same_network=not is_model(str(config.screen)),
            listed=self._listed,
        )

    def _read(self, reader: RowReader) -> Rows:
        self.exact.output.flush()
        return reader.read(self._lost)

    def _expected_cost(self, way: Screen, stage: _Pass) -> float:
        """What the sample says that screening would take, of the time of scoring everything."""
        rows = self._read(self._reader(str(way.config.output)))
        return self._cost(way, stage) + self._choice.share_needed(rows)

    def _cost(self, way: Screen, stage: _Pass) -> float:
        """Time of the screen per image, in times of an exact pass."""
        if way.cost is not None:
            return way.cost
        screen, exact = stage.per_image, self.exact.per_image
        return 0.0 if screen is None or not exact else screen / exact
