"""A computation graph as one SVG: from left to right as the forward pass goes, values in ink, gradients in orange.

The layout is Sugiyama's (1981) in small: nodes are ranked by their longest path from an input, long edges get a dummy
vertex in every rank that they cross, crossings are lowered by sorting each rank by the barycentre of its neighbours,
and rows are then drawn towards straight lines. A graph too long for a slide is folded into bands, only where a single
value leads on, as after the sum that ends a block of a transformer. The SVG needs no other file.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from rung.inspection.graph import Node, Row

MAX_BAND, IDEAL_BAND = 6, 5  # a graph of more ranks is folded into bands of about so many
LETTER_WIDTH, SMALL_LETTER_WIDTH = 8.3, 7.4  # how wide a letter of each size is, about
TITLE_HEIGHT, ROW_HEIGHT = 25, 20  # how high the title and each row of a card are
PADDING, COLUMN_GAP, ROW_GAP, BAND_GAP = 12, 54, 22, 46
BADGE_RADIUS = 15
MAX_TITLE_LETTERS = 22

INK, MUTED, PAPER, LINES = "#1f2430", "#6b7280", "#ffffff", "#9aa3b2"
GRADIENT = "#c2571a"
FILLS = {
    "input": ("#eaf1fd", "#3b6fd4"),
    "constant": ("#f6f7f9", "#d5d9e0"),
    "made": ("#f6f7f9", "#9aa3b2"),
    "result": ("#e8f6ef", "#2f9e6e"),
}
"""The ground and the border of each kind of node."""

Vertex = tuple[Hashable, ...]
"""("node", i), a node; ("dummy", source, rank), of a long edge; ("port",), where the band before leads in."""

Span = tuple[float, float, float]
"""Where a line enters and leaves a rank (x), and how high (y)."""


@dataclass
class _Card:
    """A node's box; x and y are of its upper left corner."""

    node: Node
    title: str
    rows: list[Row]
    columns: list[float]
    width: float
    height: float
    badge: float
    x: float = 0.0
    y: float = 0.0

    @property
    def middle(self) -> float:
        return self.y + self.height / 2


def as_svg(nodes: Sequence[Node], title: str = "") -> str:
    """The picture. The same nodes give the same bytes."""
    title = "".join(c if c.isprintable() else " " for c in title)  # XML knows no control characters
    cards = [_card(node) for node in nodes]
    bands = _bands(nodes)
    drawn: list[str] = []
    top, right = (58.0 if title else 24.0), 0.0
    exits: list[tuple[int, float]] = []  # the node that leads on from each band, and the band's lower end
    for number, band in enumerate(bands):
        port = exits[-1][0] if number else None
        spans, width, height = _layout(nodes, cards, band, port, 24.0, top)
        right = max(right, width)
        drawn += _edges(nodes, band, cards, spans, port)
        if port is not None:
            drawn.append(_band_edge(cards[port], exits[-1][1], spans[("port",)]))
        exits.append((_exit_node(nodes, band), top + height))
        top += height + BAND_GAP
    drawn += [_draw_card(card) for card in cards]
    right, bottom = right + 30, top - BAND_GAP + 50
    title = title if len(title) * 11 < right else f"{title[: int(right / 11)]}…"
    heading = f'<text x="24" y="34" font-size="20" font-weight="600" fill="{INK}">{escape(title)}</text>'
    legend = (
        f'<text x="24" y="{bottom - 16:.0f}" font-size="13" fill="{MUTED}">black: the value · '
        f'<tspan fill="{GRADIENT}">∂ orange: its gradient, how fast the result rises with it</tspan>'
        f"{' · |norm| of all numbers' if any('|' in node.output.value for node in nodes) else ''}</text>"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {max(right, 560):.0f} {bottom:.0f}" '
        f'width="{max(right, 560):.0f}" height="{bottom:.0f}" role="img" aria-label="{escape(title or "graph")}" '
        "font-family=\"Inter, 'Segoe UI', 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif\">"
        f'<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0.5 L8 4 L0 7.5 z" fill="{LINES}"/></marker></defs>'
        f'<rect width="100%" height="100%" fill="{PAPER}"/>{heading if title else ""}{"".join(drawn)}{legend}</svg>\n'
    )


