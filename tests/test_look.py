"""The style sheet of pages: every text can be read on every surface, in light and dark."""

from __future__ import annotations

import re

import pytest

from deal.look import look

_PAIR = re.compile(r"(--[\w-]+): light-dark\((#\w{6}), (#\w{6})\);")
COLOURS = {m[1]: (m[2], m[3]) for m in _PAIR.finditer(look())}


def luminance(colour: str) -> float:
    """Relative luminance of WCAG 2."""
    levels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in levels]
    return sum(w * v for w, v in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(a: str, b: str) -> float:
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("text", "surfaces"),
    [
        ("--ink", ("--paper", "--card", "--sunken", "--accent-soft", "--pick-soft", "--bad-soft")),
        ("--muted", ("--paper", "--card", "--sunken")),
        ("--accent", ("--paper", "--card", "--accent-soft")),
        ("--accent-ink", ("--accent",)),
        ("--pick", ("--card",)),
        ("--good", ("--card",)),
        ("--bad", ("--card", "--bad-soft")),
    ],
)
def test_text_stands_out_from_its_surface(text: str, surfaces: tuple[str, ...], mode: int) -> None:
    for surface in surfaces:
        assert contrast(COLOURS[text][mode], COLOURS[surface][mode]) >= 4.5, surface


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
def test_marks_stand_out_from_a_card(mode: int) -> None:
    for number in range(1, 9):
        assert contrast(COLOURS[f"--series-{number}"][mode], COLOURS["--card"][mode]) >= 2.7
