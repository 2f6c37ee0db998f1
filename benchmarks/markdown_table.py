"""Rows as a Markdown table."""

from collections.abc import Iterable, Sequence


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]], left: int) -> str:
    """Ends with a line's end; the first `left` columns are aligned to the left, the others to the right."""
    rules = ["---" if at < left else "---:" for at in range(len(headings))]
    return "".join("| " + " | ".join(row) + " |\n" for row in (headings, rules, *rows))
