"""Turn an exception about one image into the reason in its row."""

from __future__ import annotations

from deal.errors import ItemError, ModelError

__all__ = ["NetworkItemError", "fault", "network_fault"]

_MEMORY = ("alloc", "out of memory", "out_of_memory")  # words in the runtimes' messages


class NetworkItemError(ItemError):
    """The network refused an image, or ran out of memory on it."""


def fault(error: Exception, doing: str) -> ItemError:
    """The reason why an image failed while ``doing`` something; an ItemError is kept."""
    if isinstance(error, ItemError):
        return error
    code, message = _described(error, doing)
    return ItemError(code, message)


def network_fault(error: Exception, size: tuple[int, int], *, fits: bool) -> ItemError:
    """The reason why an image failed in the network.

    Parameters
    ----------
    error : Exception
    size : (H, W)
        Size of the network's input.
    fits : bool
        Whether the network scored other images of this size, so that the size is not the cause.
    """
    if isinstance(error, ItemError):
        return error
    code, message = _described(error, f"running the network at {size[0]}×{size[1]} (H×W)")
    if isinstance(error, ModelError) and code != "memory":
        code, message = ("network" if fits else "size"), _line(error)
    return NetworkItemError(code, message)


def _described(error: Exception, doing: str) -> tuple[str, str]:
    text = _line(error)
    if isinstance(error, MemoryError) or any(word in text.lower() for word in _MEMORY):
        return "memory", f"not enough memory for {doing}: {text}"
    return "internal", f"{type(error).__name__} while {doing}: {text}; please report it"


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
