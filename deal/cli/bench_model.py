"""``deal bench model``: how long an image takes with a model of one's own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deal.cli.bench_options import count, outputs, writing
from deal.cli.common import Size, key_value
from deal.cli.grouped import GroupedCommand
from deal.cli.stages import Stages
from deal.text import printable

if TYPE_CHECKING:
    from deal.bench.model import ModelReport

__all__ = ["command"]


@click.command("model", cls=GroupedCommand)
@click.argument("model", type=click.Path())
@click.option(
    "--also",
    type=click.Path(),
    multiple=True,
    metavar="FILE",
    help="Measure this model beside it, such as the same one in int8. Repeatable.",
)
@click.option(
    "--images",
    type=click.Path(),
    metavar="POOL",
    help="Images to score: a folder, glob or manifest. Default: generated street scenes.",
)
@click.option(
    "--size",
    type=Size(),
    metavar="HxW",
    help="Input size, for models that take several. Default: the model's own.",
)
@count("--frames", 100, "Number of images that are timed.")
@click.option(
    "--model-option",
    "model_options",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set a key of the model contract that the model file lacks, as for deal-score. "
    "Repeatable.",
)
@outputs
def command(
    as_json: bool, output: str | None, model_options: tuple[str, ...], **options: Any
) -> None:
    """Time one image at a time with your own ONNX model on the CPU.

    The table shows how long decoding, preparation, network and kernel take, with one thread and
    with all: half of the images take no longer than p50, 99 % no longer than p99.
    """
    from deal.bench.command import recorded
    from deal.bench.model import run

    given = dict(map(key_value, model_options))
    with Stages(enabled=not as_json) as progress:
        report = run(**options, model_options=given, progress=progress)
    report = replace(report, command=recorded(click.get_current_context()))
    text = json.dumps(report.to_dict(), indent=2)
    click.echo(text if as_json else "\n".join(_lines(report)))
    if output is not None:
        with writing(output):
            Path(output).write_text(text + "\n", encoding="utf-8")


def _lines(report: ModelReport) -> list[str]:
    """A plain table: two lines of heading, models by threads by stages, and the models' facts."""
    cores = max(report.settings["threads"])
    width = max(len("model"), *(len(printable(v.model)) for v in report.variants))
    lines = [
        f"milliseconds per image, {report.settings['frames']} images one at a time, CPU "
        f"({report.environment['processor']})",
        f"{'model':<{width}}  threads  {'stage':<11}  {'p50':>8}  {'p90':>8}  {'p99':>8}",
    ]
    for row in report.rows:
        threads = f"{row.threads}{' (all)' if row.threads == cores else ''}"
        lines.append(
            f"{printable(row.model):<{width}}  {threads:<7}  {row.stage:<11}"
            + "".join(f"  {value:>8.2f}" for value in (row.p50, row.p90, row.p99))
        )
    lines += [
        "",
        f"{'model':<{width}}  precision  {'input':<9}  {'file MB':>8}  {'peak MiB':>8}  same class",
    ]
    for variant in report.variants:
        size = f"{variant.input_size[0]}×{variant.input_size[1]}"
        same = "-" if variant.agreement != variant.agreement else f"{variant.agreement:.2%}"
        lines.append(
            f"{printable(variant.model):<{width}}  {variant.precision or '-':<9}  {size:<9}  "
            f"{variant.megabytes:>8.1f}  {variant.peak_memory:>8.0f}  {same:>10}"
        )
    lines.append(f"same class: share of the cells predicted as by {report.variants[0].model}")
    return lines
