"""``deal bench``: measure speed and memory."""

from __future__ import annotations

import json
from typing import Any

import click

from deal.cli import (
    bench_engines,
    bench_kernel,
    bench_label_errors,
    bench_machine,
    bench_model,
    bench_pool,
    bench_rows,
    bench_screen,
    bench_sources,
    bench_spread,
)
from deal.cli.bench_options import count, json_and_output, outputs, rounds, show
from deal.cli.common import Range
from deal.cli.grouped import CommandGroup

__all__ = ["command"]


@click.group(name="bench", cls=CommandGroup, short_help="Measure speed and memory.")
def command() -> None:
    """Measure speed and memory. Each benchmark checks results before it times anything."""


command.add_command(bench_engines.engine)
command.add_command(bench_engines.fidelity)
command.add_command(bench_kernel.head)
command.add_command(bench_kernel.kernel)
command.add_command(bench_kernel.latency)
command.add_command(bench_kernel.threads)
command.add_command(bench_label_errors.command)
command.add_command(bench_machine.headline)
command.add_command(bench_machine.peers)
command.add_command(bench_machine.throughput)
command.add_command(bench_model.command)
command.add_command(bench_pool.decode)
command.add_command(bench_pool.dedup)
command.add_command(bench_pool.memory)
command.add_command(bench_pool.pipeline)
command.add_command(bench_pool.raster)
command.add_command(bench_pool.ray)
command.add_command(bench_rows.acquisition)
command.add_command(bench_rows.core_set)
command.add_command(bench_rows.scale)
command.add_command(bench_rows.stream)
command.add_command(bench_rows.view)
command.add_command(bench_screen.command)
command.add_command(bench_sources.command)
command.add_command(bench_spread.command)


@command.command()
@count("--images", 8, "Generated scenes of an epoch.")
@rounds(3)
@outputs
def training(as_json: bool, output: str | None, **options: Any) -> None:
    """Time training on one CPU core."""
    from deal.bench.training import run

    show(run(**options), as_json, output)


@command.command()
@rounds(15)
@outputs
def startup(as_json: bool, output: str | None, **options: Any) -> None:
    """Time the start of deal-score, a small pool, and previews."""
    from deal.bench.startup import run

    show(run(**options), as_json, output)


@command.command()
@click.option(
    "--device",
    type=click.Choice(["cuda", "cpu"]),
    default="cuda",
    show_default=True,
    help="cpu is a rehearsal on small shapes: its figures mean nothing.",
)
@click.option(
    "--budget",
    type=Range(0),
    metavar="SECONDS",
    help="Time for all sections together. Default: 420.",
)
@click.option(
    "--section",
    "sections",
    multiple=True,
    metavar="NAME",
    help="Run only this section. Repeatable.",
)
@json_and_output
def gpu(
    as_json: bool,
    output: str | None,
    device: str,
    budget: float | None,
    sections: tuple[str, ...],
) -> int:
    """Test and time the GPU path; exit with 1 if a check fails."""
    from deal.bench.command import recorded
    from deal.bench.gpu.run import BUDGET, failed, run
    from deal.bench.gpu.show import lines

    found = run(
        device=device,
        output=output,
        budget=BUDGET if budget is None else budget,
        sections=sections,
        command=recorded(click.get_current_context()),
        say=lambda text: click.echo(text, err=True),
    )
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        click.echo("\n".join(lines(found)))
    bad = failed(found)
    if bad:
        click.echo(f"failed: {', '.join(bad)}", err=True)
    return int(bool(bad))
