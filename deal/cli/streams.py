"""Output that no letter, closed stream or gone reader can make raise; the log on stderr."""

from __future__ import annotations

import io
import os
import sys
from typing import Any

__all__ = ["finish_output", "log_to_stderr", "open_streams"]


class _Pipe(io.FileIO):
    """A descriptor whose reader may go: what is written from then on is dropped.

    So ``deal-score … | head -1`` ends its run as usual, and with the exit code of the run.
    """

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            return len(data)


def open_streams() -> None:
    """Replace stdout and stderr; call it once, before anything is printed."""
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.flush()
            binary = io.BufferedWriter(_Pipe(descriptor, "w", closefd=False))
            replaced = io.TextIOWrapper(
                binary,
                encoding=stream.encoding,
                errors="backslashreplace",
                # PYTHONUNBUFFERED asks for the second, which alone would end at our own buffer.
                line_buffering=stream.line_buffering or stream.write_through,
                write_through=stream.write_through,
            )
            setattr(sys, name, replaced)


def finish_output() -> None:
    """Write out what is buffered; OSError where it cannot be, such as on a full disk."""
    for descriptor, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            # Else the interpreter tries again as it ends, and prints a traceback.
            os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
            raise


def log_to_stderr(level: str) -> None:
    """Print log records of deal from this level up on stderr, each as one line."""
    import logging

    from deal.text import printable

    class _OneLine(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return printable(super().format(record))

    logger = logging.getLogger("deal")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(level.upper())
    logger.propagate = False
