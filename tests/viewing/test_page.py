"""The page holds everything, runs only its own program, and takes no text for HTML."""

from __future__ import annotations

import html
import json
import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deal.viewing.page import build, program, style

STATIC = Path(str(files("deal.viewing"))) / "static"


class Parsed(HTMLParser):
    """Elements with attributes, and the text of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {"script": [], "style": [], "title": []}
        self._inside = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag if tag in self.texts else ""
        if self._inside:
            self.texts[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.texts[self._inside][-1] += data


def page_of(**head: Any) -> str:
    return build({"title": "a title", **head}, "AAAA", [b"picture"])


def test_the_policy_allows_this_program_and_this_style_alone() -> None:
    parsed = Parsed(page_of())
    policy = next(
        attributes["content"] or ""
        for tag, attributes in parsed.elements
        if attributes.get("http-equiv") == "Content-Security-Policy"
    )
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    (css,), program_text = parsed.texts["style"], parsed.texts["script"][-1]
    for name, text in (("style-src", css), ("script-src", program_text)):
        digest = b64encode(sha256(text.encode()).digest()).decode()
        assert rules[name] == f"'sha256-{digest}'"
    assert rules["default-src"] == "'none'"
    assert rules["base-uri"] == rules["form-action"] == "'none'"
    assert "unsafe" not in policy
    assert "http:" not in policy


def test_a_page_with_a_server_may_ask_that_server_for_pictures() -> None:
    served = html.unescape(build({"title": ""}, "", [], served=True))
    assert "img-src blob: data: 'self';" in served
    assert "img-src blob: data:;" in html.unescape(page_of())


def test_nothing_comes_from_outside() -> None:
    parsed = Parsed(page_of())
    for tag, attributes in parsed.elements:
        if tag == "link":
            assert attributes["rel"] == "icon"
            assert (attributes["href"] or "").startswith("data:image/svg+xml,")
            continue
        assert tag not in ("iframe", "object", "embed", "base", "img"), tag
        assert not {"src", "action", "style"} & set(attributes), (tag, attributes)
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
        assert (attributes.get("href") or "#").startswith("#")
    assert "@import" not in style()
    assert "url(" not in style()


def test_the_program_never_writes_html() -> None:
    text = program()
    words = ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(")
    assert [word for word in words if word in text] == []
    assert not re.search(r"\b(fetch|XMLHttpRequest|WebSocket|EventSource|sendBeacon)\b\(", text)
    assert not re.search(r"https?://", text)


def test_the_modules_become_one_program_in_the_order_of_their_imports() -> None:
    text = program()
    assert not re.search(r"^(import|export) ", text, re.M)
    defined = re.findall(r"^(?:async )?(?:function|class|const|let) (\w+)", text, re.M)
    assert len(defined) == len(set(defined)), "two modules define one name"
    for path in STATIC.glob("*.js"):
        assert len(path.read_text().splitlines()) < 400, path.name
        for names in re.findall(r"^import \{([^}]+)\}", path.read_text(), re.M):
            assert {name.strip() for name in names.split(",")} <= set(defined), path.name


def test_every_file_of_the_page_is_shipped() -> None:
    used = {"page.html"} | {f"{name}.css" for name in re.findall(r"\w+", _styles())}
    found = {path.name for path in STATIC.iterdir()}
    assert {name for name in found if not name.endswith(".js")} == used
    setup = (Path(__file__).parents[2] / "setup.py").read_text()
    assert '"deal.viewing": ["static/*"]' in setup
    assert '"look.css"' in setup


def _styles() -> str:
    source = (STATIC.parent / "page.py").read_text()
    match = re.search(r"^_STYLES = \((.*)\)$", source, re.M)
    assert match is not None
    return match[1]


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_no_text_ends_the_element_it_stands_in(text: str) -> None:
    hard = f"{text}</script><script>alert(1)</script><!--<style>{text}"
    parsed = Parsed(page_of(title=hard, ids=[hard]))
    assert [tag for tag, _ in parsed.elements].count("script") == 4
    assert json.loads(parsed.texts["script"][0])["ids"] == [hard]


def test_a_title_is_text() -> None:
    assert Parsed(page_of(title="<b>&</title>")).texts["title"] == ["<b>&</title>"]


def test_numbers_that_are_none_are_refused_before_they_break_the_page() -> None:
    with pytest.raises(ValueError, match="JSON"):
        page_of(value=float("nan"))
