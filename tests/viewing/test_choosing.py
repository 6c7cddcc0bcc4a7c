"""Choosing in the browser: exact bounds, a basket that two tabs share, and what may be added."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.helpers.browser import opened

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.slow

SCORES = "[...deal.data.columns.score].filter((score) => !Number.isNaN(score))"


def test_a_bound_that_is_typed_leaves_the_other_where_it_is(browser: Browser, page: Path) -> None:
    with opened(browser, page) as tab:
        scores = tab.evaluate(SCORES)
        middle = sorted(scores)[len(scores) // 2]
        for bound, expected in (
            ("least", sum(score >= round(middle, 3) for score in scores)),
            ("greatest", sum(score <= round(middle, 3) for score in scores)),
        ):
            box = tab.get_by_label(f"Score: difficulty (DS), {bound}")
            box.fill(str(round(middle, 3)))
            box.press("Enter")
            assert int(tab.inner_text(".kept-count b")) == expected
            tab.reload()
            tab.wait_for_selector("html[data-ready]")


def test_the_command_of_the_basket_fills_up_what_was_rejected(browser: Browser, page: Path) -> None:
    with opened(browser, page) as tab:
        tab.keyboard.press("j")
        tab.keyboard.press("x")
        tab.click("#tab-basket")
        line = tab.inner_text("#basket .command code")
        assert tab.evaluate("deal.basket.rows().length") == 4
        assert "--budget 5 " in line
        tab.evaluate("deal.selectedRows.forEach((row) => (deal.basket.state[row] = 2))")
        tab.evaluate("deal.basket.changed()")
        assert "--budget 5 " in tab.inner_text("#basket .command code")


def test_two_tabs_share_one_basket(browser: Browser, page: Path) -> None:
    with opened(browser, page) as first:
        second = first.context.new_page()
        second.goto(page.as_uri())
        second.wait_for_selector("html[data-ready]")
        rows = first.evaluate(
            "[...deal.data.columns.pick.keys()].filter("
            "(row) => !deal.data.columns.pick[row] && deal.data.group[row] === 1).slice(0, 2)"
        )
        for tab, other, row in ((first, second, rows[0]), (second, first, rows[1])):
            tab.evaluate("(row) => deal.basket.toggle(row)", row)
            other.wait_for_function("(row) => deal.basket.has(row)", arg=row)
        for tab in (first, second):
            assert [tab.evaluate("(row) => deal.basket.has(row)", row) for row in rows] == [
                True
            ] * 2
        first.reload()
        first.wait_for_selector("html[data-ready]")
        assert first.evaluate("(row) => deal.basket.has(row)", rows[1])


def test_images_that_the_page_does_not_hold_stay_in_the_basket(
    browser: Browser, page: Path
) -> None:
    with opened(browser, page) as tab:
        tab.evaluate(
            "localStorage.setItem(deal.basket.key,"
            " JSON.stringify({ added: ['elsewhere'], out: [] }))"
        )
        tab.reload()
        tab.wait_for_selector("html[data-ready]")
        tab.evaluate("deal.basket.toggle(deal.grid.row)")
        kept = tab.evaluate("JSON.parse(localStorage.getItem(deal.basket.key))")
        assert "elsewhere" in kept["added"]


def test_only_images_that_are_shown_are_added(browser: Browser, page: Path) -> None:
    with opened(browser, page) as tab:
        rejected = tab.evaluate("deal.grid.rows[0]")
        tab.evaluate("(row) => deal.basket.reject(row)", rejected)
        tab.click("#tab-basket")
        button = tab.get_by_role("button", name=re.compile("^Add the"))
        shown = tab.evaluate(
            "[...deal.grid.rows].filter((row) => deal.data.group[row] !== 3).length"
        )
        assert button.inner_text() == f"Add the {shown - 1} images shown"
        button.click()
        assert tab.evaluate("deal.basket.rejected(deal.grid.rows[0])")
        assert tab.evaluate("deal.basket.rows().every((row) => deal.data.group[row] !== 3)")
        assert tab.evaluate("deal.basket.rows().length") <= tab.evaluate(
            "new Set([...deal.grid.rows, ...deal.selectedRows]).size"
        )
