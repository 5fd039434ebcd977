"""A computation graph as one SVG: from left to right as the forward pass goes, values in ink, gradients in orange.

The layout is Sugiyama's (1981) in small: nodes are ranked by their longest way from an input, long edges get a place of
their own in every rank that they pass, crossings are lowered by sorting each rank by the mean place of its neighbours,
and rows are then drawn towards straight lines. A graph too long for a slide is folded into bands, only where a single
value leads on, as after the sum that ends a block of a transformer. The SVG needs no other file.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from rung.inspection.graph import Node, Row

LONGEST_BAND, BEST_BAND = 6, 5  # a graph of more ranks is folded into bands of about so many
LETTER, SMALL_LETTER = 8.3, 7.4  # how wide a letter of each size is, about
TITLE, LINE = 25, 20  # how high the title and each row of a card are
PAD, ACROSS, DOWN, GUTTER = 12, 54, 22, 46
BADGE = 15
MOST_LETTERS = 22

INK, MUTED, PAPER, CARD, LINES = "#1f2430", "#6b7280", "#ffffff", "#f6f7f9", "#9aa3b2"
GRADIENT = "#c2571a"
FILLS = {
    "input": ("#eaf1fd", "#3b6fd4"),
    "constant": ("#f6f7f9", "#d5d9e0"),
    "made": ("#f6f7f9", "#9aa3b2"),
} | {"result": ("#e8f6ef", "#2f9e6e")}
"""The ground and the border of each kind of node."""

Place = tuple[Hashable, ...]
"""A node is ("node", i); a long edge's place is ("way", source, rank); what comes from the band before is ("port",)."""

Pass = tuple[float, float, float]
"""Where a line enters and leaves a rank, and how high."""


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
        places, width, height = _layout(nodes, cards, band, port, 24.0, top)
        right = max(right, width)
        drawn += _edges(nodes, band, cards, places, port)
        if port is not None:
            drawn.append(_fold(cards[port], exits[-1][1], places[("port",)]))
        exits.append((_leads_on(nodes, band), top + height))
        top += height + GUTTER
    drawn += [_drawn(card) for card in cards]
    right, bottom = right + 30, top - GUTTER + 50
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
    title = title if len(title) <= MOST_LETTERS else f"{title[: MOST_LETTERS - 1]}…"
    rows = [node.output, *node.weights]
    columns = [
        max(len(_label(row)) for row in rows) * SMALL_LETTER,
        max(len(row.value) for row in rows) * SMALL_LETTER,
        max(len(row.gradient) + 2 if row.gradient else 0 for row in rows) * SMALL_LETTER,
    ]
    used = [column for column in columns if column]
    place = len(node.name) * 0.86 * SMALL_LETTER if of_model else 0
    width = 2 * PAD + max(sum(used) + PAD * (len(used) - 1), len(title) * LETTER, place)
    height = (TITLE if title else 8) + (16 if place else 0) + LINE * len(rows) + 6
    # In a model the module's name is the title; in an expression its sign is a badge on the left.
    badge = 0.0 if of_model or not node.operation else max(2 * BADGE, len(node.operation) * LETTER + 14)
    return _Card(node, title, rows, columns, width, height, badge)


def _label(row: Row) -> str:
    return f"{row.name} {row.shape}".strip()


def _ranks(nodes: Sequence[Node]) -> list[int]:
    """The longest way to each node; what was given stands just before its first use."""
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
    if last <= LONGEST_BAND:
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
        ways = [(cost + _badness(end - before), [*way, end]) for before, (cost, way) in cheapest.items()]
        cheapest[end] = min(ways)
    edges = cheapest[last][1]
    return [
        {i: rank - low - 1 for i, rank in enumerate(ranks) if low < rank <= high}
        for low, high in pairwise(edges)
    ]


def _badness(n_ranks: int) -> int:
    """Of a band: too long is worse than too short."""
    away = n_ranks - BEST_BAND
    return (2 * away) ** 3 if away > 0 else -(away**3)


