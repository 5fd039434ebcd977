"""Which token stands behind the mask? Ranked by the probability of the whole text, over the whole vocabulary.

A left-to-right model gives the token w between a beginning a and an end b

    log P(a w b) = log P(a) + log P(w | a) + log P(b and the closing mark | a w)

so what comes after counts too. All V tokens are tried. What precedes is read once; then all candidates read the
end side by side, likeliest first, and those fall out whose sum so far is below what they would have to reach: it
can only fall, so nothing is lost and the ranking is exact. Of the end only as much is read as can depend on the
candidate: the model's `context`; the rest has one probability for all.

Several masks are filled from left to right by a beam: the best W ways to fill those so far, each judged up to the next
mask, go on. (One mask: exact. Several: exact where W is as large as the number of ways.)

A mask is one token of the run's tokeniser: a character, a word with the space before it, a piece of one. Text before
and after it is cut into tokens on its own; a space before the mask belongs to it where tokens begin with spaces.

A model that reads on both sides says itself what is hidden: `both_sides`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from rung.errors import UserError
from rung.generation.both_sides import fill_both_sides, ranks_both_sides
from rung.generation.settings import MOST_BEAMS
from rung.measure import NO_NUMBERS
from rung.models.base import LanguageModel, State
from rung.models.masked_model import MaskedLanguageModel
from rung.text.tokenizers import Tokenizer

MASK = "[MASK]"
ROWS_AT_ONCE = 256
FIRST_ROWS = 32
Z95 = 1.959964


@dataclass(frozen=True)
class MaskFilling:
    """One way to fill the masks.

    Attributes:
        tokens: what stands in place of each mask.
        text: the whole text.
        log_prob: log P(text and its closing mark), nats, spelled by these tokens; of a model that reads on both sides,
            log P(tokens given the rest).
    """

    tokens: tuple[str, ...]
    text: str
    log_prob: float


@dataclass(frozen=True)
class Accuracy:
    """How well masked tokens are found again, each masked alone in its document.

    Attributes:
        documents: how many were read.
        tokens: how many tokens could have been masked.
        masked: how many were.
        top1, top5: the share of them that was the likeliest, or among the five likeliest.
        top1_ci95, top5_ci95: Wilson's 95% intervals.
        mean_rank, median_rank: of the right token among `candidates`; 1 = the likeliest.
        mean_reciprocal_rank: of 1 / rank.
        candidates: how many tokens were ranked for each.
    """

    documents: int
    tokens: int
    masked: int
    top1: float
    top1_ci95: tuple[float, float]
    top5: float
    top5_ci95: tuple[float, float]
    mean_rank: float
    median_rank: float
    mean_reciprocal_rank: float
    candidates: int


def fill(
    model: LanguageModel | MaskedLanguageModel,
    tokenizer: Tokenizer,
    text: str,
    *,
    n_best: int = 5,
    beams: int = 16,
) -> list[MaskFilling]:
    """The `n_best` likeliest ways to fill every [MASK] of `text`, likeliest first.

    Raises UserError when there is no mask, or a number is not possible.
    """
    for flag, value in (("--n-best", n_best), ("--beams", beams)):
        if not 1 <= value <= MOST_BEAMS:
            raise UserError(f"{flag} {value} is not possible: give 1 to {MOST_BEAMS:,}")
    parts = text.split(MASK)
    if len(parts) == 1:
        raise UserError(f"there is no {MASK} in the text: put one where a token is to be found")
    candidates, with_space = _whole_tokens(tokenizer), _space_prefixed_tokens(tokenizer)
    if isinstance(model, MaskedLanguageModel):
        found = fill_both_sides(model, tokenizer, parts, candidates, with_space, n_best, beams)
        return [MaskFilling(*one) for one in found]
    pieces: list[np.ndarray] = []  # the tokens before, between and after the masks
    choices: list[np.ndarray] = []  # the candidates of each mask
    for number, part in enumerate(parts):
        encode = tokenizer.encode if number == 0 else tokenizer.encode_rest
        spaced = part.endswith(" ") and len(with_space) > 0 and number < len(parts) - 1
        piece = encode(part[:-1] if spaced else part)
        own = with_space if spaced else candidates
        if (
            spaced
            and (len(piece) or number == 0)
            and tokenizer.implies_blank[piece[-1] if len(piece) else tokenizer.end]
        ):
            piece = np.append(piece, tokenizer.encode_rest(" "))  # it is written
        if number < len(parts) - 1 and parts[number + 1].startswith(" "):
            own = own[~tokenizer.implies_blank[own]]
        pieces.append(piece)
        choices.append(own)
    pieces[-1] = np.append(pieces[-1], tokenizer.end)
    choices.pop()
    before = np.concatenate([[model.end], pieces[0]])
    log_probs, state = model.advance(model.start(1), before[None])
    totals = np.array([_log_prob(model, pieces[0])])
    filled = np.zeros((1, 0), np.int64)
    for number, (own, piece) in enumerate(zip(choices, pieces[1:], strict=True)):
        last = number == len(choices) - 1
        width = n_best if last else max(beams, n_best)
        rows, tokens, totals = _best_continuations(model, state, log_probs, totals, own, piece, width)
        if not len(rows):
            raise UserError(f"nothing can stand in place of {MASK}: every way has probability 0")
        filled = np.concatenate([filled[rows], tokens[:, None]], axis=1)
        if not last:
            taken = np.concatenate([tokens[:, None], np.tile(piece, (len(rows), 1))], axis=1)
            log_probs, state = model.advance(model.select(state, rows), taken)
    return [
        MaskFilling(*_filled_in(tokenizer, pieces, row), float(total))
        for row, total in zip(filled.tolist(), totals, strict=True)
    ]


def accuracy(
    model: LanguageModel | MaskedLanguageModel,
    tokenizer: Tokenizer,
    texts: Iterable[str],
    *,
    mask_rate: float = 0.15,
    seed: int = 0,
    most: int | None = None,
) -> Accuracy:
    """Mask tokens of `texts` at random, one at a time, and rank the right one among all.

    Of a word tokeniser only words are masked (not punctuation, blanks, or words spelled in bytes).

    Args:
        texts: documents.
        mask_rate: the probability of each token to be masked.
        seed: of the choice; the same text and seed mask the same places, whatever the model.
        most: stop after so many.

    Raises UserError when a number is not possible or nothing could be masked.
    """
    if not 0 < mask_rate <= 1:
        raise UserError(f"--mask-rate {mask_rate} is not possible: give a number above 0 and at most 1")
    if most is not None and most < 1:
        raise UserError(f"--most {most} is not possible: give 1 or more")
    if seed < 0:
        raise UserError(f"--seed {seed} is not possible: give 0 or more")
    rng = np.random.default_rng(seed)
    candidates = _whole_tokens(tokenizer)
    is_candidate = np.zeros(tokenizer.vocab_size, bool)
    is_candidate[candidates] = True
    may_be_masked = _maskable(tokenizer) & is_candidate
    ranks: list[int] = []
    n_documents = n_tokens = 0
    for text in texts:
        if most is not None and len(ranks) >= most:
            break
        ids = tokenizer.encode(text)
        places = np.flatnonzero(may_be_masked[ids])
        n_documents, n_tokens = n_documents + 1, n_tokens + len(places)
        chosen = places[rng.random(len(places)) < mask_rate]
        if most is not None:
            chosen = chosen[: most - len(ranks)]
        if isinstance(model, MaskedLanguageModel):
            ranks.extend(ranks_both_sides(model, ids, chosen, candidates))
        else:
            ranks.extend(_ranks(model, ids, chosen, candidates))
    if not ranks:
        raise UserError(
            f"nothing was masked: the text has {n_tokens:,} tokens that could be; raise --mask-rate or give more text"
        )
    found = np.array(ranks)
    first, five = int((found == 1).sum()), int((found <= 5).sum())
    return Accuracy(
        documents=n_documents,
        tokens=n_tokens,
        masked=len(ranks),
        top1=first / len(ranks),
        top1_ci95=wilson_interval(first, len(ranks)),
        top5=five / len(ranks),
        top5_ci95=wilson_interval(five, len(ranks)),
        mean_rank=float(found.mean()),
        median_rank=float(np.median(found)),
        mean_reciprocal_rank=float((1 / found).mean()),
        candidates=len(candidates),
    )


def wilson_interval(hits: int, n: int) -> tuple[float, float]:
    """The 95% interval of a share of which `hits` of `n` were seen (Wilson 1927)."""
    share, z = hits / n, Z95
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def _best_continuations(
    model: LanguageModel,
    state: State,
    log_probs: np.ndarray,
    totals: np.ndarray,
    candidates: np.ndarray,
    piece: np.ndarray,
    width: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The likeliest continuations of R rows by a candidate and then `piece`, likeliest first: rows, tokens, totals.

    log_probs: (R, V) of the next token. totals: (R,) so far.
    """
    first = totals[:, None] + log_probs[:, candidates].astype(np.float64)  # (R, C)
    order = np.argsort(-first, axis=None, kind="stable")
    rows, columns = np.divmod(order, len(candidates))
    tokens, partial = candidates[columns], first.reshape(-1)[order]
    read, shared = _split_context(model, piece)
    best: list[tuple[float, int]] = []  # total, place in `order`; best first
    begin, size = 0, max(FIRST_ROWS, width)
    while begin < len(order):
        bound = best[width - 1][0] if len(best) >= width else -math.inf
        stop = min(begin + size, len(order))
        stop = begin + int(np.count_nonzero(partial[begin:stop] > bound)) if best else stop
        if stop == begin:
            break
        places = np.arange(begin, stop)
        kept, found = _score_candidates(
            model, state, rows[places], tokens[places], partial[places], read, bound
        )
        best = sorted([*best, *zip(found.tolist(), places[kept].tolist(), strict=True)], key=_by_total)[
            :width
        ]
        begin, size = stop, ROWS_AT_ONCE
    at = np.array([place for _, place in best], np.int64)
    ends = np.array([total for total, _ in best])
    if len(shared) and len(at):
        ends = ends + _shared_log_prob(model, state, int(rows[at[0]]), int(tokens[at[0]]), read, shared)
    return rows[at], tokens[at], ends


