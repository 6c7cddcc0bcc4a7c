"""A report in a real browser: what it must never do, and what it must always do."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.browser import alone

__all__ = ["check_report"]


def check_report(page: Path) -> None:
    """Open a page in Chromium: in light and dark, wide and narrow, and printed.

    It asks nothing of the network, logs no error, runs no script, fits its window, changes with
    the colour scheme, and prints its folded tables. Skips where there is no browser.
    """
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("no Chromium: apt-get install chromium")
    assert "<script" not in page.read_text(encoding="utf-8")
    alone(_look, page, api, program)


def _look(page: Path, api: Any, program: str) -> None:
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        papers = set()
        for scheme, width in (("light", 1100), ("dark", 1100), ("light", 390)):
            context = browser.new_context(
                viewport={"width": width, "height": 900}, color_scheme=scheme
            )
            tab = context.new_page()
            trouble: list[str] = []
            tab.on("console", lambda message, to=trouble: to.append(message.text))
            tab.on("pageerror", lambda error, to=trouble: to.append(str(error)))
            tab.on("request", lambda request, to=trouble: to.append(request.url))
            tab.goto(page.as_uri())
            assert trouble == [page.as_uri()]
            root = "document.documentElement"
            assert tab.evaluate(f"{root}.scrollWidth <= {root}.clientWidth"), width
            papers.add(tab.evaluate("getComputedStyle(document.body).backgroundColor"))
            if width == 1100 and scheme == "light":
                tab.emulate_media(media="print")
                hidden = (
                    "[...document.querySelectorAll('details table')].filter(t => !t.offsetHeight)"
                )
                assert tab.evaluate(f"{hidden}.length") == 0
            context.close()
        browser.close()
    assert len(papers) == 2
