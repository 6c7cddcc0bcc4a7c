"""Rules of a selection: quotas, strata, gaps, diversity, lists of ids to leave out or take."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from hashlib import sha256
from pathlib import Path
from typing import TypeAlias

from deal.errors import UsageError
from deal.machine.files import check_regular
from deal.pool.remote_path import place
from deal.pool.signature import MOST_LEVELS
from deal.selection.amounts import LONGEST, LONGEST_TEXT
from deal.selection.budget import decimal, number_of
from deal.selection.document import COLUMNS, unguarded

__all__ = [
    "AUTO_LEVELS",
    "Diverse",
    "Gap",
    "IdList",
    "NearLimit",
    "Quota",
    "Spread",
    "Strata",
    "parse_diverse",
    "parse_gap",
    "parse_near_duplicates",
    "parse_quota",
    "parse_spread",
    "parse_strata",
    "read_id_lists",
]

Paths: TypeAlias = "str | os.PathLike[str] | Iterable[str | os.PathLike[str]]"

AUTO_LEVELS = Fraction(3, 2)
"""Grey levels within which two images show the same but for what moves in it: a car that waits."""

_GAP = re.compile(r"(\d+(?:\.\d+)?)(s|ms|f)")
_NANOSECONDS = {"s": 1_000_000_000, "ms": 1_000_000}


@dataclass(frozen=True, slots=True)
class Quota:
    """A limit on the share of the budget that one value of an attribute takes.

    Attributes
    ----------
    attribute : str
        ``camera``, ``sequence``, ``folder`` (the directory in the id) or a key of ``attributes``.
        Rows without a value count together as one value.
    value : str, optional
        The value that is limited; None limits every value alike.
    amount, percent : Fraction, optional
        The limit in the budget's unit, or as a percentage of the budget; exactly one is given.
    """

    attribute: str
    value: str | None
    amount: Fraction | None = None
    percent: Fraction | None = None

    def resolve(self, budget: float) -> float:
        """Return the limit in the budget's unit."""
        if self.amount is not None:
            return float(self.amount)
        assert self.percent is not None
        return float(self.percent * Fraction(budget) / 100)

    def __str__(self) -> str:
        name = self.attribute if self.value is None else f"{self.attribute}:{self.value}"
        if self.amount is not None:
            return f"{name}={decimal(self.amount)}"
        assert self.percent is not None
        return f"{name}={decimal(self.percent)}%"


@dataclass(frozen=True, slots=True)
class Strata:
    """Groups of rows that share out a part of the budget (:mod:`deal.selection.strata`).

    Attributes
    ----------
    attribute : str
        ``class``, the predicted class, or an attribute as `Quota` has it.
    percent : Fraction
        The part of the budget that they share out, in percent.
    """

    attribute: str
    percent: Fraction = Fraction(100)

    @property
    def by_class(self) -> bool:
        """Whether rows are grouped by predicted class."""
        return self.attribute == "class"

    def resolve(self, budget: float) -> float:
        """Return the part of a budget, in its unit."""
        return float(self.percent * Fraction(budget) / 100)

    def __str__(self) -> str:
        return self.attribute + ("" if self.percent == 100 else f":{decimal(self.percent)}%")


@dataclass(frozen=True, slots=True)
class Diverse:
    """How many of the best rows k-center greedy picks from; exactly one attribute is given.

    Attributes
    ----------
    times : float, optional
        The rows together cost this many times the budget; at least 1.
    percent : Fraction, optional
        The rows together cost this percentage of all rows that may be picked, and never less than
        the budget.
    """

    times: float | None = None
    percent: Fraction | None = None

    def resolve(self, budget: float, total: float) -> float:
        """Cost of the best rows together, where all rows cost ``total``."""
        if self.times is not None:
            return self.times * budget
        assert self.percent is not None
        return max(float(self.percent * Fraction(total) / 100), budget)

    def to_json(self) -> float | str:
        """Return the number, or the percentage as text, as the user gives it."""
        if self.percent is not None:
            return f"{decimal(self.percent)}%"
        assert self.times is not None
        return int(self.times) if self.times.is_integer() else self.times


