"""Samples on stdout: as they are made, or when they are finished, with what is known of them."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rung.generation.sampling import Piece, Sample
    from rung.inspection.novelty import Novelty
    from rung.text.tokenizers import Tokenizer


def stream_samples(pieces: Iterable[Piece], prompt: str, samples: int) -> None:
    """Write samples to stdout as they are made; the first is shown live, the others follow whole."""
    finished = [""] * samples
    begun = False
    try:
        for piece in pieces:
            if not begun:
                sys.stdout.write(prompt)
                begun = True
            if piece.sample == 0:
                sys.stdout.write(piece.text)
                sys.stdout.flush()
            else:
                finished[piece.sample] += piece.text
    finally:
        if begun:
            sys.stdout.write("\n")  # whatever is said next begins a line
    for text in finished[1:]:
        sys.stdout.write(f"---\n{prompt}{text}\n")


def show_samples(
    tokenizer: Tokenizer, prompt: str, samples: Sequence[Sample], novelties: Sequence[Novelty] = ()
) -> None:
    """Write finished samples to stdout; below each, if asked for, what of it is known from training, and its tokens
    with the likeliest in their places.

    A token stands as Python would write it, its probability beside it, in percent.
    """
    from rung.inspection.novelty import describe
    from rung.text.tokenizers import text_of

    def named(token: int, log_prob: float, before: int) -> str:
        name = "end" if token == tokenizer.end else repr(text_of(tokenizer.spelling(token, before)))
        return f"{name} {math.exp(log_prob):.1%}"

    for place, sample in enumerate(samples):
        sys.stdout.write("---\n" * (place > 0) + f"{prompt}{sample.text}\n")
        if novelties:
            sys.stdout.write(f"({describe(novelties[place])})\n")
        if not any(sample.top):
            continue
        sys.stdout.write("\n")
        before = [tokenizer.last(prompt) if sample.after is None else sample.after, *sample.token_ids[:-1]]
        made = zip(sample.token_ids, sample.token_log_probs, sample.top, before, strict=True)
        for token, log_prob, top, after in made:
            likeliest = ", ".join(named(*other, after) for other in top)
            sys.stdout.write(f"{named(token, log_prob, after):<16} of {likeliest}\n")
