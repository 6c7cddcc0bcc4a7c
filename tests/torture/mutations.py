"""Damage to bytes as disks, networks, editors and attackers do it."""

from __future__ import annotations

import random
import re

__all__ = ["damaged", "edited", "torn"]


def damaged(rng: random.Random, data: bytes, other: bytes = b"") -> tuple[str, bytes]:
    """Flipped bytes, a cut, a tail of zeros, a lost sector, or a splice with ``other``."""
    kind = rng.choice(["bytes", "bits", "cut", "zeros", "sector", "missing", "splice"])
    if not data:
        return "splice", other
    size = len(data)
    at = rng.randrange(size)
    found = bytearray(data)
    if kind == "bytes":
        for _ in range(rng.choice([1, 1, 2, 4, 16, 64])):
            found[rng.randrange(size)] = rng.randrange(256)
    elif kind == "bits":
        for _ in range(rng.choice([1, 1, 2, 4])):
            found[rng.randrange(size)] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        del found[at:]
    elif kind == "zeros":
        found[at:] = bytes(len(found) - at)
    elif kind == "sector":
        end = min(size, at + rng.choice([8, 64, 512]))
        found[at:end] = rng.choice([bytes(end - at), rng.randbytes(end - at)])
    elif kind == "missing":
        del found[at : at + rng.randint(1, 64)]
    else:
        cut = rng.randrange(len(other) + 1)
        found[at:] = other[cut:]
    return kind, bytes(found)


def torn(rng: random.Random, data: bytes) -> bytes:
    """What a power cut leaves of a file that was being written: a part of it, or zeros after."""
    at = rng.choice([0, 1, len(data) // 2, max(0, len(data) - 1), rng.randrange(len(data) + 1)])
    return data[:at] + bytes(len(data) - at) if rng.random() < 0.5 else data[:at]


_TOKENS = [
    *("null", "true", "-1", "0", "1e400", "1e308", "NaN", "Infinity", "-0.0", "0.5", '""', "[]"),
    *("{}", '"\\u0000"', '"\\ud800"', "9" * 30, "9" * 5000, "[" * 100, "{" * 5, '"road"', "\ufeff"),
    *(",", ":", "\n", "\r", '"', "\\", "\0", ";", "\t", "2**63", "18446744073709551616", "é", "∞"),
    *("../", "file:///", "/", "//", ".", "..", "%00", "%2e%2e", "http://x/y.png", " ", "uri", "id"),
]


_NUMBERS = [b"0", b"1", b"-1", b"2", b"7", b"0.25", b"-0.75", b"1e-3", b"3.5e2", b"255", b"1e15"]


def edited(rng: random.Random, text: bytes) -> bytes:
    """Text with one to three edits: of tokens as a person or a program would, or of bytes."""
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        chance = rng.random()
        if chance < 0.2:
            text = damaged(rng, text, text)[1]
            continue
        numbers = list(re.finditer(rb"-?\d+(\.\d+)?", text))
        if chance < 0.5 and numbers:
            number = rng.choice(numbers)
            text = text[: number.start()] + rng.choice(_NUMBERS) + text[number.end() :]
            continue
        token = rng.choice(_TOKENS).encode()
        at = rng.randrange(len(text) + 1)
        if rng.random() < 0.5:
            text = text[:at] + token + text[at:]
            continue
        starts = [i for i, byte in enumerate(text) if byte in b',:[{\n"'] or [0]
        start = rng.choice(starts) + 1
        ends = [i for i, byte in enumerate(text[start:], start) if byte in b',]}\n"'] or [len(text)]
        text = text[:start] + token + text[ends[0] :]
    return text