def _leads_on(nodes: Sequence[Node], band: dict[int, int]) -> int:
    """The node of a band that the next one uses."""
    return max(band, key=lambda i: (band[i], any(i in node.inputs for node in nodes)))


def _layout(
    nodes: Sequence[Node],
    cards: Sequence[_Card],
    band: dict[int, int],
    port: int | None,
    left: float,
    top: float,
) -> tuple[dict[Place, Pass], float, float]:
    """Set every card's corner. Returns where edges pass, the right end and the height."""
    shift = 0 if port is None else 1
    columns: list[list[Place]] = [[] for _ in range(max(band.values()) + 1 + shift)]
    if port is not None:
        columns[0].append(("port",))
    for i, rank in sorted(band.items()):
        columns[rank + shift].append(("node", i))
    links: dict[Place, set[Place]] = {}
    for i in band:
        for k in nodes[i].inputs:
            begin = 0 if k not in band else band[k] + shift
            before: Place = ("node", k) if k in band else ("port",)
            for rank in range(begin + 1, band[i] + shift):
                way: Place = ("way", k, rank)
                if way not in columns[rank]:
                    columns[rank].append(way)
                links.setdefault(before, set()).add(way)
                before = way
            links.setdefault(before, set()).add(("node", i))
    towards: dict[Place, set[Place]] = {}
    for source, targets in links.items():
        for target in targets:
            towards.setdefault(target, set()).add(source)
    heights = {place: _height(cards, place) for column in columns for place in column}
    middles: dict[Place, float] = {}
    for column in columns:
        _settle(column, heights, middles, {place: float(n) for n, place in enumerate(column)}, spread=True)
    for turn in range(12):
        order = columns if turn % 2 == 0 else columns[::-1]
        neighbours = towards if turn % 2 == 0 else links
        for column in order:
            wanted = {
                place: sum(middles[other] for other in neighbours[place]) / len(neighbours[place])
                if place in neighbours
                else middles[place]
                for place in column
            }
            if turn < 8:
                column.sort(key=lambda place: wanted[place])
            _settle(column, heights, middles, wanted, spread=False)
    highest = min(middles[place] - heights[place] / 2 for place in heights)
    x, passes = left, {}
    for column in columns:
        made = [cards[place[1]] for place in column if place[0] == "node"]  # type: ignore[index]
        width = max((card.width + card.badge for card in made), default=10.0)
        for place in column:
            y = top + middles[place] - highest
            if place[0] == "node":
                card = cards[place[1]]  # type: ignore[index]
                card.x, card.y = x + card.badge + (width - card.width - card.badge) / 2, y - card.height / 2
            passes[place] = (x, x + width, y)
        x += width + ACROSS
    lowest = max(middles[place] + heights[place] / 2 for place in heights)
    return passes, x - ACROSS, lowest - highest


def _height(cards: Sequence[_Card], place: Place) -> float:
    return cards[place[1]].height if place[0] == "node" else 8.0  # type: ignore[index]


def _settle(
    column: Sequence[Place],
    heights: dict[Place, float],
    middles: dict[Place, float],
    wanted: dict[Place, float],
    *,
    spread: bool,
) -> None:
    """Put a rank's places in their order, apart, and as near as that allows to where they want to be.

    The squared distances are least when places that would overlap move as one block to their mean: the method of
    pooling neighbours that stand in the wrong order.
    """
    offsets, low = [], 0.0
    for n, place in enumerate(column):
        low += (heights[place] + heights[column[n - 1]]) / 2 + DOWN if n else 0.0
        offsets.append(low)
    blocks: list[list[float]] = []  # sum of wishes less offsets, how many
    for place, offset in zip(column, offsets, strict=True):
        blocks.append([(offset if spread else wanted[place]) - offset, 1])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] >= blocks[-1][0] / blocks[-1][1]:
            total, count = blocks.pop()
            blocks[-1] = [blocks[-1][0] + total, blocks[-1][1] + count]
    shifts = [total / count for total, count in blocks for _ in range(int(count))]
    for place, offset, shift in zip(column, offsets, shifts, strict=True):
        middles[place] = offset + shift


