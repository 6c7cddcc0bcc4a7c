"""Images are read again by what the results know of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deal.errors import ItemError
from deal.pool.listing import Pool
from deal.pool.locator import LocalFile, locate, read_file, read_uri


def test_a_uri_leads_back_to_the_file_whatever_its_name(tmp_path: Path) -> None:
    name = os.fsdecode(b"50% #t=1.000 \xff.jpg")
    (tmp_path / name).write_bytes(b"content")
    (item,) = Pool(tmp_path)
    assert item.locator == LocalFile(str(tmp_path / name))
    assert locate(item.uri).version() == item.source_version
    assert locate(item.uri).read() == b"content"
    assert read_uri(item.uri, item.source_version) == read_file(item.uri) == b"content"


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")  # reading it would wait for ever
    with pytest.raises(ItemError, match="not a regular file"):
        read_uri(str(tmp_path / "pipe.jpg"))
    with pytest.raises(ItemError, match="No such file") as caught:
        read_uri(str(tmp_path / "gone.jpg"))
    assert caught.value.code == "io"


def test_a_file_that_no_image_can_fill_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.jpg"
    with path.open("wb") as file:
        file.truncate(2**21)
    with pytest.raises(ItemError, match=r"2097152 bytes.*--max-pixels") as caught:
        read_uri(str(path), max_pixels=1000)
    assert caught.value.code == "too_large"
