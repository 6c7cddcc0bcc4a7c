"""The style sheet that the page of ``deal view`` and the reports share."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

__all__ = ["look"]


@cache
def look() -> str:
    """Return the style sheet: CSS variables for light, dark and paper, type, tables, chips, tiles.

    Variables, all of them set for light and dark: ``--paper``, ``--card``, ``--sunken`` (surfaces);
    ``--ink``, ``--muted`` (text); ``--line``, ``--line-strong``; ``--accent`` (links, focus);
    ``--pick`` (what is selected); ``--good``, ``--bad``; ``--bar`` (the whole pool in charts);
    ``--series-1`` … ``--series-8`` (methods in charts). ``data-theme="dark"`` or ``"light"`` on the
    root element overrides what the system prefers.
    """
    return (files("deal") / "look.css").read_text(encoding="utf-8")
