"""Does anything but decoding and the network bound a machine with many cores?"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from deal._demo import demo_file
from deal.bench.failed import FailedCheckError
from deal.bench.report import Report, Row
from deal.bench.timing import ratios, spread
from deal.machine.cores import available_cores
from deal.machine.handover import Crew
from deal.machine.threads import Stages, ordered
from deal.pool.decode import decode
from deal.pool.listing import Pool
from deal.results.output import Output
from deal.results.reading import read_results
from deal.run.config import ScoreConfig
from deal.run.ledger import Ledger
from deal.run.rows import Outcome
from deal.run.sessions import Layout
from deal.run.steps import Batch, Ready, Steps
from deal.run.workers import DEPTH, Line, open_session
from deal.scoring.batch_scores import BatchScores
from deal.scoring.session import Session
from deal.synthetic.scenes import write_pool
from deal.types import PoolItem

__all__ = ["run"]

_SIZE = (360, 480)
_MANIFEST = 1_000


class _NoNetwork(Steps):
    """Steps whose network, head and kernel take no time: each image gets the scores of one.

    Parameters
    ----------
    session : Session
    scores : BatchScores
        Of one image.
    ready : Ready, optional
        What every image is once it is decoded, so that this takes no time either.
    """

    def __init__(self, session: Session, scores: BatchScores, ready: Ready | None = None) -> None:
        super().__init__(session, max_pixels=2**30)
        self._scores, self._decoded = scores, ready

    def decoded(self, item: PoolItem) -> Ready | Outcome:
        if self._decoded is None:
            return super().decoded(item)
        return replace(self._decoded, item=item)

    def scored(self, session: Session, batch: Batch) -> Iterator[Outcome]:
        scores = self._scores
        if len(batch) > 1:
            columns = {
                name: np.repeat(values, len(batch), axis=0)
                for name, values in scores.columns.items()
            }
            scores = BatchScores(np.arange(len(batch)), columns, None, {})
        yield Outcome([(ready.item, ready.shape) for ready in batch], scores, {})


@dataclass(frozen=True, slots=True)
class _Time:
    wall: float
    cpu: float


def run(
    *,
    rows: int = 50_000,
    images: int = 2_000,
    sessions: int | None = None,
    batch_size: int = 1,
    rounds: int = 5,
) -> Report:
    """Time the way of images through a run whose network takes no time.

    Once without decoding, too: what is left are the listing of the pool, queues, ledger and writer.
    These are also timed one after the other, each alone in one thread. Once with JPEG files, beside
    threads that only decode them.

    Parameters
    ----------
    rows : int
        Rows without decoding.
    images : int
        JPEG files of 360×480, in files of their own.
    sessions : int, optional
        Threads of the network; as many as cores by default. As many threads decode.
    batch_size : int
    rounds : int

    Raises
    ------
    FailedCheckError
        A run did not store every row.
    """
    cores = available_cores()
    layout = Layout(sessions or cores, 1, batch_size)
    with tempfile.TemporaryDirectory(prefix="deal-bench-") as name:
        folder = Path(name)
        write_pool(folder / "pool", images, _SIZE)
        listing = folder / "pool.csv"
        listing.write_text("uri,id\n" + _listed(folder / "pool", rows), encoding="utf-8")
        files = _Run(folder, [str(folder / "pool")], layout)
        memory = _Run(folder, [str(listing)], layout)
        items = [item for item in Pool([str(folder / "pool")]) if isinstance(item, PoolItem)]
        for whole, count in ((files, images), (memory, rows)):
            whole.check(count)
        times: dict[str, list[_Time]] = {}
        candidates: dict[str, Callable[[], object]] = {
            "files": lambda: files.run(),
            "decoding": lambda: _decode(items, cores),
            "memory": lambda: memory.run(in_memory=True),
            "listing": lambda: memory.list(),
            "queues": lambda: _queue(rows, layout),
            "writer": lambda: memory.write(rows),
        }
        for turn in range(rounds + 1):
            for label, candidate in candidates.items():
                time.sleep(0.1)
                wall, cpu = time.perf_counter(), time.process_time()
                candidate()
                spent = _Time(time.perf_counter() - wall, time.process_time() - cpu)
                if turn:
                    times.setdefault(label, []).append(spent)
        busy = {label: _busy(whole) for label, whole in (("files", files), ("memory", memory))}
    rates = {
        label: [(images if label in ("files", "decoding") else rows) / t.wall for t in found]
        for label, found in times.items()
    }
    each = {
        label: [1e6 * t.cpu / (images if label in ("files", "decoding") else rows) for t in found]
        for label, found in times.items()
    }
    return Report(
        question="throughput",
        settings={
            "rows": rows,
            "images": images,
            "size": list(_SIZE),
            "sessions": layout.sessions,
            "batch_size": batch_size,
            "rounds": rounds,
            "busy_seconds": busy,
        },
        rows=(
            Row("rows without decoding or network", spread(rates["memory"]), "rows/s", ">= 5000"),
            Row("JPEG files without network", spread(rates["files"]), "images/s"),
            Row("bare decoding", spread(rates["decoding"]), "images/s"),
            Row(
                "without network / bare decoding",
                ratios(rates["files"], rates["decoding"]),
                "ratio",
                ">= 0.8",
            ),
            Row("CPU time of a row without decoding or network", spread(each["memory"]), "µs"),
            Row("of it, listing the pool", spread(each["listing"]), "µs"),
            Row("of it, queues", spread(each["queues"]), "µs"),
            Row("of it, ledger and writer", spread(each["writer"]), "µs"),
            Row("CPU time of a JPEG file without network", spread(each["files"]), "µs"),
            Row("CPU time of bare decoding", spread(each["decoding"]), "µs"),
        ),
        notes=tuple(f"{label}: bound by {max(b, key=b.__getitem__)}" for label, b in busy.items()),
    )


class _Run:
    """Runs over one pool, each into an output of its own."""

    def __init__(self, folder: Path, pool: list[str], layout: Layout) -> None:
        self._outputs = (folder / f"{Path(pool[0]).name}-{n}" for n in range(10_000))
        self._layout = layout
        self.config = ScoreConfig.parse(
            pool,
            model=demo_file("model.onnx"),
            output=folder,
            device="cpu",
            model_options={"input_size": None},  # or the images would be resized, too
        )
        self._session = open_session(self.config)
        item = next(item for item in self.config.items if isinstance(item, PoolItem))
        ready = Steps(self._session, max_pixels=2**30).decoded(item)
        assert isinstance(ready, Ready)
        self._ready = ready
        self._scores = self._session.score_batch([ready.image], [ready.extras])
        self.line: Line | None = None

    def run(self, *, in_memory: bool = False) -> Path:
        """Take the pool through the stages of a run; the output."""
        steps = _NoNetwork(self._session, self._scores, self._ready if in_memory else None)
        count = self.config.items.count()
        with self._output() as output:
            ledger = Ledger(output, count, progress=lambda _: None)
            self.line = Line(self.config, self._session, ledger, self._layout, steps)
            self.line.run()
        return output.path

    def check(self, count: int) -> None:
        """FailedCheckError unless a run stores each image once, with its scores."""
        table = read_results(self.run(in_memory=count > _MANIFEST)).table
        ids = set(table.column("id").to_pylist())
        ok = set(table.column("status").to_pylist()) == {"ok"}
        if len(table) != count or len(ids) != count or not ok:
            raise FailedCheckError(f"{len(table)} rows, {len(ids)} ids of {count} were stored")

    def list(self) -> None:
        """Only list the pool."""
        for _ in self.config.items:
            pass

    def write(self, rows: int) -> None:
        """Only store outcomes that are there, image by image."""
        item, shape = self._ready.item, self._ready.shape
        outcomes = [
            Outcome([(replace(item, id=f"{n:08d}.jpg"), shape)], self._scores, {})
            for n in range(rows)
        ]
        with self._output() as output:
            ledger = Ledger(output, rows, progress=lambda _: None)
            for outcome in outcomes:
                ledger.store(outcome)

    def _output(self) -> Output:
        return Output.open(
            next(self._outputs),
            settings=self._session.fingerprint_settings(),
            classes=self._session.spec.classes,
        )


def _listed(folder: Path, rows: int) -> str:
    """Lines of a manifest that names the images of a folder again and again, under other ids."""
    paths = sorted(folder.iterdir())
    return "".join(f"{paths[n % len(paths)]},{n:08d}.jpg\n" for n in range(rows))


def _decode(items: list[PoolItem], threads: int) -> None:
    with ThreadPoolExecutor(threads) as executor:
        for _, decoded in ordered(executor, decode, items, 2 * threads):
            assert decoded.image.shape == (*_SIZE, 3)


def _queue(rows: int, layout: Layout) -> None:
    """Numbers through the threads and queues of a run, which do nothing with them."""

    def source(_: object) -> Iterator[int]:
        with Crew(layout.sessions, "deal-bench") as crew:
            for _, number in ordered(crew, lambda n: n, range(rows), 2 * layout.sessions):
                yield number

    workers = [lambda work: work] * layout.sessions
    with Stages(source, workers, DEPTH) as stages:
        for _ in stages:
            pass


def _busy(whole: _Run) -> dict[str, float]:
    assert whole.line is not None
    return dict(whole.line.meter.seconds)
