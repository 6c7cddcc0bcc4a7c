"""Class names, weights by rarity, and focus on named classes."""

from __future__ import annotations

import json
import math

import numpy as np
import pyarrow as pa
import pytest

from deal import select
from deal.acquisitions import acquisition_scores, bind
from deal.acquisitions.classes import class_weights
from deal.errors import ResultsError, UsageError

CLASSES = ("road", "pole", "sign")
IMAGES = {
    "n_pixels": np.array([10, 10]),
    "class_pixels": np.array([[9, 1, 0], [6, 2, 2]]),
    "class_difficulty_sum": np.array([[1.0, 0.5, 0.0], [2.0, 0.25, 0.75]]),
}
REGIONS = {
    "n_pixels": np.array([10, 30]),
    "majority_class": np.array([0, 2], np.int32),
    "difficulty_mean": np.array([0.5, 0.25]),
}


def test_weights_are_those_of_enet() -> None:
    weights = class_weights(np.array([0, 25, 75]))
    expected = [1 / math.log(1.02), 1 / math.log(1.27), 1 / math.log(1.77)]
    np.testing.assert_allclose(weights, expected, rtol=1e-15)
    np.testing.assert_allclose(class_weights(np.zeros(2, np.int64)), 1 / math.log(1.02))


@pytest.mark.parametrize("focus", ["pole,sign", " sign , pole ,", ["sign", "pole", "pole"]])
def test_focus_is_a_list_or_text_with_commas(focus: str | list[str]) -> None:
    bound = bind("focus:difficulty", classes=CLASSES, focus=focus)
    assert sorted(bound.options["focus"]) == ["pole", "sign"]
    assert json.loads(json.dumps(bound.options)) == bound.options
    assert bound.scores(IMAGES).tolist() == [0.05, 0.1]
    shares = bound.class_shares(IMAGES)
    assert shares is not None
    assert shares.tolist() == [[0.0, 1.0, 0.0], [0.0, 0.25, 0.75]]


def test_an_image_without_the_classes_has_score_and_shares_of_zero() -> None:
    bound = bind("focus:pixels", classes=CLASSES, focus="sign")
    assert bound.scores(IMAGES).tolist() == [0.0, 0.2]
    shares = bound.class_shares(IMAGES)
    assert shares is not None
    assert shares.tolist() == [[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"focus": "polle"}, r"no class 'polle' to focus on\. Did you mean 'pole'\? The classes"),
        ({"focus": "road;pole"}, "no class 'road;pole'.*The classes are: road, pole, sign"),
        ({"focus": " , "}, "focus names no class"),
        ({"focus": []}, "focus names no class"),
        ({}, "'focus:difficulty' needs a value for the option focus"),
        ({"focus": "pole", "tail": 0.1}, "takes no tail; only tail:difficulty, tail:entropy do"),
    ],
)
def test_a_focus_that_makes_no_sense_is_a_usage_error(
    options: dict[str, object], match: str
) -> None:
    with pytest.raises(UsageError, match=match):
        bind("focus:difficulty", classes=CLASSES, **options)


def test_class_names_have_to_be_known_and_to_fit() -> None:
    with pytest.raises(UsageError, match=r"focus=pole names classes, .*: give classes="):
        acquisition_scores(IMAGES, "focus:difficulty", focus="pole")
    with pytest.raises(UsageError, match="results have 3 classes, but 2 class names were given"):
        acquisition_scores(IMAGES, "focus:difficulty", focus="pole", classes=CLASSES[:2])


def test_a_table_without_class_names_gets_them_as_the_error_says() -> None:
    table = pa.table({name: list(values) for name, values in IMAGES.items()})
    table = table.append_column("id", pa.array([str(row) for row in range(len(table))]))
    wanted = {"acquisition": "focus:difficulty", "focus": "pole", "budget": 1}
    with pytest.raises(UsageError, match=r"to select, .* table\.replace_schema_metadata\(results"):
        select(table, **wanted)
    metadata = {"deal.classes": json.dumps(CLASSES)}
    assert len(select(table.replace_schema_metadata(metadata), **wanted)) == 1


def test_a_stored_table_brings_its_class_names() -> None:
    table = pa.table({name: values.tolist() for name, values in IMAGES.items()})
    table = table.replace_schema_metadata({"deal.classes": json.dumps(CLASSES)})
    assert acquisition_scores(table, "focus:pixels", focus="sign").tolist() == [0.0, 0.2]
    with pytest.raises(UsageError, match="Did you mean 'sign'"):
        acquisition_scores(table, "focus:pixels", focus="signs")


def test_regions_count_for_their_majority_class() -> None:
    options = {"table": "regions", "classes": CLASSES}
    focused = acquisition_scores(REGIONS, "focus:difficulty", focus="sign", **options)
    assert focused.tolist() == [0.0, 0.25]
    balanced = acquisition_scores(REGIONS, "balanced:difficulty", **options)
    expected = [0.5 / math.log(1.27), 0.25 / math.log(1.77)]
    np.testing.assert_allclose(balanced, expected, rtol=1e-15)
    bound = bind("balanced:difficulty", **options)
    assert bound.totals(REGIONS).tolist() == [10, 0, 30]
    assert bound.class_shares(REGIONS, bound.totals(REGIONS)) is None


@pytest.mark.parametrize(
    ("classes", "match"), [(None, "and none were given"), (["road"], "only 1 were given")]
)
@pytest.mark.parametrize("name", ["balanced:difficulty", "focus:difficulty"])
def test_regions_by_class_need_the_class_names(
    name: str, classes: list[str] | None, match: str
) -> None:
    options = {"focus": "road"} if name.startswith("focus:") else {}
    with pytest.raises(UsageError, match=match if name.startswith("bal") or classes else "focus"):
        acquisition_scores(REGIONS, name, table="regions", classes=classes, **options)


def test_lists_of_different_lengths_are_refused() -> None:
    table = pa.table({"n_pixels": [3, 3], "class_pixels": [[1, 2], [1, 1, 1]]})
    with pytest.raises(ResultsError, match="class_pixels holds lists of 2 and of 3 values"):
        acquisition_scores(table, "focus:pixels", focus="a", classes=["a", "b"])


@pytest.mark.parametrize("tail", [0, -0.1, 1.5, math.nan, math.inf, "5%", []])
def test_tails_that_make_no_sense_are_usage_errors(tail: object) -> None:
    with pytest.raises(UsageError, match="tail must be a"):
        bind("tail:entropy", tail=tail)
