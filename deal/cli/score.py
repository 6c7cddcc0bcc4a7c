"""``deal score`` (``deal-score``): options → one config → :func:`deal.score_pool`."""

from __future__ import annotations

import json
import os
import warnings
from typing import Any

import click
from click.core import ParameterSource

from deal.cli.common import key_value, print_note, print_selection, spare_pandas
from deal.cli.display import Display
from deal.cli.grouped import GroupedCommand, option
from deal.cli.pictures import previews_option, store_maps_option
from deal.cli.ranking import (
    csv_safe_option,
    note_formulas,
    ranking_keywords,
    ranking_options,
)
from deal.cli.reading import print_topics, reading_options
from deal.cli.score_summary import document, print_summary
from deal.cli.version import version_option
from deal.errors import UsageError

_POOL, _MODEL, _RUN = "Pool", "Model", "Engine"
_WHAT, _OUT = "Statistics", "Output"

_DEMO_OUTPUT = "deal-demo"
_BATCH_SIZE = (
    "Batch size. Default: 1 on the CPU, 32 on a GPU, where short batches are padded to it."
)


@click.command(
    cls=GroupedCommand,
    short_help="Score a pool with your network and rank it.",
    examples=[
        "deal-score --demo",
        "deal-score frames/ --model model.onnx -o scored --budget 500 --min-gap 2s",
        "deal-score pool.csv --model model.onnx -o scored --exclude labeled.csv",
    ],
)
@click.argument("pool", nargs=-1, type=click.Path(readable=False))
@option(
    _POOL,
    "--demo",
    is_flag=True,
    first_day=True,
    help="Score the bundled images with the bundled model. --output is then deal-demo by default.",
)
@option(
    _POOL,
    "--shard",
    metavar="I/N",
    default="0/1",
    help="Score only part I of N of the pool, 0/4 to 3/4: split by a hash of the id, or, of one "
    "manifest in Parquet, by its rows.",
)
@option(
    _POOL,
    "--skip",
    multiple=True,
    metavar="GLOB",
    help="Leave out images whose id, or a folder of it, matches GLOB; repeatable. Without / it "
    "matches names in any folder. Names that begin with a dot are always left out of folders.",
)
@option(
    _POOL,
    "--sequence-from",
    metavar="REGEX",
    help="Read the sequence of an image from its id: the first group of REGEX.",
)
@reading_options(_POOL)
@option(
    _POOL,
    "--dedup",
    is_flag=False,
    flag_value="2",  # DEDUP_THRESHOLD; importing it would slow --help down
    metavar="[THRESHOLD]",
    help="Skip near-duplicates: frames within THRESHOLD grey levels of the last frame kept in the "
    "same sequence (or folder). Default 2. Write --dedup=3, or --dedup at the end of the line.",
)
@option(
    _POOL,
    "--max-pixels",
    type=int,
    default=200_000_000,
    show_default=True,
    metavar="N",
    help="Quarantine images with more pixels than this instead of decoding them.",
)
@option(
    _MODEL,
    "--model",
    envvar="DEAL_MODEL",
    type=click.Path(),
    multiple=True,
    metavar="FILE",
    first_day=True,
    help="ONNX model (or a checkpoint, for --engine torch). Default: the environment variable "
    "DEAL_MODEL. Give several to form a committee: all of them vote, and the statistics are those "
    "of the first.",
)
@option(
    _MODEL,
    "--flip",
    is_flag=True,
    help="Let each model vote on the mirrored image too (EquAL). Costs one more pass per model.",
)
@option(
    _MODEL,
    "--dropout-passes",
    type=int,
    default=0,
    metavar="P",
    help="Monte-Carlo dropout: add P passes with dropped channels to the vote. The model needs "
    "inputs for the masks, which deal export --dropout makes.",
)
@option(
    _MODEL,
    "--dropout-seed",
    type=int,
    default=0,
    show_default=True,
    metavar="N",
    help="Seed of the channels that the dropout passes drop.",
)
@option(
    _MODEL,
    "--difficulty-head",
    type=click.Path(),
    metavar="FILE",
    help="Use this difficulty head (JSON, from deal fit-head) instead of the model's own.",
)
@option(
    _MODEL,
    "--model-option",
    "model_options",
    multiple=True,
    metavar="KEY=VALUE",
    first_day=True,
    help="Set a key of the model contract that the model file lacks. VALUE is JSON or text: "
    "classes=19, mean=[0.485,0.456,0.406]. Repeatable. Keys: classes, input_format, input_size, "
    "size_multiple, resize, pad_value, pad_position, interpolation, mean, std, align_corners, "
    "input_layout, output_layout, batch, output_kind, activation, "
    "dropout, output.",
)
@option(
    _MODEL,
    "--screen",
    metavar="auto|FACTOR|FILE",
    help="Score the whole pool cheaply first, and exactly only what can still reach --budget: at "
    "FACTOR (0.5) of the height and width of the network's input, with the cheaper model FILE, or, "
    "with auto, at the factor that costs least. Rows that are not scored exactly get the status "
    "skipped; the same command without --screen completes them.",
)
@option(
    _MODEL,
    "--screen-keep",
    type=float,
    default=0.99,
    show_default=True,
    metavar="SHARE",
    help="The share of the best possible mean score that the picks reach, with 95% confidence; an "
    "estimate where picks keep apart. A lower one takes less time; small pools and budgets need a "
    "low one.",
)
@option(
    _RUN,
    "--engine",
    default="ort",
    show_default=True,
    metavar="ort|openvino|trt|torch|auto",
    help="Run the network with ONNX Runtime, OpenVINO, TensorRT, or PyTorch (the reference). auto "
    "measures ONNX Runtime and OpenVINO for a second and takes the faster one.",
)
@option(
    _RUN,
    "--device",
    default="auto",
    show_default=True,
    metavar="auto|cpu|cuda[:I]",
    first_day=True,
    help="auto uses CUDA if the engine supports it and the driver finds a GPU.",
)
@option(
    _RUN,
    "--precision",
    metavar="fp32|fp16|bf16|int8",
    help="Demand this precision. Default: the one the model was exported in. --engine openvino "
    "also computes an fp32 model in bf16, where the processor has it.",
)
@option(
    _RUN,
    "--sessions",
    metavar="N|auto",
    help="Number of networks that run at once; on a GPU, batches in flight. Default: cores divided "
    "by --threads, or 2 on a GPU. auto measures one session per core against one session on all "
    "cores.",
)
@option(
    _RUN,
    "--on",
    metavar="ray[://HOST]",
    help="Score on a Ray cluster: ray starts one on this machine, ray://auto uses the one that "
    "this machine belongs to, ray://HOST[:PORT] another one, whose machines have to find all files "
    "under the same names. A worker takes --threads CPUs, with --device cuda a GPU too.",
)
@option(
    _RUN,
    "--threads",
    type=int,
    metavar="N",
    help="Threads per session. Default: 1, or all cores with --engine torch.",
)
@option(
    _RUN,
    "--decode-threads",
    type=int,
    metavar="N",
    help="Threads that decode images. Default: one per core.",
)
@option(
    _RUN,
    "--batch-size",
    type=int,
    metavar="N",
    help=_BATCH_SIZE,
)
@option(
    _WHAT,
    "--raster",
    type=click.Choice(["input", "half", "image"]),
    default="input",
    show_default=True,
    help="Take the statistics over the pixels of the network's input, of half its height and "
    "width, or of the upright image. Counts, lengths and sizes of regions are in these pixels.",
)
@option(
    _WHAT,
    "--scaled-decode/--no-scaled-decode",
    default=True,
    show_default=True,
    help="Decode large JPEGs at 1/2, 1/4 or 1/8 of their size, but never below the network's "
    "input.",
)
@option(
    _WHAT,
    "--regions",
    default="none",
    show_default=True,
    metavar="KIND",
    help="Store statistics of regions too: grid:PX (squares), segments:DIR (DIR/<id>.png or .npz), "
    "slic:N (superpixels) or components[:MINPIXELS] (areas of one predicted class).",
)
@option(
    _WHAT,
    "--keep-regions",
    type=int,
    metavar="K",
    help="Store only the K best regions per image. Default: all.",
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
    help="Ignore the pixels where this grey image is 0, such as the car's hood. It has the size of "
    "the images. Repeat it for each camera of a manifest.",
)
@ranking_options
@option(
    _OUT,
    "--output",
    "-o",
    type=click.Path(),
    metavar="DIR",
    first_day=True,
    help="Folder for the results, also s3://bucket/out (gs, az). Required. If it holds results "
    "already, the run is resumed.",
)
@option(
    _OUT,
    "--overwrite",
    is_flag=True,
    first_day=True,
    help="Remove earlier results from DIR first.",
)
@option(
    _OUT,
    "--max-errors",
    metavar="N|P%",
    help="Tolerate this many failed images: exit with 0 up to the limit and with 1 above it. "
    "Default: tolerate any number, and exit with 3 if there are any.",
)
@previews_option(_OUT, "DIR")
@store_maps_option(_OUT, "DIR", ["selected", "all", "none"])
@csv_safe_option(_OUT)
@option(
    _OUT,
    "--top",
    type=click.IntRange(min=0),
    default=10,
    show_default=True,
    metavar="N",
    help="Number of ranks to print.",
)
@option(
    _OUT, "--json", "as_json", is_flag=True, help="Print one JSON document instead of the table."
)
@option(_OUT, "--quiet", "-q", is_flag=True, help="Show no progress.")
@version_option("deal-score")
def command(
    pool: tuple[str, ...],
    demo: bool,
    list_topics: bool,
    top: int,
    on: str | None,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> int:
    """Rank the images of POOL: what to label next.

    POOL is any number of folders (searched recursively), globs, images, manifests (.txt, .csv,
    .tsv, .jsonl or .parquet with a column uri), and files that hold images: 'shards/*.tar',
    'shards/{000..999}.tar', 'data/*.parquet' with a column of images, videos, robot logs
    (.mcap). All but manifests may lie in object storage: s3://bucket/drives/ (gs, az).

    The network runs once per image. If a run is interrupted, the same command resumes it. The
    ranking is DIR/selection.csv and selection.json, the statistics are DIR/images/*.parquet;
    `deal select DIR` ranks them again without the network.

    Exit status: 0 done; 1 failed; 2 wrong usage; 3 done, but some images were quarantined; 130 or
    143 interrupted.
    """
    if list_topics:
        print_topics(pool, as_json=as_json)
        return 0
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
    if on is None:  # Ray uses pandas itself
        spare_pandas()
    # Pillow warns of odd tags by line numbers of its own; what matters is in the image's row.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    with Display(enabled=not quiet) as display:
        if on is None:
            from deal.run.pipeline import score_pool

            report = score_pool(pool, progress=display, **options)
        else:
            from deal.ray.scoring import score

            report = score(pool, on=on, progress=display, **_for_cluster(options))
    for note in report.notes:
        print_note(note)
    if not options["csv_safe"]:
        note_formulas(report.selection)
    if as_json:
        click.echo(json.dumps(document(report, top), indent=1))
    else:
        print_selection(report.selection, top)
        print_summary(report)
    return report.exit_code


def _for_cluster(options: dict[str, Any]) -> dict[str, Any]:
    """Without the options that a cluster does not have, unless they were given."""
    given = click.get_current_context().get_parameter_source
    pixels, threads = ("regions", "keep_regions", "outlines"), ("sessions", "decode_threads")
    alone = (*pixels, *threads, "dedup", "shard", "screen", "screen_keep")
    return {
        name: value
        for name, value in options.items()
        if name not in alone or given(name) is not ParameterSource.DEFAULT
    }


def _use_demo(pool: tuple[str, ...], options: dict[str, Any]) -> tuple[str, ...]:
    from deal._demo import demo_file

    source = click.get_current_context().get_parameter_source("model")
    if pool or source is ParameterSource.COMMANDLINE:
        raise UsageError("--demo brings its own images and model: leave out POOL and --model")
    options["model"] = (str(demo_file("model.onnx")),)
    options["output"] = options["output"] or _DEMO_OUTPUT
    return (str(demo_file("pool")),)
