"""The C ABI of ``csrc/abi/deal.h`` on tensors of PyTorch: launching is timed apart from waiting.

``deal.score_logits`` does both in one call and takes the buffers of its tables anew each time. Here
the request is set up once: :meth:`Call.enqueue` only launches and can be captured into a graph,
:meth:`Call.finish` waits and fills the tables.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, Structure, byref, c_float, c_int32, c_int64, c_size_t, c_void_p
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import deal
from deal import _native
from deal.types import HISTOGRAM_LEVELS

__all__ = ["Call"]

_DTYPES = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}
_GRID = 1

# In the order of deal_output, which has the grid and the maps of the difficulty in between.
_COLUMNS = _native.columns()
_FIELDS = [(name if table == "image" else f"region_{name}") for table, name, *_ in _COLUMNS]
_BEFORE_MAPS = sum(part not in ("committee", "contours") for *_, part in _COLUMNS)


class _Tensor(Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("data", c_void_p),
        ("dtype", c_int32),
        ("device", c_int32),
        ("members", c_int64),
        ("shape", c_int64 * 4),
        ("stride", c_int64 * 5),
    ]


class _Head(Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("weight", c_void_p),
        ("channels", c_int64),
        ("gamma", c_float),
        ("bias", c_float),
        ("grid", c_int64 * 2),
        ("attention", c_int32),
    ]


class _Regions(Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("kind", c_int32),
        ("cell", c_int64),
    ]


class _Input(Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("logits", POINTER(_Tensor)),
        ("raster", c_int64 * 2),
        ("sampling", c_int32),
        ("head", POINTER(_Head)),
        ("difficulty", POINTER(_Tensor)),
        ("regions", POINTER(_Regions)),
    ]


class _Output(Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("nonfinite", c_void_p),
        *((name, c_void_p) for name in _FIELDS[:_BEFORE_MAPS]),
        ("difficulty_grid", c_void_p),
        ("maps", c_void_p * 2),
        *((name, c_void_p) for name in _FIELDS[_BEFORE_MAPS:]),
    ]


class _Options(Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("device", c_int32),
        ("device_index", c_int32),
        ("threads", c_int32),
    ]


@cache
def _library() -> Any:
    library = ctypes.CDLL(_native.__file__)
    library.deal_last_error.restype = ctypes.c_char_p
    library.deal_context_destroy.argtypes = [c_void_p]
    library.deal_context_destroy.restype = None
    library.deal_context_create.argtypes = [POINTER(_Options), POINTER(c_void_p)]
    library.deal_reserve.argtypes = [c_void_p, POINTER(_Input)]
    library.deal_enqueue.argtypes = [c_void_p, POINTER(_Input), POINTER(_Output), c_void_p]
    library.deal_finish.argtypes = [c_void_p]
    return library


def _check(status: int) -> None:
    if status != 0:
        raise RuntimeError(f"status {status}: {_library().deal_last_error().decode()}")


def _described(tensor: torch.Tensor) -> _Tensor:
    cuda = tensor.device.type == "cuda"
    shape, stride = (c_int64 * 4)(*tensor.shape), (c_int64 * 5)(0, *tensor.stride())
    size = ctypes.sizeof(_Tensor)
    return _Tensor(size, tensor.data_ptr(), _DTYPES[tensor.dtype], cuda, 1, shape, stride)


class Call:
    """One request on a context of its own, ready to be repeated.

    Parameters
    ----------
    logits : tensor [B, C, h, w] of float32, float16 or bfloat16
        Its device is that of the call.
    size : (H, W)
        The raster.
    head : DifficultyHead, optional
    difficulty : tensor [B, 1, gh, gw] of float32, optional
        Wins over ``head``.
    cell : int, optional
        Statistics of square regions of so many pixels a side too.
    lines : bool
        The simplified boundaries too.
    grid_only : bool
        Compute nothing but the difficulty of the cells of the head's grid: ``grid`` [B, gh, gw].
    """

    def __init__(
        self,
        logits: torch.Tensor,
        size: tuple[int, int],
        *,
        head: deal.DifficultyHead | None = None,
        difficulty: torch.Tensor | None = None,
        cell: int | None = None,
        lines: bool = False,
        grid_only: bool = False,
    ) -> None:
        self._kept: list[Any] = [logits, difficulty]
        self._input = _Input(ctypes.sizeof(_Input))
        self._input.logits.contents = _described(logits)
        self._input.raster = (c_int64 * 2)(*size)
        self._input.sampling = 1  # align_corners
        cells = tuple(head.grid or logits.shape[2:]) if head else tuple(logits.shape[2:])
        if head is not None:
            weight = np.asarray(head.weight, dtype=np.float32)
            self._kept.append(weight)
            grid = (c_int64 * 2)(*(head.grid or (0, 0)))
            self._input.head.contents = _Head(
                ctypes.sizeof(_Head), weight.ctypes.data, len(weight), head.gamma, head.bias, grid
            )
        if difficulty is not None:
            self._input.difficulty.contents = _described(difficulty)
        batch, classes = logits.shape[:2]
        self._output = _Output(ctypes.sizeof(_Output))
        self.images: dict[str, NDArray[Any]] = {}
        self.regions: dict[str, NDArray[Any]] = {}
        self.grid: torch.Tensor | None = None
        if grid_only:
            self.grid = torch.empty((batch, *cells), device=logits.device)
            self._output.difficulty_grid = self.grid.data_ptr()
        else:
            count = 0
            if cell is not None:
                self._input.regions.contents = _Regions(ctypes.sizeof(_Regions), _GRID, cell)
                count = -(-size[0] // cell) * -(-size[1] // cell)
            self._add(self.images, "nonfinite", "nonfinite", np.zeros(batch, np.int64))
            known = head is not None or difficulty is not None
            left_out = {"committee": True, "contours": not lines, "difficulty": not known}
            widths = {"row": (), "levels": (HISTOGRAM_LEVELS,), "classes": (classes,)}
            for field, (table, name, kind, shape, part) in zip(_FIELDS, _COLUMNS, strict=True):
                if left_out.get(part, False):
                    continue
                if table == "image":
                    values = np.zeros((batch, *widths[shape]), kind)
                    self._add(self.images, name, field, values)
                elif count:
                    self._add(self.regions, name, field, np.zeros((batch, count), kind))
        self._context = c_void_p()
        options = _Options(ctypes.sizeof(_Options), logits.device.type == "cuda")
        _check(_library().deal_context_create(byref(options), byref(self._context)))
        _check(_library().deal_reserve(self._context, byref(self._input)))

    def _add(self, table: dict[str, Any], name: str, field: str, values: NDArray[Any]) -> None:
        table[name] = values
        setattr(self._output, field, values.ctypes.data)

    def enqueue(self, stream: int | None) -> None:
        """Launch on a stream; RuntimeError with the library's text where that fails."""
        arguments = byref(self._input), byref(self._output), stream
        _check(_library().deal_enqueue(self._context, *arguments))

    def finish(self) -> None:
        """Wait for what was launched, and fill ``images`` and ``regions``."""
        _check(_library().deal_finish(self._context))

    def run(self, stream: int | None) -> None:
        """Launch and wait."""
        self.enqueue(stream)
        self.finish()

    def close(self) -> None:
        """Release the context; the call cannot be repeated after it."""
        _library().deal_context_destroy(self._context)
        self._context = c_void_p()
