"""Which token stands behind the mask, told by a model that reads on both sides of it.

One mask: all tokens by P(token | the rest), exactly. Several: from left to right by a beam; each is filled while those
after it are still hidden, so that a way to fill them all has the product of

    P(first | the text) P(second | the text, first) ...

A text longer than the context is read in a window around each mask (`rung.text.masking.window_begins`). A text that two
ways of tokens spell is given once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from rung.errors import UserError
from rung.models.masked_model import MaskedLanguageModel
from rung.tasks.hidden_scores import hidden_in_turn
from rung.text.masking import HIDDEN, window_begins
from rung.text.tokenizers import Tokenizer

ROWS_AT_ONCE = 64


def fill_both_sides(
    model: MaskedLanguageModel,
    tokenizer: Tokenizer,
    parts: Sequence[str],
    candidates: np.ndarray,
    with_space: np.ndarray,
    n_best: int,
    beams: int,
) -> list[tuple[tuple[str, ...], str, float]]:
    """The likeliest ways to fill what stands between `parts`: the tokens, the whole text, log P of the tokens, nats.

    Args:
        model: knows hidden tokens.
        tokenizer: the model's.
        parts: of the text, a mask between each two.
        candidates: the tokens that can stand in place of a mask.
        with_space: those that do behind a blank.
        n_best: how many ways to give.
        beams: how many ways to fill the masks so far are kept.
    """
    pieces: list[int] = []
    own: list[np.ndarray] = []
    places: list[int] = []
    for number, part in enumerate(parts[:-1]):
        begins = number == 0 and not part and bool(tokenizer.implies_blank[tokenizer.end])
        spaced = (part.endswith(" ") or begins) and len(with_space) > 0
        encode = tokenizer.encode_rest if number else tokenizer.encode
        pieces += encode(part[:-1] if part.endswith(" ") and spaced else part).tolist()
        places.append(len(pieces))
        own.append(with_space if spaced else candidates)
        pieces.append(HIDDEN)
    pieces += tokenizer.encode_rest(parts[-1]).tolist()
    rows, totals = np.array([pieces], np.int64), np.zeros(1)
    for number, (place, tokens) in enumerate(zip(places, own, strict=True)):
        last = number == len(places) - 1
        log_probs = totals[:, None] + _at(model, rows, place)[:, tokens]
        order = np.argsort(-log_probs, axis=None, kind="stable")[: 4 * n_best if last else max(beams, n_best)]
        row, column = np.divmod(order, len(tokens))
        rows, totals = rows[row], log_probs.reshape(-1)[order]
        rows[:, place] = tokens[column]
    found: dict[str, tuple[tuple[str, ...], str, float]] = {}
    for filled, total in zip(rows.tolist(), totals.tolist(), strict=True):
        text = tokenizer.decode(filled)
        words = tuple(tokenizer.decode([filled[p]], after=filled[p - 1] if p else None) for p in places)
        found.setdefault(text, (words, text, total))
    return list(found.values())[:n_best]


def ranks_both_sides(
    model: MaskedLanguageModel, ids: np.ndarray, places: np.ndarray, candidates: np.ndarray
) -> Iterator[int]:
    """The rank, among the candidates, of the token at each of `places` of a document, hidden by itself."""
    for text, _, right in hidden_in_turn(ids, places, model.context):
        log_probs = model.masked_log_probs(text[None])[0]
        yield 1 + int((log_probs[candidates] > log_probs[int(right[0])]).sum())


def _at(model: MaskedLanguageModel, rows: np.ndarray, place: int) -> np.ndarray:
    """The log-probabilities (R, V) of what is hidden at `place`, the first hidden one, of rows (R, T)."""
    width = rows.shape[1] if model.context is None else min(model.context, rows.shape[1])
    begin = int(window_begins(np.array([place]), rows.shape[1], model.context)[0])
    found: list[np.ndarray] = []
    for first in range(0, len(rows), ROWS_AT_ONCE):
        windows = rows[first : first + ROWS_AT_ONCE, begin : begin + width]
        hidden = int((windows[0] == HIDDEN).sum())
        found.append(model.masked_log_probs(windows)[::hidden].astype(np.float64))
    log_probs = np.concatenate(found)
    if np.isnan(log_probs).any():
        raise UserError("the model's probabilities are not numbers (nan): its training diverged")
    return log_probs
