"""A function by its name: of this package, registered by the user, or of an installed plugin."""

from __future__ import annotations

from deal.acquisitions.plugins import load_installed
from deal.acquisitions.registry import (
    ALIASES,
    Acquisition,
    acquisition_names,
    registered,
    suggestion,
)
from deal.errors import UsageError

__all__ = ["canonical_name", "find"]


def canonical_name(name: str) -> str:
    """``ds`` → ``ds:none``; UsageError, listing the names, if there is no such function."""
    return find(name).name


def find(name: str) -> Acquisition:
    """Look a function up, in installed plugins too; UsageError if there is none of that name."""
    name = ALIASES.get(name, name)
    registry = registered()
    if name not in registry:
        load_installed()
        registry = registered()
    if name not in registry:
        names = acquisition_names()
        raise UsageError(
            f"no acquisition function {name!r}.{suggestion(name, names)} "
            f"There are: {', '.join(names)}"
        )
    return registry[name]
