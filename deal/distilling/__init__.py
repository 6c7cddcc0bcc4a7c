"""A small network that imitates a model on unlabeled images, for ``--screen``."""

from deal.distilling.distill import DistillReport, distill

__all__ = ["DistillReport", "distill"]
