"""``[rounds]``: how much is labeled in each round, and what a label is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

from deal.errors import UsageError
from deal.kernel.regions import Grid
from deal.regions.sources import GivenSegments, RegionSource, parse_regions
from deal.selection.budget import parse_budget

__all__ = ["RoundsConfig"]

# Keys that older runs do not have, and what they did.
_SINCE = {"regions": None, "label": "true", "sieve": 0.0, "budget": None}


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundsConfig:
    """``[rounds]``.

    Attributes
    ----------
    labeled : tuple of int or str
        Total number of labeled images in each round, as counts or percentages of the training split
        (rounded up). The images of the first round are drawn at random.
    pool_subset : str, optional
        Share of the unlabeled images that every method picks from, drawn at random in each round.
    regions : str, optional
        ``grid:PX``, ``slic:N`` or ``components[:MINPIXELS]``, as in `deal-score`: from the second
        round on, such regions are labeled instead of images, together as many pixels as ``labeled``
        images have.
    label : ``true`` or ``dominant``
        What the simulated annotator gives a region: the true label of every pixel, or with one
        click the class that most of its pixels have.
    sieve : float
        With ``dominant``, a region of which its class has a lower share than this stays unlabeled,
        though its click is spent: 0 to 1.
    budget : str, optional
        ``clicks:N``: a whole image is worth N clicks, and methods that pick regions spend so many
        for each image that the round adds. By default they label as many pixels. Needs
        ``dominant``.
    """

    labeled: tuple[int | str, ...]
    pool_subset: str | None = None
    regions: str | None = None
    label: str = "true"
    sieve: float = 0.0
    budget: str | None = None

    def __post_init__(self) -> None:
        if len(self.labeled) < 2:
            raise UsageError("[rounds] labeled needs at least two rounds, such as ['10%', '20%']")
        for amount in self.labeled:
            _amount(amount, 100)
        if self.pool_subset is not None and not self.pool_subset.endswith("%"):
            raise UsageError("[rounds] pool_subset must be a percentage, such as '50%'")
        if self.source is not None and self.pool_subset is not None:
            raise UsageError("[rounds] pool_subset works on images only: leave it out with regions")
        if self.label not in ("true", "dominant"):
            raise UsageError(f"[rounds] label must be true or dominant, not {self.label!r}")
        if not 0 <= self.sieve <= 1:
            raise UsageError(f"[rounds] sieve must be a share from 0 to 1, not {self.sieve:g}")
        if self.label == "dominant" and self.source is None:
            raise UsageError(
                "[rounds] label dominant is one class per region: give regions, such as "
                "components or slic:150"
            )
        if self.label == "true" and (self.sieve or self.budget is not None):
            key = "sieve" if self.sieve else "budget"
            raise UsageError(f"[rounds] {key} needs label dominant, which is one click per region")
        if self.budget is not None:
            _ = self.clicks_per_image

    @property
    def source(self) -> RegionSource | None:
        """The regions that are labeled; None if images are labeled."""
        try:
            source = parse_regions(self.regions)
        except UsageError as error:
            raise UsageError(
                f"[rounds] regions must be grid:PX, slic:N or components[:MINPIXELS], not "
                f"{self.regions!r}"
                if "--regions" in str(error)
                else f"[rounds] regions {error}"
            ) from error
        if isinstance(source, GivenSegments):
            raise UsageError(
                "[rounds] regions cannot be segments that lie in files: give grid:PX, slic:N or "
                "components[:MINPIXELS]"
            )
        return source

    @property
    def grid(self) -> Grid | None:
        """The cells that are labeled; None if other regions or images are labeled."""
        source = self.source
        return source if isinstance(source, Grid) else None

    @property
    def clicks_per_image(self) -> int | None:
        """The clicks that an image is worth; None if pixels are counted."""
        if self.budget is None:
            return None
        try:
            budget = parse_budget(self.budget)
        except UsageError:
            budget = parse_budget(None)
        amount = budget.amount
        if budget.unit != "clicks" or amount is None or amount.denominator != 1:
            raise UsageError(
                f"[rounds] budget must be clicks:N, the clicks that an image is worth, such as "
                f"clicks:100, not {self.budget!r}"
            )
        return int(amount)

    def check_growth(self) -> None:
        """Refuse rounds that do not grow, whatever the data; mixed units need the data to tell."""
        shares = {isinstance(amount, str) and amount.endswith("%") for amount in self.labeled}
        if len(shares) == 1:
            self._grown(10**9)

    def counts(self, images: int) -> tuple[int, ...]:
        """Number of labeled images per round, out of ``images``; UsageError if impossible."""
        counts = self._grown(images)
        if counts[-1] > images:
            raise UsageError(
                f"[rounds] labeled asks for {counts[-1]} images, but the training split has "
                f"{images}"
            )
        return counts

    def _grown(self, images: int) -> tuple[int, ...]:
        counts = tuple(_amount(amount, images) for amount in self.labeled)
        if any(a >= b for a, b in pairwise(counts)):
            raise UsageError(f"[rounds] labeled must grow in every round, not {_listed(counts)}")
        return counts

    def subset(self, unlabeled: int) -> int:
        """Number of unlabeled images that a method picks from."""
        return unlabeled if self.pool_subset is None else _amount(self.pool_subset, unlabeled)

    def shared(self) -> dict[str, Any]:
        """Settings by key, without those that older runs lack if they change nothing."""
        values = asdict(self)
        return {key: value for key, value in values.items() if (key, value) not in _SINCE.items()}


def _amount(amount: int | str, total: int) -> int:
    try:
        if isinstance(amount, str) and amount.endswith("%"):
            percent = Fraction(amount[:-1])
            if 0 < percent <= 100:
                return -(-percent.numerator * total // (percent.denominator * 100))
        elif int(amount) > 0:
            return int(amount)
    except (ValueError, ZeroDivisionError):
        pass
    raise UsageError(f"[rounds] {amount!r} is neither a number of images nor a percentage")


def _listed(values: Sequence[int]) -> str:
    return ", ".join(map(str, values))
