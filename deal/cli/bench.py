"""``deal bench``: measure speed and memory."""

from __future__ import annotations

import json
from typing import Any

import click

from deal.cli import (
    bench_engines,
    bench_label_errors,
    bench_machine,
    bench_model,
    bench_screen,
    bench_sources,
    bench_spread,
)
from deal.cli.bench_options import count, json_and_output, outputs, rounds, show
from deal.cli.grouped import CommandGroup

__all__ = ["command"]


@click.group(name="bench", cls=CommandGroup, short_help="Measure speed and memory.")
def command() -> None:
    """Measure speed and memory. Each benchmark checks results before it times anything."""


command.add_command(bench_engines.engine)
command.add_command(bench_engines.fidelity)
command.add_command(bench_label_errors.command)
command.add_command(bench_machine.headline)
command.add_command(bench_machine.peers)
command.add_command(bench_machine.throughput)
command.add_command(bench_model.command)
command.add_command(bench_screen.command)
command.add_command(bench_sources.command)
command.add_command(bench_spread.command)

_SHAPE_HELP = "Shape of the logits and of the raster: those of this data set."
_MODEL_HELP = "ONNX model. Default: a network with random weights."


@command.command()
@click.option(
    "--shape",
    type=click.Choice(["camvid", "cityscapes", "ade20k"]),
    default="camvid",
    show_default=True,
    help=_SHAPE_HELP,
)
@count("--threads", 1, "Number of threads.")
@count("--batch", 1, "Images per call.")
@rounds(15)
@outputs
def kernel(as_json: bool, output: str | None, **options: Any) -> None:
    """Time the native kernel beside eager PyTorch."""
    from deal.bench.kernel import run

    show(run(**options), as_json, output)


@command.command()
@count("--threads", 2, "Number of threads.", least=2)
@rounds(15)
@outputs
def threads(as_json: bool, output: str | None, **options: Any) -> None:
    """Time one image on several threads, also beside PyTorch's."""
    from deal.bench.threads import run

    show(run(**options), as_json, output)


@command.command()
@click.argument("pool", nargs=-1)
@click.option("--model", type=click.Path(exists=True), help=_MODEL_HELP, metavar="FILE")
@click.option(
    "--network",
    type=click.Choice(["paper", "light"]),
    default="paper",
    show_default=True,
    help="Architecture of the network with random weights.",
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "int8"]),
    default="fp32",
    show_default=True,
    help="Precision of the network with random weights.",
)
@click.option(
    "--sessions",
    type=click.IntRange(1),
    metavar="N",
    help="Networks that run at once. Default: one per core.",
)
@count("--threads", 1, "Number of threads.")
@click.option(
    "--raster",
    type=click.Choice(["input", "half"]),
    default="input",
    show_default=True,
    help="The same as for deal-score, which the peers do not have.",
)
@count("--batch-size", 1, "Images per batch.")
@count("--images", 200, "Number of images.")
@count("--peer-images", 40, "Images that the slower peers get.")
@click.option(
    "--openvino",
    is_flag=True,
    help="Time deal-score on OpenVINO in the same turns, in bf16 too where the processor has it.",
)
@rounds(3)
@outputs
def pipeline(as_json: bool, output: str | None, **options: Any) -> None:
    """Time deal-score beside plain loops and the released code."""
    from deal.bench.pipeline import run

    show(run(**options), as_json, output)


@command.command()
@click.argument("pool", nargs=-1, required=True)
@click.option(
    "--model", type=click.Path(exists=True), required=True, metavar="FILE", help="ONNX model."
)
@click.option(
    "--images",
    type=click.IntRange(10),
    metavar="N",
    help="Number of images, taken evenly over the pool. Default: all.",
)
@outputs
def raster(as_json: bool, output: str | None, **options: Any) -> None:
    """Compare the scores of --raster half with those of --raster input."""
    from deal.bench.raster import run

    show(run(**options), as_json, output)


@command.command()
@click.argument("pool", nargs=-1)
@click.option(
    "--model",
    type=click.Path(exists=True),
    metavar="FILE",
    help="ONNX model. Default: the bundled one.",
)
@count("--images", 2000, "Number of images to generate.")
@rounds(1)
@outputs
def ray(as_json: bool, output: str | None, **options: Any) -> None:
    """Time deal-score beside deal.ray.score on this machine."""
    from deal.bench.cluster import run

    show(run(**options), as_json, output)


@command.command()
@click.argument("pool", nargs=-1)
@click.option("--model", type=click.Path(exists=True), help=_MODEL_HELP, metavar="FILE")
@count("--images", 40, "Number of images.", least=2)
@rounds(5)
@click.option(
    "--feed",
    type=click.FloatRange(0, min_open=True),
    default=10_000,
    show_default=True,
    metavar="RATE",
    help="Images per second that a network on a GPU takes.",
)
@outputs
def decode(as_json: bool, output: str | None, **options: Any) -> None:
    """Time decoding and resizing, and check scaled decoding."""
    from deal.bench.decode import run

    show(run(**options), as_json, output)


