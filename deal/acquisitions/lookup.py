"""Find a function by name: from this package, from the user, or from an installed plugin."""

from __future__ import annotations

from deal.acquisitions.plugins import load_installed
from deal.acquisitions.registry import (
    ALIASES,
    POLICIES,
    Acquisition,
    acquisition_names,
    registered,
    suggestion,
)
from deal.errors import UsageError

__all__ = ["canonical_name", "find"]


def canonical_name(name: str) -> str:
    """Return the full name (``ds`` → ``ds:none``); UsageError with all names if it is unknown."""
    return find(name).name


def find(name: str) -> Acquisition:
    """Look up a function, also in installed plugins; UsageError if the name is unknown."""
    if not isinstance(name, str):
        raise UsageError(f"acquisition must be the name of a function, such as 'ds', not {name!r}")
    name = ALIASES.get(name, name)
    registry = registered()
    if name not in registry:
        load_installed()
        registry = registered()
    if name in POLICIES:
        raise UsageError(
            f"{name} is a way to select, which deal select, deal-score and deal loop take, and has "
            f"no scores of its own: score by {POLICIES[name].acquisition}"
        )
    if name not in registry:
        names = acquisition_names()
        raise UsageError(
            f"no acquisition function {name!r}.{suggestion(name, names)} "
            f"The functions are: {', '.join(names)}"
        )
    return registry[name]
