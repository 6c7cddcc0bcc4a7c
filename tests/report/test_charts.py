"""Charts of reports: curves that differ without colour, names that can be read, values."""

from __future__ import annotations

import itertools
import re
import xml.dom.minidom

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deal.report.charts import Curve, curve_chart, series
from deal.report.html_page import blocks, heated, page, tiles, with_figures
from deal.report.markdown import table


def drawn(curves: list[Curve]) -> xml.dom.minidom.Document:
    chart = curve_chart(
        curves,
        title="A chart",
        labels=("labeled images", "mIoU, %"),
        x_ticks=[(0.0, "0"), (1.0, "1")],
        y=(0.2, (0.0, 1.0)),
    )
    return xml.dom.minidom.parseString(chart)


def curve(name: str, end: float, index: int = 0) -> Curve:
    return Curve(name, [(0.0, 0.5), (1.0, end)], ["50 %", f"{end:.0%}"], series(index))


def test_curves_differ_by_more_than_their_colour() -> None:
    looks = [series(index) for index in range(64)]
    assert len({(look.colour, look.dash) for look in looks}) == 64
    assert len({(look.colour, look.mark) for look in looks}) == 64
    for first in range(0, 64, 8):
        assert len({look.dash for look in looks[first : first + 8]}) == 8


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_names_at_the_ends_do_not_overlap_and_keep_the_order_of_the_curves(
    ends: list[float],
) -> None:
    drawing = drawn([curve(f"m{index}", end, index) for index, end in enumerate(ends)])
    places = {
        text.firstChild.data: float(text.getAttribute("y"))
        for text in drawing.getElementsByTagName("text")
        if text.firstChild.data in {f"m{index}" for index in range(len(ends))}
    }
    order = sorted(places, key=places.__getitem__)
    assert all(places[b] - places[a] > 15 for a, b in itertools.pairwise(order))
    sorted_ends = [ends[int(name[1:])] for name in order]
    for upper, lower in itertools.pairwise(sorted_ends):
        assert upper > lower - 0.01  # a pixel is less than that
    height = float(drawing.documentElement.getAttribute("viewBox").split()[3])
    assert min(places.values()) > 0
    assert max(places.values()) < height


def test_every_point_tells_its_value_under_the_pointer() -> None:
    drawing = drawn([curve("a & b", 0.25)])
    told = [
        circle.getElementsByTagName("title")[0].firstChild.data
        for circle in drawing.getElementsByTagName("circle")
    ]
    assert told == ["a & b: 50 %", "a & b: 25%"]


def test_names_of_curves_are_no_markup() -> None:
    drawing = drawn([curve("<script>alert(1)</script>\x1b", 0.5)])
    assert not drawing.getElementsByTagName("script")


def test_cells_of_a_heat_map_keep_their_numbers() -> None:
    rows = [["`a`", "100", "7"], ["b 5 %", "50 %", "-"]]
    (plain,) = blocks("\n".join(table(["", "1", "2"], rows)))
    hot = heated(plain, numbered=True)
    cells = re.findall(r"<td[^>]*>(.*?)</td>", hot)
    assert cells == ["1 · <code>a</code>", "100", "7", "2 · b 5 %", "50 %", "-"]
    assert re.findall(r"--v:([\d.]+)", hot) == ["1.00", "0.07", "0.50"]


def test_columns_of_text_are_aligned_as_markdown_says() -> None:
    (text,) = blocks("\n".join(table(["a", "b", "c", "d"], [["1", "2", "3", "4"]], "><><")))
    assert '<table class="l2 l4">' in text


def test_tables_fold_and_a_figure_stands_before_its_table() -> None:
    rows = [[str(n), str(n)] for n in range(20)]
    markdown = "\n".join(
        [
            *("# Title", "", "- a fact", "", "## Short", "", "Text.", ""),
            *table(["x", "y"], rows[:2]),
            *("## Long", "", "AUROC:", "", *table(["x", "y"], rows)),
            *("## Drawn", "", "Text.", "", *table(["x", "y"], rows[:1]), "Left: nothing", ""),
        ]
    )
    parts = list(with_figures(blocks(markdown), {"Drawn": ["<figure>f</figure>"]}, ["<i>top</i>"]))
    assert parts.index("<i>top</i>") == parts.index("<h2>Short</h2>") - 1
    folded = [part[: part.index("</summary>")] for part in parts if part.startswith("<details")]
    assert folded == [
        "<details open><summary>Table, 2 rows",
        "<details><summary>AUROC, 20 rows",
        "<details><summary>Table, 1 row",
    ]
    assert parts[parts.index("<figure>f</figure>") + 1].startswith("<details>")
    assert parts[-1] == "<p>Left: nothing</p>"


def test_nothing_of_a_report_is_lost_by_folding() -> None:
    markdown = "Title:\n\n- one\n\nAUROC:\n\n| a |\n| --- |\n| 1 |\n\nlast:"
    text = "".join(with_figures(blocks(markdown), {}))
    for word in ("Title:", "one", "AUROC", "<td>1</td>", "last"):
        assert word in text


def test_a_page_loads_and_runs_nothing() -> None:
    text = page("<b>", [tiles([("<1>", "&")])])
    assert "default-src 'none'" in text
    assert "<b>&lt;1&gt;</b><span>&amp;</span>" in text
    assert "light-dark(" in text


@pytest.mark.parametrize("count", [1, 30])
def test_a_chart_is_as_high_as_its_names_need(count: int) -> None:
    drawing = drawn([curve(f"m{index}", 0.5, index) for index in range(count)])
    height = float(drawing.documentElement.getAttribute("viewBox").split()[3])
    assert height >= 17 * count


def test_a_long_name_is_cut_beside_its_curve_and_whole_under_the_pointer() -> None:
    name = "a method with a name of more than forty characters"
    drawing = drawn([curve(name, 0.5)])
    (shown,) = (
        text.firstChild.data
        for text in drawing.getElementsByTagName("text")
        if text.firstChild.data.startswith("a method")
    )
    assert shown == f"{name[:33]}…"
    assert name in drawing.getElementsByTagName("circle")[0].toxml()
