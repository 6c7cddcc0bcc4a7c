"""Stochastic batch acquisition: draw rows by their scores instead of taking the best.

The rows with the highest scores are often alike, and a model that learns from one of them would
score the others lower. Drawing rows with chances that grow with the score takes this into account
without running the model again (Kirsch et al., TMLR 2023, arXiv 2106.12059).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deal.errors import ResultsError, UsageError
from deal.kernel.logarithm import log
from deal.selection.order import mixed

__all__ = ["Schedule", "Stochastic", "parse_schedule", "parse_stochastic"]

_KINDS = ("power", "softrank")
_MOST = 1e6
# Log-weights beyond ±this mean 0 and infinity: the ln of a double is between −745 and 710.
_LIMIT = 1e9


@dataclass(frozen=True, slots=True)
class Stochastic:
    """Draws rows one after another without replacement; with ``power``, scores of 0 come last.

    Attributes
    ----------
    kind : ``power`` or ``softrank``
        The chance of a row is proportional to its score to the power of ``beta``, or to its rank
        to the power of −``beta`` (section 3 of the paper). Rows of equal score share their mean
        rank.
    beta : float
        Above 0, up to 10⁶. A beta of 0 would draw evenly, infinity would take the best.

    Raises
    ------
    UsageError
        The kind or beta is another.
    """

    kind: str
    beta: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in _KINDS or not 0 < self.beta <= _MOST:
            raise _refused(str(self))

    def __str__(self) -> str:
        return f"{self.kind}:{repr(self.beta).removesuffix('.0')}"

    def draws(
        self,
        scores: NDArray[np.float64],
        hashes: NDArray[np.uint64],
        seed: int,
        ascending: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Numbers whose descending order is the order in which rows are drawn: float64 [n].

        Sorting log-weights plus Gumbel noise gives such a draw (Kool et al., ICML 2019,
        arXiv 1903.06059). The noise is a hash of seed and name, so it is the same in any shard or
        order.

        Parameters
        ----------
        scores : ndarray of float64 [n]
        hashes : ndarray of uint64 [n]
            Hashes of the rows' names (:func:`deal.selection.order.name_hashes`).
        seed : int
        ascending : ndarray of float64 [m]
            The scores of all rows that are drawn from, sorted, for ``softrank``.
        """
        if self.kind == "softrank":
            weights = _ranks(scores, ascending)
            log(weights, out=weights)
            weights *= -self.beta
        else:
            weights = log(scores)
            weights *= self.beta
            np.clip(weights, -_LIMIT, _LIMIT, out=weights)
        weights -= _negative_gumbel(hashes, seed)
        return weights

    def check(self, least: float) -> None:
        """Raise ResultsError if ``power`` cannot draw by scores of which this is the least."""
        if self.kind == "power" and least < 0:
            raise ResultsError(
                "stochastic power needs scores of at least 0, and some are below: give softrank, "
                "which draws by ranks"
            )


@dataclass(frozen=True, slots=True)
class Schedule:
    """A draw whose β goes from one number to another, by one factor from round to round.

    Attributes
    ----------
    first, last : Stochastic
        Of one kind.
    """

    first: Stochastic
    last: Stochastic

    def at(self, number: int, count: int) -> Stochastic:
        """The draw of round k = ``number``, from 1, of n = ``count``.

        Its β is β₁ · (βₙ / β₁)^((k − 1) / (n − 1)), rounded to nine digits; β₁ if n is 1.
        """
        done = (number - 1) / max(count - 1, 1)
        beta = self.first.beta * (self.last.beta / self.first.beta) ** done
        return Stochastic(self.first.kind, float(f"{beta:.9g}"))


def parse_schedule(text: object) -> Schedule | None:
    """Read ``power:1..100``, which gives each of several rounds its β; None for what has one β.

    Raises
    ------
    UsageError
        A number is no β.
    """
    if not isinstance(text, str) or ".." not in text:
        return None
    first, _, last = text.partition("..")
    kind, _, beta = first.partition(":")
    try:
        return Schedule(
            Stochastic(kind.strip(), float(beta)), Stochastic(kind.strip(), float(last))
        )
    except (ValueError, UsageError):
        raise UsageError(
            f"stochastic {text!r}: write power or softrank, :, and the first and last BETA, each "
            "above 0 and up to 1e6, such as power:1..100"
        ) from None


def parse_stochastic(text: str | Stochastic | None) -> Stochastic | None:
    """Read ``power``, ``power:2`` or ``softrank:0.5``; None draws nothing. UsageError otherwise."""
    if text is None or isinstance(text, Stochastic):
        return text
    if isinstance(text, str) and ".." in text:
        raise UsageError(
            f"stochastic {text!r} changes from round to round, which only deal loop counts: give "
            "the beta of this round, such as power:10"
        )
    kind, colon, beta = str(text).strip().partition(":")
    try:
        return Stochastic(kind, float(beta) if colon else 1.0)
    except (ValueError, UsageError):
        raise _refused(text) from None


def _refused(given: object) -> UsageError:
    return UsageError(
        f"stochastic {given!r}: write power or softrank, optionally with :BETA above 0 and up to "
        "1e6, such as power:2"
    )


def _ranks(scores: NDArray[np.float64], ascending: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 1 of scores [n] among all of them; rows of equal score share their mean rank."""
    below, upto = (np.searchsorted(ascending, scores, side) for side in ("left", "right"))
    return np.asarray((len(ascending) - upto) + (upto - below + 1) / 2)


def _negative_gumbel(hashes: NDArray[np.uint64], seed: int) -> NDArray[np.float64]:
    """Negated Gumbel noise (mode 0, scale 1) from 52 bits of seed and name: float64 [n]."""
    start = mixed(np.array([seed % 2**64], np.uint64))
    noise = (mixed(hashes ^ start) >> np.uint64(12)).astype(np.float64)
    noise += 0.5
    noise /= 2.0**52
    log(noise, out=noise)
    np.negative(noise, out=noise)
    return log(noise, out=noise)
