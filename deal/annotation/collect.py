"""What a labeling tool exports → a labeled data set that training reads."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deal.annotation.archive import Export, exports
from deal.annotation.gathering import Finder, Gathering, Problem
from deal.annotation.labeled import LabeledFolder
from deal.annotation.plan import FORMATS, MARKER, read_tasks
from deal.annotation.reading import TOOLS, drawn_in
from deal.annotation.record import Legend
from deal.errors import ModelError, PoolError, UsageError
from deal.model.palette import class_colours
from deal.model.strict_json import read_json_object
from deal.pool.decode import MAX_PIXELS
from deal.pool.schemes import refuse_scheme

__all__ = ["Collection", "Problem", "collect"]

REPORT = "report.csv"


@dataclass(frozen=True)
class Collection:
    """What :func:`deal.collect` gathered.

    Attributes
    ----------
    output : Path
    count : int
        Images whose labels were gathered by this call.
    splits : dict of str to int
        Images of the data set, by split.
    classes : tuple of str
    problems : tuple of Problem
        What is missing, and what was left out; ``report.csv`` lists the same.
    notes : tuple of str
        What the user should know.
    """

    output: Path
    count: int
    splits: dict[str, int]
    classes: tuple[str, ...]
    problems: tuple[Problem, ...] = field(default=())
    notes: tuple[str, ...] = field(default=())

    @property
    def complete(self) -> bool:
        """Whether everything that was drawn is in the data set."""
        return all(problem.kind == "missing" for problem in self.problems)


def collect(
    exported: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    from_: str,
    output: str | os.PathLike[str],
    tasks: str | os.PathLike[str] | None = None,
    images: str | os.PathLike[str] | None = None,
    class_map: str | os.PathLike[str] | Mapping[str, str | None] | None = None,
    val: float = 0.2,
    add: bool = False,
    max_pixels: int = MAX_PIXELS,
    progress: Callable[[int], None] | None = None,
) -> Collection:
    """Make a labeled data set of what a labeling tool exports.

    It has the layout that ``deal train --dataset folder``, ``deal fit-head`` and ``deal loop``
    read, and a ``labeled.csv`` for ``exclude``. Later shapes lie over earlier ones, and pixels
    without a shape are void (255).

    Parameters
    ----------
    exported : path or sequence of paths
        Files, ZIP files or folders of the tool; ZIP files are not unpacked.
    from_ : str
        ``cvat`` ("CVAT for images 1.1"), ``label-studio`` ("JSON"), ``coco`` or ``voc``
        ("Segmentation mask 1.1").
    output : path
        Folder to write; new or empty unless ``add``.
    tasks : path, optional
        The folder that :func:`deal.annotate` wrote: it knows ids, images and classes. Without it
        ids are file names, and classes those of the export.
    images : path, optional
        Folder of the images, by the names in the export; by default those of ``tasks``, where the
        pool has them, or in the export itself.
    class_map : path or mapping, optional
        New names of classes, by name; the same name merges classes, and None is void. A class that
        the tasks do not have, since people added it, is taken if it is named here. A path is a JSON
        file of such an object.
    val : float
        Share of the images, by a hash of their ids, that goes to ``val``. Where it is neither 0 nor
        1, each split gets at least one of two images.
    add : bool
        Add to a data set that was collected before. Images that are in it get new labels and keep
        their split.
    max_pixels : int
        Of the largest image that is decoded.
    progress : callable, optional
        Called with the number of images gathered.

    Returns
    -------
    Collection

    Raises
    ------
    UsageError
        An option or the map is invalid, or ``images`` is no folder.
    PoolError
        An export cannot be read or holds no labels, or the classes do not fit.
    OutputError
        The folder is not empty or cannot be written, or another process adds to it.

    Examples
    --------
    >>> deal.collect("export.zip", from_="cvat", output="labeled", tasks="tasks").splits
    """
    if from_ not in TOOLS:
        raise UsageError(f"from {from_!r}: choose one of {', '.join(TOOLS)}")
    if not 0 <= val <= 1:
        raise UsageError(f"val {val!r}: a share from 0 to 1 is needed")
    refuse_scheme(output, "--output", "give a folder on this machine")
    if images is not None and not Path(images).is_dir():
        raise UsageError(
            f"images {os.fspath(images)!r}: there is no such folder; name the one of the images"
        )
    sources = [exported] if isinstance(exported, (str, os.PathLike)) else list(exported)
    renamed = _class_map(class_map)
    lines, described = ([], None) if tasks is None else read_tasks(Path(tasks))
    notes = [note for source in sources for note in _unreviewed(Path(source), tasks)]
    with LabeledFolder(Path(output), val, add=add) as folder:
        legend, palette = _legend(described, renamed, folder.before or ())
        folder.describe(legend.classes, palette)
        finder = Finder(lines, tasks, images, max_pixels)
        gathering = Gathering(finder, folder)
        for source in map(Path, sources):
            with exports(source) as found:
                suited = [export for export in found if _suits(export, from_, len(found))]
                for export in suited or found[:1]:
                    finder.begin(export)
                    for drawn in drawn_in(export, from_, legend):
                        gathering.add(drawn)
                        if progress is not None:
                            progress(len(gathering.gathered))
        gathering.end(legend)
        folder.finish()
        folder.write(REPORT, _table(gathering.problems))
    splits = folder.splits()
    shown = () if described is None else (*described["labels"], *described["classes"])
    notes += [
        f"map of classes: {name!r} is neither a class of the tasks nor in the export"
        for name in renamed
        if name not in legend.met and name not in shown
    ]
    notes += [
        f"the split {split} has no image, which deal train needs: collect more, or change --val"
        for split, number in splits.items()
        if not number
    ]
    if len(legend.classes) < 2:
        notes.append("there is only one class; deal train needs two or more")
    return Collection(
        folder.path,
        len(gathering.gathered),
        splits,
        tuple(legend.classes),
        tuple(gathering.problems),
        tuple(notes),
    )


def _suits(export: Export, tool: str, among: int) -> bool:
    """Whether an export of several holds a document of the tool."""
    suffix = {"cvat": ".xml", "voc": "labelmap.txt"}.get(tool, ".json")
    return among == 1 or any(name.lower().endswith(suffix) for name in export.files)


def _class_map(
    given: str | os.PathLike[str] | Mapping[str, str | None] | None,
) -> dict[str, str | None]:
    if given is None:
        return {}
    if isinstance(given, Mapping):
        value: dict[str, Any] = dict(given)
    else:
        try:
            value = read_json_object(Path(given), "map of classes")
        except ModelError as error:
            raise UsageError(f'{error}; it must hold {{"truck": "car", "hood": null}}') from error
    for name, target in value.items():
        if target is not None and (not isinstance(target, str) or not target):
            raise UsageError(
                f"map of classes: {name!r} becomes {target!r}; give a name, or null for void"
            )
    return value


def _legend(
    described: dict[str, Any] | None, renamed: dict[str, str | None], before: Sequence[str]
) -> tuple[Legend, list[list[int]] | None]:
    """Labels by the tool's names of the classes, and their colours."""
    if described is None:
        known = {name: number for number, name in enumerate(before, 1) if name not in renamed}
        return Legend(known, before, growing=True, renamed=renamed), None
    names, shown = described["classes"], described["labels"]
    targets: list[str | None] = [
        renamed.get(label, renamed.get(name, name if names.count(name) == 1 else label))
        for name, label in zip(names, shown, strict=True)
    ]
    further = [name for name in renamed if name not in names and name not in shown]
    meant = [*zip(shown, targets, strict=True), *((name, renamed[name]) for name in further)]
    classes = list(dict.fromkeys(target for _, target in meant if target is not None))
    if set(before) <= set(classes):  # the labels that are there keep their numbers
        classes = list(dict.fromkeys((*before, *classes)))
    labels = {label: 0 if target is None else classes.index(target) + 1 for label, target in meant}
    colours = described["palette"]
    added = class_colours(len(classes)).tolist()  # of classes that only people know
    palette = [
        colours[targets.index(name)] if name in targets else added[index]
        for index, name in enumerate(classes)
    ]
    return Legend(labels, classes), palette


def _unreviewed(source: Path, tasks: str | os.PathLike[str] | None) -> Iterator[str]:
    """A note if a source is what deal annotate wrote itself."""
    if (source / MARKER).is_file():
        raise PoolError(
            f"{source} is what deal annotate wrote; name what the labeling tool exported, and this "
            "folder as --tasks"
        )
    written = {known.document for known in FORMATS.values()}
    folder = source.absolute().parent
    if folder.name.startswith("batch-"):
        folder = folder.parent
    if source.name in written and (folder / MARKER).is_file():
        yield f"{source} is what deal annotate wrote: these labels are the model's, not people's"


def _table(problems: Iterable[Problem]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow(("kind", "name", "text"))
    writer.writerows((problem.kind, problem.name, problem.text) for problem in problems)
    return text.getvalue().encode("utf-8", "backslashreplace").decode()
