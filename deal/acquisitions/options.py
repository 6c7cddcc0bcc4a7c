"""Options of acquisition functions, as every public call takes them.

To add an option of a built-in function, add one line to each of the two lists here, its
documentation, and the option to ``deal/cli/common.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

from deal.errors import UsageError

__all__ = ["OF_PLUGINS", "AcquisitionOptions", "function_options"]

OF_PLUGINS = "options of an acquisition function of your own go into acquisition_options"
"""The hint in the error about an option that no call has."""


class AcquisitionOptions(TypedDict, total=False):
    """Types of the options that `function_options` documents."""

    levels: int | None
    edges: Literal["image", "fixed"] | None
    tail: float | None
    focus: str | Sequence[str] | None
    acquisition_options: Mapping[str, Any] | None


def function_options(
    *,
    levels: int | None = None,
    edges: str | None = None,
    tail: float | None = None,
    focus: str | Sequence[str] | None = None,
    acquisition_options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Collect the options that were given.

    Parameters
    ----------
    levels : int, optional
        Histogram levels of ``de``, a divisor of 240; 8 by default.
    edges : ``image`` or ``fixed``, optional
        Histogram range of ``de``: each image's own min…max (the default), or 0…1.
    tail : float, optional
        Share of the pixels, those with the highest values, that ``tail:*`` average; 0.05 by
        default.
    focus : str or sequence of str, optional
        Names of the classes that ``focus:*`` count, as ``"pole,sign"`` or a sequence; these
        functions require it.
    acquisition_options : mapping of str to value, optional
        Options of your own acquisition function (a plugin), by name.

    Returns
    -------
    dict
        Name → value of the options that are not None.

    Raises
    ------
    UsageError
        ``acquisition_options`` is no mapping, or repeats an option that was given by name.
    """
    own = {} if acquisition_options is None else acquisition_options
    if not isinstance(own, Mapping):
        raise UsageError(f"acquisition_options {own!r}: give a table of names and values")
    named = {"levels": levels, "edges": edges, "tail": tail, "focus": focus}
    found = {name: value for name, value in named.items() if value is not None}
    for name, value in own.items():
        if name in found:
            raise UsageError(f"{name} is given twice: leave it out of acquisition_options")
        if value is not None:
            found[name] = value
    return found
