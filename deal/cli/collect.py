"""``deal collect``: what a labeling tool exports becomes a labeled data set."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from deal.cli.common import Range, print_note
from deal.cli.grouped import GroupedCommand, option
from deal.errors import UsageError
from deal.text import printable

if TYPE_CHECKING:
    from deal.annotation.collect import Collection

__all__ = ["command"]

_WHAT, _OUT = "What", "Output"
_SHOWN = 5  # problems of a kind that are printed


@click.command(
    cls=GroupedCommand,
    short_help="Make a labeled data set of what a labeling tool exports.",
    examples=[
        "deal collect export.zip --from cvat --tasks tasks -o labeled",
        "deal collect export.json --from label-studio --tasks tasks -o labeled",
        "deal select out --exclude labeled/labeled.csv --budget 100 -o round2",
    ],
)
@click.argument("exported", nargs=-1, required=True, type=click.Path())
@option(
    _WHAT,
    "--from",
    "from_",
    required=True,
    metavar="cvat|label-studio|coco|voc",
    first_day=True,
    help="What exported it: CVAT for images 1.1; JSON of Label Studio; COCO; Segmentation mask 1.1 "
    "of CVAT (VOC).",
)
@option(
    _WHAT,
    "--tasks",
    type=click.Path(),
    metavar="DIR",
    first_day=True,
    help="The folder that deal annotate wrote: it knows ids, images and classes.",
)
@option(
    _WHAT,
    "--images",
    type=click.Path(),
    metavar="DIR",
    help="Folder of the images. Default: those of --tasks, the pool, or the export.",
)
@option(
    _WHAT,
    "--map",
    "class_map",
    type=click.Path(),
    metavar="FILE.json",
    first_day=True,
    help='New names of classes, such as {"truck": "car", "hood": null}: equal names merge classes, '
    "null is void. A class that people have added is taken if it is named here.",
)
@option(
    _OUT,
    "--output",
    "-o",
    type=click.Path(),
    required=True,
    metavar="LABELED",
    first_day=True,
    help="Folder to write: {train,val}/{images,labels}, classes.json, labeled.csv, report.csv.",
)
@option(
    _OUT,
    "--val",
    type=Range(0, 1),
    default=0.2,
    show_default=True,
    metavar="SHARE",
    first_day=True,
    help="Share of the images that goes to val, by a hash of the id.",
)
@option(
    _OUT,
    "--add",
    is_flag=True,
    first_day=True,
    help="Add to what was collected into LABELED before.",
)
@option(_OUT, "--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(exported: tuple[str, ...], output: str, as_json: bool, **options: Any) -> int:
    """Make a labeled data set of EXPORTED: files, ZIP files or folders of a labeling tool.

    `deal train --dataset folder`, `deal fit-head` and `deal loop` read it. Later shapes lie over
    earlier ones; pixels without a shape are void. `deal select --exclude LABELED/labeled.csv`
    leaves out what is labeled.

    Exit status: 0 done; 1 failed; 2 usage; 3 done, but something that was drawn is left out.
    """
    from deal.annotation.collect import collect

    if output == "":
        raise UsageError("the name of --output is empty: give a folder")
    found = collect(exported, output=output, **options)
    for note in found.notes:
        print_note(note)
    if as_json:
        click.echo(json.dumps({**asdict(found), "output": str(found.output)}, indent=1))
    else:
        _print(found)
    return 0 if found.complete else 3


def _print(found: Collection) -> None:
    splits = ", ".join(f"{number} {split}" for split, number in found.splits.items())
    click.echo(
        f"{found.count} labeled images collected; {printable(str(found.output))} has {splits}, "
        f"{len(found.classes)} classes"
    )
    shown: Counter[str] = Counter()
    for problem in found.problems:
        shown[problem.kind] += 1
        if shown[problem.kind] <= _SHOWN:
            click.echo(printable(f"{problem.kind}: {problem.name}: {problem.text}"), err=True)
    for kind, number in shown.items():
        if number > _SHOWN:
            click.echo(f"{kind}: {number - _SHOWN} more, in report.csv", err=True)
