"""Brings pages from outside docs/ into the site, and refuses what a reader's browser would load from elsewhere.

MkDocs calls the functions that begin with `on_` while it builds the site; mkdocs.yml names this file.
"""

import json
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent

PAGES = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "bench/README.md": "benchmarks.md",
    "features/README.md": "feature-files.md",
}
"""Pages outside docs/ by their path in the repository, and their path in the site."""

EXAMPLES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "examples").iterdir() if path.is_file())
"""Files that pages link to; notebooks among them become pages too."""

OTHERS = "How-tos"
"""Section of the pages that the navigation in mkdocs.yml doesn't name."""

LINK = re.compile(r"\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!\w+:|#)([^)\s#]+)(#[^)\s]*)?\)")
LOADED = re.compile(r"<(?:script|img|iframe|source|video|audio)\b[^>]*\bsrc=\"?(?:https?:)?//[^\s\">]+")
STYLED = re.compile(r"<link\b[^>]*\brel=\"?(?:stylesheet|preconnect|preload)\b[^>]*\bhref=\"?(?:https?:)?//[^\s\">]+")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages and examples that lie outside docs/."""
    for path, address in PAGES.items():
        files.append(File.generated(config, address, abs_src_path=str(ROOT / path)))
    for path in EXAMPLES:
        files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
        if path.endswith(".ipynb"):
            files.append(File.generated(config, _page_of(path), content=_notebook(ROOT / path)))
    named = set(_addresses(config.nav))
    others = [file.src_uri for file in files.documentation_pages() if file.src_uri not in named]
    for section in config.nav or ():
        if OTHERS in section:
            section[OTHERS] += sorted(others)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links by the repository's paths into links by the site's; a file that isn't in the site gets no link."""
    address = page.file.src_uri
    sources = {site: path for path, site in PAGES.items()}
    folder = posixpath.dirname(sources.get(address, f"docs/{address}"))
    if address.startswith("examples/"):
        folder = "examples"

    def lead(match: re.Match[str]) -> str:
        words, target, anchor = match.groups()
        path = posixpath.normpath(posixpath.join(folder, target))
        site = PAGES.get(path) or (_page_of(path) if path in EXAMPLES else path.removeprefix("docs/"))
        if files.get_file_from_path(site) is None:
            if path.startswith("docs/"):
                return match[0]  # MkDocs itself warns of it
            return words
        return f"[{words}]({posixpath.relpath(site, posixpath.dirname(address) or '.')}{anchor or ''})"

    return LINK.sub(lead, markdown)


def on_post_build(config: MkDocsConfig) -> None:
    """Refuse a page that loads something from another server.

    Raises:
        PluginError: A page does.
    """
    for path in Path(config.site_dir).rglob("*.html"):
        html = path.read_text(encoding="utf-8")
        for loaded in (*LOADED.findall(html), *STYLED.findall(html)):
            raise PluginError(f"{path} loads {loaded} from elsewhere: put the file into docs/.")


def _addresses(nav: Any) -> list[str]:
    """Return the paths of all pages in a navigation."""
    if isinstance(nav, str):
        return [nav]
    items = nav.values() if isinstance(nav, dict) else nav or ()
    return [address for item in items for address in _addresses(item)]


def _page_of(path: str) -> str:
    """Return the page that shows an example; a file that is no notebook is itself linked."""
    return path.removesuffix(".ipynb") + "-notebook.md" if path.endswith(".ipynb") else path


def _notebook(path: Path) -> str:
    """Return a notebook as Markdown: its texts, and its code in blocks."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    parts = []
    for cell in cells:
        source = "".join(cell["source"])
        parts.append(f"```python\n{source}\n```" if cell["cell_type"] == "code" else source)
    parts.insert(1, f'<a href="{path.name}" download>Download this notebook</a>')
    return "\n\n".join(parts) + "\n"
