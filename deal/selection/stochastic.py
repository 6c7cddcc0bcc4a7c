"""Rows drawn by their scores, instead of the best: stochastic batch acquisition.

The rows with the highest scores are of a kind, and a model that learns from one of them would score
the others lower. Drawing rows with chances that grow with the score takes this into account without
asking the model again (Kirsch et al., TMLR 2023, arXiv 2106.12059).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deal.errors import ResultsError, UsageError
from deal.selection.order import mixed, name_hashes

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Stochastic", "parse_stochastic"]

_KINDS = ("power", "softrank")


@dataclass(frozen=True, slots=True)
class Stochastic:
    """Row after row is drawn, without replacement; by ``power`` those that score 0 come last.

    Attributes
    ----------
    kind : ``power`` or ``softrank``
        The chance of a row is as its score to the power of ``beta``, or as its rank to the power of
        −``beta``: section 3 of the paper.
    beta : float
        0 would draw evenly, infinity take the best.
    """

    kind: str
    beta: float = 1.0

    def __str__(self) -> str:
        return f"{self.kind}:{self.beta:g}"

    def order(
        self,
        scores: NDArray[np.float64],
        ids: pa.Array,
        seed: int,
        regions: NDArray[np.int32] | None = None,
    ) -> NDArray[np.int64]:
        """Return the order in which rows are drawn.

        The largest of log-weights with Gumbel noise are such a draw (Kool et al., ICML 2019,
        arXiv 1903.06059). Noise is a hash of seed and id: the same in any shard or order.

        Parameters
        ----------
        scores : ndarray of float64 [n]
            Descending.
        ids : pyarrow.LargeStringArray [n]
        seed : int
        regions : ndarray of int32 [n], optional

        Raises
        ------
        ResultsError
            A score below 0, which has no power.
        """
        with np.errstate(divide="ignore"):
            if self.kind == "softrank":
                weights = -self.beta * np.log(np.arange(1.0, len(scores) + 1))
            elif len(scores) and scores[-1] < 0:
                raise ResultsError(
                    f"stochastic power draws by scores of 0 and more, and a row has "
                    f"{scores[-1]:g}: give softrank, which draws by ranks"
                )
            else:
                weights = self.beta * np.log(scores)
        weights += _gumbel(ids, regions, seed)
        return np.argsort(-weights, kind="stable")


def parse_stochastic(text: str | Stochastic | None) -> Stochastic | None:
    """``power``, ``power:2`` or ``softrank:0.5``; None draws nothing. UsageError otherwise."""
    if text is None or isinstance(text, Stochastic):
        return text
    kind, colon, beta = text.strip().partition(":")
    try:
        value = float(beta) if colon else 1.0
    except ValueError:
        value = math.nan
    if kind in _KINDS and 0 < value < math.inf:
        return Stochastic(kind, value)
    raise UsageError(
        f"stochastic {text!r}: write power or softrank, and if need be :BETA above 0, such as "
        "power:2"
    )


def _gumbel(ids: pa.Array, regions: NDArray[np.int32] | None, seed: int) -> NDArray[np.float64]:
    """Gumbel noise of mode 0 and scale 1 from 52 bits of a hash of seed and name, float64 [n]."""
    start = mixed(np.array([seed % 2**64], np.uint64))
    bits = mixed(name_hashes(ids, regions) ^ start) >> np.uint64(12)
    noise: NDArray[np.float64] = -np.log(-np.log(np.ldexp(bits + 0.5, -52)))
    return noise
