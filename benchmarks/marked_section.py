"""A part of a Markdown file that a benchmark writes anew at every run, between two comments."""

from pathlib import Path


def section_marks(name: str) -> tuple[str, str]:
    """The comments that stand before and behind the section."""
    return f"<!-- {name}:begin -->", f"<!-- {name}:end -->"


def replace_section(path: Path, name: str, text: str) -> None:
    """Replaces what stands between the marks in `path`; appends them to a file that lacks them.

    `text` ends with a line's end.
    """
    begin, end = section_marks(name)
    old = path.read_text(encoding="utf-8") if path.exists() else "# Figures\n"
    before, found, rest = old.partition(begin)
    after = rest.partition(end)[2] if found else ""
    if not found:
        before = before.rstrip("\n") + "\n\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{before}{begin}\n{text}{end}{after or chr(10)}", encoding="utf-8")
