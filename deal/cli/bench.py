"""``deal bench``: what the project measures about itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from deal.bench.report import Report

__all__ = ["command"]


@click.group(name="bench")
def command() -> None:
    """Measure speed and memory; correctness is checked before anything is timed."""


def _outputs(function: Callable[..., Any]) -> Callable[..., Any]:
    function = click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)
    return click.option(
        "--output", type=click.Path(dir_okay=False), help="Write the JSON to a file too."
    )(function)


@command.command()
@click.option(
    "--shape",
    type=click.Choice(["camvid", "cityscapes", "ade20k"]),
    default="camvid",
    show_default=True,
)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=15, show_default=True)
@_outputs
def kernel(as_json: bool, output: str | None, **options: Any) -> None:
    """Time the native kernel, without and with the head, beside the same in eager PyTorch."""
    from deal.bench.kernel import run

    _show(run(**options), as_json, output)


@command.command()
@click.argument("pool", nargs=-1)
@click.option("--model", type=click.Path(exists=True), help="ONNX model [default: random weights].")
@click.option("--network", type=click.Choice(["paper", "light"]), default="paper")
@click.option("--precision", type=click.Choice(["fp32", "int8"]), default="fp32")
@click.option("--sessions", type=click.IntRange(1), help="[default: one a core]")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@click.option("--batch-size", type=click.IntRange(1), default=1, show_default=True)
@click.option("--images", type=click.IntRange(1), default=200, show_default=True)
@click.option("--peer-images", type=click.IntRange(1), default=40, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True)
@_outputs
def pipeline(as_json: bool, output: str | None, **options: Any) -> None:
    """Time deal-score beside bare sessions, a plain loop and the released loop."""
    from deal.bench.pipeline import run

    _show(run(**options), as_json, output)


@command.command()
@click.argument("pool", nargs=-1)
@click.option("--model", type=click.Path(exists=True), help="ONNX model [default: random weights].")
@click.option("--images", type=click.IntRange(2), default=40, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option(
    "--feed",
    type=click.FloatRange(0, min_open=True),
    default=10_000,
    show_default=True,
    help="Images a second that a network on a GPU takes.",
)
@_outputs
def decode(as_json: bool, output: str | None, **options: Any) -> None:
    """Time decoding and resizing beside the network, and compare scores with decoding in full."""
    from deal.bench.decode import run

    _show(run(**options), as_json, output)


@command.command()
@click.argument("pool", nargs=-1, required=True)
@click.option("--model", type=click.Path(exists=True), required=True, help="ONNX model.")
@click.option("--sequence-from", metavar="REGEX", help="As deal-score takes it.")
@click.option(
    "--thresholds",
    default="1,2,3,4",
    show_default=True,
    metavar="T,…",
    help="Of --dedup, in grey levels.",
)
@click.option(
    "--budget",
    default="10%",
    show_default=True,
    metavar="N|P%",
    help="Images to pick without --dedup; as many are picked with it.",
)
@click.option(
    "--acquisition",
    multiple=True,
    default=("ds", "entropy", "de"),
    show_default=True,
    metavar="NAME",
    help="Functions to pick by; repeatable.",
)
@click.option("--rounds", type=click.IntRange(1), default=1, show_default=True)
@_outputs
def dedup(as_json: bool, output: str | None, **options: Any) -> None:
    """Score a pool without and with --dedup: time saved, and what is picked then."""
    from deal.bench.dedup import run

    _show(run(**options), as_json, output)


@command.command()
@click.option("--model", type=click.Path(exists=True), help="ONNX model [default: the bundled].")
@click.option("--small", type=click.IntRange(1), default=1000, show_default=True)
@click.option("--large", type=click.IntRange(1), default=10_000, show_default=True)
@click.option("--tiny", is_flag=True, help="A network of one convolution, for large pools.")
@_outputs
def memory(as_json: bool, output: str | None, **options: Any) -> None:
    """Compare the peak memory of a small and a large pool."""
    from deal.bench.memory import run

    _show(run(**options), as_json, output)


@command.command()
@click.option(
    "--grid",
    type=click.Choice(
        [
            *("camvid", "cityscapes", "ade20k"),
            *("camvid-logits", "cityscapes-logits", "ade20k-logits"),
        ]
    ),
    default="camvid",
    show_default=True,
)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=9, show_default=True)
@_outputs
def head(as_json: bool, output: str | None, **options: Any) -> None:
    """Time the difficulty head beside attention in ONNX Runtime."""
    from deal.bench.head import run

    _show(run(**options), as_json, output)


@command.command()
@click.option("--network", type=click.Choice(["paper", "light"]), default="paper")
@click.option(
    "--model",
    type=click.Path(exists=True),
    multiple=True,
    help="A further ONNX model; repeatable.",
)
@click.option("--images", type=click.IntRange(1), default=16, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option(
    "--int8/--no-int8", default=True, show_default=True, help="Run the network in 8 bits too."
)
@click.option(
    "--compiled/--no-compiled",
    default=True,
    show_default=True,
    help="Run it by torch.compile too, which takes a minute to compile.",
)
@_outputs
def engine(as_json: bool, output: str | None, **options: Any) -> None:
    """Time ONNX Runtime, PyTorch (eager, torch.compile) and OpenVINO on one network."""
    from deal.bench.engine import run

    _show(run(**options), as_json, output)


@command.command()
@click.option("--frames", type=click.IntRange(1), default=10_000, show_default=True)
@_outputs
def latency(as_json: bool, output: str | None, **options: Any) -> None:
    """Time single frames in a C program on one core, and count its allocations."""
    from deal.bench.latency import run

    _show(run(**options), as_json, output)


@command.command()
@click.option("--rows", type=click.IntRange(100), default=10_000_000, show_default=True)
@click.option("--part-rows", type=click.IntRange(1), default=512, show_default=True)
@click.option(
    "--acquisition",
    type=click.Choice(["ds", "entropy", "de"]),
    multiple=True,
    default=("ds", "de"),
    show_default=True,
    help="Functions to select by; repeatable.",
)
@click.option("--budget", default="1%", show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=2, show_default=True)
@click.option("--keep", type=click.Path(file_okay=False), help="Make the rows here, once.")
@_outputs
def scale(as_json: bool, output: str | None, **options: Any) -> None:
    """Time deal select over millions of scored rows, and measure its memory."""
    from deal.bench.scale import run

    _show(run(**options), as_json, output)


@command.command()
@click.option("--rows", type=click.IntRange(1), default=100_000, show_default=True)
@click.option("--classes", type=click.IntRange(2), default=19, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@_outputs
def acquisition(as_json: bool, output: str | None, **options: Any) -> None:
    """Time every acquisition function on a table of scored images."""
    from deal.bench.acquisition import run

    _show(run(**options), as_json, output)


@command.command("core-set")
@click.option("--rows", type=click.IntRange(20), default=100_000, show_default=True)
@click.option("--width", type=click.IntRange(1), default=256, show_default=True)
@click.option("--picks", type=click.IntRange(1), default=1000, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=2, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True)
@_outputs
def core_set(as_json: bool, output: str | None, **options: Any) -> None:
    """Time greedy k-center beside the same in NumPy, and measure its memory."""
    from deal.bench.core_set import run

    _show(run(**options), as_json, output)


@command.command()
@click.option("--rounds", type=click.IntRange(1), default=15, show_default=True)
@_outputs
def startup(as_json: bool, output: str | None, **options: Any) -> None:
    """Time deal-score --help."""
    from deal.bench.startup import run

    _show(run(**options), as_json, output)


@command.command()
@click.option(
    "--device",
    type=click.Choice(["cuda", "cpu"]),
    default="cuda",
    show_default=True,
    help="cpu rehearses on small shapes; its figures mean nothing.",
)
@click.option("--budget", type=click.FloatRange(0), help="Seconds for all sections [default: 420].")
@click.option("--section", "sections", multiple=True, help="Only this one; repeatable.")
@_outputs
def gpu(
    as_json: bool,
    output: str | None,
    device: str,
    budget: float | None,
    sections: tuple[str, ...],
) -> int:
    """Prove the GPU path and measure it; exit code 1 if a test or a check failed."""
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


def _show(report: Report, as_json: bool, output: str | None) -> None:
    from deal.bench.command import recorded

    report = replace(report, command=recorded(click.get_current_context()))
    if output is not None:
        report.write(output)
    if as_json:
        click.echo(json.dumps(report.to_dict(), indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{report.command}   ({report.environment['processor']})")
    for heading in ("what", "median", "quartiles", "unit", "target", ""):
        table.add_column(heading, justify="left" if heading in ("what", "unit") else "right")
    for row in report.rows:
        value = row.value
        verdict = {None: "", True: "reached", False: "not reached"}[row.reached]
        quartiles = "" if value.count == 1 else f"{value.low:.4g} – {value.high:.4g}"
        table.add_row(
            row.name, f"{value.median:.4g}", quartiles, row.unit, row.target or "", verdict
        )
    Console().print(table)
    for note in report.notes:
        click.echo(note, err=True)
