"""What the site needs beside the files in this folder; `mkdocs.yml` names it.

Documents are written for the repository: they link to files in it, wherever these lie. In the site
a link to a document leads to its page, and one to any other file is the name of that file.
"""

import posixpath
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from xml.etree.ElementTree import Element

from markdown import Markdown
from markdown.extensions import Extension
from markdown.treeprocessors import Treeprocessor
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from nbconvert import MarkdownExporter

ROOT = Path(__file__).parents[1]
DOCS = "docs"
# Documents of the root, as pages of the same name.
OF_ROOT = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
HOME = {"README.md": "index.md", "docs": "index.md"}
DECISIONS = "decisions/index.md"
EXAMPLES = "examples"
REFERENCE = "<!-- reference of dgl_rsis.api and dgl_rsis.results -->"
MODULES = ("dgl_rsis.api", "dgl_rsis.results")


def place_of(path: str) -> str | None:
    """The page or file of the site that shows a file of the repository; None where none does.

    Args:
        path: from the root of the repository, of a file or folder, with `/`.
    """
    path = path.rstrip("/")
    if path in HOME:
        return HOME[path]
    if path in OF_ROOT:
        return path
    folder, _, inside = path.partition("/")
    if folder == EXAMPLES and inside.endswith(".ipynb"):
        return f"{path.removesuffix('.ipynb')}.md"
    if folder != DOCS:
        return None
    if inside == "decisions":
        return DECISIONS
    return inside if (ROOT / path).is_file() else None


def source_of(uri: str) -> str:
    """The file of the repository that a page of the site shows: the other way round."""
    if uri in OF_ROOT:
        return uri
    if uri.startswith(f"{EXAMPLES}/"):
        return f"{uri.removesuffix('.md')}.ipynb"
    return f"{DOCS}/{uri}"


class Links(Treeprocessor):
    """Links of the repository as links of the site.

    Attributes:
        uri: of the page that is read.
    """

    uri = ""

    def run(self, root: Element) -> None:
        """Change the links of a page, before MkDocs looks where they lead."""
        for link in root.iter("a"):
            if target := link.get("href"):
                self._change(link, target)

    def _change(self, link: Element, target: str) -> None:
        parts = urlsplit(target)
        if parts.scheme or parts.netloc or not parts.path:
            return
        folder = posixpath.dirname(source_of(self.uri))
        path = posixpath.normpath(posixpath.join(folder, parts.path))
        there = place_of(path)
        if there is None:
            if not (ROOT / path).exists():
                return  # MkDocs says so
            link.tag = "span"
            link.attrib = {"title": path}
            return
        anchor = f"#{parts.fragment}" if parts.fragment else ""
        link.set("href", posixpath.relpath(there, posixpath.dirname(self.uri)) + anchor)


class LinksExtension(Extension):
    """`Links` for Python-Markdown, between its own processors and MkDocs' (priority 0)."""

    def __init__(self) -> None:
        super().__init__()
        self.links = Links()

    def extendMarkdown(self, md: Markdown) -> None:
        """Register it."""
        md.treeprocessors.register(self.links, "links", 5)


EXTENSION = LinksExtension()


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add `Links`."""
    config.markdown_extensions.append(EXTENSION)  # type: ignore[arg-type]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the documents of the root, the list of decisions, and notebooks as pages."""
    for name in OF_ROOT:
        text = (ROOT / name).read_text("utf-8")
        files.append(File.generated(config, name, content=text))
    files.append(File.generated(config, DECISIONS, content=decisions(ROOT / DOCS / "decisions")))
    for path in sorted((ROOT / EXAMPLES).glob("*.ipynb")):
        text, pictures = notebook(path)
        files.append(File.generated(config, f"{EXAMPLES}/{path.stem}.md", content=text))
        for name, data in pictures.items():
            files.append(File.generated(config, f"{EXAMPLES}/{name}", content=data))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Note which page is read, and put the docstrings where it asks for them."""
    EXTENSION.links.uri = page.file.src_uri
    docstrings = "\n".join(["## Reference\n", *(f"::: {module}" for module in MODULES)])
    return markdown.replace(REFERENCE, docstrings)


def decisions(folder: Path) -> str:
    """A page that lists the decisions of a folder, the newest first."""
    lines = ["# Decisions", "", "Why it is so and not otherwise; the newest first.", ""]
    for path in sorted(folder.glob("[0-9]*.md"), reverse=True):
        title = path.read_text("utf-8").partition("\n")[0].removeprefix("# ")
        number, _, name = title.partition(". ")
        lines.append(f"- {number}: [{name}]({path.name})")
    return "\n".join(lines) + "\n"


def notebook(path: Path) -> tuple[str, dict[str, bytes]]:
    """A notebook as Markdown, and its pictures by file name."""
    exporter = MarkdownExporter()
    names = {"unique_key": path.stem, "output_files_dir": f"{path.stem}-files"}
    text, resources = exporter.from_filename(str(path), {**names, "metadata": {}})
    return text, dict(resources["outputs"])
