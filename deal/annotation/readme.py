"""``README.txt`` of a folder of tasks: what lies in it, and the command that imports it."""

from __future__ import annotations

from deal.annotation.plan import Options

__all__ = ["command", "readme"]

_HEAD = """\
{count} to label, in rank order, as `deal annotate --to {to}` wrote them.

{command}tasks.csv    which file is which image of the pool, with rank, score and batch
classes.json names of the classes; `labels` are what the tool shows
{files}
{notes}When labeling is done:

    {collect}
"""

_COLLECT = {
    "cvat": 'export as "CVAT for images 1.1", then\n    deal collect EXPORT.zip --from cvat',
    "label-studio": 'export as "JSON", then\n    deal collect EXPORT.json --from label-studio',
    "coco": "deal collect ANNOTATIONS.json --from coco",
}

_COCO = """\
    python -c "from pycocotools.coco import COCO; COCO('{file}')"
    (CVAT: Actions > Upload annotations > COCO 1.0)"""

_FILES = {
    "cvat": """\
annotations.xml  the model's predictions (CVAT for images 1.1)
labels.json      the labels of the task, with colors
""",
    "label-studio": """\
tasks.json   tasks with the model's predictions; with batches one per folder
config.xml   the labeling configuration
""",
    "coco": """\
annotations.json  the model's predictions (COCO; run lengths keep holes); deal_rank and deal_score
             stand with every image
""",
    "masks": "",
    "fiftyone": "",
    "lightly": "",
}

_MASKS = """\
masks/       predicted classes: 8-bit PNG, value = index in classes.json + 1, 0 = no prediction
             (16-bit from 255 classes on)
difficulty/  difficulty: 8-bit PNG, 0...255 for 0...1 (entropy/ for a model without difficulty:
             0...255 for 0...ln C)
"""


def command(options: Options) -> str:
    """The command that imports a folder, to be run from within it."""
    match options.to:
        case "cvat":
            return _cvat(options)
        case "label-studio":
            return _label_studio(options)
        case "coco":
            file = "batch-001/annotations.json" if options.batch else "annotations.json"
            return _COCO.format(file=file)
        case "masks":
            return ""
    return f"    python load_{options.to}.py"


def readme(options: Options, count: int, notes: list[str], *, of_regions: bool) -> str:
    """The text of ``README.txt``.

    Parameters
    ----------
    options : Options
    count : int
        Pictures in the folder.
    notes : list of str
        What the reader should know, one line each.
    of_regions : bool
        The pictures are of regions.
    """
    how_to = command(options)
    files = _FILES[options.to] + (_MASKS if options.format.masks else "")
    if options.files:
        files = "images/      the images; the name begins with the rank\n" + files
    how = _COLLECT.get(options.to, "deal collect EXPORT --from cvat|label-studio|coco|voc")
    return _HEAD.format(
        count=f"{count} {'pictures of regions' if of_regions else 'images'}",
        to=options.to,
        command=f"Import, from within this folder:\n\n{how_to}\n\n" if how_to else "",
        files=files,
        notes="".join(f"Note: {note}\n" for note in notes) + ("\n" if notes else ""),
        collect=f"{how} --tasks . -o LABELED",
    )


def _cvat(options: Options) -> str:
    task = [
        "    cvat-cli --server-host http://localhost --server-port 8080 --auth USER \\",
        "      task create deal --labels labels.json --image_quality 95 \\",
    ]
    segment = f" --segment_size {options.batch} --overlap 0" if options.batch else ""
    if options.predictions:
        task.append(
            "      --annotation_path annotations.xml --annotation_format 'CVAT 1.1' \\",
        )
    if options.files:
        task.append(f"      --sorting-method lexicographical{segment} local images/*")
    elif options.on_web:
        task.append(f"      --sorting-method predefined{segment} remote $(cat images.txt)")
    else:
        where = "--cloud_storage_id ID " if options.image_url else ""
        task.append(f"      --sorting-method predefined{segment} {where}share $(cat images.txt)")
    return "\n".join(task)


def _label_studio(options: Options) -> str:
    lines = []
    if options.files:
        lines = [
            "    # Label Studio must serve this folder: start it with",
            "    #   LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true \\",
            '    #   LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT="$PWD" label-studio start',
        ]
    return "\n".join([*lines, "    python load_label_studio.py --token TOKEN"])
