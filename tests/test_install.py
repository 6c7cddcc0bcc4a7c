"""The command that errors name to add a package: what works for this installation."""

from __future__ import annotations

from pathlib import Path

import pytest

from deal._install import pip_install


def test_an_installed_distribution_is_extended_by_its_name(tmp_path: Path) -> None:
    assert pip_install("ort", "train", root=tmp_path) == "pip install 'deal-score[ort,train]'"
    assert pip_install(root=tmp_path) == "pip install deal-score"


def test_a_checkout_is_extended_from_where_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout = tmp_path / "a b"
    checkout.mkdir()
    (checkout / "pyproject.toml").touch()
    assert pip_install("ort", root=checkout) == f"pip install '{checkout}[ort]'"
    monkeypatch.chdir(checkout)
    assert pip_install("ort", root=checkout) == "pip install '.[ort]'"
    assert pip_install(options="--force-reinstall", root=checkout) == (
        "pip install --force-reinstall ."
    )
