"""Names beside the points of a plot, so that none covers another."""

from collections.abc import Iterator, Sequence
from typing import Any

LETTER, LINE = 7.0, 12.0  # pixels of a label in the font used here
_GAP = 7.0

Place = tuple[float, float]
Box = tuple[float, float, float, float]


def place_labels(points: Sequence[Place], labels: Sequence[str], edges: Box) -> list[Place]:
    """Where each label's lower left corner goes, beside its point, in the points' own unit of pixels.

    The nearest free place inside `edges` is taken, in the order of the points; where none is free, the first.
    """
    taken: list[Box] = [(x - 5, y - 5, x + 5, y + 5) for x, y in points]
    places = []
    for (x, y), label in zip(points, labels, strict=True):
        width = LETTER * len(label)
        boxes = [(x + dx, y + dy, x + dx + width, y + dy + LINE) for dx, dy in _offsets(width)]
        free = (box for box in boxes if _inside(box, edges) and not any(_meet(box, other) for other in taken))
        box = next(free, boxes[0])
        taken.append(box)
        places.append((box[0], box[1]))
    return places


def annotate(axes: Any, points: Sequence[Place], labels: Sequence[str], colors: Sequence[str]) -> None:
    """Writes the labels on matplotlib's `axes`, whose limits and size must be settled."""
    pixels = [(float(x), float(y)) for x, y in axes.transData.transform(points)]
    edges = axes.get_window_extent().extents
    inches = 72 / axes.figure.dpi
    for at, pixel, corner, label, color in zip(
        points, pixels, place_labels(pixels, labels, edges), labels, colors, strict=True
    ):
        offset = ((corner[0] - pixel[0]) * inches, (corner[1] - pixel[1]) * inches)
        axes.annotate(label, at, offset, textcoords="offset points", fontsize=8, color=color)


def _offsets(width: float) -> Iterator[tuple[float, float]]:
    for away in (0.0, LINE, 2 * LINE, 3 * LINE):
        for dy in (_GAP / 2 + away, -_GAP / 2 - LINE - away):
            yield _GAP, dy
            yield -_GAP - width, dy
        for dy in (_GAP + away, -_GAP - LINE - away):
            yield -width / 2, dy


def _meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _inside(box: Box, edges: Box) -> bool:
    return edges[0] <= box[0] and edges[1] <= box[1] and box[2] <= edges[2] and box[3] <= edges[3]
