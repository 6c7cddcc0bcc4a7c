from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deal.errors import UsageError
from deal.kernel.regions import Grid
from deal.model.head import DifficultyHead
from deal.pool.ids import Shard
from deal.run.config import ScoreConfig, parse_max_errors


def parse(**options: Any) -> ScoreConfig:
    return ScoreConfig.parse("pool", model="m.onnx", output="out", **options)


def test_text_and_values_give_the_same_config() -> None:
    text = parse(regions="grid:40", shard="1/4", max_errors="10")
    values = parse(regions=Grid(40), shard=Shard(1, 4), max_errors=10)
    assert text == values
    assert text.scoring.choice.regions == Grid(cell=40)
    assert text.shard == Shard(1, 4)


def test_a_pool_may_be_one_path_or_several() -> None:
    assert parse().pool == ("pool",)
    several = ScoreConfig.parse([Path("a"), "b"], model="m", output="o")
    assert several.pool == ("a", "b")


@pytest.mark.parametrize(
    ("limit", "errors", "total", "allowed"),
    [
        ("0", 0, 10, True),
        ("0", 1, 10, False),
        ("10", 10, 10, True),
        (3, 4, 100, False),
        ("0.1%", 1, 1000, True),
        ("0.1%", 1, 999, False),
        ("0.1%", 2, 1000, False),
        ("100%", 5, 5, True),
        ("0%", 0, 0, True),
    ],
)
def test_max_errors(limit: str | int, errors: int, total: int, allowed: bool) -> None:
    parsed = parse_max_errors(limit)
    assert parsed is not None
    assert parsed.allows(errors, total) is allowed


@pytest.mark.parametrize("limit", ["-1", "many", "1.5", "101%", "-1%", "", "%", "nan%"])
def test_max_errors_that_make_no_sense(limit: str) -> None:
    with pytest.raises(UsageError, match=r"such as 10 or 0\.1%"):
        parse_max_errors(limit)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"acquisition": "dss"}, "Did you mean"),
        ({"levels": 7}, "takes no levels"),
        ({"acquisition": "de", "levels": 7}, "divide 240"),
        ({"budget": "0"}, "budget must be"),
        ({"budget": "101%"}, "budget must be"),
        ({"sessions": 0}, "sessions must be at least 1"),
        ({"threads": 2.5}, "threads must be a whole number, not 2.5"),
        ({"previews": 2.5}, "previews must be a whole number, not 2.5"),
        ({"shard": (0, 2)}, "write it as i/n"),
        ({"threads": 10**14}, "threads must be at most 4096, not 100000000000000"),
        ({"sessions": 10**9}, "sessions must be at most 4096"),
        ({"decode_threads": 10**9}, "decode_threads must be at most 4096"),
        ({"threads": -1}, "threads must be at least 1"),
        ({"decode_threads": 0}, "decode_threads must be at least 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"max_pixels": 0}, "max_pixels must be at least 1"),
        ({"regions": "grid:8", "keep_regions": 0}, "keep_regions must be at least 1"),
        ({"keep_regions": 2}, "needs regions"),
        ({"outlines": True}, "--outlines needs --regions"),
        ({"previews": -1}, "previews must be at least 0"),
        ({"shard": "4/4"}, "shard"),
    ],
)
def test_settings_that_make_no_sense_are_usage_errors(options: dict[str, Any], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        parse(**options)


@pytest.mark.parametrize(
    ("acquisition", "itself"),
    [
        ("ds", True),
        ("ds:margin", True),
        ("ripu", True),
        ("vote-entropy", True),
        ("de", False),
        ("random", False),
        ("balanced:entropy", False),
    ],
)
def test_kept_regions_are_ranked_by_the_acquisition_function_if_it_can(
    acquisition: str, itself: bool
) -> None:
    score = parse(acquisition=acquisition).region_score
    assert (None if score is None else score["acquisition"]) == (acquisition if itself else None)


def test_every_setting_is_json() -> None:
    config = ScoreConfig.parse(
        "p\udcff",
        model="m\udcff",
        output="o\udcff",
        difficulty_head=DifficultyHead(1.0, [1.0, 2.0], 0.5),
        mask=np.ones((3, 4), np.uint8),
        regions="grid:8",
        max_errors="0.1%",
        shard="0/2",
    )
    values = json.loads(json.dumps(config.to_dict(), ensure_ascii=False).encode())
    assert values["pool"] == ["p%FF"]
    assert values["max_errors"] == "0.1%"
    assert values["mask"]["size"] == [3, 4]
    assert values["shard"] == "0/2"
    assert values["regions"] == "grid:8"
    assert values["difficulty_head"]["weight"] == [1.0, 2.0]


def test_no_model_options_are_none_or_empty() -> None:
    for given in (None, {}):
        assert parse(model_options=given).to_dict()["model_options"] == {}
