"""What a translator writes when it is left alone, and how near that is to what it should have written.

exact match = texts that are the right one, letter for letter / texts
BLEU, chrF    sacrebleu's (Post 2018, arXiv:1804.08771): of whole texts, cut by its own rules, with its signature
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rung.models.translator import Translator
from rung.text.stream import TokenStream
from rung.text.tokenizers import Tokenizer

LONGER = 4
MORE = 32
"""The most tokens of a text that is written: so many times its source's, and so many more."""
SOURCES_AT_ONCE = 64


def written_greedily(model: Translator, tokenizer: Tokenizer, sources: TokenStream) -> list[str]:
    """The likeliest token after the likeliest token, of every source, those of like length together."""
    lengths = np.diff(sources.starts)
    order = np.argsort(lengths, kind="stable")
    found = [""] * len(order)
    for begin in range(0, len(order), SOURCES_AT_ONCE):
        rows = order[begin : begin + SOURCES_AT_ONCE]
        for row, ids in zip(rows.tolist(), greedy_ids(model, sources.of_documents(rows)), strict=True):
            found[row] = tokenizer.decode(ids)
    return found


def greedy_ids(model: Translator, sources: TokenStream) -> list[list[int]]:
    """The tokens, without the closing mark."""
    view = model.given(sources)
    n = sources.n_documents
    most = LONGER * np.diff(sources.starts) + MORE  # each its own, whatever stands beside it
    written: list[list[int]] = [[] for _ in range(n)]
    alive = np.arange(n)
    state, tokens = view.start(n), np.full(n, model.end, np.int64)
    for length in range(1, int(most.max(initial=0)) + 1):
        log_probs, state = view.advance(state, tokens)
        tokens = log_probs.argmax(axis=1)
        for place in np.flatnonzero(tokens != model.end).tolist():
            written[alive[place]].append(int(tokens[place]))
        going = np.flatnonzero((tokens != model.end) & (length < most[alive]))
        if not len(going):
            break
        if len(going) < len(alive):
            state = view.select(state, going)
            alive, tokens = alive[going], tokens[going]
    return written


def figures_of(written: Sequence[str], right: Sequence[str]) -> tuple[dict[str, float], str]:
    """Exact match, and BLEU and chrF where sacrebleu is installed; and what is to be known of them."""
    figures = {
        "exact_match": sum(one == other for one, other in zip(written, right, strict=True))
        / max(1, len(right))
    }
    told = f"written alone, the likeliest token after the likeliest, of {len(right):,} pairs"
    try:
        from sacrebleu.metrics.bleu import BLEU
        from sacrebleu.metrics.chrf import CHRF
    except ImportError:
        return figures, told + "; BLEU and chrF need sacrebleu: pip install sacrebleu"
    bleu, chrf = BLEU(), CHRF()
    figures["bleu"] = bleu.corpus_score(list(written), [list(right)]).score
    figures["chrf"] = chrf.corpus_score(list(written), [list(right)]).score
    return figures, f"{told}; BLEU {bleu.get_signature()}; chrF {chrf.get_signature()}"
