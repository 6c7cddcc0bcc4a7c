"""The page in a real browser: it filters, draws, keeps and exports, and never asks the network."""

from __future__ import annotations

import csv
import re
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from deal import read_results, select, view
from tests.helpers.browser import opened
from tests.viewing.conftest import SCRIPT

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow


def kept(tab: Page) -> int:
    return int(tab.inner_text(".kept-count b"))


def cards(tab: Page) -> list[str]:
    return tab.locator("#grid .card .id").all_inner_texts()


def test_the_page_shows_the_selection_in_its_order(
    browser: Browser, page: Path, scored: Path
) -> None:
    with opened(browser, page) as tab:
        assert tab.inner_text("h1") == "5 of 17 images selected by difficulty (DS)"
        assert tab.inner_text("#tiles .tile:nth-child(4) b") == "2"
        picks = [row["id"] for row in read_selection(scored)]
        folded = tab.evaluate("deal.selectedRows.filter((r) => deal.data.columns.stack[r]).length")
        assert cards(tab)[: 5 - folded] == [item for item in picks if item in cards(tab)]
        assert "deal" in tab.inner_text("#top .command code")


def read_selection(output: Path) -> list[dict[str, str]]:
    with (output / "selection.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_file_name_that_is_a_script_is_only_text(browser: Browser, page: Path) -> None:
    with opened(browser, page) as tab:
        tab.fill("#search", "<script>")
        assert cards(tab) == [SCRIPT]
        assert tab.title() == "5 of 17 images selected by difficulty (DS)"
        tab.click(".card")
        assert tab.inner_text("#full-id") == SCRIPT
        assert tab.evaluate("document.querySelectorAll('script').length") == 4
        assert tab.evaluate("document.querySelectorAll('#full b, #filters b').length") == 0


def test_filters_cross_and_their_counts_say_what_is_left(
    browser: Browser, page: Path, scored: Path
) -> None:
    rows = read_results(scored).to_pylist()
    with opened(browser, page) as tab:
        tab.uncheck("#fold")
        tab.get_by_role("checkbox", name="front").check()
        front = [row for row in rows if row["camera"] == "front"]
        assert kept(tab) == len(front)
        failed = tab.get_by_role("checkbox", name="failed")
        count = failed.locator("xpath=..").locator(".many")
        assert count.inner_text() == str(sum(row["status"] == "error" for row in front))
        failed.check()
        assert kept(tab) == sum(row["status"] == "error" for row in front)
        tab.click("text=Clear all")
        assert kept(tab) == len(rows)


def test_a_share_of_a_class_filters(browser: Browser, page: Path, scored: Path) -> None:
    rows = read_results(scored, status="ok").to_pylist()
    with opened(browser, page) as tab:
        names = tab.evaluate("deal.data.head.classes")
        number = names.index("building")
        tab.click("text=Share of a class")
        tab.select_option("details form select", label="building")
        tab.fill("details form input", "20")
        tab.click("details form button")
        shares = [row["class_pixels"][number] / sum(row["class_pixels"]) for row in rows]
        assert kept(tab) == sum(share >= 0.2 for share in shares)
        tab.click("button[aria-label^='Remove the filter']")
        assert kept(tab) == tab.evaluate("deal.data.rows")


def test_a_brush_over_the_histogram_filters_by_score(
    browser: Browser, page: Path, scored: Path
) -> None:
    scores = [row["difficulty_mean"] for row in read_results(scored, status="ok").to_pylist()]
    with opened(browser, page) as tab:
        box = tab.locator("canvas.histogram").first.bounding_box()
        assert box is not None
        y = box["y"] + box["height"] / 2
        tab.mouse.move(box["x"] + box["width"] / 2, y)
        tab.mouse.down()
        tab.mouse.move(box["x"] + box["width"] + 5, y, steps=4)
        tab.mouse.up()
        middle = (min(scores) + max(scores)) / 2
        assert kept(tab) == sum(score >= middle for score in scores)
        low = tab.get_by_label("Score: difficulty (DS), least")
        low.fill("0")
        low.press("Enter")
        assert kept(tab) == len(scores)
        tab.click("text=Clear >> visible=true")
        assert kept(tab) == tab.evaluate("deal.data.rows")


def pixel_sum(tab: Page) -> int:
    found = tab.evaluate(
        "(() => { const c = document.querySelector('.card canvas'); const d = c.getContext('2d')"
        ".getImageData(0, 0, c.width, c.height).data; return d.reduce((a, b) => a + b, 0); })()"
    )
    return int(found)


def test_the_overlay_switch_changes_what_is_drawn(browser: Browser, page: Path) -> None:
    with opened(browser, page) as tab:
        sums = {}
        for overlay in ("none", "difficulty", "entropy", "classes", "regions"):
            tab.click(f"#overlays button[value={overlay}]")
            tab.wait_for_timeout(250)
            sums[overlay] = pixel_sum(tab)
        assert len(set(sums.values())) == 5
        tab.keyboard.press("o")
        assert tab.get_attribute("#overlays button[value=none]", "aria-pressed") == "true"
        tab.click("#overlays button[value=classes]")
        legend = tab.inner_text("#overlay-key")
        assert "road" in legend
        assert "sky" in legend


def test_a_lasso_on_the_map_filters(browser: Browser, page: Path) -> None:
    with opened(browser, page) as tab:
        tab.click("#tab-map")
        x, y = tab.evaluate("[...deal.map.x].map((v, i) => [v, deal.map.y[i]])[0]")
        assert 0 <= x <= 1
        assert 0 <= y <= 1
        box = tab.locator("#map").bounding_box()
        assert box is not None
        center = tab.evaluate("deal.map.outward(deal.map.x[0], deal.map.y[0])")
        corners = [(-12, -12), (12, -12), (12, 12), (-12, 12), (-12, -12)]
        points = [(box["x"] + center[0] + dx, box["y"] + center[1] + dy) for dx, dy in corners]
        tab.mouse.move(*points[0])
        tab.mouse.down()
        for point in points[1:]:
            tab.mouse.move(*point, steps=3)
        tab.mouse.up()
        inside = tab.evaluate(
            "[...deal.map.x].filter((v, i) => { const [x, y] = deal.map.outward(v, deal.map.y[i]);"
            f" return Math.abs(x - {center[0]}) < 12 && Math.abs(y - {center[1]}) < 12; }}).length"
        )
        assert 1 <= kept(tab) == inside < tab.evaluate("deal.data.rows")
        tab.locator("#map").press("Escape")
        assert kept(tab) == tab.evaluate("deal.data.rows")
        for key in ("ArrowUp", *["+"] * 12, "Enter"):
            tab.locator("#map").press(key)
        assert tab.evaluate("deal.filters.active.has('lasso')")


def test_keys_go_through_the_images_and_fill_the_basket(browser: Browser, page: Path) -> None:
    with opened(browser, page) as tab:
        tab.keyboard.press("j")
        first = tab.evaluate("document.activeElement.dataset.row")
        tab.keyboard.press("j")
        second = tab.evaluate("document.activeElement.dataset.row")
        assert second != first
        tab.keyboard.press("k")
        assert tab.evaluate("document.activeElement.dataset.row") == first
        tab.keyboard.press("x")
        assert tab.inner_text("#basket-count") == "4"
        assert "refused" in (tab.get_attribute(f".card[data-row='{first}']", "class") or "")
        tab.keyboard.press("End")
        tab.keyboard.press("s")
        assert tab.inner_text("#basket-count") == "5"
        tab.keyboard.press("Home")
        tab.keyboard.press("Enter")
        assert tab.is_visible("#full")
        shown = tab.inner_text("#full-id")
        tab.keyboard.press("j")
        assert tab.inner_text("#full-id") != shown
        tab.keyboard.press("Escape")
        assert not tab.is_visible("#full")
        assert tab.evaluate("document.activeElement.className").startswith("card")
        tab.keyboard.press("/")
        assert tab.evaluate("document.activeElement.id") == "search"


def test_every_control_can_be_reached_and_has_a_name(browser: Browser, page: Path) -> None:
    with opened(browser, page) as tab:
        nameless = tab.evaluate(
            "[...document.querySelectorAll('button, input, select, [tabindex]')].filter((e) =>"
            " e.offsetParent && !e.hidden && !(e.textContent.trim() || e.ariaLabel ||"
            " e.closest('label')?.textContent.trim())).map((e) => e.outerHTML)"
        )
        assert nameless == []
        seen = set()
        for _ in range(40):
            tab.keyboard.press("Tab")
            seen.add(tab.evaluate("document.activeElement.id || document.activeElement.className"))
        assert {"help-open", "search", "tab-images", "sort", "direction"} <= seen


def exported(tab: Page, name: str) -> str:
    with tab.expect_download() as download:
        tab.click(f"text=Download {name}")
    return Path(download.value.path()).read_text(encoding="utf-8")


def test_the_basket_is_kept_and_what_it_exports_deal_select_reads(
    browser: Browser, page: Path, scored: Path, tmp_path: Path
) -> None:
    with opened(browser, page, accept_downloads=True) as tab:
        tab.keyboard.press("j")
        tab.keyboard.press("j")
        refused = tab.evaluate("deal.data.text('id')[deal.grid.row]")
        tab.keyboard.press("x")
        tab.keyboard.press("/")
        tab.keyboard.type("<script>")
        tab.keyboard.press("Escape")
        tab.evaluate("document.activeElement.blur()")
        held = tab.evaluate("deal.basket.has(deal.grid.row)")
        if not held:
            tab.click(".card .hold")
        tab.reload()
        tab.wait_for_selector("html[data-ready]")
        tab.click("#tab-basket")
        wanted = tab.evaluate("deal.basket.rows().map((row) => deal.data.text('id')[row])")
        (tmp_path / "picked.csv").write_text(exported(tab, "picked.csv"), encoding="utf-8")
        (tmp_path / "rejected.csv").write_text(exported(tab, "rejected.csv"), encoding="utf-8")
        line = tab.inner_text("#basket .command code")
    assert SCRIPT in wanted
    assert refused not in wanted
    again = select(
        scored,
        include=tmp_path / "picked.csv",
        exclude=tmp_path / "rejected.csv",
        budget=len(wanted),
    )
    assert set(again.ids) == set(wanted)
    rows = list(csv.DictReader(StringIO((tmp_path / "picked.csv").read_text(encoding="utf-8"))))
    uris = {row["id"]: row["uri"] for row in read_results(scored).to_pylist()}
    assert {row["id"]: row["uri"] for row in rows} == {item: uris[item] for item in wanted}
    assert "--include picked.csv --exclude rejected.csv" in line


def test_a_cell_that_a_spreadsheet_would_run_is_guarded(
    browser: Browser, page: Path, tmp_path: Path
) -> None:
    from deal.selection.rules import read_id_lists

    hard = ["=1+1", "'=x", "-a", 'say "hi", he', "line\nbreak", "plain"]
    with opened(browser, page) as tab:
        text = tab.evaluate(
            "(names) => { names.forEach((name, i) => { deal.data.text('id')[i] = name; });"
            " return deal.basket.csv(names.map((_, i) => i)); }",
            hard,
        )
    (tmp_path / "picked.csv").write_text(text, encoding="utf-8", newline="")
    assert read_id_lists([str(tmp_path / "picked.csv")]).images == set(hard)
    cells = [row["id"] for row in csv.DictReader(StringIO(text))]
    assert all(not re.match(r"[=+\-@]", cell) for cell in cells)


def test_a_browser_that_keeps_nothing_still_shows_the_page(browser: Browser, page: Path) -> None:
    with opened(browser, page) as probe:
        probe.context.add_init_script(
            "Object.defineProperty(window, 'localStorage', { get() { throw new Error('no'); } })"
        )
        probe.reload()
        probe.wait_for_selector("html[data-ready]")
        probe.keyboard.press("j")
        probe.keyboard.press("x")
        probe.click("#tab-basket")
        assert "keeps nothing" in probe.inner_text("#basket")


def test_near_duplicates_fold_and_unfold(browser: Browser, page: Path) -> None:
    with opened(browser, page) as tab:
        folded = set(cards(tab))
        assert not {"day/twin.jpg", SCRIPT} <= folded
        tab.click(".stack >> nth=0")
        assert {"day/twin.jpg", SCRIPT} <= set(cards(tab))
        assert tab.evaluate("deal.folded") is False


def test_the_full_view_tells_classes_neighbours_and_the_drive(browser: Browser, page: Path) -> None:
    with opened(browser, page) as tab:
        tab.keyboard.press("j")
        tab.keyboard.press("Enter")
        tab.wait_for_timeout(200)
        assert tab.locator("#full-legend .legend-line").count() >= 3
        assert tab.locator("#full-strip .near").count() >= 3
        assert tab.locator("#full-strip [aria-current=true]").count() == 1
        assert "Score along the drive" in (tab.get_attribute("#full-chart", "aria-label") or "")
        before = tab.inner_text("#full-id")
        tab.click("#full-strip .near:not([aria-current]) >> nth=0")
        assert tab.inner_text("#full-id") != before
        tab.click("#full-legend .legend-line >> nth=0")
        pressed = tab.locator("#full-legend .legend-line").first.get_attribute("aria-pressed")
        assert pressed == "true"


def test_failed_images_are_listed(browser: Browser, page: Path) -> None:
    with opened(browser, page) as tab:
        tab.click("#tab-failed")
        text = tab.inner_text("#failed")
        assert "2 images could not be scored" in text
        assert "day/empty.png" in text
        assert "the file is empty" in text


def test_two_rounds_say_what_moved(browser: Browser, scored: Path, tmp_path: Path) -> None:
    import shutil

    earlier = tmp_path / "round <i>one"
    shutil.copytree(scored, earlier)
    select(earlier, acquisition="entropy", budget=5).write(earlier)
    target = view([earlier, scored], output=tmp_path / "rounds.html", maps=0)
    assert target is not None
    with opened(browser, target) as tab:
        tab.click("#tab-compare")
        assert tab.inner_text("#compare h2") == "round <i>one → scored"
        assert tab.locator(".dumbbells tbody tr").count() >= 5
        tab.click("#tab-images")
        tab.select_option("#sort", "moved")
        moved = tab.evaluate("[...deal.grid.rows].map((row) => deal.moved[row])")
        known = [value for value in moved if value is not None and value == value]
        assert known == sorted(known, reverse=True)
        assert len(set(known)) > 1


def test_a_phone_shows_all_of_it_without_scrolling_sideways(browser: Browser, page: Path) -> None:
    phone = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
    with opened(browser, page, **phone) as tab:
        for name in ("images", "map", "basket", "failed"):
            tab.click(f"#tab-{name}")
            assert tab.evaluate("document.documentElement.scrollWidth") <= 390, name
        assert not tab.is_visible("#panels")
        tab.click("#filters > summary")
        assert tab.is_visible("#search")
        tab.click("#tab-images")
        assert tab.evaluate("deal.grid.columns") == 2
        tab.tap(".card")
        assert tab.is_visible("#full")
        assert tab.evaluate("document.querySelector('#full').scrollWidth") <= 390


def test_dark_follows_the_system_and_the_button(browser: Browser, page: Path) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    with opened(browser, page, color_scheme="dark") as tab:
        dark = tab.evaluate(background)
        assert sum(map(int, re.findall(r"\d+", dark)[:3])) < 150
        tab.click("#theme")
        light = tab.evaluate(background)
        assert sum(map(int, re.findall(r"\d+", light)[:3])) > 600
        tab.reload()
        tab.wait_for_selector("html[data-ready]")
        assert tab.evaluate(background) == light


def test_it_prints_on_a4_with_the_images(browser: Browser, page: Path) -> None:
    with opened(browser, page) as tab:
        tab.wait_for_selector(".sheet canvas", state="attached")
        tab.emulate_media(media="print")
        assert not tab.is_visible("#filters")
        assert tab.is_visible("h1")
        assert tab.locator(".sheet figure").count() >= 10
        width = tab.evaluate(
            "document.querySelector('.sheet figure').getBoundingClientRect().width"
        )
        assert width > 0
        data = tab.pdf(prefer_css_page_size=True)
    boxes = {tuple(map(float, box.split())) for box in re.findall(rb"/MediaBox \[([^\]]+)\]", data)}
    assert boxes
    for left, bottom, right, top in boxes:
        assert (right - left, top - bottom) == pytest.approx((595, 842), abs=1.5)


def test_an_empty_result_says_so_and_offers_the_way_back(browser: Browser, page: Path) -> None:
    with opened(browser, page) as tab:
        tab.fill("#search", "nothing has this name")
        assert kept(tab) == 0
        assert "No image" in tab.inner_text("#images-panel")
        tab.click("#images-panel button:has-text('Clear')")
        assert kept(tab) == tab.evaluate("deal.data.rows")
