"""Where a translator looks while it writes: each token of the target against each of its source, as a picture.

Bahdanau, Cho and Bengio 2014 (arXiv:1409.0473), figure 3. A row of a map sums to 1: where the model looked when it
wrote that token. Of a transformer there is a map a head; the picture shows the mean of each layer's.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rung.errors import UserError
from rung.files import atomic_path
from rung.runs import Run
from rung.text.tokenizers import Tokenizer

SUFFIXES = (".svg", ".png", ".pdf")
MARK = "■"
INCHES_A_TOKEN = 0.28
MOST_TOKENS = 120


@dataclass(frozen=True)
class SourceAttention:
    """Of one pair.

    Attributes:
        source, target: S and T tokens as they are spelled, blanks as ␣, the closing mark last.
        maps: (L, H, T, S), where each target token looks: L layers of H heads, rows that sum to 1.
    """

    source: list[str]
    target: list[str]
    maps: np.ndarray


def source_attention(run: Run, source: str, target: str) -> SourceAttention:
    """Where a run of translation looks while it writes `target`. Raises UserError for a rung that has no attention."""
    if run.task.name != "translation":
        raise UserError(f"{run.folder} is of {run.task.name}: only translators look at a source")
    reading, writing = run.tokenizer.reading, run.tokenizer
    ids = np.append(writing.encode(target), writing.end)
    maps = run.model.given(reading.encode_many([source])).attention(ids)
    n_layer = run.config.n_layer if len(maps) % run.config.n_layer == 0 else 1
    return SourceAttention(
        _spelled(reading, np.append(reading.encode(source), reading.end)),
        _spelled(writing, ids),
        maps.reshape(n_layer, -1, *maps.shape[1:]),
    )


def draw_source_attention(path: Path, found: SourceAttention) -> None:
    """A picture: .svg, .png or .pdf. Raises UserError for another suffix, and for texts too long to be seen."""
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"--attention {path}: a picture ends in {', '.join(SUFFIXES)}")
    if max(len(found.source), len(found.target)) > MOST_TOKENS:
        raise UserError(
            f"--attention {path}: {len(found.source):,} by {len(found.target):,} tokens are more than can be seen "
            f"({MOST_TOKENS}); give a shorter text"
        )
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    means = found.maps.mean(axis=1)
    width = max(2.2, INCHES_A_TOKEN * len(found.source)) + 1
    height = max(2.0, INCHES_A_TOKEN * len(found.target)) + 1.2
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "rung"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a sign that the font lacks is an empty box
        figure = Figure(figsize=(width * len(means), height), layout="constrained")
        panels = np.atleast_1d(figure.subplots(1, len(means), sharey=True))
        shown: Any = None
        for layer, (axes, weights) in enumerate(zip(panels, means, strict=True), 1):
            shown = axes.imshow(weights, cmap="Blues", vmin=0, vmax=1, aspect="auto")
            axes.set_xticks(range(len(found.source)))
            axes.set_xticklabels(found.source, rotation=90, fontsize=8, parse_math=False)
            axes.set_yticks(range(len(found.target)))
            axes.set_yticklabels(found.target, fontsize=8, parse_math=False)
            axes.set_xlabel("read", fontsize=8)
            if len(means) > 1:
                axes.set_title(f"layer {layer}", fontsize=9)
        panels[0].set_ylabel("written", fontsize=8)
        figure.colorbar(shown, ax=list(panels), fraction=0.03, pad=0.01).ax.tick_params(labelsize=7)
        with atomic_path(path) as temporary:
            how: dict[str, Any] = {"metadata": {"Date": None}} if path.suffix.lower() == ".svg" else {}
            figure.savefig(temporary, format=path.suffix.lower()[1:], dpi=150, **how)


def _spelled(tokenizer: Tokenizer, ids: np.ndarray) -> list[str]:
    """Each token as it can be read."""
    out = []
    for before, token in zip([tokenizer.end, *ids.tolist()], ids.tolist(), strict=False):
        text = tokenizer.spelling(token, before).decode("utf-8", "replace")
        out.append(MARK if token == tokenizer.end else text.replace(" ", "␣").replace("\n", "⏎") or "·")
    return out
