"""Addresses with a scheme are told from paths, and never become folders."""

from __future__ import annotations

from pathlib import Path

import pytest

import deal
from deal.errors import UsageError
from deal.pool.listing import Pool
from deal.pool.schemes import scheme_of
from tests.helpers.runs import Deal, assert_refused


@pytest.mark.parametrize(
    ("source", "scheme"),
    [
        ("s3://bucket/out", "s3"),
        ("S3://bucket", "s3"),
        (Path("s3://bucket/out"), "s3"),  # pathlib leaves one slash
        ("https://host/a.jpg", "https"),
        ("frames", None),
        ("./s3:/frames", None),
        ("drive:/frames", None),
        ("C:/frames", None),
        ("a/b://c", None),
    ],
)
def test_the_scheme_of_an_address(source: str | Path, scheme: str | None) -> None:
    assert scheme_of(source) == scheme


@pytest.mark.parametrize("output", ["https://host/out", Path("s3://bucket/out")])
def test_an_output_that_is_no_place_is_refused_before_the_model_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str | Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"--output '.*/out' is an address, not a path"):
        deal.score_pool("frames", model="none.onnx", output=output)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["score", "select"])
def test_commands_refuse_addresses_in_one_line(
    deal: Deal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    given = ["frames", "--model", "none.onnx"] if command == "score" else ["out"]
    assert_refused(deal(command, *given, "--output", "https://host/out"), 2, "https://host/out")
    assert list(tmp_path.iterdir()) == []


def test_a_pool_of_an_unknown_scheme_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"'hdfs://host/frames' is an address.*mount"):
        iter(Pool("hdfs://host/frames"))
