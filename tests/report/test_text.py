"""Names in Markdown and HTML: nothing of them is markup, ends a table or moves the cursor."""

from __future__ import annotations

import html
import re

import pytest

from deal.report.html_page import blocks, page
from deal.report.markdown import code, name, table

NAMES = [
    "plain_name.jpg",
    "a|b",
    "a\\|b",
    "ends with \\",
    "`tick`",
    "``two",
    "*star*",
    "<script>alert(1)</script>",
    "[text](http://x)",
    "a & b",
    "\\*",
]


@pytest.mark.parametrize("text", NAMES)
def test_a_name_is_what_the_page_shows(text: str) -> None:
    rows = [["x", name(text), code(text)], [name(text), "y", "z"]]
    (block,) = blocks("\n".join(table(["", "name", "code"], rows)))
    cells = [
        html.unescape(re.sub("<code>(.*)</code>", r"\1", cell))
        for cell in re.findall("<td>(.*?)</td>", block)
    ]
    assert cells == ["x", text, text, text, "y", "z"]
    assert "<script" not in block


@pytest.mark.parametrize("shown", [name, code])
def test_control_characters_of_a_name_are_escaped(shown: object) -> None:
    assert callable(shown)
    text = shown("a\nb\x1b[2J\u202e")
    assert text.isprintable()


def test_a_page_needs_no_other_file_and_escapes_its_title() -> None:
    text = page("<b>", blocks("# Title\n\nText with *stress* and `code`.\n\n- one\n- two"))
    assert "<title>&lt;b&gt;</title>" in text
    assert "<p>Text with <em>stress</em> and <code>code</code>.</p>" in text
    assert "<ul>\n<li>one</li>\n<li>two</li>\n</ul>" in text
    assert "src=" not in text
    assert "href=" not in text
