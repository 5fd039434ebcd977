"""Words on a plane, where their vectors stand: a picture, and the numbers behind it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from rung.errors import UserError, nearest
from rung.files import atomic_path
from rung.inspection.projections import pca, tsne
from rung.models.vectors.table import WordTable

METHODS = ("pca", "t-sne")
SUFFIXES = (".svg", ".png", ".pdf")
FEW_LABELS = 400


def placed(
    table: WordTable, words: list[str], method: str, measure: str, perplexity: float
) -> tuple[np.ndarray, str]:
    """Where each word stands (N, 2), and what is to be known of it, a line.

    By cosine vectors are scaled to length 1 before; by dot they are left as they are.
    """
    if method not in METHODS:
        raise UserError(
            f"--method {method} is unknown{nearest(method, METHODS)} (known: {', '.join(METHODS)})"
        )
    if len(words) < 3:
        raise UserError("a picture needs three words or more that have a vector")
    points = table.scaled(measure)[[table.row(word) for word in words]]
    if method == "pca":
        places, share = pca(points)
        return places, f"{share:.0%} of the variance is in these two directions"
    places, divergence = tsne(points, perplexity)
    return places, f"who is near is true, how far is not; divergence {divergence:.2f} nats"


def draw(path: Path, words: list[str], places: np.ndarray, title: str, marked: set[str]) -> None:
    """A picture, .svg, .png or .pdf; `marked` words stand out. Raises UserError for another suffix."""
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"--out {path}: a picture ends in {', '.join(SUFFIXES)}")
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    # Words stay text in an SVG, and the same picture has the same bytes.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "rung"}):
        figure = Figure(figsize=(9, 7), layout="constrained")
        axes = figure.subplots()
        colours = ["#c1272d" if word in marked else "#4a6a8a" for word in words]
        axes.scatter(places[:, 0], places[:, 1], s=10, c=colours, linewidths=0)
        for word, (x, y), colour in list(zip(words, places, colours, strict=True))[:FEW_LABELS]:
            how: dict[str, Any] = {"fontsize": 8, "xytext": (3, 2), "textcoords": "offset points"}
            axes.annotate(word, (x, y), color=colour, parse_math=False, **how)
        axes.set_title(title, fontsize=10, loc="left", parse_math=False)
        axes.set_xticks([])
        axes.set_yticks([])
        for side in axes.spines.values():
            side.set_visible(False)
        with atomic_path(path) as temporary:
            how = {"metadata": {"Date": None}} if path.suffix.lower() == ".svg" else {}
            figure.savefig(temporary, format=path.suffix.lower()[1:], dpi=150, **how)
