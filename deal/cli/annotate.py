"""``deal annotate``: a selection as tasks for a labeling tool, with the model's predictions."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from deal.cli.common import Range, print_note, spare_pandas
from deal.cli.grouped import GroupedCommand, option
from deal.cli.labeled import Bar
from deal.cli.reading import endpoint_option
from deal.errors import UsageError
from deal.text import printable

if TYPE_CHECKING:
    from deal.annotation.export import Annotation

__all__ = ["command"]

_WHAT, _LABELS, _IMAGES, _OUT = "What", "Predictions", "Images", "Output"


@click.command(
    cls=GroupedCommand,
    short_help="Write the selected images as tasks for a labeling tool.",
    examples=[
        "deal annotate out --to label-studio -o tasks",
        "deal annotate out --to cvat --batch 50 -o tasks",
        "deal annotate out --selection picked.csv --to coco --images link -o tasks",
    ],
)
@click.argument("out", type=click.Path())
@option(
    _WHAT,
    "--to",
    required=True,
    metavar="cvat|label-studio|coco|masks|fiftyone|lightly",
    first_day=True,
    help="The tool. masks: PNG files of class indices.",
)
@option(
    _WHAT,
    "--selection",
    type=click.Path(),
    metavar="FILE",
    first_day=True,
    help="CSV file with a column id, in rank order. Default: OUT/selection.csv.",
)
@option(
    _WHAT,
    "--batch",
    type=click.IntRange(min=1),
    metavar="N",
    first_day=True,
    help="N images per batch: a job in CVAT, a folder for other tools. Default: one batch.",
)
@option(
    _WHAT,
    "--regions",
    default="crop",
    show_default=True,
    metavar="crop|image",
    help="Of selected regions: a picture of each, or one of each image in which all else is faint.",
)
@option(
    _LABELS,
    "--predictions/--no-predictions",
    default=True,
    first_day=True,
    help="Label the images with what the model predicts, for people to correct. Default: yes.",
)
@option(
    _LABELS,
    "--model",
    type=click.Path(),
    metavar="FILE",
    help="Where the model that scored is now. Default: where it was.",
)
@option(
    _LABELS,
    "--shape",
    default="mask",
    show_default=True,
    metavar="mask|polygon",
    first_day=True,
    help="One mask per class, exact; or one polygon per area.",
)
@option(
    _LABELS,
    "--tolerance",
    type=Range(min=0),
    default=1.5,
    show_default=True,
    metavar="PX",
    help="Pixels by which polygons may leave the border between two classes.",
)
@option(
    _LABELS,
    "--min-area",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="PX",
    help="Leave areas of fewer pixels without a label.",
)
@option(
    _IMAGES,
    "--images",
    default="copy",
    show_default=True,
    metavar="copy|link|none",
    help="Copy the images, link to them, or only name them by their ids. Images that EXIF turns "
    "become upright PNG files.",
)
@option(
    _IMAGES,
    "--image-url",
    metavar="PREFIX",
    help="Name the images by their ids below a prefix, such as s3://bucket/frames.",
)
@option(
    _OUT,
    "--output",
    "-o",
    type=click.Path(),
    required=True,
    metavar="DIR",
    first_day=True,
    help="Folder to write. Its README.txt says how to import it.",
)
@option(
    _OUT,
    "--overwrite",
    is_flag=True,
    first_day=True,
    help="Replace the tasks of an earlier call; other files in DIR stay.",
)
@option(_OUT, "--json", "as_json", is_flag=True, help="Print one JSON document.")
@option(_OUT, "--quiet", "-q", is_flag=True, help="Show no progress.")
@endpoint_option(_IMAGES)
def command(out: str, output: str, as_json: bool, quiet: bool, **options: Any) -> int:
    """Write the selected images of OUT as tasks for a labeling tool, in rank order.

    OUT is what `deal score --output OUT` wrote. The model predicts the labels, and people correct
    them. `deal collect` makes a labeled data set of what the tool exports.

    Exit status: 0 done; 1 failed; 2 usage; 3 done, but some images were left out.
    """
    spare_pandas()
    from deal.annotation.export import annotate

    if output == "":
        raise UsageError("the name of --output is empty: give a folder")
    with Bar(enabled=sys.stderr.isatty() and not quiet) as bar:
        found = annotate(out, output=output, progress=bar, **options)
    for note in found.notes:
        print_note(note)
    if as_json:
        click.echo(json.dumps({**asdict(found), "output": str(found.output)}, indent=1))
    else:
        _print(found)
    return 3 if found.left_out else 0


def _print(found: Annotation) -> None:
    what = "pictures of regions" if found.of_regions else "images"
    told = f"{found.count} {what} in {printable(str(found.output))}"
    click.echo(f"{told}; import them from there:\n{found.command}" if found.command else told)
    for line in found.left_out:
        click.echo(printable(f"left out  {line}"), err=True)