def _ranks(
    model: LanguageModel, ids: np.ndarray, places: np.ndarray, candidates: np.ndarray
) -> Iterator[int]:
    """The rank of the token at each of `places` (rising) of a document among the candidates."""
    state, log_probs, n_read = model.start(1), None, 0
    marked = np.concatenate([[model.end], ids, [model.end]])
    for place in places.tolist():
        log_probs, state = model.advance(state, marked[None, n_read : place + 1])
        n_read = place + 1
        right = int(ids[place])
        read, _ = _split_context(model, marked[place + 2 :])
        first = log_probs[0].astype(np.float64)
        one = np.zeros(1, np.int64)
        _, total = _score_candidates(model, state, one, np.array([right]), first[[right]], read, -math.inf)
        if not len(total):  # of probability zero: no better than any
            yield len(candidates)
            continue
        rivals = candidates[(first[candidates] > total[0]) & (candidates != right)]
        better = 0
        for begin in range(0, len(rivals), ROWS_AT_ONCE):
            batch = rivals[begin : begin + ROWS_AT_ONCE]
            rows = np.zeros(len(batch), np.int64)
            kept, _ = _score_candidates(model, state, rows, batch, first[batch], read, float(total[0]))
            better += len(kept)
        yield 1 + better


def _score_candidates(
    model: LanguageModel,
    state: State,
    rows: np.ndarray,
    tokens: np.ndarray,
    totals: np.ndarray,
    piece: np.ndarray,
    bound: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Which of N candidates (rows and tokens) are above `bound` when they have read `piece`, and their totals."""
    kept = np.flatnonzero(_numbers(totals) > bound)
    totals = totals[kept]
    if not len(piece) or not len(kept):
        return kept, totals
    log_probs, state = model.advance(model.select(state, rows[kept]), tokens[kept])
    for place, token in enumerate(piece.tolist()):
        totals = totals + _numbers(log_probs[:, token])
        going = np.flatnonzero(totals > bound)
        if len(going) < len(kept):
            kept, totals = kept[going], totals[going]
            if not len(kept):
                break
            state = model.select(state, going)
        if place < len(piece) - 1:
            log_probs, state = model.advance(state, np.full(len(kept), token))
    return kept, totals


def _numbers(log_probs: np.ndarray) -> np.ndarray:
    """The same, which is no candidate's where it is nan."""
    if np.isnan(log_probs).any():
        raise UserError(NO_NUMBERS)
    return log_probs


def _split_context(model: LanguageModel, piece: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What of `piece` can depend on the token before it, and the rest."""
    cut = len(piece) if model.context is None else model.context
    return piece[:cut], piece[cut:]


def _shared_log_prob(
    model: LanguageModel, state: State, row: int, token: int, read: np.ndarray, shared: np.ndarray
) -> float:
    """The log-probability of `shared`, which comes after the same everywhere."""
    own = model.select(state, np.array([row]))
    log_probs, own = model.advance(own, np.concatenate([[token], read])[None])
    total = 0.0
    for place, following in enumerate(shared.tolist()):
        total += float(log_probs[0, following])
        if place < len(shared) - 1:
            log_probs, own = model.advance(own, np.array([following]))
    return total


def _log_prob(model: LanguageModel, ids: np.ndarray) -> float:
    return float(model.score(ids).astype(np.float64).sum()) if len(ids) else 0.0


def _whole_tokens(tokenizer: Tokenizer) -> np.ndarray:
    """The tokens that are text by themselves: neither the mark nor a piece of a character."""
    return np.array([i for i, token in _texts(tokenizer) if token])


def _space_prefixed_tokens(tokenizer: Tokenizer) -> np.ndarray:
    """The tokens that begin with a space and go on."""
    spaced = [i for i, token in _texts(tokenizer) if token[:1] == b" " and token.strip()]
    return np.array(spaced, np.int64)


def _texts(tokenizer: Tokenizer) -> list[tuple[int, bytes]]:
    """The ids that spell text, and what."""
    special = set(tokenizer.special)
    return [(i, t) for i, t in enumerate(tokenizer.token_bytes) if i not in special and _is_text(t)]


def _maskable(tokenizer: Tokenizer) -> np.ndarray:
    """Which tokens are masked to measure accuracy, (V,): words of word tokenisers, any token of others."""
    if tokenizer.kind not in ("word", "whitespace"):
        return np.ones(tokenizer.vocab_size, bool)
    texts = [token.decode("utf-8", "replace") for token in tokenizer.token_bytes]
    return np.array([any(c.isalnum() for c in text) for text in texts])


def _is_text(token: bytes) -> bool:
    try:
        token.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _filled_in(
    tokenizer: Tokenizer, pieces: list[np.ndarray], filled: list[int]
) -> tuple[tuple[str, ...], str]:
    """What stands in place of each mask, and the whole text."""
    ids: list[int] = pieces[0].tolist()
    tokens = []
    for token, piece in zip(filled, pieces[1:], strict=True):
        tokens.append(tokenizer.decode([token], after=ids[-1] if ids else None))
        ids += [token, *piece.tolist()]
    return tuple(tokens), tokenizer.decode(ids)


def _by_total(item: tuple[float, int]) -> tuple[float, int]:
    return -item[0], item[1]
