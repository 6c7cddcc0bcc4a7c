"""Where figures are kept: a folder per machine, ``bench/results/<processor>-<isa>-<n>-cores/``.

The instruction set is part of the name, since virtual machines call unlike processors alike.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deal.bench.checkout import checkout
from deal.errors import UsageError

__all__ = ["machine", "result_path", "slug"]

_SAYS_NOTHING = re.compile(r"\((?:r|tm|c)\)|\b(?:cpu|processor|core)\b|@", re.IGNORECASE)


def machine(environment: Mapping[str, Any]) -> str:
    """What the machine of a report is called: ``AMD EPYC, avx512, 2 cores``."""
    parts = environment["processor"], _isa(environment), f"{environment['cores']} cores"
    return ", ".join(filter(None, parts))


def slug(environment: Mapping[str, Any]) -> str:
    """The folder of a machine: ``amd-epyc-avx512-2-cores``."""
    name = _SAYS_NOTHING.sub(" ", f"{environment['processor']}").lower()
    words = [word.strip(".") for word in re.split(r"[^a-z0-9.]+", name)]
    return "-".join([*filter(None, [*words, _isa(environment)]), f"{environment['cores']}-cores"])


def _isa(environment: Mapping[str, Any]) -> str:
    """The instruction set that the kernel uses; empty where a report does not say."""
    found = re.search(r"\bisa=(\w+)", environment.get("kernel", ""))
    return "" if found is None else found[1]


def result_path(environment: Mapping[str, Any], name: str) -> Path:
    """The file for figures of this name and machine, in the checkout.

    Raises
    ------
    UsageError
        There is no checkout, or the name is none of a file.
    """
    root = checkout()
    if root is None:
        raise UsageError("figures are kept in a checkout of the project: give --output FILE here")
    if not re.fullmatch(r"[\w.-]+", name) or name.startswith("."):
        raise UsageError(f"{name!r} is no name of a result: use letters, digits, - and _")
    return root / "bench" / "results" / slug(environment) / f"{name}.json"
