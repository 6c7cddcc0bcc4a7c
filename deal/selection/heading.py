"""One sentence on a selection: what was selected by what, how it was spread, and what it cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from deal.acquisitions.labels import label

__all__ = ["heading"]


def heading(metadata: Mapping[str, Any]) -> str:
    """Say what the metadata of a `deal.Selection` record, in plain words without a full stop."""
    drawn = f", drawn by {metadata['stochastic']}" if metadata["stochastic"] else ""
    what = "" if metadata["table"] == "images" else f" {metadata['table']}"
    first = (
        f"{metadata['selected']} of {metadata['scored']}{what} selected by "
        f"{label(metadata['acquisition'])}{drawn}"
    )
    if metadata.get("stratify"):
        attribute, _, share = metadata["stratify"].partition(":")
        part = f"{share[:-1]} % of the budget" if share else "the budget"
        first += f", {part} shared out by {attribute}"
    found = metadata.get("spreading")
    if not found:
        return first
    return "; ".join([first + _spread(found), *_more(found)])


def _spread(found: Mapping[str, Any]) -> str:
    """``, spread by 2 s within 4 sequences``."""
    if found["by"] == "time":
        within = _count(found["sequences"], "sequence")
        if found["gap"]:
            return f", spread by {_length(found['gap'], found)} within {within}"
        return f", with neighbouring frames of {within}"
    if found["by"] in ("embedding", "statistics"):
        return f", spread over {_count(found['kinds'], 'kind')} of images"
    return ""


def _more(found: Mapping[str, Any]) -> Iterator[str]:
    if found["closer"]:
        yield f"{found['closer']} of them closer, to fill the budget"
    near = found.get("near_duplicates")
    if near and near["skipped"]:
        yield f"{_count(near['skipped'], 'near-duplicate')} skipped"
    if near and near["taken"]:
        yield f"{_count(near['taken'], 'near-duplicate')} taken to fill the budget"
    if found["by"] == "time":
        scenes = _count(found["scenes_picked"], "scene")
        yield f"{scenes} of {_length(found['scene'], found)}"
    share = found.get("share_of_best_score")
    if share is not None and share < 0.9995:
        yield f"mean score {100 * share:.1f} % of the best"


def _length(amount: float, found: Mapping[str, Any]) -> str:
    return f"{amount:.3g} s" if found["unit"] == "seconds" else _count(int(amount), "frame")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
