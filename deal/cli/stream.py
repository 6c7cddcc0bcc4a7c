"""``deal stream``: keep the best frames of a stream as files."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from deal.acquisitions import acquisition_names
from deal.cli.common import print_note
from deal.cli.ending import ended_by_signal
from deal.cli.grouped import FC, GroupedCommand, option
from deal.cli.limits import limit_options
from deal.errors import UsageError
from deal.text import printable

if TYPE_CHECKING:
    from deal.types import FailedItem, PoolItem

_POOL, _MODEL, _RANKING, _RULES, _OUT = "Pool", "Model", "Ranking", "Rules", "Output"


def _limits(function: FC) -> FC:
    for decorate in reversed(limit_options(_RULES)):
        function = decorate(function)
    return function


@click.command(
    cls=GroupedCommand,
    short_help="Keep the best frames of a stream, within budgets.",
    examples=[
        "deal stream trip.csv --model model.onnx --budget 500 --min-gap 2s --output kept",
        "deal stream spool --watch --model model.onnx --budget 2GB --output kept",
        "camera | deal stream - --model model.onnx --budget 2GB --output kept",
    ],
)
@click.argument("pool", nargs=-1, required=True, type=click.Path(readable=False, allow_dash=True))
@option(
    _POOL,
    "--sequence-from",
    metavar="REGEX",
    help="Read the sequence of an image from its id: the first group of REGEX.",
)
@option(
    _POOL,
    "--watch",
    is_flag=True,
    first_day=True,
    help="Go on as files come into the folder POOL, until Ctrl-C or SIGTERM. The time of a frame "
    "is that of the last change of its file.",
)
@option(
    _POOL,
    "--until-idle",
    metavar="30s",
    help="End --watch when no file has come for so long.",
)
@option(
    _MODEL,
    "--model",
    envvar="DEAL_MODEL",
    type=click.Path(),
    required=True,
    metavar="FILE",
    first_day=True,
    help="ONNX model. Default: the environment variable DEAL_MODEL.",
)
@option(_MODEL, "--device", default="auto", show_default=True, metavar="NAME", help="cpu or cuda.")
@option(_MODEL, "--threads", type=int, metavar="N", help="Threads. Default: one per core.")
@option(
    _RANKING,
    "--acquisition",
    default="ds",
    show_default=True,
    metavar="NAME",
    first_day=True,
    help="Rank by this acquisition function: " + ", ".join(acquisition_names()) + ".",
)
@option(_RANKING, "--levels", type=int, metavar="L", help="Histogram levels of de. Default: 8.")
@option(_RANKING, "--edges", metavar="image|fixed", help="Histogram range of de. Default: image.")
@option(_RANKING, "--tail", type=float, metavar="SHARE", help="Share of tail:*. Default: 0.05.")
@option(_RANKING, "--focus", metavar="CLASS,…", help="Classes that the focus:* functions count.")
@option(
    _RANKING,
    "--seed",
    type=int,
    default=0,
    show_default=True,
    metavar="S",
    help="Seed of --acquisition random, --stochastic and --random-share.",
)
@option(
    _RANKING,
    "--stochastic",
    metavar="power[:BETA]",
    help="Draw at random, with chances proportional to score^BETA. BETA defaults to 1.",
)
@option(
    _RULES,
    "--budget",
    required=True,
    metavar="500|2GB",
    first_day=True,
    help="Keep so many frames, or frames of so many bytes.",
)
@option(
    _RULES,
    "--min-gap",
    metavar="2s",
    first_day=True,
    help="Least time between kept frames of a sequence and camera.",
)
@option(
    _RULES,
    "--look-ahead",
    metavar="8s",
    help="How long a frame may wait for its neighbours. Default: four times --min-gap.",
)
@_limits
@option(
    _RULES,
    "--near-duplicates",
    type=float,
    metavar="LEVELS",
    help="Of two frames whose thumbnails differ by at most LEVELS grey levels, keep the better.",
)
@option(_RULES, "--context-before", metavar="1s", help="Keep the frames before a kept one, too.")
@option(_RULES, "--context-after", metavar="1s", help="Keep the frames after a kept one, too.")
@option(
    _RULES,
    "--random-share",
    type=float,
    default=0.0,
    show_default=True,
    metavar="SHARE",
    help="Share of the budget for a random sample of all frames, 0 to 1.",
)
@option(
    _OUT,
    "--output",
    "-o",
    required=True,
    type=click.Path(),
    metavar="DIR",
    first_day=True,
    help="Gets frames/, selection.csv, selection.json, decisions.csv and the journal.",
)
@option(
    _OUT,
    "--mcap",
    type=click.Path(),
    metavar="FILE",
    help="At the end of the trip, write the kept frames and their scores into a log of ROS 2.",
)
@option(
    _OUT,
    "--link",
    metavar="COMMAND",
    help="While frames come, send the best kept ones by this command, one at a time, such as "
    "'rclone copy {} remote:'; {} is the file. What is sent is never evicted and counts in the "
    "limits.",
)
def command(
    pool: tuple[str, ...],
    sequence_from: str | None,
    model: str,
    device: str,
    threads: int | None,
    acquisition: str,
    seed: int,
    budget: str,
    max_bytes: str | None,
    output: str,
    watch: bool,
    until_idle: str | None,
    link: str | None,
    mcap: str | None,
    **options: Any,
) -> None:
    """Score frames as they come, and keep the best of them as files.

    POOL is a folder, glob or manifest; a folder that is watched (--watch); or - for JSON lines on
    stdin, such as {"uri": "a.jpg", "timestamp_ns": 1700000000000000000}. Killed at any moment, the
    same command goes on: over a POOL it ends with the same files; of frames on stdin those that
    waited are lost. Ctrl-C or SIGTERM end a trip with --watch or - as its end does.
    """
    from deal.acquisitions import bind
    from deal.rig.command import LinkCommand
    from deal.rig.live import record_pool
    from deal.rig.log import require_writer, write_log
    from deal.rig.recorder import Recorder
    from deal.scoring.scorer import Scorer

    if mcap is not None:
        require_writer()
    frames, limit = _budget(budget, max_bytes)
    function = {name: options.pop(name) for name in ("levels", "edges", "tail", "focus")}
    timed = ("min_gap", "window", "context_before", "context_after")
    needs_times = next((name for name in timed if options[name] is not None), None)
    given = {name: value for name, value in options.items() if value is not None}
    rules: dict[str, Any] = {"budget": frames, "max_bytes": limit, "seed": seed, **given}
    source = _source(pool, sequence_from, output, watch, until_idle)
    with ExitStack() as opened:
        scorer = opened.enter_context(Scorer(model, device=device, threads=threads))
        bound = bind(acquisition, classes=scorer.spec.classes, seed=seed, **function)
        spec, called = scorer.spec, {"acquisition": bound.name, **bound.options}
        scores = {"model": spec.digest(), **spec.number_settings(), **called}
        recorder = opened.enter_context(
            Recorder(
                output,
                again=source.again,
                scored_by=json.dumps(scores, sort_keys=True, default=str),
                remember=True,
                **rules,
            )
        )
        ended = opened.enter_context(ended_by_signal()) if source.is_live else lambda: False
        sender = None if link is None else LinkCommand(recorder, link)
        report = record_pool(
            source.frames(ended),
            scorer,
            bound,
            recorder,
            needs_times=None if needs_times is None else "--" + needs_times.replace("_", "-"),
            metadata={"stream": rules, "stochastic": rules.get("stochastic")},
            between=None if sender is None else sender.go_on,
            at_end=None if sender is None else sender.finish,
        )
        counters = recorder.counters
        if mcap is not None:
            write_log(Path(mcap), recorder, {"acquisition": bound.name, "stream": rules})
    if report.failed:
        first, why = next(iter(report.failed.items()))
        print_note(
            f"{len(report.failed)} of {report.frames} frames failed, such as {first} ({why})"
        )
    if counters.forced:
        print_note(
            f"{counters.forced} frames were decided while a better neighbour was undecided: give a "
            "longer --look-ahead"
        )
    if sender is not None and sender.failures:
        print_note(f"--link failed {sender.failures} times: what was not sent lies in frames/, too")
    # After a restart there are frames besides those that came again.
    frames = max(report.frames, counters.pushed + len(report.failed))
    click.echo(f"{report.kept} of {frames} frames kept, {counters.bytes:,} bytes")
    if sender is not None:
        click.echo(f"{report.sent} of them sent")
    click.echo(f"frames     {printable(str(Path(output, 'frames')))}")
    click.echo(f"ranking    {printable(str(Path(output, 'selection.csv')))}")
    click.echo(f"reasons    {printable(str(Path(output, 'decisions.csv')))}")
    if mcap is not None:
        click.echo(f"log        {printable(mcap)}")


class _Source(NamedTuple):
    """Where frames come from: whether the same ones come after a restart, and whether they wait."""

    frames: Callable[[Callable[[], bool]], Iterable[PoolItem | FailedItem | None]]
    again: bool | list[str]
    is_live: bool


def _source(
    pool: tuple[str, ...],
    sequence_from: str | None,
    output: str,
    watch: bool,
    until_idle: str | None,
) -> _Source:
    from deal.pool.ids import sequence_pattern
    from deal.pool.listing import Pool
    from deal.rig.sources import Watch, outside, read_lines
    from deal.selection.amounts import parse_duration

    idle = parse_duration(until_idle, "--until-idle")
    if idle is not None and not watch:
        raise UsageError("--until-idle needs --watch: it ends the watching of a folder")
    if watch:
        if len(pool) != 1:
            raise UsageError(f"--watch watches one folder, not {len(pool)}")
        folder = Watch(pool[0], skip=output, sequence_from=sequence_from)
        seconds = None if idle is None else idle / 1e9
        return _Source(lambda ended: folder.frames(ended, seconds), folder.present(), True)
    if pool == ("-",):
        pattern = None if sequence_from is None else sequence_pattern(sequence_from)
        return _Source(partial(read_lines, sys.stdin, pattern=pattern), False, True)
    listing = Pool(list(pool), sequence_from=sequence_from)
    frames = outside(pool, listing, output)
    again = list(listing.ids()) if Path(output, "journal.bin").exists() else True
    return _Source(lambda ended: frames, again, False)


def _budget(budget: str, max_bytes: str | None) -> tuple[int, str | None]:
    """Frames and bytes; a budget in bytes alone has room for frames of 4 kB."""
    from deal.selection.budget import parse_budget

    parsed = parse_budget(budget)
    if parsed.amount is None or parsed.unit not in (None, "images", "bytes"):
        raise UsageError(f"--budget {budget!r}: write a number of frames, or bytes: 500 or 2GB")
    amount = int(parsed.amount)
    if parsed.unit != "bytes":
        return amount, max_bytes
    if max_bytes is not None:
        raise UsageError(f"--budget {budget} is in bytes already: leave --max-bytes out")
    return min(amount // 4096 + 1, 200_000), f"{amount}B"
