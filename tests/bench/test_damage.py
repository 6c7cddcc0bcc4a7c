"""What the measurement of damage counts."""

from __future__ import annotations

import random

import pytest
from PIL import Image

from deal.bench import damage
from tests.helpers.images import large

FRAMES = [large(96, 128), large(120, 88)]
ONLY = "turbo 4:2:0"


def test_whole_frames_are_counted_and_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    rows = damage.whole_table(FRAMES, 16, ONLY)
    assert rows == [["JPEG, libjpeg-turbo 4:2:0", "16", "0"]]
    assert capsys.readouterr().out == "| JPEG, libjpeg-turbo 4:2:0 | 16 | 0 |\n"


def test_injuries_leave_the_header_alone_and_are_the_same_for_a_seed() -> None:
    data = damage.encoders()["JPEG, libjpeg-turbo 4:2:0"](FRAMES[0])
    header = data[: data.index(b"\xff\xda") + 14]
    for injure in damage.injuries().values():
        hurt = injure(data, random.Random(3))
        assert hurt.startswith(header)
        assert hurt != data
        assert hurt == injure(data, random.Random(3))


def test_files_that_are_cut_or_end_in_zeros_are_all_refused() -> None:
    rows = {row[1]: row for row in damage.damaged_table(FRAMES, 12, ONLY)}
    for injury in ("tail of zeros (power cut)", "cut short"):
        assert rows[injury][2:] == ["12", "100.0%", ""]
    assert rows["one bit"][2] == "12"


def test_frames_have_every_kind_of_shape() -> None:
    found = [frame for frame, _ in zip(damage.frames(FRAMES, 0), range(16), strict=False)]
    assert all(isinstance(frame, Image.Image) and min(frame.size) > 8 for frame in found)
    assert len({frame.size for frame in found}) > 4
