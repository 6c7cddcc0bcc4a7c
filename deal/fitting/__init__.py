"""Fitting the difficulty head of any segmentation network on its own errors; no torch needed."""

from deal.fitting.fit import FitReport, fit_head

__all__ = ["FitReport", "fit_head"]
