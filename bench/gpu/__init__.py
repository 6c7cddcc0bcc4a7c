"""``deal bench gpu``: proves the GPU path on a machine that has one, and measures it.

``run.py`` starts each section in a process of its own with a time limit, so that a crash or an
overrun costs one section. A section writes what it finds line by line (``record.py``); the JSON is
written anew after each section.
"""
