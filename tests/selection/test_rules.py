from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from deal.errors import UsageError
from deal.selection.rules import Quota, parse_gap, parse_quota, read_id_lists

DIGITS = "9" * 5000  # more than Python reads as a number


@pytest.mark.parametrize(
    ("text", "quota"),
    [
        ("camera=20%", Quota("camera", None, percent=Fraction(20))),
        ("camera:front=100", Quota("camera", "front", amount=Fraction(100))),
        ("folder:a=b/c=0.5%", Quota("folder", "a=b/c", percent=Fraction(1, 2))),
        ("weather:=3", Quota("weather", "", amount=Fraction(3))),
    ],
)
def test_quotas_are_of_every_value_or_of_one(text: str, quota: Quota) -> None:
    assert parse_quota(text) == quota
    assert str(quota) == text


@pytest.mark.parametrize("text", ["", "camera", "=5", "camera=", "camera=0", "camera=101%", "a=-1"])
def test_quotas_that_make_no_sense(text: str) -> None:
    with pytest.raises(UsageError, match=r"write ATTRIBUTE=P% or ATTRIBUTE:VALUE=N"):
        parse_quota(text)


@pytest.mark.parametrize(
    ("text", "size", "frames"),
    [
        ("2s", 2_000_000_000, False),
        ("0.5s", 500_000_000, False),
        ("500ms", 500_000_000, False),
        ("30f", 30, True),
    ],
)
def test_gaps_are_times_or_frames(text: str, size: int, frames: bool) -> None:
    gap = parse_gap(text)
    assert gap is not None
    assert (gap.size, gap.frames) == (size, frames)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2",
        "s",
        "0s",
        "-2s",
        "1.5f",
        "2 s",
        "2m",
        "0.0000000001s",
        DIGITS + "f",
        "1." + DIGITS + "s",
    ],
)
def test_gaps_that_make_no_sense(text: str) -> None:
    with pytest.raises(UsageError, match="such as 2s, 500ms or 30f"):
        parse_gap(text)


def test_id_lists_are_csv_files_with_a_column_id_or_lines(tmp_path: Path) -> None:
    selection, lines = tmp_path / "selection.csv", tmp_path / "labeled.txt"
    selection.write_text('rank,id,score,region\n1,"a,""b""\nc",0.5,\n2,d,0.4,17\n3,d,0.3,2\n')
    lines.write_bytes("ü.png\r\n\nlast\u2028one".encode())
    names = read_id_lists([str(selection), str(lines)])
    assert names.images == {'a,"b"\nc', "ü.png", "last\u2028one"}
    assert names.regions == {("d", 17), ("d", 2)}
    again = read_id_lists([str(lines), str(selection)])
    assert again.sha256() == names.sha256()
    assert read_id_lists([str(lines)]).sha256() != names.sha256()


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("none.csv", None, "cannot be read as a list of ids"),
        ("no.csv", b"name,score\na,1\n", "has no column id"),
        ("empty.csv", b"", "has no column id"),
        ("bytes.txt", b"\xff\xfe\x00", "cannot be read as a list of ids"),
        ("short.csv", b"region,id\n3,a\n3\n", "line 3: the line ends before the column id"),
        ("region.csv", b"id,region\na,front\n", "region 'front' of 'a' is not a number"),
    ],
)
def test_lists_that_cannot_be_read_are_usage_errors(
    tmp_path: Path, name: str, content: bytes | None, match: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=match):
        read_id_lists([str(tmp_path / name)])
