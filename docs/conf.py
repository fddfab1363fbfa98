"""Settings of the rendered documentation: `sphinx-build -W docs OUT`, with the extra `docs`."""

import re
import sys
from pathlib import Path

from sphinx.application import Sphinx

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path.insert(0, str(ROOT))

from comfy_fsm import __version__

project, author, version, release = "comfy-fsm", "the comfy-fsm contributors", __version__, __version__
copyright = author
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
root_doc = "index"
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"comfy-fsm {__version__}"
html_copy_source = False
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
default_role = "code"  # docstrings write `name` as pages do
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}


LINK = re.compile(r"\[([^\]]+)\]\(([^)#:\s]+)(#[^)\s]*)?\)")


def to_the_site(app: Sphinx, docname: str, source: list[str]) -> None:
    """Make of a page for a repository one for the site: its links out of docs/, its diagram, the order of the index."""
    folder = (DOCS / docname).parent

    def stays(link: re.Match[str]) -> str:
        target = (folder / link[2]).resolve()
        return link[0] if target.is_relative_to(DOCS) else f"{link[1]} (`{target.relative_to(ROOT)}`)"

    text = LINK.sub(stays, source[0])
    text = re.sub(
        r"^```mermaid\n.*?^```$",
        "```{image} ../pictures/machine.svg\n:target: ../_images/machine.svg\n```",
        text,
        flags=re.M | re.S,
    )
    source[0] = text if docname != root_doc else text + "".join(contents(text))


def contents(index: str) -> list[str]:
    """The sidebar: the links of each section of the index, in their order."""
    sections = re.split(r"^## (.*)$", index, flags=re.M)
    made = []
    for title, body in zip(["", *sections[1::2]], sections[::2], strict=True):
        pages = [link[2].rpartition(".")[0] for link in LINK.finditer(body) if "(`" not in link[0]]
        caption = f":caption: {title}\n" if title else ""
        made.append("\n```{toctree}\n:hidden:\n" + caption + "\n" + "\n".join(pages) + "\n```\n")
    return made


def without_numbers(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Facts of the protocol are cited for those who read the code."""
    lines[:] = re.sub(r" \([PFR]\d+(?:,\s[PFR]\d+)*\)", "", "\n".join(lines)).split("\n")


def setup(app: Sphinx) -> None:
    app.connect("source-read", to_the_site)
    app.connect("autodoc-process-docstring", without_numbers)
