"""Programs of benchmarks are built in the cache, never in the checkout."""

import shutil

import pytest

from deal.bench import checkout
from deal.bench.checkout import build
from deal.errors import UsageError


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A checkout whose one program is a copy of its source."""
    root = tmp_path / "checkout"
    for folder in ("bench", "csrc", "deal"):
        (root / folder).mkdir(parents=True)
    (root / "csrc" / "a.c").write_text("one")
    recipe = "build/a: csrc/a.c\n\t@mkdir -p $(@D)\n\tcp $< $@\nbuild/bad:\n\tfalse\n"
    (root / "Makefile").write_text(recipe)
    monkeypatch.setenv("DEAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(checkout, "checkout", lambda: root)
    return root


needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


@needs_make
def test_the_checkout_stays_as_it_is(root, tmp_path):
    before = sorted(root.rglob("*"))
    program = build("build/a")
    assert program.is_relative_to(tmp_path / "cache" / "programs")
    assert program.read_text() == "one"
    assert sorted(root.rglob("*")) == before
    assert build("build/a") == program


@needs_make
def test_what_cannot_be_compiled_is_a_usage_error(root):
    with pytest.raises(UsageError, match="build/bad needs make and a C compiler"):
        build("build/bad")


def test_without_make_it_says_so(root, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UsageError, match="needs make and a C compiler: no make"):
        build("build/a")


def test_an_installed_package_has_no_sources(monkeypatch):
    monkeypatch.setattr(checkout, "checkout", lambda: None)
    with pytest.raises(UsageError, match=r"an installed package does not hold: .*pip install -e"):
        build("build/a")
