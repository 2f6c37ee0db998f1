"""The documentation as a site: it is built without a complaint, and loads nothing from elsewhere."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

pytest.importorskip("mkdocs", reason="mkdocs is not installed: pip install 'voicewire[docs]'")
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


class Loads(HTMLParser):
    """What a page makes a browser load, and what it links to."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.linked: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        if "src" in given or (tag == "link" and given.get("rel") != "canonical"):
            self.loaded.append(given.get("src") or given["href"])
        elif tag == "a" and "href" in given:
            self.linked.append(given["href"])


def pages(site: Path) -> Iterator[tuple[Path, Loads]]:
    for path in sorted(site.rglob("*.html")):
        yield path, Loads(path.read_text())


def test_a_page_loads_nothing_from_elsewhere(site: Path) -> None:
    loaded = {target for _, page in pages(site) for target in page.loaded}
    assert loaded
    assert not {target for target in loaded if re.match(r"[a-z]+:|//", target)}
    styles = [path.read_text() for path in site.rglob("*.css")]
    assert not [
        found for style in styles for found in re.findall(r"(?:url\(|@import)\s*['\"]?(?:https?:)?//", style)
    ]


def test_every_link_leads_to_a_file_of_the_site(site: Path) -> None:
    broken = [
        f"{path.relative_to(site)}: {target}"
        for path, page in pages(site)
        if path.name != "404.html"
        for target in [*page.loaded, *page.linked]
        if not re.match(r"[a-z]+:|//|#", target) and not (path.parent / target.partition("#")[0]).exists()
    ]
    assert not broken


def test_every_document_is_on_the_site(site: Path) -> None:
    documents = {path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")}
    shown = {path.relative_to(site) for path in site.rglob("*.html")}
    missing = {
        document
        for document in documents
        if document.with_suffix(".html") not in shown and document.name != "README.md"
    }
    assert not missing
    cards = [
        path.parent.relative_to(ROOT)
        for room in ("asr", "codecs")
        for path in ROOT.glob(f"{room}/shipped/*/README.md")
    ]
    assert cards
    assert {Path("repository") / card / "index.html" for card in cards} <= shown


def test_the_site_can_be_searched(site: Path) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text())
    assert any("Live captions" in entry["title"] for entry in index["docs"])
