from __future__ import annotations

import numpy as np
import pytest

from deal.model.palette import OKABE_ITO, class_colours, ink_on


def test_up_to_256_classes_have_colours_of_their_own() -> None:
    colours = class_colours(256)
    assert len({tuple(colour) for colour in colours.tolist()}) == 256


def test_colours_do_not_depend_on_the_number_of_classes() -> None:
    np.testing.assert_array_equal(class_colours(150)[:11], class_colours(11))
    assert class_colours(8).tolist() == [list(colour) for colour in OKABE_ITO]


def test_the_palette_of_the_model_wins() -> None:
    palette = ((1, 2, 3), (4, 5, 6))
    assert class_colours(2, palette).tolist() == [[1, 2, 3], [4, 5, 6]]


def test_the_first_classes_differ_in_brightness_or_hue_for_a_colour_blind_reader() -> None:
    """Deuteranopia by Viénot, Brettel and Mollon, 1999, in linear light."""
    linear = (class_colours(8) / 255.0) ** 2.2
    blind = linear @ np.array(
        [[0.29275, 0.29275, -0.02234], [0.70725, 0.70725, 0.02234], [0, 0, 1]]
    )
    seen = np.clip(blind, 0, 1) ** (1 / 2.2)
    for index, one in enumerate(seen):
        for other in seen[index + 1 :]:
            assert np.abs(one - other).max() > 0.12


@pytest.mark.parametrize(
    ("colour", "ink"),
    [((255, 255, 255), 0), ((240, 228, 66), 0), ((0, 0, 0), 255), ((0, 60, 90), 255)],
)
def test_numbers_on_a_colour_are_readable(colour: tuple[int, int, int], ink: int) -> None:
    assert ink_on(colour) == (ink, ink, ink)


def test_every_colour_takes_text_of_the_contrast_that_wcag_asks_for() -> None:
    def luminance(colour: np.ndarray) -> float:
        levels = np.asarray(colour) / 255
        linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    for colour in class_colours(256):
        bright, dark = sorted((luminance(colour), luminance(np.array(ink_on(colour)))))[::-1]
        assert (bright + 0.05) / (dark + 0.05) >= 4.5
