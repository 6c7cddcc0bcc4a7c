"""What ``--screen`` may be, and what it does not go with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deal.errors import DealError, ModelError, UsageError
from deal.run.pipeline import score_pool
from deal.run.screen_check import parse_screen
from tests.helpers.models import metadata, save_model
from tests.helpers.runs import write_pool

LOOSE: dict[str, Any] = {"budget": "5%", "spread": "off", "screen_keep": 0.5}


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pool(tmp_path_factory.mktemp("options") / "pool", 110, (32, 48))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    return save_model(path, props=metadata(input_size=[32, 48]))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"budget": None}, "needs a budget"),
        ({"budget": "pixels:1000"}, "counts images"),
        ({"budget": "2MB"}, "counts images"),
        ({"acquisition": "random"}, "no score of single images"),
        ({"acquisition": "core-set"}, "no score of single images"),
        ({"stochastic": "power"}, "--stochastic"),
        ({"diverse": 4}, "--diverse"),
        ({"stratify": "class:50%"}, "--stratify"),
        ({"regions": "grid:8"}, "--regions"),
        ({"dedup": 2}, "--dedup"),
        ({"screen": "1.5"}, "factor from 0.1"),
        ({"screen": "half"}, "no such model file"),
        ({"screen_keep": 1.0}, "between 0 and 1"),
        ({"screen": 1}, "factor from 0.1"),
        ({"screen": True}, "auto, a factor such as 0.5, or a model file, not True"),
        ({"screen": b"small.onnx"}, "auto, a factor such as 0.5, or a model file"),
        ({"screen_keep": "0.9"}, "between 0 and 1"),
        ({"screen_keep": True}, "between 0 and 1"),
        ({"screen": None, "screen_keep": 0.9}, "--screen-keep needs --screen"),
    ],
    ids=str,
)
def test_what_screening_cannot_serve_is_refused_with_the_reason(
    pool: Path, model: Path, tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    given = {"budget": "5%", "screen": "0.5", **options}
    with pytest.raises(UsageError, match=words):
        score_pool(pool, model=model, output=tmp_path / "out", **given)
    assert not (tmp_path / "out").exists()


def test_models_that_cannot_shrink_say_what_to_do(pool: Path, tmp_path: Path) -> None:
    fixed = save_model(tmp_path / "fixed.onnx", size=(32, 48), props=metadata())
    with pytest.raises(ModelError, match="dynamic height and width, or give a cheaper model"):
        score_pool(pool, model=fixed, output=tmp_path / "out", screen="0.5", **LOOSE)
    free = save_model(tmp_path / "free.onnx", props=metadata())
    with pytest.raises(ModelError, match="at their own size"):
        score_pool(pool, model=free, output=tmp_path / "out", screen="0.5", **LOOSE)


def test_errors_of_a_screen_name_it_and_what_to_do(pool: Path, model: Path, tmp_path: Path) -> None:
    """Its network is another one than that of the exact pass, or takes another size."""

    def refused(screen: str) -> str:
        with pytest.raises(DealError) as caught:
            score_pool(pool, model=model, output=tmp_path / "out", screen=screen, **LOOSE)
        return str(caught.value)

    silent = save_model(tmp_path / "silent.onnx")
    assert "--screen" in refused(str(silent))
    assert "silent.json beside the screen" in refused(str(silent))
    props = metadata(input_size=[16, 24])
    spoiled = save_model(tmp_path / "spoiled.onnx", nan_above=-1, props=props)
    assert "--screen with spoiled.onnx: all" in refused(str(spoiled))
    assert "--screen at 3×5: " in refused("0.1")
    assert "screen at another factor, or with another model" in refused("0.1")


def test_a_screen_is_read_as_a_text() -> None:
    given = ("auto", 0.5, np.float64(0.5), Path("small.onnx"), None)
    assert [parse_screen(value) for value in given] == ["auto", "0.5", "0.5", "small.onnx", None]


def test_a_committee_is_screened_at_a_size_that_each_of_its_members_takes(
    pool: Path, model: Path, tmp_path: Path
) -> None:
    coarse = metadata(input_size=[32, 48], size_multiple=16)
    other = save_model(tmp_path / "other.onnx", seed=8, props=coarse)
    score_pool(pool, model=[model, other], output=tmp_path / "out", screen="0.5", **LOOSE)
    assert (tmp_path / "out" / "screen" / "16x32").is_dir()
    fixed = save_model(tmp_path / "fixed.onnx", size=(32, 48), seed=9, props=metadata())
    for function, says in (("entropy", "or give a cheaper model"), ("bald", r"and width \(model")):
        options = {**LOOSE, "acquisition": function, "screen": "0.5"}
        with pytest.raises(ModelError, match=rf"fixed\.onnx cannot take.*{says}"):
            score_pool(pool, model=[model, fixed], output=tmp_path / "no", **options)
