"""The site of these pages: `sphinx-build --fail-on-warning docs build/site` writes it.

Pages are plain Markdown that reads well where it lies. The sidebar is `index.md`: its
headings, and below each the pages that its list links to. A page that isn't there is in no
sidebar, which ends the build as any other warning does. Notebooks are run.
"""

from __future__ import annotations

import html
import re
import shutil
from pathlib import Path
from typing import Any

import schedule

ROOT = Path(__file__).parent.parent

project = "graph-schedule"
author = "the graph-schedule developers"
project_copyright = author
version = release = schedule.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "sphinx.ext.viewcode",
    "myst_nb",
    "sphinx_copybutton",
]
exclude_patterns = ["examples"]
templates_path = ["_templates"]
default_role = "py:obj"  # `name` in a docstring links to what has that name, and else is code
pygments_style, pygments_dark_style = "friendly", "monokai"

myst_heading_anchors = 4  # links to headings, as code hosts make them

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autosummary_generate = True
numpydoc_show_class_members = False  # autodoc shows them
python_maximum_signature_line_length = 88
python_use_unqualified_type_names = True

nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 120
nb_merge_streams = True

html_theme = "furo"
html_title = f"{project} {version}"
html_show_copyright = False
html_static_path = ["_static"]
html_css_files = ["narrow.css"]
html_copy_source = False
copybutton_exclude = ".linenos, .gp, .go"

#: What draws a Mermaid diagram: in the reader's browser, which shows its text without a network.
DRAWN = """<pre class="mermaid" style="background: white">
{}</pre>
<script type="module">
import mermaid from "https://cdn.jsdelivr.net/npm/mermaid@11/dist/mermaid.esm.min.mjs";
mermaid.initialize({{ theme: "neutral" }});
</script>
"""


def drawn(diagram: re.Match[str]) -> str:
    """A diagram that code hosts draw by themselves."""
    return DRAWN.format(html.escape(diagram[1]))


def with_sidebar(index: str) -> str:
    """The index and, unseen, a table of contents for each of its headings that lists pages."""
    contents = []
    for part in re.split(r"^## ", index, flags=re.MULTILINE)[1:]:
        heading, _, text = part.partition("\n")
        listed = "\n".join(line for line in text.splitlines() if line.lstrip().startswith("- "))
        if pages := dict.fromkeys(re.findall(r"\]\(([\w/-]+)\.(?:md|ipynb)\)", listed)):
            options = f":hidden:\n:caption: {heading}"
            contents.append("\n".join(["```{toctree}", options, "", *pages, "```"]))
    return "\n\n".join([index, *contents])


def read_page(app, page: str, source: list[str]) -> None:
    """Take in what lies outside this folder, and add the sidebar to the index."""
    if page == "contributing":
        app.env.note_dependency(ROOT / "CONTRIBUTING.md")
        text = (ROOT / "CONTRIBUTING.md").read_text("utf-8").replace("](docs/", "](")
        source[0] = re.sub(r"```mermaid\n(.*?)```\n", drawn, text, flags=re.DOTALL)
    source[0] = source[0].replace("](../CONTRIBUTING.md", "](contributing.md")
    if page == "index":
        source[0] = with_sidebar(source[0])


def by_name(*given: Any) -> tuple[str, str | None] | None:
    """A signature in which the table of `auto`, of functions with addresses, has its name."""
    *_, signature, returned = given
    if not signature:
        return None
    return re.sub(r"= \(Method\(.*\)(?=, head_start)", "= TABLE", signature), returned


def setup(app) -> None:
    """Called by Sphinx, before it writes a page for each name of the API reference."""
    shutil.rmtree(ROOT / "docs" / "reference", ignore_errors=True)  # also for those that are gone
    app.connect("source-read", read_page)
    app.connect("autodoc-process-signature", by_name)
