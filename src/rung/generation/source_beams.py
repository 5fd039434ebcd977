"""Beam search for many sources side by side: what each would find alone, for the price of a few.

Of a model that writes given a source (`rung.models.translator`) every source has a group of beams of its own, which
neither sees the others nor waits for them: a row that has ended is left out of the next step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rung.errors import UserError
from rung.generation.beam import Beam, BeamGroup, BeamSettings, advance_group, to_sample
from rung.generation.constraint import constraints_of
from rung.generation.pipeline import NO_TOKEN_LEFT, Pipeline
from rung.generation.sampling import Sample
from rung.generation.settings import Sampling
from rung.models.base import LanguageModel
from rung.text.tokenizers import Tokenizer


def beams_of_sources(
    view: LanguageModel,
    tokenizer: Tokenizer,
    most: Sequence[int],
    search: BeamSettings,
    sampling: Sampling | None = None,
) -> list[list[Sample]]:
    """Of each of S sources the `n_best` texts, best first, of no more than `most` (S,) tokens.

    Raises UserError when a source has no possible text, and for groups of beams, which are of one source.
    """
    if search.beam_groups > 1:
        raise UserError(f"--beam-groups {search.beam_groups} goes with one text at a time")
    asked = Sampling() if sampling is None else sampling
    each = [replace(asked, max_tokens=int(n)) for n in most]
    pipeline, constraints = Pipeline(each[0], tokenizer), constraints_of(each[0], tokenizer, None)
    n = len(each)
    log_probs, state = view.advance(view.start(n), np.full(n, view.end, np.int64))
    nothing = [np.empty(0, np.int64)] * n
    past, held = pipeline.start(nothing), constraints.start(n, nothing)
    groups = [BeamGroup([Beam(0.0, [], [])], [], view.end, 0) for _ in range(n)]
    for length in range(1, max(one.max_tokens for one in each) + 1):
        adjusted = pipeline.adjusted(log_probs, past, constraints.allowed(held))
        rows: list[int] = []
        begin = 0
        for group, own in zip(groups, each, strict=True):
            end = begin + len(group.running)
            scores, plain = adjusted[begin:end], log_probs[begin:end]
            chosen = np.zeros(view.vocab_size)
            parents = advance_group(group, scores, plain, chosen, length, view.end, tokenizer, own, search)
            rows.extend(begin + parent for parent in parents)
            begin = end
        if not rows:
            break
        at = np.array(rows)
        tokens = np.array([beam.token_ids[-1] for group in groups for beam in group.running])
        past, held = past.select(at), constraints.select(held, at)
        if pipeline.needs_history:
            past = past.after(tokens)
        held = constraints.advance(held, tokens)
        log_probs, state = view.advance(view.select(state, at), tokens)
    if not all(group.finished for group in groups):
        raise UserError(NO_TOKEN_LEFT)
    return [
        [to_sample(text, view.end, 0, tokenizer, own) for text in group.finished[: search.n_best]]
        for group, own in zip(groups, each, strict=True)
    ]
