"""The labeled data set that ``deal collect`` writes: splits, names, classes, what is labeled."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deal.annotation.images import decoded_image, png, safe_name
from deal.annotation.record import MOST_PIXELS
from deal.errors import ItemError, OutputError, PoolError
from deal.labeled.labels import CLASSES_FILE, DEFAULT_VOID, read_classes
from deal.machine.files import hold, replacing, write_text, writing
from deal.machine.working import is_working, working_folder
from deal.model.palette import class_colours

__all__ = ["LABELED", "Entry", "LabeledFolder"]

LABELED = "labeled.csv"
_COLUMNS = ("id", "region", "split", "image", "label")
_SPLITS = ("train", "val")


@dataclass(frozen=True, slots=True)
class Entry:
    """An image of the data set, and which of its regions are labeled (all of it without any)."""

    id: str
    split: str
    image: str
    label: str
    regions: frozenset[int] = frozenset()


class LabeledFolder:
    """A labeled folder, ``ROOT/{train,val}/{images,labels}`` with ``classes.json``.

    Parameters
    ----------
    path : Path
    val : float
        Share of the images that go to ``val``.
    add : bool
        The folder may hold a data set that was collected before.

    Raises
    ------
    OutputError
        The folder is not empty, and may not be added to, or another process adds to it.
    PoolError
        What was collected before cannot be read.
    """

    def __init__(self, path: Path, val: float, *, add: bool) -> None:
        self.path, self._val = path, val
        self._root = path.resolve()
        self._new: ExitStack | None = None  # of a data set that is made
        self._work = self._root
        self._held = ExitStack()  # the lock of a data set that is added to
        self.entries: dict[str, Entry] = {}
        self._fresh: set[str] = set()  # ids that this call has brought
        self.before: tuple[str, ...] | None = None
        self._classes: Sequence[str] = ()
        self._palette: Sequence[Sequence[int]] | None = None
        self._described: object = None  # what the file with the classes says
        self._stems: set[str] = set()
        self._added = False
        self._open(add)

    def _open(self, add: bool) -> None:
        try:
            names = sorted(path.name for path in self.path.iterdir() if not is_working(path.name))
        except FileNotFoundError:
            names = []
        except OSError as error:
            raise OutputError(f"{self.path}: {error.strerror}; choose another --output") from error
        if not names:
            self._new = ExitStack()
            return
        if LABELED not in names:
            raise OutputError(
                f"{self.path} is not empty and not written by deal collect ({names[0]} is in it); "
                "choose another --output"
            )
        if not add:
            raise OutputError(
                f"{self.path} already holds labels; use --add to add to them, or another --output"
            )
        with ExitStack() as opened:
            if opened.enter_context(hold(self.path, wait=False)) is None:
                raise OutputError(
                    f"another process adds to {self.path}: wait for it, or choose another --output"
                )
            self.before = read_classes(self.path / CLASSES_FILE, least=1).names
            self._described = self.before, None
            self._read()
            self._held = opened.pop_all()

    def __enter__(self) -> LabeledFolder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """A new folder appears as a whole, or not at all; what was added to one is in its list."""
        if self._new is None:
            with self._held:
                if kind is not None and self._added:
                    self._list()
            return
        with self._new, writing(self.path):
            if kind is None and self._work != self._root:
                self._appear()

    def _appear(self) -> None:
        """Put what was made in its place."""
        if not self._root.exists():
            self._work.replace(self._root)
            return
        # A folder that was there stays: it may be mounted, or where somebody works.
        for path in sorted(self._work.iterdir(), key=lambda path: path.name == LABELED):
            path.replace(self._root / path.name)

    def _begin(self) -> None:
        """Make the folder in which a new data set is made: in its own one, if that is there."""
        if self._new is None or self._work != self._root:
            return
        parent = self._root if self._root.is_dir() else self._root.parent
        parent.mkdir(parents=True, exist_ok=True)
        folder = self._new.enter_context(working_folder(parent, self._root.name))
        self._work = folder / "labeled"

    def _read(self) -> None:
        path = self.path / LABELED
        try:
            with path.open(newline="", encoding="utf-8") as file:
                for row in csv.DictReader(file):
                    known = self.entries.get(row["id"])
                    regions = {int(row["region"])} if row["region"] else set()
                    places = row["split"], row["image"], row["label"]
                    if row["split"] not in _SPLITS or any("/" in place for place in places):
                        raise ValueError(f"{row['id']}: a place outside of the data set")
                    entry = Entry(row["id"], *places, frozenset(regions))
                    if known is not None:
                        entry = replace(entry, regions=known.regions | entry.regions)
                    self.entries[entry.id] = entry
                    self._stems.add(Path(entry.label).stem.casefold())
        except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
            raise PoolError(
                f"{path} cannot be read ({error}); collect into another --output"
            ) from error

    def describe(
        self, classes: Sequence[str], palette: Sequence[Sequence[int]] | None = None
    ) -> None:
        """Say what labels mean: names, which may be appended to later, and colours.

        Raises PoolError if these are too many, or not those that the data set had before and more.
        """
        self._classes, self._palette = classes, palette
        self._check()

    def _check(self) -> None:
        if len(self._classes) > DEFAULT_VOID:
            raise PoolError(
                f"{len(self._classes)} classes are too many for 8-bit labels: merge some with --map"
            )
        before = self.before or ()
        if tuple(self._classes[: len(before)]) != before:
            raise PoolError(
                f"{self.path} has the classes {', '.join(before)}, and the export "
                f"{', '.join(self._classes)}; bring them together with --map, or collect into "
                "another --output"
            )

    def holds(self, item_id: str, regions: Sequence[int] = ()) -> bool:
        """Whether an image, or these regions of it, are labeled."""
        entry = self.entries.get(item_id)
        if entry is None:
            return False
        return not entry.regions or (bool(regions) and entry.regions.issuperset(regions))

    def has_other(self, item_id: str, image: bytes) -> bool:
        """Whether the data set has another image of this id, by the pixels.

        One that cannot be read any more does not count.
        """
        entry = self.entries.get(item_id)
        if entry is None:
            return False
        try:
            stored = self._place(entry, "images", entry.image).read_bytes()
            if stored == image:
                return False
            pixels = decoded_image(stored, max_pixels=MOST_PIXELS).pixels
        except (OSError, ItemError):
            return False
        return not np.array_equal(pixels, decoded_image(image, max_pixels=MOST_PIXELS).pixels)

    def take_back(self, item_id: str) -> bool:
        """Remove an image that this call has brought; False if it was there before."""
        if item_id not in self._fresh:
            return False
        self._fresh.remove(item_id)
        entry = self.entries.pop(item_id)
        with writing(self.path):
            for kind, name in (("images", entry.image), ("labels", entry.label)):
                self._place(entry, kind, name).unlink()
        return True

    def put(
        self,
        item_id: str,
        image: bytes,
        suffix: str,
        labels: NDArray[np.unsignedinteger],
        region: tuple[tuple[int, ...], tuple[int, int]] | None = None,
        size: tuple[int, int] | None = None,
    ) -> Entry:
        """Write an image and its labels.

        Parameters
        ----------
        item_id : str
        image : bytes
        suffix : str
            Ending of the image's name.
        labels : ndarray of unsigned integers [h, w]
            Class index + 1; 0 for void.
        region : (numbers, (x0, y0)), optional
            The labels are of these regions, and belong at this place of the image; what other
            regions gave before stays.
        size : (H, W), optional
            Of the image, where ``labels`` are of a region.
        """
        known = self.entries.get(item_id)
        stem = Path(known.label).stem if known is not None else self._stem(item_id)
        split = known.split if known is not None else self._split(item_id)
        entry = Entry(item_id, split, f"{stem}{suffix}", f"{stem}.png")
        self._check()
        void = np.uint8(DEFAULT_VOID)
        values = np.where(labels == 0, void, labels - 1).astype(np.uint8)
        if region is not None and size is not None:
            numbers, (x0, y0) = region
            whole = np.full(size, void, dtype=np.uint8)
            if known is not None:
                whole = self._label(known, size)
                kept = known.regions | set(numbers) if known.regions else known.regions
                entry = replace(entry, regions=frozenset(kept))
            else:
                entry = replace(entry, regions=frozenset(numbers))
            part = whole[y0 : y0 + values.shape[0], x0 : x0 + values.shape[1]]
            np.copyto(part, values, where=values != void)
            values = whole
        with writing(self.path):
            self._begin()
            if self._new is None:  # whoever reads on after a stop knows what labels mean
                self._describe()
            for kind, name, data in (
                ("images", entry.image, image),
                ("labels", entry.label, png(values)),
            ):
                path = self._place(entry, kind, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                with replacing(path, alone=True) as file:
                    file.write(data)
            if known is not None and known.image != entry.image:
                self._place(known, "images", known.image).unlink(missing_ok=True)
        if known is None:
            self._fresh.add(item_id)
        self.entries[item_id] = entry
        self._added = True
        return entry

    def finish(self) -> None:
        """Write what describes the data set, after every split has an image, if it can have one."""
        self._check()
        self._balance()
        self._describe()
        self._list()

    def _describe(self) -> None:
        classes = tuple(self._classes)
        if self._described == (classes, self._palette):
            return
        colours = class_colours(len(classes), self._palette).tolist()
        value = {"classes": classes, "palette": colours, "ignore_index": DEFAULT_VOID}
        text = json.dumps(value, indent=1, ensure_ascii=False)
        write_text(self._work / CLASSES_FILE, text + "\n")
        self._described = classes, self._palette

    def _list(self) -> None:
        table = io.StringIO(newline="")
        writer = csv.writer(table, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
        writer.writerow(_COLUMNS)
        for entry in sorted(self.entries.values(), key=lambda entry: entry.id):
            regions: list[int | str] = [*sorted(entry.regions)] or [""]
            for region in regions:
                writer.writerow([entry.id, region, entry.split, entry.image, entry.label])
        write_text(self._work / LABELED, table.getvalue())

    def write(self, name: str, text: str) -> None:
        """Write a further document."""
        write_text(self._work / name, text)

    def splits(self) -> dict[str, int]:
        """Number of images by split."""
        found = [entry.split for entry in self.entries.values()]
        return {split: found.count(split) for split in _SPLITS}

    def _place(self, entry: Entry, kind: str, name: str) -> Path:
        return self._work / entry.split / kind / name

    def _label(self, entry: Entry, size: tuple[int, int]) -> NDArray[np.uint8]:
        path = self._place(entry, "labels", entry.label)
        try:
            with Image.open(path) as image:
                values = np.array(image)
        except OSError as error:
            raise PoolError(f"label {path} cannot be read: {error}") from error
        if values.shape != size or values.dtype != np.uint8:
            raise PoolError(f"label {path} has another size than its image; remove it")
        return values

    def _stem(self, item_id: str) -> str:
        """A name that no other image has, also where case does not count."""
        stem = safe_name(item_id)
        if stem.casefold() in self._stems:
            digest = blake2b(item_id.encode(), digest_size=5).hexdigest()
            stem = f"{stem}-{digest}"
        self._stems.add(stem.casefold())
        return stem

    def _split(self, item_id: str) -> str:
        return "val" if _draw(item_id) < self._val * 2**64 else "train"

    def _balance(self) -> None:
        """Move a new image to a split that has none, so that ``deal train`` has both."""
        fresh = sorted(self._fresh, key=_draw)
        counts = self.splits()
        if len(self.entries) < 2 or not fresh or not 0 < self._val < 1:
            return
        if not counts["val"]:
            self._move(self.entries[fresh[0]], "val")
        elif not counts["train"]:
            self._move(self.entries[fresh[-1]], "train")

    def _move(self, entry: Entry, split: str) -> None:
        moved = replace(entry, split=split)
        with writing(self.path):
            for kind, name in (("images", entry.image), ("labels", entry.label)):
                target = self._place(moved, kind, name)
                target.parent.mkdir(parents=True, exist_ok=True)
                self._place(entry, kind, name).replace(target)
        self.entries[entry.id] = moved


def _draw(item_id: str) -> int:
    """A number below 2^64 that depends on the id alone."""
    hashed = blake2b(item_id.encode(), digest_size=8, person=b"deal.val").digest()
    return int.from_bytes(hashed, "little")
