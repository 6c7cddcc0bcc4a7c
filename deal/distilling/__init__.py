"""A small network that learns from unlabeled images what a model says, for ``--screen``."""

from deal.distilling.distill import DistillReport, distill

__all__ = ["DistillReport", "distill"]