@command.command()
@click.argument("pool", nargs=-1, required=True)
@click.option(
    "--model", type=click.Path(exists=True), required=True, metavar="FILE", help="ONNX model."
)
@click.option("--sequence-from", metavar="REGEX", help="The same as for deal-score.")
@click.option(
    "--thresholds",
    default="1,2,3,4",
    show_default=True,
    metavar="T,…",
    help="Thresholds of --dedup, in grey levels.",
)
@click.option(
    "--budget",
    default="10%",
    show_default=True,
    metavar="N|P%",
    help="Number of images to pick, without --dedup and with it.",
)
@click.option(
    "--acquisition",
    multiple=True,
    default=("ds", "entropy", "de"),
    show_default=True,
    metavar="NAME",
    help="Pick by this function. Repeatable.",
)
@rounds(1)
@outputs
def dedup(as_json: bool, output: str | None, **options: Any) -> None:
    """Compare time and picks of a pool with and without --dedup."""
    from deal.bench.dedup import run

    show(run(**options), as_json, output)


@command.command()
@click.option(
    "--model",
    type=click.Path(exists=True),
    metavar="FILE",
    help="ONNX model. Default: the bundled one.",
)
@count("--small", 1000, "Images of the small pool.")
@count("--large", 10_000, "Images of the large pool.")
@click.option("--tiny", is_flag=True, help="Use a network of one convolution, for large pools.")
@outputs
def memory(as_json: bool, output: str | None, **options: Any) -> None:
    """Compare the peak memory of a small and a large pool."""
    from deal.bench.memory import run

    show(run(**options), as_json, output)


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
    help=_SHAPE_HELP,
)
@count("--threads", 1, "Number of threads.")
@rounds(9)
@outputs
def head(as_json: bool, output: str | None, **options: Any) -> None:
    """Time the difficulty head beside ONNX Runtime."""
    from deal.bench.head import run

    show(run(**options), as_json, output)


@command.command()
@count("--frames", 10_000, "Number of frames.")
@outputs
def latency(as_json: bool, output: str | None, **options: Any) -> None:
    """Time single frames in a C program on one core."""
    from deal.bench.latency import run

    show(run(**options), as_json, output)


@command.command()
@count("--frames", 108_000, "Number of frames.")
@click.option(
    "--results",
    type=click.Path(exists=True, file_okay=False),
    metavar="OUT",
    help="Also replay a scored trip: which frames of deal select are kept, and the ratio to the "
    "exact optimum (needs SciPy).",
)
@outputs
def stream(as_json: bool, output: str | None, **options: Any) -> None:
    """Time the selector of streams, frame by frame, in a C program on one core."""
    from deal.bench.stream import run

    show(run(**options), as_json, output)


@command.command()
@count("--rows", 10_000_000, "Number of rows.", least=100)
@count("--part-rows", 512, "Rows per Parquet file.")
@click.option(
    "--acquisition",
    type=click.Choice(["ds", "entropy", "de"]),
    multiple=True,
    default=("ds", "de"),
    show_default=True,
    help="Select by this function. Repeatable.",
)
@click.option("--budget", default="1%", show_default=True, metavar="N|P%", help="Rows to select.")
@rounds(2)
@click.option(
    "--narrow",
    is_flag=True,
    help="Rows hold only what ds needs, in parts of one size: 10⁸ rows take 2 GB.",
)
@click.option(
    "--keep",
    type=click.Path(file_okay=False),
    metavar="DIR",
    help="Keep the generated rows in DIR, for the next time.",
)
@outputs
def scale(as_json: bool, output: str | None, **options: Any) -> None:
    """Time deal select over millions of rows, beside DuckDB if it is installed."""
    from deal.bench.scale import run

    show(run(**options), as_json, output)


@command.command()
@count("--rows", 100_000, "Number of rows.")
@count("--classes", 19, "Number of classes.", least=2)
@rounds(5)
@outputs
def acquisition(as_json: bool, output: str | None, **options: Any) -> None:
    """Time every acquisition function on a table of scored images."""
    from deal.bench.acquisition import run

    show(run(**options), as_json, output)


@command.command("core-set")
@count("--rows", 100_000, "Number of rows.", least=20)
@count("--width", 256, "Numbers per feature vector.")
@count("--picks", 1000, "Number of picks.")
@count("--threads", 2, "Number of threads.")
@count("--parts", 0, "Measure the search in so many parts instead.", least=0)
@rounds(3)
@outputs
def core_set(as_json: bool, output: str | None, **options: Any) -> None:
    """Time greedy k-center beside NumPy, and measure its memory."""
    from deal.bench.core_set import run

    show(run(**options), as_json, output)


@command.command()
@count("--rows", 100_000, "Rows of the page.")
@count("--thumbnails", 2000, "Images with a thumbnail.")
@rounds(5)
@click.option(
    "--browser", default="chromium", show_default=True, metavar="FILE", help="Chromium to drive."
)
@outputs
def view(as_json: bool, output: str | None, **options: Any) -> None:
    """Time how a page of deal view opens and filters in headless Chromium."""
    from deal.bench.view import run

    show(run(**options), as_json, output)


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
    type=click.FloatRange(0),
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
