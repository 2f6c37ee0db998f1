"""A hook for mkdocs: what the documents link to outside docs/ joins the site, so links work there and here alike.

Links are relative to the file that they are in; `../SECURITY.md` leaves docs/, which mkdocs knows nothing of.
Whatever is linked so is laid below `repository/` in the site: documents as pages, the rest as files.
"""

import re
from pathlib import Path
from posixpath import dirname, join, normpath, relpath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_ROOT = Path(__file__).resolve().parents[2]
_DOCS, _BEYOND = "docs/", "repository/"
_LINK = re.compile(r"(?<=\]\()(?!https?:|#)([^)#\s]+)(#[^)\s]*)?(?=\))")
# Of headings that are called the same, the second is #name-1 in a repository's view and #name_1 here.
_SECOND = re.compile(r"(?<=\]\()([^)\s]*#[a-z_-]+)-(\d)(?=\))")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds what is linked, and what is linked there."""
    known = {_in_repository(file) for file in files}
    waiting = [path for path in known if path.endswith(".md")]
    while waiting:
        path = waiting.pop()
        for target in _targets(path, (_ROOT / path).read_text()):
            if target in known or not (_ROOT / target).is_file():
                continue
            known.add(target)
            waiting += [target] if target.endswith(".md") else []
            source = str(_ROOT / target)
            files.append(File.generated(config, f"{_BEYOND}{target}", abs_src_path=source))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns links between files of the repository into links between pages of the site."""
    here = _in_repository(page.file)

    def turned(link: re.Match[str]) -> str:
        target = normpath(join(dirname(here), link[1]))
        beyond = not target.startswith(_DOCS)
        uri = f"{_BEYOND}{target}" if beyond else target.removeprefix(_DOCS)
        return relpath(uri, dirname(page.file.src_uri) or ".") + (link[2] or "")

    return _SECOND.sub(r"\1_\2", _LINK.sub(turned, markdown))


def _in_repository(file: File) -> str:
    """Where a file of the site lies in the repository."""
    uri = file.src_uri
    return uri.removeprefix(_BEYOND) if uri.startswith(_BEYOND) else f"{_DOCS}{uri}"


def _targets(path: str, markdown: str) -> list[str]:
    """What a document links to, as paths in the repository."""
    return [normpath(join(dirname(path), link[1])) for link in _LINK.finditer(markdown)]
