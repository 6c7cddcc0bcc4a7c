"""The public surface: its names, and what importing it costs."""

from __future__ import annotations

import importlib
import inspect
import pickle
import pydoc
import subprocess
import sys
import traceback
from pathlib import Path

import pytest

import deal
import deal.acquisitions
from deal import _namesake, errors
from deal.run.config import PoolOptions
from deal.scoring.options import ScoringOptions
from tests.helpers.public import surface

GOLDEN = Path(__file__).parent / "golden" / "public.txt"

HEAVY = ("torch", "onnxruntime", "pyarrow", "PIL", "click", "rich")


def test_names_signatures_and_options_of_commands_change_only_on_purpose():
    said = "if this is meant: python -m tests.helpers.public > tests/golden/public.txt"
    assert surface() == GOLDEN.read_text(encoding="utf-8"), said


OPTIONS = [
    (deal.acquisition_scores, ({}, "de"), "level", "levels"),
    (deal.select, ([],), "budgett", "budget"),
    (deal.Scorer, ("m.onnx",), "engin", "engine"),
    (lambda *a, **k: deal.score_pool(*a, model="m", output="o", **k), ("p",), "thread", "threads"),
]


@pytest.mark.parametrize(("call", "arguments", "wrong", "right"), OPTIONS)
def test_an_unknown_option_is_refused_with_the_nearest_name(call, arguments, wrong, right):
    message = rf"has no option '{wrong}'; did you mean '{right}'\?$"
    with pytest.raises(deal.UsageError, match=message):
        call(*arguments, **{wrong: 1})


def test_an_option_near_none_points_to_the_options_of_own_functions():
    with pytest.raises(deal.UsageError, match=r"no option 'zzz'; .* go into acquisition_options"):
        deal.select([], zzz=1)


def test_an_option_is_not_given_twice():
    with pytest.raises(deal.UsageError, match="levels is given twice"):
        deal.select([], acquisition="de", levels=8, acquisition_options={"levels": 8})


def options_of(call):
    parameters = inspect.signature(call).parameters.values()
    return {p.name: p for p in parameters if p.kind is p.KEYWORD_ONLY}


def test_scoring_a_pool_takes_the_options_of_a_scorer_and_of_a_selection_with_their_defaults():
    pool, scorer = options_of(deal.score_pool), options_of(deal.Scorer)
    for name in ScoringOptions.__annotations__:
        assert pool[name] == scorer[name]
    for name, option in options_of(deal.select).items():
        assert pool[name] == option


def test_the_types_of_options_name_the_options_that_are_documented():
    own = {"model", "output", "progress"}
    assert set(PoolOptions.__annotations__) == set(options_of(deal.score_pool)) - own
    assert set(ScoringOptions.__annotations__) == set(options_of(deal.Scorer)) - {"region_score"}


@pytest.mark.parametrize(
    "call",
    [
        *(deal.score_pool, deal.ray.score, deal.Scorer, deal.BatchScorer),
        *(deal.select, deal.acquisition_scores),
    ],
)
def test_help_documents_every_option(call):
    documented = inspect.getdoc(call).partition("Parameters\n----------\n")[2]
    documented = documented.partition("\n\n")[0]
    heads = [line.partition(" : ")[0] for line in documented.splitlines() if line[0] != " "]
    names = [name for head in heads for name in head.split(", ")]
    assert names == list(inspect.signature(call).parameters)


@pytest.mark.parametrize("name", deal.__all__)
def test_every_public_name_can_be_imported_and_is_listed(name):
    assert getattr(deal, name) is not None
    assert name in dir(deal)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'scores'"):
        deal.scores  # noqa: B018


@pytest.mark.parametrize("package", [deal, deal.acquisitions])
def test_tab_completion_offers_what_can_be_imported(package):
    assert dir(package) == sorted(package.__all__)
    for name in package.__all__:
        assert getattr(package, name) is not None


def test_help_shows_the_public_names():
    text = pydoc.plain(pydoc.render_doc(deal))
    for name in set(deal.__all__) - {"__version__"}:
        assert name in text


ERRORS = [name for name in deal.__all__ if name.endswith("Error")]


def test_every_exception_is_public():
    assert set(errors.__all__) < set(ERRORS)


@pytest.mark.parametrize("name", ERRORS)
def test_a_traceback_names_an_exception_as_users_import_it(name):
    error = getattr(deal, name)
    assert f"{error.__module__}.{error.__qualname__}" == f"deal.{name}"


def test_an_exception_can_be_pickled():
    error = pickle.loads(pickle.dumps(deal.UsageError("no such name")))
    assert traceback.format_exception_only(error) == ["deal.UsageError: no such name\n"]


def test_another_package_named_deal_is_pointed_out_at_import(tmp_path, monkeypatch):
    (tmp_path / "deal-4.24.4.dist-info").mkdir()
    (tmp_path / "deal_score-1.0.dist-info").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert _namesake.namesake() == "4.24.4"
    with pytest.warns(RuntimeWarning, match=r"another package named deal \(4\.24\.4\)"):
        importlib.reload(deal)


@pytest.mark.parametrize(
    ("statement", "heavy"),
    [
        ("import deal", HEAVY),
        ("import deal; deal.score_logits", HEAVY),
        ("import deal; deal.fit_head, deal.score_pool, deal.Scorer", ("torch", "onnxruntime")),
    ],
)
def test_importing_is_light(statement, heavy):
    code = f"{statement}; import sys; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
