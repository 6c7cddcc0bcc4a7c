"""Users' own acquisition functions, from files, modules and installed packages."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import deal
from deal.acquisitions import (
    acquisition,
    acquisition_names,
    acquisition_scores,
    load_plugin,
    registry,
)
from deal.errors import UsageError

SOURCE = """
import deal

@deal.acquisition("{name}", requires=["boundary_pixels", "n_pixels"])
def density(columns, *, power: float = 1.0):
    return (columns["boundary_pixels"] / columns["n_pixels"]) ** power
"""
COLUMNS = {"boundary_pixels": np.array([1, 3]), "n_pixels": np.array([4, 4])}


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget afterwards what a test registers and imports."""
    before, modules = registry.registered(), set(sys.modules)
    yield
    registry._REGISTRY.clear()
    registry._REGISTRY.update(before)
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_file_adds_its_functions_with_their_options(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.py", SOURCE.format(name="density"))
    assert load_plugin(path) == ("density",)
    assert "density" in acquisition_names()
    assert acquisition_scores(COLUMNS, "density").tolist() == [0.25, 0.75]
    assert acquisition_scores(COLUMNS, "density", acquisition_options={"power": "2"}).tolist() == [
        0.0625,
        0.5625,
    ]
    with pytest.raises(UsageError, match="power must be a number, not 'two'"):
        acquisition_scores(COLUMNS, "density", acquisition_options={"power": "two"})


def test_loading_twice_is_harmless_however_it_is_spelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "twice.py", SOURCE.format(name="density"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for spelled in (path, "twice.py", "./twice.py", "twice", "twice"):
        assert load_plugin(spelled) == ("density",)


def test_a_module_is_imported_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "package").mkdir()
    write(tmp_path / "package" / "functions.py", SOURCE.format(name="density"))
    monkeypatch.syspath_prepend(tmp_path)
    assert load_plugin("package.functions") == ("density",)
    with pytest.raises(UsageError, match=r"no plugin module package\.other: install its package"):
        load_plugin("package.other")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("def (", "fails to load .SyntaxError"),
        ("import no_such_thing", "fails to load .ModuleNotFoundError: .*no_such_thing.*: repair"),
        ("1 / 0", "fails to load .ZeroDivisionError"),
        ("x = 1", r"registers no acquisition function: decorate one with @deal\.acquisition"),
        (SOURCE.format(name="entropy"), "'entropy' is already registered: choose another name"),
        (SOURCE.format(name="density") + "1 / 0", "fails to load"),
    ],
)
def test_a_plugin_that_is_no_good_is_refused_and_leaves_nothing(
    tmp_path: Path, text: str, match: str
) -> None:
    path = write(tmp_path / "bad.py", text)
    names = acquisition_names()
    for _ in range(2):
        with pytest.raises(UsageError, match=rf"plugin .*bad\.py.*{match}"):
            load_plugin(path)
    assert acquisition_names() == names


def test_a_plugin_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no plugin file .*gone\.py: give an existing \.py file"):
        load_plugin(tmp_path / "gone.py")
    with pytest.raises(UsageError, match=r"no plugin module gone: install .* path of a \.py file"):
        load_plugin("gone")


@pytest.mark.parametrize("given", [{"requires": "entropy_mean"}, {"tables": "images"}])
def test_one_text_is_no_list_of_names(given: dict[str, str]) -> None:
    options: dict[str, Any] = {"requires": ["entropy_mean"], **given}
    ((what, name),) = given.items()
    with pytest.raises(UsageError, match=rf"{what} is a list of names: give \['{name}'\]"):
        acquisition("one-text", **options)
    assert "one-text" not in acquisition_names()


def test_functions_of_two_plugins_do_not_share_a_name(tmp_path: Path) -> None:
    load_plugin(write(tmp_path / "one.py", SOURCE.format(name="density")))
    with pytest.raises(UsageError, match=r"plugin .*two\.py: .*'density' is already registered"):
        load_plugin(write(tmp_path / "two.py", SOURCE.format(name="density")))


def test_an_installed_package_is_found_by_its_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "installed_functions.py", SOURCE.format(name="density"))
    monkeypatch.syspath_prepend(tmp_path)
    point = EntryPoint("mine", "installed_functions", "deal.acquisition")
    asked = []
    monkeypatch.setattr(
        "importlib.metadata.entry_points", lambda group: asked.append(group) or [point]
    )
    assert acquisition_scores(COLUMNS, "density").tolist() == [0.25, 0.75]
    assert asked == ["deal.acquisition"]
    with pytest.raises(UsageError, match=r"no acquisition function 'densty'.*mean 'density'"):
        acquisition_scores(COLUMNS, "densty")


def test_a_broken_installed_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("mine", "no_such_package.functions", "deal.acquisition")
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [point])
    with pytest.raises(UsageError, match="plugin mine of the installed package no_such_package"):
        acquisition_scores(COLUMNS, "density")
    assert deal.acquisition_scores({"entropy_mean": np.ones(1)}, "entropy").tolist() == [1.0]
