"""Strata of a selection, slowly and plainly: after every pick all is looked at anew."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from tests.oracle.stream_frames import mixed, name_hash

__all__ = ["Row", "by_attribute", "by_class", "drawn"]


@dataclass(frozen=True)
class Row:
    """A row that may be picked: its key, its key for each of its classes, its cost, its group."""

    id: str
    region: int | None
    key: float
    cost: int = 1
    keys: dict[int, float] = field(default_factory=dict)
    group: str | None = None

    @property
    def name(self) -> tuple[bytes, int]:
        """What ties go by."""
        return self.id.encode(), -1 if self.region is None else self.region


Allows = Callable[[Sequence[Row], Row], bool]


def drawn(row: Row, key: float, beta: float, seed: int, of_class: int | None = None) -> float:
    """β · ln key + Gumbel noise by a hash of seed, name and perhaps class."""
    value = name_hash(row.id.encode())
    if row.region is not None:
        value = mixed(value ^ (row.region + 1))
    if of_class is not None:
        value = mixed(value ^ mixed(of_class + 1))
    bits = mixed(value ^ mixed(seed % 2**64)) >> 12
    noise = -math.log(-math.log((bits + 0.5) / 2**52))
    return (beta * math.log(key) if key > 0 else -1e9) + noise


def by_class(
    rows: Sequence[Row],
    limit: int,
    percent: Fraction,
    allows: Allows,
    draw: tuple[float, int] | None = None,
) -> list[Row]:
    """Classes in turn until ``percent`` of the limit is spent, then the best of all.

    ``draw`` is β and seed. ``allows`` says whether rules let a row join those that are taken.
    """

    def key(row: Row, of_class: int | None) -> float:
        value = row.key if of_class is None else row.keys[of_class]
        return value if draw is None else drawn(row, value, *draw, of_class)

    def best(of_class: int | None, most: Fraction) -> Row | None:
        spent = sum(row.cost for row in taken)
        able = [
            row
            for row in rows
            if row not in taken
            and (of_class is None or of_class in row.keys)
            and spent + row.cost <= most
            and allows(taken, row)
        ]
        return min(able, key=lambda row: (-key(row, of_class), row.name), default=None)

    taken: list[Row] = []
    spent = {number: 0 for row in rows for number in row.keys}
    while spent:
        number = min(spent, key=lambda each: (spent[each], each))
        row = best(number, percent * limit / 100)
        if row is None:
            del spent[number]
        else:
            spent[number] += row.cost
            taken.append(row)
    while (row := best(None, Fraction(limit))) is not None:
        taken.append(row)
    return taken


def by_attribute(rows: Sequence[Row], limit: int, percent: Fraction, *, counts: bool) -> list[Row]:
    """Each group takes its share of ``percent`` of the limit, and the best of all the rest."""
    part = percent * limit / 100
    whole = sum(row.cost for row in rows)
    sizes: dict[str | None, int] = {}
    for row in rows:
        sizes[row.group] = sizes.get(row.group, 0) + row.cost
    shares = {group: Fraction(size) for group, size in sizes.items()}
    if part < whole:
        part = Fraction(math.floor(part)) if counts else part
        shares = {group: part * size / whole for group, size in sizes.items()}
    if counts:
        left = part - sum(math.floor(share) for share in shares.values())
        order = sorted(sizes, key=lambda g: (g is None, (g or "").encode()))
        order.sort(key=lambda g: math.floor(shares[g]) - shares[g])
        shares = {
            group: Fraction(math.floor(shares[group]) + (place < left))
            for place, group in enumerate(order)
        }
    order_of_rows = sorted(rows, key=lambda row: (-row.key, row.name))
    taken: list[Row] = []
    for row in order_of_rows:
        spent = sum(other.cost for other in taken if other.group == row.group)
        total = sum(other.cost for other in taken)
        if spent + row.cost <= shares[row.group] and total + row.cost <= percent * limit / 100:
            taken.append(row)
    rest = []
    for row in order_of_rows:
        total = sum(other.cost for other in [*taken, *rest])
        if row not in taken and total + row.cost <= limit:
            rest.append(row)
    return taken + rest
