"""The public surface: its names, and what importing it costs."""

from __future__ import annotations

import importlib
import pickle
import pydoc
import subprocess
import sys
import traceback

import pytest

import deal
import deal.acquisitions
from deal import _namesake, errors

HEAVY = ("torch", "onnxruntime", "pyarrow", "PIL", "click", "rich")


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


@pytest.mark.parametrize("statement", ["import deal", "import deal; deal.score_logits"])
def test_importing_is_light(statement):
    code = f"{statement}; import sys; print([m for m in {HEAVY} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
