from typing import Any

import numpy as np
from numpy.typing import NDArray

ISA_AUTO: int
ISA_PORTABLE: int
ISA_AVX2: int
ISA_AVX512: int
ISA_NEON: int
ATTENTION_AUTO: int
ATTENTION_DIRECT: int
ATTENTION_POLYNOMIAL: int

def build_info() -> str: ...
def version() -> str: ...

class Context:
    def __init__(self, threads: int = 0, isa: int = ..., cuda: int | None = None) -> None: ...

class Input:
    def __init__(
        self, logits: Any, size: tuple[int, int], align_corners: bool, stream: int | None = None
    ) -> None: ...
    @property
    def cuda(self) -> int | None: ...
    def set_head(
        self,
        weight: NDArray[np.float32],
        gamma: float,
        bias: float,
        grid: tuple[int, int] | None,
        attention: int,
    ) -> None: ...
    def set_difficulty(self, difficulty: Any) -> None: ...
    def set_grid(self, cell: int) -> None: ...
    def set_segments(self, ids: Any, count: int) -> None: ...
    def set_mask(self, mask: Any) -> None: ...

def statistics(
    context: Context, request: Input
) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]], NDArray[np.int64]]: ...
def difficulty_map(context: Context, request: Input, out: Any) -> tuple[Any, NDArray[np.int64]]: ...
def difficulty_grid(
    context: Context, request: Input, out: Any
) -> tuple[Any, NDArray[np.int64]]: ...
def class_map(context: Context, request: Input) -> tuple[NDArray[np.uint8], NDArray[np.int64]]: ...
def resample(
    image: NDArray[np.uint8], height: int, width: int, bicubic: bool, vector: bool = ...
) -> NDArray[np.uint8]: ...
def components(ids: NDArray[np.int32], min_pixels: int) -> tuple[NDArray[np.int32], int]: ...
def k_center_greedy(
    features: NDArray[np.float32],
    count: int,
    cosine: bool,
    centers: NDArray[np.int64],
    candidates: NDArray[np.bool_],
    first: int | None,
    threads: int,
    isa: int = ...,
) -> tuple[NDArray[np.int64], NDArray[np.float64], list[int]]: ...
