"""`rung fill`, and what `rung sample` tells beside its texts: how a draft did, what is known from training."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rung.cli.common import Dashed, require_utf8, show_json
from rung.errors import UserError

if TYPE_CHECKING:
    from rung.generation.masked import Accuracy
    from rung.generation.speculative import SpeculationReport


def fill(
    run: Path,
    text: Dashed = None,
    *,
    n_best: int = 5,
    beams: int = 16,
    file: Dashed = None,
    mask_rate: float = 0.15,
    most: int = 1000,
    seed: int = 0,
    documents: str = "lines",
    field: str | None = None,
    json: bool = False,
) -> int:
    """Which token stands behind [MASK]? Or, with --file: how often does the run find masked tokens again?

    A mask is one token of the run's tokeniser: a character of char, a word (with the space before it) of word. Every
    token of the vocabulary is tried and ranked by log P(whole text and its closing mark), in nats, as in rung score.
    A bert reads on both sides of the mask and gives log P(token given the rest). Several masks are filled from left to
    right by a beam.

    Example: rung fill runs/words "the cows [MASK] grass"

    Args:
        run: a run's folder.
        text: a text with one [MASK] or several.
        n_best: how many ways to show.
        beams: how many ways to fill the masks so far are kept while the next is filled.
        file: measure instead: mask tokens of this text at random, one at a time, words only of word tokenisers, and
            rank the right one among all; - for standard input.
        mask_rate: the probability of each token to be masked.
        most: stop after so many masks.
        seed: of the choice of masks; runs of one tokeniser that get the same seed get the same masks.
        documents: what a document of the file is: lines, paragraphs, files or auto.
        field: which JSON field or column of the file holds the text.
        json: print one JSON object, nothing else.
    """
    from rung.generation import masked
    from rung.runs import load_filler

    if (text is None) == (file is None):
        raise UserError(
            'give one text with [MASK], or --file: rung fill RUN "the cows [MASK] grass", or '
            "rung fill RUN --file test.txt"
        )
    require_utf8("the text", text)
    opened = load_filler(run)
    if text is not None:
        found = masked.fill(opened.model, opened.tokenizer, text, n_best=n_best, beams=beams)
        if json:
            show_json({"text": text, "fillings": [asdict(filling) for filling in found]})
            return 0
        for filling in found:
            tokens = " ".join(repr(token) for token in filling.tokens)
            print(f"{filling.log_prob:>10.3f}  {tokens:<16}  {' '.join(filling.text.split())}")
        return 0
    from rung.text.sources import open_source

    assert file is not None
    texts = open_source(file, documents=documents, field=field)
    result = masked.accuracy(opened.model, opened.tokenizer, texts, mask_rate=mask_rate, seed=seed, most=most)
    if json:
        show_json({"run": str(run), "file": file, "mask_rate": mask_rate, "seed": seed, **asdict(result)})
    else:
        print(_accuracy_text(opened.rung, opened.tokenizer.kind, result))
    return 0


def draft_text(report: SpeculationReport) -> str:
    """What became of a draft's guesses, for a person."""
    calls = report.model_calls
    text = (
        f"draft: {report.accepted:,} of {report.drafted:,} tokens accepted; {calls:,} calls of the model for "
        f"{report.tokens:,} tokens"
    )
    if report.speed_up is not None:
        text += f"; about {report.speed_up:.1f} times as fast as without"
    return text


def draft_record(report: SpeculationReport) -> dict[str, Any]:
    """The same as JSON."""
    keys = ("tokens", "drafted", "accepted", "model_calls", "seconds", "speed_up")
    return {key: getattr(report, key) for key in keys}


def print_draft(report: SpeculationReport) -> None:
    """On stderr, so that the text can be piped on."""
    print(f"rung: {draft_text(report)}", file=sys.stderr)


def _accuracy_text(rung: str, kind: str, result: Accuracy) -> str:
    def share(value: float, interval: tuple[float, float]) -> str:
        return f"{value:.1%} ({interval[0]:.1%} to {interval[1]:.1%})"

    return (
        f"{rung}: {result.masked:,} {kind} tokens masked of {result.tokens:,} in {result.documents:,} documents\n"
        f"found first: {share(result.top1, result.top1_ci95)}; among the first five: "
        f"{share(result.top5, result.top5_ci95)}; 95% intervals\n"
        f"mean rank {result.mean_rank:,.1f}, median {result.median_rank:,.0f}, of {result.candidates:,} candidates"
    )
