"""Makes the pictures of ``deal view`` in docs/images from generated drives and the bundled model.

Run it where Chromium and playwright are: ``python docs/screenshots.py``. It takes a minute.
"""

from __future__ import annotations

import csv
import re
import shutil
import tempfile
from contextlib import ExitStack, chdir
from dataclasses import replace
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image
from playwright.sync_api import sync_playwright

import deal
from deal.bench.view import CHROMIUM
from deal.synthetic.scenes import drives

if TYPE_CHECKING:
    from playwright.sync_api import Page

TARGET = Path(__file__).resolve().parent / "images"
MODEL = Path(str(files("deal") / "demo" / "model.onnx"))
FRAMES, BUDGET = 288, 24
MOST_BYTES = 300_000


def main() -> None:
    """Generate drives, score them, make the pages, take the pictures."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="deal-docs-")))
        stack.enter_context(chdir(folder))  # pages show the names of folders
        folder = Path()
        manifest = write_pool(folder / "drives")
        head = deal.read_spec(MODEL).difficulty_head
        assert head is not None
        # An earlier round was unsure of everything, most of all of poles, signs and people.
        weight = [w + (1.6 if n > 6 else 0.7) for n, w in enumerate(head.weight)]
        earlier = replace(head, weight=tuple(weight), bias=head.bias + 0.2)
        options: dict[str, Any] = {"model": MODEL, "budget": BUDGET}
        deal.score_pool(manifest, output=folder / "round1", difficulty_head=earlier, **options)
        deal.score_pool(manifest, output=folder / "round2", **options)
        page, rounds = folder / "pool.html", folder / "rounds.html"
        deal.view(folder / "round2", output=page)
        deal.view([folder / "round1", folder / "round2"], output=rounds)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=[*CHROMIUM]
            )
            wide = {"viewport": {"width": 1280, "height": 860}}
            phone = {
                "viewport": {"width": 390, "height": 780},
                "device_scale_factor": 2,
                "is_mobile": True,
                "has_touch": True,
            }

            def take(name: str, page: Path, steps: Any, **settings: Any) -> None:
                tab = browser.new_page(**settings)
                tab.goto(page.resolve().as_uri())
                tab.wait_for_selector("html[data-ready]")
                steps(tab)
                tab.wait_for_timeout(600)
                save(tab.screenshot(), TARGET / f"view-{name}.jpg")
                tab.close()

            take("grid", page, grid, **wide)
            take("dark", page, dark, color_scheme="dark", **wide)
            take("full", page, full, **wide)
            take("map", page, lasso, **wide)
            take("basket", page, basket, **wide)
            take("rounds", rounds, compare, **wide)
            take("phone", page, lambda tab: None, **phone)
            browser.close()


def write_pool(folder: Path) -> Path:
    """Write drives as JPEG, with a manifest that says when and by which camera."""
    folder.mkdir()
    lines = []
    for number, (name, rgb, _) in enumerate(drives("train", FRAMES)):
        Image.fromarray(rgb).save(folder / f"{name}.jpg", quality=90)
        drive, _, frame = name.rpartition("_")
        stamp = 1_700_000_000_000_000_000 + number * 1_000_000_000
        kind = drive.partition("-")[0]
        lines.append([f"{folder / name}.jpg", f"{drive}/{frame}.jpg", drive, stamp, "front", kind])
    manifest = folder.parent / "pool.csv"
    with manifest.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["uri", "id", "sequence", "timestamp_ns", "camera", "conditions"])
        writer.writerows(lines)
    return manifest


def save(picture: bytes, path: Path) -> None:
    """Save a picture as JPEG, as good as the largest file allows."""
    image = Image.open(BytesIO(picture)).convert("RGB")
    for quality in (90, 84, 78, 70, 60):
        image.save(path, quality=quality, optimize=True)
        if path.stat().st_size <= MOST_BYTES:
            break
    print(f"{path.name}: {path.stat().st_size // 1000} kB, {image.width}×{image.height}")


def grid(tab: Page) -> None:
    """The grid with the regions that carry the score."""
    tab.click("#overlays button[value=regions]")


def dark(tab: Page) -> None:
    """The grid with difficulty over it, a filter set."""
    tab.get_by_role("checkbox", name=re.compile("^selected")).check()
    tab.click("#overlays button[value=difficulty]")
    tab.evaluate("scrollTo(0, document.getElementById('body').offsetTop)")


def full(tab: Page) -> None:
    """One image of a long drive with its predicted classes."""
    tab.click("#overlays button[value=classes]")
    tab.evaluate(
        "deal.open(deal.selectedRows.find((row) => deal.data.text('id')[row].startsWith('clear')))"
    )


def lasso(tab: Page) -> None:
    """The map by sequence, with a lasso."""
    tab.click("#tab-map")
    tab.click("#map-by button:has-text('Sequence')")
    tab.evaluate("scrollTo(0, document.getElementById('body').offsetTop)")
    x, y = tab.evaluate(
        "(() => { const rows = deal.selectedRows; const mean = (v) => rows.reduce((sum, row) =>"
        " sum + v[row], 0) / rows.length; return [mean(deal.map.x), mean(deal.map.y)]; })()"
    )
    box = tab.locator("#map").bounding_box()
    assert box is not None
    corners = [(-0.16, -0.2), (0.05, -0.26), (0.2, -0.1), (0.15, 0.2), (-0.1, 0.22), (-0.2, 0.05)]
    points = [
        (box["x"] + box["width"] * (x + dx), box["y"] + box["height"] * (y + dy))
        for dx, dy in corners
    ]
    tab.mouse.move(*points[0])
    tab.mouse.down()
    for point in [*points[1:], points[0]]:
        tab.mouse.move(*point, steps=5)
    tab.mouse.up()


def basket(tab: Page) -> None:
    """The basket after some changes."""
    for key in ("j", "x", "j", "j", "x", "End", "s", "k", "s"):
        tab.keyboard.press(key)
    tab.click("#tab-basket")


def compare(tab: Page) -> None:
    """What two rounds differ in."""
    tab.click("#tab-compare")
    tab.evaluate("scrollTo(0, document.getElementById('body').offsetTop)")


if __name__ == "__main__":
    main()
