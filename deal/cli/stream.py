"""``deal stream``: keep the best frames of a stream as files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from deal.acquisitions import acquisition_names
from deal.cli.common import print_note
from deal.cli.grouped import FC, GroupedCommand, option
from deal.cli.limits import limit_options
from deal.errors import UsageError
from deal.text import printable

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
    **options: Any,
) -> None:
    """Score frames as they come, and keep the best of them as files.

    POOL is a folder, glob or manifest, or - for JSON lines on stdin, such as
    {"uri": "a.jpg", "timestamp_ns": 1700000000000000000}. Killed at any moment, the same command
    goes on: over a POOL it ends with the same files; of frames on stdin those that waited are lost.
    """
    from deal.acquisitions import bind
    from deal.pool.listing import Pool
    from deal.rig.live import read_lines, record_pool
    from deal.rig.recorder import Recorder
    from deal.scoring.scorer import Scorer

    frames, limit = _budget(budget, max_bytes)
    function = {name: options.pop(name) for name in ("levels", "edges", "tail", "focus")}
    timed = ("min_gap", "window", "context_before", "context_after")
    needs_times = next((name for name in timed if options[name] is not None), None)
    with Scorer(model, device=device, threads=threads) as scorer:
        bound = bind(acquisition, classes=scorer.spec.classes, seed=seed, **function)
        given = {name: value for name, value in options.items() if value is not None}
        rules: dict[str, Any] = {"budget": frames, "max_bytes": limit, "seed": seed, **given}
        piped = pool == ("-",)
        with Recorder(output, again=not piped, remember=True, **rules) as recorder:
            items = (
                read_lines(sys.stdin) if piped else Pool(list(pool), sequence_from=sequence_from)
            )
            report = record_pool(
                items,
                scorer,
                bound,
                recorder,
                needs_times=None if needs_times is None else "--" + needs_times.replace("_", "-"),
                metadata={"stream": rules, "stochastic": rules.get("stochastic")},
            )
            counters = recorder.counters
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
    click.echo(f"{report.kept} of {report.frames} frames kept, {counters.bytes:,} bytes")
    click.echo(f"frames     {printable(str(Path(output, 'frames')))}")
    click.echo(f"ranking    {printable(str(Path(output, 'selection.csv')))}")
    click.echo(f"reasons    {printable(str(Path(output, 'decisions.csv')))}")


def _budget(budget: str, max_bytes: str | None) -> tuple[int, str | None]:
    """Frames and bytes; a budget in bytes alone has room for frames of 4 kB."""
    from deal.selection.amounts import parse_bytes

    if budget.strip().isdecimal():
        return int(budget), max_bytes
    if max_bytes is not None:
        raise UsageError(f"--budget {budget} is in bytes already: leave --max-bytes out")
    amount = parse_bytes(budget, "--budget")
    assert amount is not None
    return min(amount // 4096 + 1, 200_000), budget
