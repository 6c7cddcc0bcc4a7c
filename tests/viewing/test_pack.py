"""Columns travel unchanged: read back as a browser reads them, with zlib and NumPy."""

from __future__ import annotations

import zlib
from base64 import b64decode
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deal.viewing.pack import Pack


def unpacked(pack: Pack) -> dict[str, Any]:
    data = zlib.decompress(b64decode(pack.base64()), -zlib.MAX_WBITS)
    found: dict[str, Any] = {}
    for name, column in pack.header.items():
        part = data[column["offset"] : column["offset"] + column["bytes"]]
        if column["type"] == "text":
            text = part.decode()
            found[name] = text.split(column["separator"]) if column["count"] else []
        else:
            assert column["offset"] % int(column["type"][1]) == 0
            found[name] = np.frombuffer(part, f"<{column['type']}", column["count"])
    return found


@pytest.mark.parametrize("kind", ["u1", "u2", "u4", "i4", "f4", "f8"])
def test_numbers_of_every_type_come_back(kind: str) -> None:
    values = np.arange(7).astype(kind)
    pack = Pack()
    pack.numbers("odd", np.ones(3), "u1")  # the next column has to be aligned all the same
    pack.numbers("values", values, kind)
    assert np.array_equal(unpacked(pack)["values"], values)


def test_nothing_is_told_from_zero() -> None:
    pack = Pack()
    pack.numbers("values", [0.0, float("nan"), 1.5], "f4")
    assert np.array_equal(
        unpacked(pack)["values"], np.array([0, np.nan, 1.5], "f4"), equal_nan=True
    )


@settings(deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), max_size=8))
def test_texts_come_back_whatever_is_in_them(texts: list[str]) -> None:
    pack = Pack()
    pack.texts("id", pa.array(texts, pa.string()))
    assert unpacked(pack)["id"] == texts


def test_texts_that_hold_every_usual_separator_come_back() -> None:
    texts = ["a\nb", "\t\x1f", "\x1e\x00", "", "ü€😀"]
    pack = Pack()
    pack.texts("id", pa.chunked_array([texts[:2], texts[2:]], pa.string()))
    assert unpacked(pack)["id"] == texts


def test_a_slice_of_texts_is_only_that_slice() -> None:
    pack = Pack()
    pack.texts("id", pa.array(["x", "y\n", None, "z"]).slice(2))
    assert unpacked(pack)["id"] == ["", "z"]


def test_codes_take_the_smallest_type_that_holds_them() -> None:
    pack = Pack()
    for values in (256, 257, 65_536, 65_537):
        pack.codes(str(values), np.array([0, values - 1]), values)
    assert [column["type"] for column in pack.header.values()] == ["u1", "u2", "u2", "u4"]
    assert all(codes[1] == int(name) - 1 for name, codes in unpacked(pack).items())
