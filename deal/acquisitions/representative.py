"""Functions that pick rows one by one, so that the picks differ from each other.

They do not score rows on their own: `deal select` picks with them among the rows that its rules
allow. If the results have no embedding (`deal export --embedding`), class statistics replace it:
the share of pixels predicted as each class, and each class's share of the difficulty (of the
entropy if the model has no difficulty). `deal select --diverse M` picks in the same way among the
best rows of any other function that together cost M times the budget, `--diverse P%` among the best
P % of the rows that may be picked.
"""

from __future__ import annotations

from deal.acquisitions.k_center import k_center_greedy
from deal.acquisitions.registry import acquisition
from deal.acquisitions.typiclust import typical_clusters

__all__: list[str] = []


acquisition(
    "core-set",
    requires=["embedding", "n_pixels", "class_pixels", "class_entropy_sum"],
    formula="next = argmax over rows i of the least distance from i to a labeled or picked row j",
    source="k-center greedy: Sener & Savarese, ICLR 2018, arXiv 1708.00489, algorithm 1",
    greedy=True,
)(k_center_greedy)

acquisition(
    "typiclust",
    requires=["embedding", "n_pixels", "class_pixels", "class_entropy_sum"],
    formula="k-means; next = argmin over rows i of the largest cluster with the fewest labeled and "
    "picked rows, of the mean distance from i to its 20 nearest rows there",
    source="TypiClust: Hacohen et al., ICML 2022, arXiv 2202.02794; needs no label, so it suits "
    "the first set",
    greedy=True,
)(typical_clusters)