def _card(node: Node) -> _Card:
    """How large a node's box is."""
    of_model = node.output.name != "" or node.weights != ()
    title = node.name if node.name and not of_model else node.formula
    title = title if len(title) <= MAX_TITLE_LETTERS else f"{title[: MAX_TITLE_LETTERS - 1]}…"
    rows = [node.output, *node.weights]
    columns = [
        max(len(_label(row)) for row in rows) * SMALL_LETTER_WIDTH,
        max(len(row.value) for row in rows) * SMALL_LETTER_WIDTH,
        max(len(row.gradient) + 2 if row.gradient else 0 for row in rows) * SMALL_LETTER_WIDTH,
    ]
    used = [column for column in columns if column]
    path_width = len(node.name) * 0.86 * SMALL_LETTER_WIDTH if of_model else 0
    width = 2 * PADDING + max(sum(used) + PADDING * (len(used) - 1), len(title) * LETTER_WIDTH, path_width)
    height = (TITLE_HEIGHT if title else 8) + (16 if path_width else 0) + ROW_HEIGHT * len(rows) + 6
    # In a model the module's name is the title; in an expression its sign is a badge on the left.
    badge = (
        0.0
        if of_model or not node.operation
        else max(2 * BADGE_RADIUS, len(node.operation) * LETTER_WIDTH + 14)
    )
    return _Card(node, title, rows, columns, width, height, badge)


def _label(row: Row) -> str:
    return f"{row.name} {row.shape}".strip()


def _ranks(nodes: Sequence[Node]) -> list[int]:
    """The longest path to each node; what was given stands just before its first use."""
    ranks = [0] * len(nodes)
    for i, node in enumerate(nodes):
        ranks[i] = max((ranks[k] + 1 for k in node.inputs), default=0)
    for i, node in enumerate(nodes):
        uses = [ranks[k] for k, other in enumerate(nodes) if i in other.inputs]
        if not node.inputs and uses:
            ranks[i] = min(uses) - 1
    return ranks


def _bands(nodes: Sequence[Node]) -> list[dict[int, int]]:
    """The nodes of each band with their ranks. A band ends where one made value alone is used by what follows."""
    ranks = _ranks(nodes)
    last = max(ranks)
    if last <= MAX_BAND:
        return [dict(enumerate(ranks))]
    ends = []
    for rank in range(1, last - 1):
        across = {k for i, node in enumerate(nodes) for k in node.inputs if ranks[k] <= rank < ranks[i]}
        given_later = {k for k in across if not nodes[k].inputs}
        if len(across - given_later) == 1 and not given_later and ranks[next(iter(across))] == rank:
            ends.append(rank)
    # The bands whose lengths are nearest to the best: the cheapest way to each end, from those before it.
    cheapest: dict[int, tuple[float, list[int]]] = {-1: (0.0, [-1])}
    for end in [*ends, last]:
        choices = [
            (cost + _band_cost(end - before), [*ends_before, end])
            for before, (cost, ends_before) in cheapest.items()
        ]
        cheapest[end] = min(choices)
    borders = cheapest[last][1]
    return [
        {i: rank - low - 1 for i, rank in enumerate(ranks) if low < rank <= high}
        for low, high in pairwise(borders)
    ]


def _band_cost(n_ranks: int) -> int:
    """Of a band: too long is worse than too short."""
    away = n_ranks - IDEAL_BAND
    return (2 * away) ** 3 if away > 0 else -(away**3)


def _exit_node(nodes: Sequence[Node], band: dict[int, int]) -> int:
    """The node of a band that the next one uses."""
    return max(band, key=lambda i: (band[i], any(i in node.inputs for node in nodes)))


