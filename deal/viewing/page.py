"""The page: one HTML file that holds style, program, columns and pictures, and fetches nothing."""

from __future__ import annotations

import html
import json
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from functools import cache
from graphlib import TopologicalSorter
from hashlib import sha256
from importlib.resources import files
from typing import Any
from urllib.parse import quote

from deal.look import look

__all__ = ["build", "program", "style"]

_STYLES = ("base", "filters", "grid", "tables", "full", "narrow")
# Four images, one of them chosen.
_ICON = "data:image/svg+xml," + quote(
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><path fill="#8aa0b2" '
    'd="M1 1h6v6H1zM9 9h6v6H9zM1 9h6v6H1z"/><path fill="#d55e00" d="M9 1h6v6H9z"/></svg>'
)
_IMPORT = re.compile(r'^import \{[^}]*\} from "\./([\w-]+)\.js";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(async )?(function|class|const|let) )", re.MULTILINE)


@cache
def style() -> str:
    """Return the style sheet: the look that reports share, then the page's own rules."""
    parts = [_static(f"{name}.css") for name in _STYLES]
    return "\n".join([look(), *parts])


@cache
def program() -> str:
    """Return the modules as one: each after those it imports, without ``import`` and ``export``."""
    names = [f.name[:-3] for f in files("deal.viewing").joinpath("static").iterdir()]
    texts = {n: _static(f"{n}.js") for n in sorted(names) if _is_script(n)}
    graph = {name: set(_IMPORT.findall(text)) for name, text in texts.items()}
    order = TopologicalSorter({n: sorted(graph[n]) for n in sorted(graph)}).static_order()
    return "\n".join(_EXPORT.sub("", _IMPORT.sub("", texts[name])) for name in order)


def build(
    head: Mapping[str, Any], columns: str, pictures: Sequence[bytes], *, served: bool = False
) -> str:
    """Make the page.

    Its policy allows this style and this program, by their hashes, and pictures that are in the
    page (and those of its own server, if it has one): nothing else is run, shown or fetched.

    Parameters
    ----------
    head : mapping
        What the page says, as JSON values.
    columns : str
        What :meth:`deal.viewing.pack.Pack.base64` gives.
    pictures : sequence of bytes
        WebP, in the order of the columns ``blob_…``.
    served : bool
        The page comes from ``deal view --serve``.
    """
    css, script = f"\n{style()}", f"\n{program()}"
    policy = "; ".join(
        [
            "default-src 'none'",
            f"script-src '{_hash(script)}'",
            f"style-src '{_hash(css)}'",
            "img-src blob: data:" + (" 'self'" if served else ""),
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
        ]
    )
    text = json.dumps(head, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    encoded = "".join(b64encode(data).decode() for data in pictures)
    return "".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
            f'<meta http-equiv="Content-Security-Policy" content="{html.escape(policy)}">\n',
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
            '<meta name="referrer" content="no-referrer">\n',
            f'<link rel="icon" href="{_ICON}">\n',
            f"<title>{html.escape(str(head['title']))}</title>\n<style>{css}</style>\n</head>\n",
            _static("page.html"),
            f'<script type="application/json" id="head">{_for_script(text)}</script>\n',
            f'<script type="text/plain" id="columns">{columns}</script>\n',
            f'<script type="text/plain" id="images">{encoded}</script>\n',
            f'<script type="module">{script}</script>\n</body>\n</html>\n',
        ]
    )


def _is_script(name: str) -> bool:
    return files("deal.viewing").joinpath("static", f"{name}.js").is_file()


def _static(name: str) -> str:
    return files("deal.viewing").joinpath("static", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


def _for_script(text: str) -> str:
    """JSON that cannot end the element it stands in, nor break a line of a program."""
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
