"""Mutated ONNX files, a thousand a case: :mod:`tests.torture.onnx_header` compares the readers."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.torture.cases import Case, Finding
from tests.torture.onnx_header import campaign

__all__ = ["headers"]

_FILES = 100


@contextmanager
def headers(folder: Path) -> Iterator[Case]:
    """What deal and protobuf both take, they read alike."""

    def case(rng: random.Random) -> Mapping[str, int]:
        seed = rng.getrandbits(60)
        counts, first = campaign(_FILES, seed)
        if first is not None:
            raise Finding(f"campaign({_FILES}, {seed}) read differently: {first.hex()}")
        return counts

    yield case