def _layout(
    nodes: Sequence[Node],
    cards: Sequence[_Card],
    band: dict[int, int],
    port: int | None,
    left: float,
    top: float,
) -> tuple[dict[Vertex, Span], float, float]:
    """Set every card's corner. Returns where edges pass, the right end and the height."""
    shift = 0 if port is None else 1
    columns: list[list[Vertex]] = [[] for _ in range(max(band.values()) + 1 + shift)]
    if port is not None:
        columns[0].append(("port",))
    for i, rank in sorted(band.items()):
        columns[rank + shift].append(("node", i))
    successors: dict[Vertex, set[Vertex]] = {}
    for i in band:
        for k in nodes[i].inputs:
            begin = 0 if k not in band else band[k] + shift
            before: Vertex = ("node", k) if k in band else ("port",)
            for rank in range(begin + 1, band[i] + shift):
                dummy: Vertex = ("dummy", k, rank)
                if dummy not in columns[rank]:
                    columns[rank].append(dummy)
                successors.setdefault(before, set()).add(dummy)
                before = dummy
            successors.setdefault(before, set()).add(("node", i))
    predecessors: dict[Vertex, set[Vertex]] = {}
    for source, uses in successors.items():
        for vertex in uses:
            predecessors.setdefault(vertex, set()).add(source)
    heights = {vertex: _height(cards, vertex) for column in columns for vertex in column}
    centres: dict[Vertex, float] = {}
    for column in columns:
        centres.update(zip(column, _stacked(column, heights), strict=True))
    for sweep in range(12):
        order = columns if sweep % 2 == 0 else columns[::-1]
        neighbours = predecessors if sweep % 2 == 0 else successors
        for column in order:
            targets = {
                vertex: sum(centres[other] for other in neighbours[vertex]) / len(neighbours[vertex])
                if vertex in neighbours
                else centres[vertex]
                for vertex in column
            }
            if sweep < 8:
                column.sort(key=lambda vertex: targets[vertex])
            _assign_coordinates(column, heights, centres, targets)
    highest = min(centres[vertex] - heights[vertex] / 2 for vertex in heights)
    x, spans = left, {}
    for column in columns:
        made = [cards[vertex[1]] for vertex in column if vertex[0] == "node"]  # type: ignore[index]
        width = max((card.width + card.badge for card in made), default=10.0)
        for vertex in column:
            y = top + centres[vertex] - highest
            if vertex[0] == "node":
                card = cards[vertex[1]]  # type: ignore[index]
                card.x, card.y = x + card.badge + (width - card.width - card.badge) / 2, y - card.height / 2
            spans[vertex] = (x, x + width, y)
        x += width + COLUMN_GAP
    lowest = max(centres[vertex] + heights[vertex] / 2 for vertex in heights)
    return spans, x - COLUMN_GAP, lowest - highest


def _height(cards: Sequence[_Card], vertex: Vertex) -> float:
    return cards[vertex[1]].height if vertex[0] == "node" else 8.0  # type: ignore[index]


def _assign_coordinates(
    column: Sequence[Vertex],
    heights: dict[Vertex, float],
    centres: dict[Vertex, float],
    targets: dict[Vertex, float],
) -> None:
    """Put a rank's vertices in their order, apart, and as near as that allows to where they should be.

    The squared distances are least when vertices that would overlap move as one block to their mean: isotonic
    regression by pooling adjacent violators.
    """
    offsets = _stacked(column, heights)
    blocks: list[list[float]] = []  # sum of targets less offsets, how many
    for vertex, offset in zip(column, offsets, strict=True):
        blocks.append([targets[vertex] - offset, 1])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] >= blocks[-1][0] / blocks[-1][1]:
            total, count = blocks.pop()
            blocks[-1] = [blocks[-1][0] + total, blocks[-1][1] + count]
    shifts = [total / count for total, count in blocks for _ in range(int(count))]
    for vertex, offset, shift in zip(column, offsets, shifts, strict=True):
        centres[vertex] = offset + shift


def _stacked(column: Sequence[Vertex], heights: dict[Vertex, float]) -> list[float]:
    """How far each centre is below the first when the vertices stand as close as they may."""
    offsets, y = [], 0.0
    for n, vertex in enumerate(column):
        y += (heights[vertex] + heights[column[n - 1]]) / 2 + ROW_GAP if n else 0.0
        offsets.append(y)
    return offsets


