"""Chromium for tests, and what a page must never do: err, or ask the network."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from deal.bench.view import CHROMIUM

Result = TypeVar("Result")

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

__all__ = ["alone", "launched", "opened"]


def alone(function: Callable[..., Result], *arguments: Any, **options: Any) -> Result:
    """Call a function that starts a browser of its own, while others may be open in this thread."""
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(function, *arguments, **options).result()


@contextmanager
def launched() -> Iterator[Browser]:
    """Debian's Chromium, without a screen; skips where it or playwright is missing."""
    api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=[*CHROMIUM])
        yield browser
        browser.close()


@contextmanager
def opened(browser: Browser, page: Path | str, **options: Any) -> Iterator[Page]:
    """A tab with a page that is ready; at its end, no error and no request that it did not need.

    ``options`` are those of ``new_context``; a window of 1280×900 by default.
    """
    address = page if isinstance(page, str) else page.as_uri()
    own = address if address.startswith("http") else "blob:"
    options = {"viewport": {"width": 1280, "height": 900}, **options}
    context = browser.new_context(**options)
    context.set_default_timeout(10_000)
    tab = context.new_page()
    trouble: list[str] = []
    tab.on("console", lambda message: trouble.append(f"console: {message.text}"))
    tab.on("pageerror", lambda error: trouble.append(f"error: {error}"))
    tab.on(
        "request",
        lambda request: (
            None
            if request.url == address or request.url.startswith(own)
            else trouble.append(f"request: {request.url}")
        ),
    )
    tab.goto(address)
    tab.wait_for_selector("html[data-ready]", timeout=10_000)
    yield tab
    assert not trouble, "\n".join(trouble)
    context.close()
