"""Labeled images and data sets."""