def _edges(
    nodes: Sequence[Node],
    band: dict[int, int],
    cards: Sequence[_Card],
    passes: dict[Place, Pass],
    port: int | None,
) -> list[str]:
    """A curve for every use of a value, through the places that it passes."""
    drawn = []
    shift = 0 if port is None else 1
    for i in sorted(band):
        card = cards[i]
        for k in dict.fromkeys(nodes[i].inputs):
            inside = k in band
            start = (cards[k].x + cards[k].width, cards[k].middle) if inside else passes[("port",)][1:]
            ranks = range((band[k] + shift if inside else 0) + 1, band[i] + shift)
            path, (x, y) = f"M{start[0]:.1f} {start[1]:.1f}", start
            ways = [passes[("way", k, rank)] for rank in ranks]
            for x1, x2, y2 in [*ways, (card.x - card.badge - 3, None, card.middle)]:
                bend = (x1 - x) / 2
                path += f" C{x + bend:.1f} {y:.1f} {x1 - bend:.1f} {y2:.1f} {x1:.1f} {y2:.1f}"
                if x2 is not None:  # straight through the rank, between its cards
                    path += f" H{x2:.1f}"
                    x, y = x2, y2
            drawn.append(
                f'<path d="{path}" fill="none" stroke="{LINES}" stroke-width="1.8" marker-end="url(#tip)"/>'
            )
    return drawn


def _fold(card: _Card, bottom: float, port: Pass) -> str:
    """From the end of one band to the beginning of the next: out, down, back through the gutter, and in."""
    x, y, r = card.x + card.width, card.middle, 12
    out, gutter, back = x + 22, bottom + GUTTER / 2, port[0] - 4
    path = (
        f"M{x:.1f} {y:.1f} H{out - r:.1f} q{r} 0 {r} {r} V{gutter - r:.1f} q0 {r} {-r} {r} "
        f"H{back + r:.1f} q{-r} 0 {-r} {r} V{port[2] - r:.1f} q0 {r} {r} {r} H{port[1]:.1f}"
    )
    return f'<path d="{path}" fill="none" stroke="{LINES}" stroke-width="1.8"/>'


def _drawn(card: _Card) -> str:
    """A card and its badge."""
    fill, border = FILLS[card.node.kind]
    x, y, w, h = card.x, card.y, card.width, card.height
    parts = [
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" height="{h:.1f}" rx="9" fill="{fill}" stroke="{border}" '
        'stroke-width="1.4"/>'
    ]
    if card.badge:
        parts.append(
            f'<rect x="{x - card.badge + 4:.1f}" y="{card.middle - BADGE:.1f}" width="{card.badge:.1f}" '
            f'height="{2 * BADGE}" rx="{BADGE}" fill="{INK}"/>'
            + _text(
                x - card.badge / 2 + 4, card.middle + 5, card.node.operation, PAPER, 15, "middle", bold=True
            )
        )
    line = y + (0 if card.title else 4)
    if card.title:
        line += 20
        parts.append(_text(x + PAD, line, card.title, INK, 15, bold=True))
        line += 3
    if card.title != card.node.name and card.node.name and card.node.output.name:
        line += 15
        parts.append(_text(x + PAD, line, card.node.name, MUTED, 12))
    first, second, _ = card.columns
    for row in card.rows:
        line += LINE
        parts.append(_text(x + PAD, line - 2, _label(row), MUTED, 13))
        edge = x + PAD + (first + PAD if first else 0)
        parts.append(_text(edge, line - 2, row.value, INK, 14))
        if row.gradient:
            parts.append(_text(edge + second + PAD, line - 2, f"∂ {row.gradient}", GRADIENT, 14))
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
