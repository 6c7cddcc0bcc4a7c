"""The pages: links that lead somewhere, and parts that are written from the code."""

from __future__ import annotations

import importlib.util
import inspect
import re
from pathlib import Path
from types import ModuleType

import click
import pytest

import deal
import deal.training
from deal.bench.table import main as table
from deal.cli import deal as root_command
from deal.results.schema import IMAGE_COLUMNS, REGION_COLUMNS
from tests.helpers.pages import ROOT, links

PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        ROOT / "bench/README.md",
        *ROOT.glob("models/*.md"),
    ]
)


@pytest.fixture(scope="module")
def generated() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pages_of_the_site", ROOT / "docs/pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def anchors(page: Path) -> set[str]:
    """What headings of a page are called in links, as GitHub and MyST make it."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings_that_exist(page: Path) -> None:
    for link in links(page.read_text(encoding="utf-8")):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link} leads nowhere"
        if anchor:
            assert anchor in anchors(target), f"{link} names no heading"


def test_every_page_of_the_site_is_in_a_table_of_contents() -> None:
    listed = {ROOT / "docs/index.md"}
    for page in ROOT.glob("docs/**/*.md"):
        for tree in re.findall(r"```\{toctree\}(.*?)```", page.read_text("utf-8"), re.DOTALL):
            for line in tree.splitlines():
                name = re.sub(r".*<(.+)>", r"\1", line.strip())
                if name and not name.startswith(":"):
                    listed.add((page.parent / f"{name}.md").resolve())
    assert listed == set(ROOT.glob("docs/**/*.md"))


def test_every_public_name_is_in_the_reference(generated: ModuleType) -> None:
    text = generated.api()
    for module in (deal, deal.ray, deal.results, deal.training):
        for name in module.__all__:
            if not name.startswith("__") and not inspect.ismodule(getattr(module, name)):
                full = rf":: {re.escape(module.__name__)}\.{name}$"
                assert re.search(full, text, re.MULTILINE), name


def options(command: click.Command) -> set[str]:
    own = {name for parameter in command.params for name in parameter.opts if name.startswith("-")}
    if isinstance(command, click.Group):
        context = click.Context(command)
        children = (command.get_command(context, name) for name in command.list_commands(context))
        return own.union(*(options(child) for child in children if child is not None))
    return own


def test_every_command_and_option_is_in_the_reference(generated: ModuleType) -> None:
    text = generated.commands()
    for name in root_command.list_commands(click.Context(root_command)):
        assert f"## deal {name}\n" in text
    for option in options(root_command) - {"--version"}:
        assert re.search(rf"`[^`]*{option}\b", text), option


def test_every_stored_column_is_in_the_reference(generated: ModuleType) -> None:
    images, regions = generated.columns().split("## `regions/")
    for part, table_columns in ((images, IMAGE_COLUMNS), (regions, REGION_COLUMNS)):
        assert re.findall(r"^\| `(\w+)`", part, re.MULTILINE) == list(table_columns)


@pytest.mark.parametrize("page", ["api", "cli", "stored"])
def test_generated_parts_have_their_place(generated: ModuleType, page: str) -> None:
    assert generated.MARKER in (ROOT / f"docs/reference/{page}.md").read_text(encoding="utf-8")


def test_the_figures_are_those_of_the_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert table(["--check"]) == 0, "run: python -m deal.bench.table"


def test_the_readme_is_short() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 130
    assert max(map(len, lines)) <= 120


def test_what_is_known_is_one_table() -> None:
    text = (ROOT / "docs/results/index.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ")][1:]
    assert len(rows) <= 30
    for page in ROOT.glob("docs/results/*.md"):
        assert page.name == "index.md" or f"({page.name})" in text
