"""A scored pool with all that a page has to cope with, and one browser for all tests."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import deal
from tests.helpers.browser import launched

if TYPE_CHECKING:
    from playwright.sync_api import Browser

DEMO = Path(str(files("deal") / "demo"))
SCRIPT = "<script>document.title='owned'</script>.jpg"
"""A file name that would run, were it ever taken for HTML; a / in it is a folder."""


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with launched() as found:
        yield found


@pytest.fixture(scope="session")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen images of two drives, one of them twice, and two that are damaged; five selected."""
    folder = tmp_path_factory.mktemp("viewed")
    images = folder / "images"
    images.mkdir()
    lines = []
    for number, path in enumerate(sorted((DEMO / "pool").glob("*.jpg"))[:16]):
        name = SCRIPT if number == 5 else f"day/{path.name}"
        drive = "drive <b>one</b>" if number < 8 else "drive two"
        lines.append([name, drive, number % 8, "front" if number % 2 else "rear", f"t{number % 3}"])
        target = images / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    (images / "day" / "twin.jpg").write_bytes((images / SCRIPT).read_bytes())
    (images / "day" / "cut.jpg").write_bytes((images / SCRIPT).read_bytes()[:2000])
    (images / "day" / "empty.png").write_bytes(b"")
    lines += [[f"day/{name}", "drive two", 20 + i, "front", ""] for i, name in enumerate(_ODD)]
    manifest = folder / "pool.csv"
    with manifest.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["uri", "id", "sequence", "timestamp_ns", "camera", "time of day"])
        for name, drive, second, camera, light in lines:
            stamp = 1_700_000_000_000_000_000 + second * 1_000_000_000
            writer.writerow([images / name, name, drive, stamp, camera, light])
    deal.score_pool(
        manifest, model=DEMO / "model.onnx", output=folder / "scored", budget=5, max_errors=None
    )
    return folder / "scored"


_ODD = ("twin.jpg", "cut.jpg", "empty.png")


@pytest.fixture(scope="session")
def page(scored: Path) -> Path:
    """The page of that pool."""
    found = deal.view(scored, output=scored.parent / "pool.html")
    assert found is not None
    return found
