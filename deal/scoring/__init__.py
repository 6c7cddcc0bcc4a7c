"""Decoded images in, columns out."""
