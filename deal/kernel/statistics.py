"""Logits → statistics and difficulty maps, through the native kernel.

The arithmetic is in ``csrc/``; this module checks arguments and keeps one kernel context per
thread.
"""

from __future__ import annotations

import operator
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from deal import _native
from deal.errors import EngineUnavailableError, UsageError
from deal.kernel.regions import Grid, Segments
from deal.machine.cores import available_cores
from deal.types import Statistics

__all__ = ["Head", "class_map", "difficulty_grid", "difficulty_map", "score_logits"]


class Head(Protocol):
    """The attributes of a difficulty head that the kernel reads, as in `deal.DifficultyHead`."""

    @property
    def gamma(self) -> float:
        """Strength of the attention."""

    @property
    def weight(self) -> Sequence[float]:
        """One number per class."""

    @property
    def bias(self) -> float:
        """Added to every cell."""

    @property
    def grid(self) -> tuple[int, int] | None:
        """Attention grid (h, w); None means the grid of the logits."""

    @property
    def uncertainty_weight(self) -> Sequence[float] | None:
        """Weights of the variance of each class, one number per class; or None."""


class _Contexts(threading.local):
    """Kernel contexts of this thread; a context serves one thread, and no process after fork()."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, int, int | None], _native.Context] = {}

    def get(self, threads: int, cuda: int | None) -> _native.Context:
        key = os.getpid(), threads, cuda
        if key not in self._kept:
            self._kept[key] = _native.Context(threads, cuda=cuda)
        return self._kept[key]


_contexts = _Contexts()


@contextmanager
def _usage_errors() -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError, NotImplementedError) as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        raise EngineUnavailableError(str(error)) from error


def _context(threads: int | None, request: _native.Input) -> _native.Context:
    try:
        count = available_cores() if threads is None else operator.index(threads)
    except TypeError:
        count = 0
    if not 1 <= count <= 1024:
        raise UsageError(f"threads={threads!r}: give 1 to 1024, or None for every core")
    return _contexts.get(count, request.cuda)


def _input(
    logits: Any,
    size: tuple[int, int],
    align_corners: bool,
    head: Head | None,
    difficulty: Any | None = None,
    attention: int = _native.ATTENTION_AUTO,
    stream: Any | None = None,
) -> _native.Input:
    try:
        height, width = map(operator.index, size)
    except (TypeError, ValueError):
        raise UsageError(f"size={size!r}: give two integers, (height, width)") from None
    handle = getattr(stream, "cuda_stream", stream)
    if handle is not None and not isinstance(handle, int):
        raise UsageError(f"stream={stream!r:.80}: give its handle, or an object with cuda_stream")
    aligned = _flag(align_corners, "align_corners")
    request = _native.Input(_unmasked(logits, "logits"), (height, width), aligned, handle)
    if difficulty is not None:
        request.set_difficulty(_unmasked(difficulty, "difficulty"))
    elif head is not None:
        _set_head(request, head, attention)
    return request


def _set_head(request: _native.Input, head: Head, attention: int) -> None:
    try:
        weight = np.asarray(head.weight, dtype=np.float32)
        extra = None
        if head.uncertainty_weight is not None:
            extra = np.asarray(head.uncertainty_weight, dtype=np.float32)
        grid = None
        if head.grid is not None:
            height, width = head.grid
            grid = operator.index(height), operator.index(width)
        request.set_head(weight, float(head.gamma), float(head.bias), grid, attention, extra)
    except (AttributeError, TypeError):
        raise UsageError(
            f"head: a DifficultyHead is needed, not {head!r:.80}: DifficultyHead.load(path) "
            "reads a file"
        ) from None
    except ValueError as error:
        raise UsageError(f"head: {error}") from error


def _set_segments(request: _native.Input, segments: Segments) -> None:
    count = segments.count
    if count is not None:
        try:
            count = operator.index(count)
        except TypeError:
            raise UsageError(f"Segments: count={count!r} is not a whole number") from None
    if request.cuda is not None:
        if count is None:
            raise UsageError("Segments on a device need count=, the number of regions")
        request.set_segments(segments.map, count)
        return
    ids = np.ascontiguousarray(_unmasked(segments.map, "segments"))
    if count is None:  # of another type: refused below
        count = int(ids.max(initial=0)) + 1 if ids.dtype == np.int32 else 1
    request.set_segments(ids, count)


def _unmasked(array: Any, name: str) -> Any:
    if isinstance(array, np.ma.MaskedArray):
        raise UsageError(
            f"{name}: a masked array, whose mask would not count: give the pixels that count as "
            f"mask=, and {name}.data"
        )
    return array


def _flag(value: Any, name: str) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise UsageError(f"{name}={value!r:.80}: give True or False")
    return bool(value)


def _refuse_nonfinite(counts: NDArray[np.int64]) -> None:
    if counts.any():
        bad = np.flatnonzero(counts).tolist()
        raise UsageError(f"logits or difficulty of the images {bad} have NaN or infinite values")


def score_logits(
    logits: Any,
    *,
    size: tuple[int, int],
    head: Head | None = None,
    regions: Grid | Segments | None = None,
    mask: Any | None = None,
    align_corners: bool = True,
    difficulty: Any | None = None,
    threads: int | None = None,
    stream: Any | None = None,
    done: _native.Event | None = None,
    contours: bool = True,
) -> Statistics:
    """Compute every statistic of a batch of logits: the columns of docs/reference/stored.md.

    Parameters
    ----------
    logits : array [B, C, h, w] of float32, float16 or bfloat16, any strides, C from 1 to 256
        For a committee, [M, B, C, h, w] with M up to 64: if M > 1, ``vote_entropy_mean``,
        ``mutual_information_mean`` and ``consensus_entropy_mean`` (nats) compare the members. Every
        other column is that of member 0, and so is ``difficulty``. The array may be any object with
        the buffer protocol, DLPack or ``__cuda_array_interface__`` (NumPy, PyTorch, ONNX Runtime
        values). Logits on a CUDA device are scored there and never copied to the host; ``mask``,
        ``difficulty`` and the map of ``Segments`` must then be on the same device.
    size : (H, W)
        The raster on which statistics are computed.
    head : DifficultyHead, optional
        Computes the difficulty. Without ``head`` and ``difficulty`` there are no difficulty
        columns.
    regions : Grid or Segments, optional
    mask : array of uint8 [H, W] or [B, H, W], optional
        Pixels of value 0 do not count (car hood, vignette).
    align_corners : bool
        The convention of all three resizes, as in PyTorch's ``interpolate``.
    difficulty : array [B, 1, h', w'] of float32, float16 or bfloat16, optional
        Difficulty before the sigmoid; used instead of ``head``.
    threads : int, optional
        None takes every core this process may use. Results are bit-identical for any number. For
        logits on a device, the threads only trace ``boundary_length`` and ``boundary_corners``.
    stream : optional
        The CUDA stream for device logits: its handle, or an object that has the handle as
        ``cuda_stream``. None is the default stream; host logits need None. The call waits for the
        tables, which is its only synchronisation.
    done : deal._native.Event, optional
        Recorded on the stream after the last kernel, to time it; for device logits.
    contours : bool
        False leaves out ``boundary_length`` and ``boundary_corners``, which saves a fifth of the
        time on a CPU.

    Returns
    -------
    Statistics
        ``images`` and ``regions`` by column name; ``nonfinite`` counts NaN and infinite inputs per
        image, over all members of a committee.

    Raises
    ------
    UsageError
        Shapes, dtypes or region ids do not fit, arrays are on different devices, or the logits are
        on a device that this build does not support.
    EngineUnavailableError
        The device or its driver failed.
    """
    with _usage_errors():
        request = _input(logits, size, align_corners, head, difficulty, stream=stream)
        if isinstance(regions, Grid):
            request.set_grid(regions.cell)
        elif isinstance(regions, Segments):
            _set_segments(request, regions)
        elif regions is not None:
            raise UsageError(
                f"regions: Grid(cell) or Segments(map) is needed, not {regions!r:.80}; a Scorer "
                "takes the other kinds"
            )
        if mask is not None:
            given = _unmasked(mask, "mask")
            request.set_mask(given if request.cuda is not None else np.ascontiguousarray(given))
        event = None if done is None else done.cuda_event
        outlined = _flag(contours, "contours")
        try:
            images, table, nonfinite = _native.statistics(
                _context(threads, request), request, event, outlined
            )
        except MemoryError:
            if not isinstance(regions, Segments):
                raise
            raise UsageError(
                "regions: their tables take more memory than there is; number the regions of an "
                "image from 0, without gaps"
            ) from None
    return Statistics(images, table if regions is not None else None, nonfinite)


def difficulty_map(
    logits: Any,
    head: Head | None,
    *,
    size: tuple[int, int],
    align_corners: bool = True,
    difficulty: Any | None = None,
    threads: int | None = None,
    stream: Any | None = None,
    out: Any | None = None,
) -> Any:
    """Compute the difficulty of every raster pixel, as a map to look at or to rank pixels with.

    Parameters
    ----------
    logits : array [B, C, h, w] of float32, float16 or bfloat16, any strides, C from 1 to 256
        On the host or on a CUDA device, as :func:`deal.score_logits` takes them.
    head : DifficultyHead or None
        Turns the logits into difficulty; it must have as many classes as the logits. None requires
        ``difficulty``.
    size : (H, W)
        The raster: the size of the map, in pixels.
    align_corners : bool
        The convention of all resizes, as in PyTorch's ``interpolate``.
    difficulty : array [B, 1, h', w'] of float32, float16 or bfloat16, optional
        Difficulty before the sigmoid, as a model with a difficulty output gives it; used instead of
        ``head``.
    threads : int, optional
        None takes every core this process may use. The map is bit-identical for any number.
    stream : optional
        The CUDA stream of device logits, as :func:`deal.score_logits` takes it.
    out : array of float32 [B, H, W], C-contiguous, optional
        The array to fill and return. Device logits require one on the same device.

    Returns
    -------
    ndarray of float32 [B, H, W], in 0…1; or ``out``

    Raises
    ------
    UsageError
        Shapes or dtypes do not fit, ``head`` and ``difficulty`` are both None, an image has NaN
        or infinite values, or the logits are on a device that this build does not support.
    EngineUnavailableError
        The device or its driver failed.

    Notes
    -----
    The formula is that of :class:`deal.DifficultyHead`: the probability attention module of Xie et
    al., arXiv 2010.08705, section 3.2.
    """
    if head is None and difficulty is None:
        raise UsageError("a difficulty map needs a difficulty head or a difficulty grid")
    with _usage_errors():
        request = _input(logits, size, align_corners, head, difficulty, stream=stream)
        found, nonfinite = _native.difficulty_map(_context(threads, request), request, out)
    _refuse_nonfinite(nonfinite)
    return found


def difficulty_grid(
    logits: Any,
    head: Head,
    *,
    align_corners: bool = True,
    attention: int = _native.ATTENTION_AUTO,
    threads: int | None = None,
    stream: Any | None = None,
    out: Any | None = None,
) -> Any:
    """Difficulty before the sigmoid on the head's grid: float32 [B, gh, gw].

    ``attention`` is one of ``_native.ATTENTION_AUTO``, ``_DIRECT``, ``_POLYNOMIAL``; the other
    parameters are those of :func:`difficulty_map`. Raises UsageError, also if an image has NaN or
    infinite logits.
    """
    with _usage_errors():
        request = _input(logits, (1, 1), align_corners, head, attention=attention, stream=stream)
        found, nonfinite = _native.difficulty_grid(_context(threads, request), request, out)
    _refuse_nonfinite(nonfinite)
    return found


def class_map(
    logits: Any,
    *,
    size: tuple[int, int],
    align_corners: bool = True,
    threads: int | None = None,
    stream: Any | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Predicted class of every raster pixel, uint8 [B, H, W], and the count of bad logits [B].

    The statistics are computed on these classes. The map of an image with NaN or infinite logits is
    0. Both results are on the host. Arguments and errors are those of :func:`score_logits`.
    """
    with _usage_errors():
        request = _input(logits, size, align_corners, None, stream=stream)
        return _native.class_map(_context(threads, request), request)
