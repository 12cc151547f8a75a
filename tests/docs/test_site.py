"""The site: every page in the navigation, links that lead on, nothing from elsewhere."""

import ast
import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import markdown
import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config

from tests.docs.reading import read
from tests.paths import ROOT

PACKAGES = ("backend", "workers", "dgl_rsis")
LOADS = {"script": "src", "img": "src", "link": "href", "source": "src", "iframe": "src"}


class Links(HTMLParser):
    """What a page loads, and where it leads."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if (target := given.get(LOADS.get(tag, ""))) and given.get("rel") != "canonical":
            self.loaded.append(target)
        if tag == "a" and (target := given.get("href")):
            self.targets.append(target)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder)))
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Links]:
    found = {}
    for path in site.rglob("*.html"):
        found[path] = Links()
        found[path].feed(path.read_text("utf-8"))
    return found


def test_nothing_is_loaded_from_elsewhere(site: Path, pages: dict[Path, Links]):
    for path, links in pages.items():
        assert [each for each in links.loaded if urlsplit(each).netloc] == [], path
    for style in site.rglob("*.css"):
        assert re.findall(r"url\(['\"]?(?:https?:)?//", style.read_text("utf-8")) == [], style


def test_links_lead_to_files_of_the_site(site: Path, pages: dict[Path, Links]):
    broken = []
    for path, links in pages.items():
        if path.name == "404.html":  # is shown at any address
            continue
        for target in links.targets + links.loaded:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc or not parts.path:
                continue
            if not (path.parent / unquote(parts.path)).exists():
                broken.append(f"{path.relative_to(site)}: {target}")
    assert broken == []


def test_documents_of_the_repository_are_pages(site: Path):
    for name in ("SECURITY", "CONTRIBUTING", "CHANGELOG", "decisions/index"):
        assert (site / f"{name}.html").is_file()
    page = (site / "DESIGN.html").read_text("utf-8")
    assert 'href="SECURITY.html"' in page
    assert 'href="index.html"' in page  # of README
    assert 'href="decisions/index.html"' in page


def test_what_the_site_has_not_is_named_and_no_link(site: Path):
    page = (site / "MODELS.html").read_text("utf-8")
    assert '<span title="starter/weights">' in page
    assert "../starter/" not in page


def test_the_docstrings_are_in_the_page_about_python(site: Path):
    page = (site / "PYTHON.html").read_text("utf-8")
    for name in ("api.segment", "api.refer", "api.refine", "results.Classes", "results.Found"):
        assert f'id="dgl_rsis.{name}"' in page


def test_a_notebook_is_a_page_with_its_pictures(site: Path):
    page = (site / "examples" / "from-image-to-geopackage.html").read_text("utf-8")
    pictures = re.findall(r'<img[^>]+src="(from-image[^"]+)"', page)
    assert len(pictures) > 2
    assert all((site / "examples" / name).stat().st_size > 1000 for name in pictures)


def test_pages_of_tasks_are_short():
    for path in (ROOT / "docs" / "tasks").glob("*.md"):
        if path.name != "trouble.md":
            assert len(path.read_text("utf-8").splitlines()) <= 50, path.name


def test_headings_have_the_anchors_of_github():
    extensions = load_config(str(ROOT / "mkdocs.yml"))
    text = "# So it is\n## Label Studio's two `switches`, of 1.23.1\n## So it is\n"
    made = markdown.Markdown(
        extensions=["toc"], extension_configs={"toc": extensions["mdx_configs"]["toc"]}
    )
    anchors = re.findall(r' id="([^"]+)"', made.convert(text))
    assert {*anchors[:2]} == read(text).anchors - {"so-it-is-1"}


# ---- what the page about trouble quotes


def test_messages_that_trouble_quotes_are_said():
    trouble = (ROOT / "docs" / "tasks" / "trouble.md").read_text("utf-8")
    quoted = re.findall("“([^”]+)”", trouble)
    assert len(quoted) > 15
    assert [each for each in quoted if not said(each)] == []


def test_a_message_that_nothing_says_is_seen():
    assert not said("the queue is fool")


def said(message: str) -> bool:
    return any(message in text for text in messages())


@cache
def messages() -> list[str]:
    """All texts of the code; of an f-string, those between its values."""
    paths = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    nodes = [node for path in paths for node in ast.walk(ast.parse(path.read_text("utf-8")))]
    texts = [node.value for node in nodes if isinstance(node, ast.Constant)]
    return [text for text in texts if isinstance(text, str)]
