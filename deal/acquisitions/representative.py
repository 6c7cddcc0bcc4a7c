"""Functions that pick rows one by one, so that the picks differ from each other.

They score no row on its own: `deal select` picks with them, from rows that its rules allow. Without
an embedding (`deal export --embedding`) class statistics stand in for it: the share of pixels
predicted as each class, and each class's part of the difficulty or, without, of the entropy.
`--diverse M` of `deal select` picks in the same way among the best M times the budget of any other
function, `--diverse P%` among the best P % of what may be picked.
"""

from __future__ import annotations

from deal.acquisitions.k_center import k_center_greedy
from deal.acquisitions.registry import acquisition

__all__: list[str] = []


acquisition(
    "core-set",
    requires=["embedding", "n_pixels", "class_pixels", "class_entropy_sum"],
    formula="next = argmax over rows i of min over labeled and picked rows j of the distance of "
    "i and j",
    source="k-center greedy: Sener & Savarese, ICLR 2018, arXiv 1708.00489, algorithm 1",
    greedy=True,
)(k_center_greedy)
