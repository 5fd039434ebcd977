"""How the page's pictures are drawn: settings, colours that are the page's own, and a figure as one `<svg>` element.

Colours are the page's CSS variables (`--ink`, `--muted`, `--rule`, `--card`, `--rung-0` ... `--rung-7`), so a picture
follows the page from light to dark; text is text, in the page's font. The same figure gives the same bytes.
"""

from __future__ import annotations

import io
import re
from html import escape
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

RUNG_COLOURS = 8
"""How many colours the page names; further rungs begin again."""

WIDTH = 5.0  # inches at 72 points; the page scales the drawing
MAX_NAME = 18

# Stand-ins that matplotlib takes for colours; `_svg` writes the page's variable in their place.
INK, MUTED, RULE, CARD = "#0a0001", "#0a0002", "#0a0003", "#0a0004"
VARIABLES = {INK: "ink", MUTED: "muted", RULE: "rule", CARD: "card"} | {
    f"#0b000{i}": f"rung-{i}" for i in range(RUNG_COLOURS)
}

SETTINGS: Any = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": RULE,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.8,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "xtick.major.pad": 6,
    "ytick.major.pad": 6,
    "legend.frameon": False,
    "lines.solid_capstyle": "round",
}


def colour(index: int) -> str:
    """Of the rung at this place."""
    return f"#0b000{index % RUNG_COLOURS}"


def marker(index: int) -> dict[str, Any]:
    """How matplotlib is to mark a point of the rung at this place."""
    return {
        "marker": "o",
        "markersize": 8,
        "color": colour(index),
        "markeredgecolor": CARD,
        "markeredgewidth": 1.5,
        "zorder": 5,
    }


def plain(text: str) -> str:
    """What matplotlib's own font can measure; it warns of any other character."""
    return "".join(letter if " " <= letter <= "~" else "?" for letter in text)


def short(name: str) -> str:
    """A name that fits."""
    return name if len(name) <= MAX_NAME else name[: MAX_NAME - 1] + "…"


def svg(figure: Figure, name: str, label: str) -> str:
    """One element: no prologue, date or address, ids of its own, colours and font of the page."""
    buffer = io.StringIO()
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    with mpl.rc_context({"svg.hashsalt": name}):
        FigureCanvasSVG(figure).print_svg(buffer, metadata=nothing)
    drawing = buffer.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    drawing = re.sub(r"<metadata>.*?</metadata>\s*", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r"<!--.*?-->\s*", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r"<style[^>]*>.*?</style>", "", drawing, flags=re.DOTALL)
    height, width = (re.search(rf' {side}="([\d.]+)pt"', drawing) for side in ("height", "width"))
    assert height is not None
    assert width is not None
    box = f"0 0 {width[1]} {height[1]}"
    body = drawing[drawing.index(">") + 1 :]
    for stand_in, variable in VARIABLES.items():
        body = body.replace(stand_in, f"var(--{variable})")
    body = re.sub(
        r"font: (?:[a-z0-9]+ )*([\d.]+px) [^;\"]*", r"font-size: \1", body
    )  # before matplotlib 3.11
    body = re.sub(r"font-family: [^;\"]*;? ?", "", body)
    used = set(re.findall(r'(?:xlink:href="|url\()#([^")]+)', body))
    body = re.sub(r' id="([^"]+)"', lambda at: f' id="{name}-{at[1]}"' if at[1] in used else "", body)
    body = body.replace('xlink:href="#', f'href="#{name}-').replace("url(#", f"url(#{name}-")
    body = re.sub(r"\s*\n\s*", "\n", body)
    return f'<svg viewBox="{box}" role="img" aria-label="{escape(plain(label))}">{body.strip()}'
