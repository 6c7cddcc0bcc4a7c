"""Names that readers see."""

from __future__ import annotations

import pytest

from deal.acquisitions.labels import label
from deal.acquisitions.registry import BUILT_IN


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("ds:none", "difficulty (DS)"),
        ("ds", "difficulty (DS)"),
        ("de", "difficulty entropy (DE)"),
        ("entropy", "entropy"),
        ("ds:entropy", "difficulty × entropy (DS)"),
        ("random", "random"),
    ],
)
def test_a_function_is_called_by_what_it_measures(name, shown):
    assert label(name) == shown


def test_a_function_of_a_user_keeps_its_name():
    assert label("boundary:mine") == "boundary:mine"


def test_every_function_of_the_package_has_a_label_of_its_own():
    names = [name for names in BUILT_IN.values() for name in names]
    labels = [label(name) for name in names]
    assert len(set(labels)) == len(names)
    assert not [shown for shown in labels if ":" in shown or "-to-" in shown]