@dataclass(frozen=True, slots=True)
class Gap:
    """Least distance between two selected images of one sequence.

    Attributes
    ----------
    size : int
        Nanoseconds of ``timestamp_ns``, or frames: the last number in the stem of the id.
    frames : bool
    text : str
        The gap as the user wrote it.
    rule : str
        The option that gave it.
    """

    size: int
    frames: bool
    text: str
    rule: str = "min_gap"


@dataclass(frozen=True, slots=True)
class Spread:
    """How far apart picks of images lie (:mod:`deal.selection.spreading`).

    Attributes
    ----------
    kind : ``auto``, ``off`` or ``gap``
    gap : Gap, optional
        The gap that the user wants, for ``gap``.
    """

    kind: str = "auto"
    gap: Gap | None = None

    def __str__(self) -> str:
        return self.kind if self.gap is None else self.gap.text


@dataclass(frozen=True, slots=True)
class NearLimit:
    """Greatest difference of near-duplicates, of which only the first in the order is picked.

    Attributes
    ----------
    kind : ``auto``, ``off`` or ``levels``
        ``auto`` is `AUTO_LEVELS` wherever picks are spread.
    levels : Fraction, optional
        Grey levels, for ``levels``.
    """

    kind: str = "auto"
    levels: Fraction | None = None

    def __str__(self) -> str:
        return self.kind if self.levels is None else decimal(self.levels)


def parse_quota(text: str | Quota) -> Quota:
    """Read ``camera=20%``, ``camera:front=100``, ``weather:rain=5%``; UsageError otherwise."""
    if isinstance(text, Quota):
        return text
    name, equals, limit = text.rpartition("=") if isinstance(text, str) else ("", "", "")
    attribute, colon, value = name.partition(":")
    try:
        number = number_of(limit.removesuffix("%"))
        if equals and attribute:
            chosen = value if colon else None
            if not limit.endswith("%"):
                return Quota(attribute, chosen, amount=number)
            if number <= 100:
                return Quota(attribute, chosen, percent=number)
    except (ValueError, ZeroDivisionError):
        pass
    raise UsageError(
        f"quota {text!r}: write ATTRIBUTE=P% or ATTRIBUTE:VALUE=N, such as camera=20% or "
        "camera:front=100; attributes are camera, sequence, folder, and columns of the manifest"
    )


def parse_strata(text: str | Strata | None) -> Strata | None:
    """Read ``class:66%``, ``class``, ``sequence`` or ``camera:50%``; None is none. UsageError."""
    if text is None or isinstance(text, Strata):
        return text
    attribute, colon, share = str(text).strip().rpartition(":")
    try:
        if not colon or not share.endswith("%"):
            attribute, percent = str(text).strip(), Fraction(100)
        else:
            percent = number_of(share[:-1])
        if attribute and not set(attribute) & set(":%=") and percent <= 100:
            return Strata(attribute, percent)
    except (ValueError, ZeroDivisionError):
        pass
    raise UsageError(
        f"stratify {text!r}: write class or an attribute, and the part of the budget if it is not "
        "all, such as class:66% or sequence; attributes are camera, sequence, folder, and columns "
        "of the manifest"
    )


def parse_diverse(diverse: str | float | Diverse | None) -> Diverse | None:
    """Read ``3`` or ``"50%"``; UsageError for a number below 1 or a percentage outside 0…100."""
    if diverse is None or isinstance(diverse, Diverse):
        return diverse
    text = str(diverse).strip()
    try:
        if text.endswith("%"):
            percent = number_of(text[:-1])
            if percent <= 100:
                return Diverse(percent=percent)
        elif 1 <= float(text) < float("inf"):
            return Diverse(times=float(text))
    except (ValueError, ZeroDivisionError):
        pass
    raise UsageError(
        "diverse must be a multiple of the budget, at least 1, or a percentage of the rows that "
        f"may be picked, such as 4 or 50%, not {diverse!r}"
    )


def parse_gap(text: str | Gap | None) -> Gap | None:
    """Read ``2s``, ``500ms`` or ``30f``; None is no gap. UsageError otherwise."""
    if text is None or isinstance(text, Gap):
        return text
    match = _GAP.fullmatch(str(text).strip())
    if match is not None and len(match[1]) <= LONGEST_TEXT:
        number, unit = Fraction(match[1]), match[2]
        size = number * _NANOSECONDS.get(unit, 1)
        if unit != "f" and size > LONGEST:
            raise UsageError(f"min_gap {text!r}: write a time of at most 36 years, such as 2s")
        if size > 0 and size.denominator == 1:
            return Gap(int(size), unit == "f", text.strip())
    raise UsageError(
        f"min_gap {text!r}: write a time or a number of frames, such as 2s, 500ms or 30f"
    )


