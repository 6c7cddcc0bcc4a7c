"""Does a page of 100,000 rows open and filter at once, in a real browser?"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import Any

from deal.bench.child import deal_program
from deal.bench.made_up import ids, write_results
from deal.bench.report import Report, Row
from deal.bench.timing import single, spread
from deal.errors import UsageError

__all__ = ["CHROMIUM", "run"]

CHROMIUM = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""Arguments with which Chromium runs without a screen and asks nobody anything."""

_FILTERS = {
    "status": "deal.filters.set('status', (i) => deal.data.group[i] === 0)",
    "histogram": "deal.filters.set('score', (i) => deal.data.columns.score[i] > 0.4)",
    "sequence": "deal.filters.set('facet:sequence', (i) => deal.data.columns.facet0[i] < 40)",
    "share of a class": "deal.filters.set('classes', (i) => deal.data.shares[3][i] > 40)",
    "text": "(() => { const box = document.getElementById('search'); box.value = 'drive_0000';"
    " box.dispatchEvent(new Event('input')); })()",
    "lasso": "(() => { deal.map.path = Array.from({length: 60}, (_, i) => [0.5 + 0.3 * "
    "Math.cos(i / 9.55), 0.5 + 0.3 * Math.sin(i / 9.55)]); deal.map.apply(); })()",
}
_OPENED, _FILTERED, _MEGABYTES = 2.0, 50.0, 25.0


def run(
    *,
    rows: int = 100_000,
    thumbnails: int = 2000,
    rounds: int = 5,
    browser: str = "chromium",
) -> Report:
    """Make a page over made-up results, open it in headless Chromium and filter it.

    Opening counts from the start of the navigation until all is drawn and answers; filtering from
    the change until counts, histograms and grid are new, layout included; every first filter of a
    page is measured, before the browser has compiled anything twice.

    Parameters
    ----------
    rows, thumbnails : int
        Rows of the results, and images with a thumbnail.
    rounds : int
    browser : str
        The program of Chromium.

    Raises
    ------
    RuntimeError
        The page holds another number of rows, or a filter keeps other rows than NumPy counts.
    UsageError
        Playwright or Chromium is missing.
    """
    program = shutil.which(browser)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        program = None
    if program is None:
        raise UsageError(
            "this benchmark drives Chromium: apt-get install chromium, pip install playwright"
        )
    with tempfile.TemporaryDirectory(prefix="deal-bench-") as name:
        folder = Path(name)
        write_results(folder / "scored", rows)
        _write_images(folder, rows)
        deal = deal_program("deal")
        _run([deal, "select", "scored", "-o", "scored", "--budget", "1000", "--top", "0"], folder)
        page = folder / "page.html"
        words = ["view", "scored", "-o", str(page), "--rows", str(rows)]
        _run([deal, *words, "--thumbnails", str(thumbnails)], folder)
        size = page.stat().st_size
        opened: list[float] = []
        filtered: dict[str, list[float]] = {name: [] for name in _FILTERS}
        with sync_playwright() as playwright:
            running = playwright.chromium.launch(executable_path=program, args=[*CHROMIUM])
            for _ in range(rounds):
                tab = running.new_page(viewport={"width": 1280, "height": 900})
                tab.goto(page.as_uri())
                tab.wait_for_selector("html[data-ready]")
                _check(tab, rows, folder)
                opened.append(tab.evaluate(_OPENING) / 1000)
                for label, script in _FILTERS.items():
                    filtered[label].append(tab.evaluate(_TIMED.replace("SCRIPT", script)))
                    tab.evaluate("deal.clear()")
                tab.close()
            version = running.version
            running.close()
    found = [
        Row("page", single(size / 1e6), "MB", f"<= {_MEGABYTES:g}"),
        Row("open", spread(opened), "s", f"<= {_OPENED:g}"),
    ]
    found += [
        Row(
            f"filter by {label}",
            spread(values),
            "ms",
            f"<= {_FILTERED:g}",
        )
        for label, values in filtered.items()
    ]
    return Report(
        question="view",
        settings={
            "rows": rows,
            "thumbnails": thumbnails,
            "rounds": rounds,
            "browser": f"Chromium {version}",
        },
        rows=tuple(found),
    )


_OPENING = "performance.getEntriesByName('deal:open')[0].duration"
_TIMED = (
    "(() => { const start = performance.now(); SCRIPT; document.body.offsetHeight; "
    "return performance.now() - start; })()"
)


def _write_images(folder: Path, rows: int) -> None:
    """An image for every row: links to those of the bundled pool, so that each can be decoded."""
    pool = sorted(Path(str(files("deal") / "demo" / "pool")).glob("*.jpg"))
    copies = [Path(shutil.copy(path, folder / path.name)) for path in pool]
    for number, name in enumerate(ids(0, rows)):
        target = folder / name
        if number % 600 == 0 or not target.parent.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(copies[number % len(copies)])


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stderr.strip()}")


def _check(tab: Any, rows: int, folder: Path) -> None:
    """Hold what the page shows to what the results and the selection say."""
    import numpy as np

    shown = int(re.sub(r"\D", "", tab.inner_text(".kept-count b")))
    scores = np.load(folder / "scored" / "scores-ds.npy")
    tab.evaluate("deal.filters.set('score', (i) => deal.data.columns.score[i] > 0.5)")
    kept = tab.evaluate("deal.filters.passed")
    tab.evaluate("deal.clear()")
    expected = int((scores.astype(np.float32) > np.float32(0.5)).sum())
    if shown != rows or kept != expected:
        raise RuntimeError(f"the page shows {shown} rows, and {kept} above 0.5, not {expected}")
