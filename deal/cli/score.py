"""``deal score`` (``deal-score``): options → one config → :func:`deal.pipeline.score_pool`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from deal._version import __version__
from deal.cli.common import (
    GroupedCommand,
    key_value,
    option,
    print_note,
    print_selection,
    ranking_keywords,
    ranking_options,
)
from deal.cli.display import Display
from deal.errors import UsageError
from deal.text import printable

if TYPE_CHECKING:
    from deal.run.progress import RunReport

_POOL, _MODEL, _RUN = "Pool", "Model", "Engine"
_WHAT, _OUT = "Statistics", "Output"

_DEMO_OUTPUT = "deal-demo"


@click.command(
    cls=GroupedCommand,
    short_help="Rank a pool of images: what to label next.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.argument("pool", nargs=-1, type=click.Path(readable=False))
@option(
    _POOL,
    "--demo",
    is_flag=True,
    help="Score the bundled images with the bundled model; --output is deal-demo unless given.",
)
@option(
    _POOL,
    "--shard",
    metavar="I/N",
    default="0/1",
    help="Only this part of the pool, by hash of the id: 0/4 … 3/4.",
)
@option(
    _POOL,
    "--sequence-from",
    metavar="REGEX",
    help="Sequence of an image: the first group of REGEX, searched in its id.",
)
@option(
    _POOL,
    "--dedup",
    is_flag=False,
    flag_value="2",  # DEDUP_THRESHOLD; importing it would slow --help down
    metavar="[THRESHOLD]",
    help="Spare the network frames that differ from the last one kept of their sequence (without: "
    "folder) by at most THRESHOLD grey levels: --dedup=2. A bare --dedup, at the end, is 2.",
)
@option(
    _POOL,
    "--max-pixels",
    type=int,
    default=200_000_000,
    show_default=True,
    metavar="N",
    help="Larger images are not decoded but quarantined.",
)
@option(
    _MODEL,
    "--model",
    envvar="DEAL_MODEL",
    type=click.Path(),
    multiple=True,
    metavar="FILE",
    help="ONNX model (or checkpoint, for --engine torch). Default: DEAL_MODEL of the environment. "
    "Repeated: a committee, all of which vote; the first is the model that is scored.",
)
@option(
    _MODEL,
    "--flip",
    is_flag=True,
    help="Each model votes on the mirrored image too (EquAL): one more pass.",
)
@option(
    _MODEL,
    "--dropout-passes",
    type=int,
    default=0,
    metavar="P",
    help="Monte-Carlo dropout: P further passes with channels dropped vote beside the model, "
    "which needs inputs for the masks (deal export --dropout).",
)
@option(
    _MODEL,
    "--dropout-seed",
    type=int,
    default=0,
    show_default=True,
    metavar="N",
    help="Draws the channels that dropout passes drop.",
)
@option(
    _MODEL,
    "--difficulty-head",
    type=click.Path(),
    metavar="FILE",
    help="Difficulty head (JSON) that wins over the model's own.",
)
@option(
    _MODEL,
    "--model-option",
    "model_options",
    multiple=True,
    metavar="KEY=VALUE",
    help="Key of the model contract, for a model that does not carry it; repeatable. VALUE is "
    "JSON or text: classes=19, mean=[0.485,0.456,0.406]. Keys: classes, input_format, input_size, "
    "size_multiple, resize, interpolation, mean, std, align_corners, output_kind, activation, "
    "dropout, output.",
)
@option(
    _RUN,
    "--engine",
    default="ort",
    show_default=True,
    metavar="ort|trt|torch",
    help="What runs the network: ONNX Runtime, TensorRT, or PyTorch as reference.",
)
@option(
    _RUN,
    "--device",
    default="auto",
    show_default=True,
    metavar="auto|cpu|cuda[:I]",
    help="auto takes CUDA where the engine has it and a driver sees a device.",
)
@option(
    _RUN, "--precision", metavar="fp32|fp16|bf16|int8", help="Default: as the model was exported."
)
@option(
    _RUN,
    "--sessions",
    metavar="N|auto",
    help="Networks that run at once; on CUDA batches in flight through one. Default: cores / "
    "threads; 2 on CUDA. auto measures one a core, and one with all cores.",
)
@option(
    _RUN,
    "--threads",
    type=int,
    metavar="N",
    help="Threads of one session. Default: 1 (--engine torch: every core).",
)
@option(
    _RUN,
    "--decode-threads",
    type=int,
    metavar="N",
    help="Threads that decode images. Default: every core.",
)
@option(
    _RUN,
    "--batch-size",
    type=int,
    metavar="N",
    help="Images of one size a batch. Default: 1, or 32 on CUDA.",
)
@option(
    _WHAT,
    "--raster",
    type=click.Choice(["input", "image"]),
    default="input",
    show_default=True,
    help="Pixels that statistics are taken over: the network's input, or the oriented image.",
)
@option(
    _WHAT,
    "--scaled-decode/--no-scaled-decode",
    default=True,
    show_default=True,
    help="Decode large JPEGs to 1/2, 1/4 or 1/8 of their size, never below the network's input.",
)
@option(
    _WHAT,
    "--regions",
    default="none",
    show_default=True,
    metavar="KIND",
    help="Statistics of regions too: none, grid:PX (squares), segments:DIR (DIR/<id>.png or .npz), "
    "slic:N (superpixels), components[:MINPIXELS] (areas of one predicted class).",
)
@option(
    _WHAT,
    "--keep-regions",
    type=int,
    metavar="K",
    help="Store the K best regions of an image. Default: all.",
)
@option(
    _WHAT,
    "--outlines",
    is_flag=True,
    help="Store the outlines of those regions too, as WKT polygons.",
)
@option(
    _WHAT,
    "--mask",
    multiple=True,
    metavar="[CAMERA=]FILE",
    help="Grey image of the images' size; pixels where it is 0 are ignored (car hood, vignette). "
    "Again for each camera of a manifest.",
)
@ranking_options
@option(
    _OUT,
    "--output",
    "-o",
    type=click.Path(),
    metavar="DIR",
    help="Folder for the results (needed); one that exists is resumed.",
)
@option(_OUT, "--overwrite", is_flag=True, help="Remove earlier results of DIR first.")
@option(
    _OUT,
    "--max-errors",
    metavar="N|P%",
    help="Failed images to put up with: exit 0 up to here, 1 above. Default: any number, exit 3.",
)
@option(
    _OUT,
    "--previews",
    type=int,
    default=0,
    metavar="N",
    help="Draw the top N, each beside its difficulty map, on DIR/previews.jpg.",
)
@option(
    _OUT,
    "--top",
    type=int,
    default=10,
    show_default=True,
    metavar="N",
    help="Ranks to print.",
)
@option(
    _OUT, "--json", "as_json", is_flag=True, help="Print one JSON document instead of the table."
)
@option(_OUT, "--quiet", "-q", is_flag=True, help="No progress.")
@option(_OUT, "--debug", is_flag=True, help="Show the traceback of an error (or set DEAL_DEBUG=1).")
@click.version_option(__version__, prog_name="deal-score")
def command(
    pool: tuple[str, ...],
    demo: bool,
    top: int,
    as_json: bool,
    quiet: bool,
    debug: bool,
    **options: Any,
) -> int:
    """Rank the images of POOL by what the model finds difficult: what to label next.

    POOL: folders (searched recursively), globs, images, and manifests (.txt, .csv, .jsonl,
    .parquet with a column uri).

    The network runs once an image; an interrupted run goes on with the same command. Results:
    DIR/selection.csv and selection.json, DIR/images/*.parquet; `deal select DIR` ranks them anew.

    Exit status: 0 done; 1 failed; 2 usage; 3 done, but some images were quarantined; 130 or 143
    interrupted.
    """
    options = ranking_keywords(options)
    options["model_options"] = dict(map(key_value, options["model_options"]))
    if demo:
        pool = _use_demo(pool, options)
    if not options["model"] or "" in options["model"]:
        raise UsageError(
            "no model: give --model FILE, set DEAL_MODEL, or try --demo (bundled model and images)"
        )
    if not options["output"]:
        raise UsageError("no output: give --output DIR, the folder for the results")

    # Read when Arrow is loaded. Its other allocators keep several times what is in use, which grows
    # with the pool; they would be faster, but a run hardly allocates.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    from deal.run.pipeline import score_pool

    with Display(enabled=not quiet) as display:
        report = score_pool(pool, progress=display, **options)
    for note in report.notes:
        print_note(note)
    if as_json:
        click.echo(json.dumps(_document(report, top), indent=1))
    else:
        print_selection(report.selection, top)
        _print_summary(report)
    return report.exit_code


def _use_demo(pool: tuple[str, ...], options: dict[str, Any]) -> tuple[str, ...]:
    from deal.doctor import demo_file

    source = click.get_current_context().get_parameter_source("model")
    if pool or source is ParameterSource.COMMANDLINE:
        raise UsageError("--demo brings its own images and model: leave out POOL and --model")
    options["model"] = (str(demo_file("model.onnx")),)
    options["output"] = options["output"] or _DEMO_OUTPUT
    return (str(demo_file("pool")),)


def _document(report: RunReport, top: int) -> dict[str, Any]:
    from deal.pool.ids import path_to_id

    names = ("total", "skipped", "scored", "duplicates", "errors", "seconds", "bound_by", "notes")
    return {
        **{name: getattr(report, name) for name in (*names, "exit_code")},
        "output": path_to_id(str(report.output)),
        "previews": None if report.previews is None else path_to_id(str(report.previews)),
        "selection": report.selection.metadata,
        "top": list(report.selection.records(max(top, 0))),
    }


def _print_summary(report: RunReport) -> None:
    failed = sum(report.errors.values())
    speed = ""
    if report.scored:
        rate = report.scored / report.seconds
        speed = f", {rate:.1f} images/s, bound by {report.bound_by}"
    repeated = f"{report.duplicates} near-duplicates, " if report.duplicates else ""
    click.echo(
        f"{report.total} images: {report.scored} scored, {repeated}{report.skipped} stored before, "
        f"{failed} failed; {report.seconds:.1f} s{speed}"
    )
    if failed:
        codes = ", ".join(f"{count} {code}" for code, count in report.errors.items())
        click.echo(f"quarantined  {codes} (column error in {_shown(report.output / 'images')})")
    click.echo(f"ranking      {_shown(report.output / 'selection.csv')}")
    click.echo(f"statistics   {_shown(report.output / 'images')}")
    if report.previews is not None:
        click.echo(f"previews     {_shown(report.previews)}")


def _shown(path: Path) -> str:
    from deal.pool.ids import path_to_id

    return printable(path_to_id(str(path)))