def parse_spread(text: str | Spread) -> Spread:
    """Read ``auto``, ``off``, or a gap such as ``2s``, ``500ms`` or ``60f``; UsageError."""
    if isinstance(text, Spread):
        return text
    if str(text).strip() in ("auto", "off"):
        return Spread(text.strip())
    try:
        return Spread("gap", parse_gap(str(text)))
    except UsageError:
        raise UsageError(
            f"spread {text!r}: write auto, off, or a time or a number of frames, such as 2s, 500ms "
            "or 60f"
        ) from None


def parse_near_duplicates(value: str | float | NearLimit) -> NearLimit:
    """Read ``auto``, ``off``, or a number of grey levels in 0…255; UsageError."""
    if isinstance(value, NearLimit):
        return value
    text = str(value).strip()
    if text in ("auto", "off"):
        return NearLimit(text)
    try:
        # `number_of` takes no 0, nor what would be one as a float.
        levels = number_of(text) if text.strip("+-.0") else Fraction(float(text))
        if 0 <= levels <= MOST_LEVELS:
            return NearLimit("levels", levels)
    except ValueError:
        pass
    raise UsageError(
        f"near_duplicates {text!r}: write a number of grey levels, such as 3, or auto or off"
    )


@dataclass(frozen=True, slots=True)
class IdList:
    """Images and regions that a file names.

    Attributes
    ----------
    images : frozenset of str
        Ids named without a region: the image and all of its regions.
    regions : frozenset of (str, int)
        Ids named with a region.
    """

    images: frozenset[str] = frozenset()
    regions: frozenset[tuple[str, int]] = frozenset()

    def __len__(self) -> int:
        return len(self.images) + len(self.regions)

    def sha256(self) -> str:
        """Digest of the names; it does not depend on their order and files."""
        names = [repr(name) for name in sorted(self.images)]
        names += [repr(name) for name in sorted(self.regions)]
        return sha256("\n".join(names).encode("utf-8", "backslashreplace")).hexdigest()


def read_id_lists(paths: Sequence[str]) -> IdList:
    """Read lists of ids: ``.csv`` with a column ``id`` (a ``selection.csv``), else one id per line.

    Where a CSV has a value in the column ``region``, the row names that region of the image.

    Raises
    ------
    UsageError
        A file cannot be read, or is a CSV without a column ``id``.
    """
    images: set[str] = set()
    regions: set[tuple[str, int]] = set()
    for path in map(place, paths):
        try:
            check_regular(path, pipes=True)  # of a shell: --exclude <(cut …)
            with path.open(newline="", encoding="utf-8-sig") as file:
                if path.suffix.lower() == ".csv":
                    _read_csv(path, csv.DictReader(file), images, regions)
                else:
                    lines = file.read().replace("\r\n", "\n").split("\n")
                    images.update(line for line in lines if line)
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise UsageError(
                f"{path} cannot be read as a list of ids ({error}): give a CSV file with a column "
                "id, or a text file with one id per line"
            ) from error
    return IdList(frozenset(images), frozenset(regions))


def _read_csv(
    path: Path,
    rows: csv.DictReader[str],
    images: set[str],
    regions: set[tuple[str, int]],
) -> None:
    if "id" not in (rows.fieldnames or ()):
        raise UsageError(
            f"{path} has no column id: its first line must name the columns, one of them id"
        )
    written_by_deal = tuple(rows.fieldnames or ()) == COLUMNS
    for row in rows:
        if row["id"] is None:
            raise UsageError(f"{path}, line {rows.line_num}: the line ends before the column id")
        if written_by_deal:
            row["id"] = unguarded(row["id"])
        region = row.get("region") or ""
        if not region:
            images.add(row["id"])
        elif region.isdecimal():
            regions.add((row["id"], int(region)))
        else:
            raise UsageError(f"{path}: region {region!r} of {row['id']!r} is not a number")