def _edges(
    nodes: Sequence[Node],
    band: dict[int, int],
    cards: Sequence[_Card],
    spans: dict[Vertex, Span],
    port: int | None,
) -> list[str]:
    """A curve for every use of a value, through its dummy vertices."""
    drawn = []
    shift = 0 if port is None else 1
    for i in sorted(band):
        card = cards[i]
        for k in dict.fromkeys(nodes[i].inputs):
            inside = k in band
            start = (cards[k].x + cards[k].width, cards[k].middle) if inside else spans[("port",)][1:]
            ranks = range((band[k] + shift if inside else 0) + 1, band[i] + shift)
            path, (x, y) = f"M{start[0]:.1f} {start[1]:.1f}", start
            dummies = [spans[("dummy", k, rank)] for rank in ranks]
            for x1, x2, y2 in [*dummies, (card.x - card.badge - 3, None, card.middle)]:
                half = (x1 - x) / 2
                path += f" C{x + half:.1f} {y:.1f} {x1 - half:.1f} {y2:.1f} {x1:.1f} {y2:.1f}"
                if x2 is not None:  # straight through the rank, between its cards
                    path += f" H{x2:.1f}"
                    x, y = x2, y2
            drawn.append(
                f'<path d="{path}" fill="none" stroke="{LINES}" stroke-width="1.8" marker-end="url(#tip)"/>'
            )
    return drawn


def _band_edge(card: _Card, bottom: float, port: Span) -> str:
    """From the end of one band to the beginning of the next: out, down, back through the gutter, and in."""
    x, y, r = card.x + card.width, card.middle, 12
    out, gutter, back = x + 22, bottom + BAND_GAP / 2, port[0] - 4
    path = (
        f"M{x:.1f} {y:.1f} H{out - r:.1f} q{r} 0 {r} {r} V{gutter - r:.1f} q0 {r} {-r} {r} "
        f"H{back + r:.1f} q{-r} 0 {-r} {r} V{port[2] - r:.1f} q0 {r} {r} {r} H{port[1]:.1f}"
    )
    return f'<path d="{path}" fill="none" stroke="{LINES}" stroke-width="1.8"/>'


def _draw_card(card: _Card) -> str:
    """A card and its badge."""
    fill, border = FILLS[card.node.kind]
    x, y, w, h = card.x, card.y, card.width, card.height
    parts = [
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" height="{h:.1f}" rx="9" fill="{fill}" stroke="{border}" '
        'stroke-width="1.4"/>'
    ]
    if card.badge:
        parts.append(
            f'<rect x="{x - card.badge + 4:.1f}" y="{card.middle - BADGE_RADIUS:.1f}" width="{card.badge:.1f}" '
            f'height="{2 * BADGE_RADIUS}" rx="{BADGE_RADIUS}" fill="{INK}"/>'
            + _text(
                x - card.badge / 2 + 4, card.middle + 5, card.node.operation, PAPER, 15, "middle", bold=True
            )
        )
    line = y + (0 if card.title else 4)
    if card.title:
        line += 20
        parts.append(_text(x + PADDING, line, card.title, INK, 15, bold=True))
        line += 3
    if card.title != card.node.name and card.node.name and card.node.output.name:
        line += 15
        parts.append(_text(x + PADDING, line, card.node.name, MUTED, 12))
    first, second, _ = card.columns
    for row in card.rows:
        line += ROW_HEIGHT
        parts.append(_text(x + PADDING, line - 2, _label(row), MUTED, 13))
        edge = x + PADDING + (first + PADDING if first else 0)
        parts.append(_text(edge, line - 2, row.value, INK, 14))
        if row.gradient:
            parts.append(_text(edge + second + PADDING, line - 2, f"∂ {row.gradient}", GRADIENT, 14))
    return "<g>" + "".join(parts) + "</g>"


def _text(
    x: float, y: float, text: str, colour: str, size: int, anchor: str = "start", *, bold: bool = False
) -> str:
    if not text:
        return ""
    weight = ' font-weight="600"' if bold else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}" text-anchor="{anchor}"{weight}>'
        f"{escape(text)}</text>"
    )
