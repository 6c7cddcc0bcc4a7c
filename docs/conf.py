"""The documentation site: ``make docs`` builds it into build/docs, and needs no network."""

from __future__ import annotations

import sys
from pathlib import Path

from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent))

import pages

from deal._version import __version__

project = "deal"
author = "the authors of deal"
project_copyright = "the authors of deal, Apache-2.0"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "numpydoc"]
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 4
suppress_warnings = ["myst.header"]  # generated parts of the results begin one level lower

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the lists of parameters have them
numpydoc_show_class_members = False

smartquotes = False  # they make one dash of the two before an option
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = f"deal {version}"
html_static_path = ["static"]
html_css_files = ["wide.css"]
html_copy_source = False
pygments_style = "friendly"
highlight_language = "text"


# Pages of other folders that the site includes: their path in the repository → page here.
INCLUDED = {"bench/README.md": "reference/bench.md", "models/README.md": "reference/models.md"}


def _fill(app: Sphinx, name: str, source: list[str]) -> None:
    """Put in what the code says of itself, and lead links to included pages."""
    if write := pages.GENERATED.get(name):
        source[0] = source[0].replace(pages.MARKER, write())
    up = "../" * name.count("/")
    for path, page in INCLUDED.items():
        source[0] = source[0].replace(f"]({up}../{path}", f"]({up}{page}")


def setup(app: Sphinx) -> None:
    """Connect the generated parts."""
    app.connect("source-read", _fill)
