"""Names and messages as they may be shown."""

from __future__ import annotations

__all__ = ["one_line", "printable"]


def printable(text: str) -> str:
    r"""Escape control and other unprintable characters (``\n``, ``\x1b``) of names and messages."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def one_line(error: object) -> str:
    """Someone else's message on one line: line breaks and tabs, with blanks around, are a blank."""
    return " ".join(str(error).split())
