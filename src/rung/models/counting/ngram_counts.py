"""Counting every n-gram of a token stream, order by order, by sorting.

A k-gram is a (k-1)-gram and one more token. With the (k-1)-grams numbered in sorted order, the k-grams are
numbered by sorting the pairs (number of the (k-1)-gram that ends before a token, the token), one integer each.
Packed together with the token's position into 64 bits, a pair needs only a plain sort, which is several times
quicker than an argsort.

Where the text is too long to sort at once, it is sorted in chunks, the chunks' counted pairs are merged into one
row, and every token's pair is then looked up in it. Several processes share the work in just this way: each has a
shard of the stream, the first merges everyone's counted pairs, and everyone looks up its own.

N-grams never cross documents: the mark may be their first token (a document begins) or their last (it ends).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike

from rung.models.counting.sorted_runs import CountedKeys, SortedRuns, merge_runs
from rung.models.counting.workspace import UNBOUNDED_PIECE, Workspace
from rung.process_group import SINGLE_PROCESS, ProcessGroup

NO_GRAM = -1
BYTES_PER_TOKEN = 112  # while a chunk is sorted and counted


@dataclass(frozen=True)
class Grams:
    """All different n-grams of one order, sorted by parent and then by last token. G of them.

    order: how many tokens long they are.
    n_parents: how many different n-grams there are one order lower; of order 0 there is one, the empty n-gram.
    words: (G,) the last token.
    parent: (G,) the number, among those one order lower, of the n-gram less its last token.
    suffix: (G,) the same, less its first token.
    counts: (G,) how often it occurs.
    starts_document: (G,) whether it begins with the document mark. (The 1-gram of the mark is the closing one: False.)
    """

    order: int
    n_parents: int
    words: np.ndarray
    parent: np.ndarray
    suffix: np.ndarray
    counts: np.ndarray
    starts_document: np.ndarray

    def __len__(self) -> int:
        return len(self.words)


def count_ngrams(
    ids: np.ndarray,
    vocab_size: int,
    end: int,
    order: int,
    space: Workspace,
    group: ProcessGroup = SINGLE_PROCESS,
) -> list[Grams]:
    """The n-grams of orders 1 to `order` of a stream `end d1 end d2 end ... dn end`.

    Of order 1 there are always V, seen or not, so that a token is its own number. An order longer than every
    document has none. Of several processes the first gets them, the others an empty list.
    """
    id_dtype = np.int32 if max(len(ids), vocab_size) < np.iinfo(np.int32).max else np.int64
    # Rounded up, so that where there are fewer tokens than processes, it is the last of them that have none.
    longest = -((1 - len(ids)) // group.world_size)
    before = min(longest * group.rank, len(ids) - 1)
    ids = ids[before : before + longest + 1]
    shard = _Shard(ids, space.empty(len(ids), id_dtype), longest, vocab_size, end, space, group)
    seen = np.zeros(vocab_size, np.int64)
    for piece in space.pieces(len(ids)):
        shard.gram_ids[piece] = ids[piece]
        seen += np.bincount(ids[piece], minlength=vocab_size)
    seen[ids[0]] -= 1  # another's to count; or nobody's: the mark before the first document predicts nothing
    total = sum((row for (row,) in group.gather_to_first(seen)), np.zeros(vocab_size, np.int64))
    nothing = np.zeros(vocab_size, id_dtype)
    levels = [Grams(1, 1, np.arange(vocab_size), nothing, nothing, total, np.zeros(vocab_size, bool))]
    n_below = vocab_size
    for k in range(2, order + 1):
        pairs = _count_level(shard, k, n_below, assign_ids=k < order)
        if group.rank == 0:
            levels.append(_grams_of_pairs(pairs, levels[-1], id_dtype, vocab_size, end, space))
        n_below = len(pairs)
    return [] if group.rank else levels


@dataclass(frozen=True)
class _Shard:
    """A process's shard of a stream. To it, as to the whole stream, belongs the token before the first that counts.

    ids: (n + 1,) the tokens.
    gram_ids: (n + 1,) the number of the n-gram of the current order that ends at each.
    longest: the n of the longest shard there is.
    """

    ids: np.ndarray
    gram_ids: np.ndarray
    longest: int
    vocab_size: int
    end: int
    space: Workspace
    group: ProcessGroup


def _count_level(shard: _Shard, order: int, n_below: int, *, assign_ids: bool) -> CountedKeys:
    """The different pairs of an order; of several processes all but the first learn only their keys.

    `shard.gram_ids` is that of the order below, of which there are `n_below`, and then, if need be, that of this order.
    """
    gram_ids, space, group = shard.gram_ids, shard.space, shard.group
    chunks = _chunks(len(gram_ids), shard.longest, n_below * shard.vocab_size, space)
    packed, bits, local = np.empty(0, np.int64), 0, None
    with SortedRuns(space) as runs:
        for chunk in chunks:
            before = gram_ids[chunk.start - 1 : chunk.stop - 1]
            packed, bits = _sorted_pairs(shard, before, chunk, order)
            local = _count_runs(packed, bits, gram_ids[chunk])
            _gather_pairs(local, runs, group)
        merged = merge_runs(runs.all(), space)
    merged = CountedKeys(_broadcast_keys(merged.keys, space, group), merged.counts, merged.tags)
    if not assign_ids:
        return merged

    last = gram_ids[:1].copy()  # of the order below, before the chunk's first token
    for chunk in chunks:
        if len(chunks) > 1:  # else its pairs are still at hand
            before = np.concatenate([last, gram_ids[chunk.start : chunk.stop - 1]])
            last = gram_ids[chunk.stop - 1 : chunk.stop].copy()
            packed, bits = _sorted_pairs(shard, before, chunk, order)
            local = _count_runs(packed, bits, gram_ids[chunk])
        assert local is not None
        all_local = len(local) == len(merged)
        new = np.arange(len(merged)) if all_local else np.searchsorted(merged.keys, local.keys)
        _assign_ids(gram_ids[chunk], packed, bits, new, local.counts)
    _exchange_halo(gram_ids, group)
    return merged


def _gather_pairs(local: CountedKeys, runs: SortedRuns, group: ProcessGroup) -> None:
    """Have the first process collect everyone's pairs."""
    for rows in group.gather_to_first(local.keys, local.counts, local.tags):
        runs.add(CountedKeys(*rows))


def _broadcast_keys(keys: np.ndarray, space: Workspace, group: ProcessGroup) -> np.ndarray:
    """The first process's keys, everywhere."""
    if group.world_size == 1:
        return keys
    length = np.array([len(keys)])
    group.broadcast(length)
    if group.rank:
        keys = space.empty(int(length[0]), np.int64)
    for piece in space.pieces(len(keys)):
        group.broadcast(keys[piece])
    return keys


def _exchange_halo(gram_ids: np.ndarray, group: ProcessGroup) -> None:
    """Give every process the number at the token before its shard, which is the last of the shard before."""
    lasts = np.empty(group.world_size, gram_ids.dtype)
    for rank, (last,) in enumerate(group.gather_to_first(gram_ids[-1:])):
        lasts[rank] = last[0]
    group.broadcast(lasts)
    if group.rank:
        gram_ids[0] = lasts[group.rank - 1]


def _chunks(n: int, longest_shard: int, n_keys: int, space: Workspace) -> list[slice]:
    """Slices that cover the tokens 1 to n - 1, so short that pair and position fit in 63 bits and memory holds.

    All processes have as many slices; the last ones of a shorter shard may be empty.
    """
    longest = 1 << min(63 - n_keys.bit_length(), 40)
    if space.memory is not None:
        longest = min(longest, max(space.memory // BYTES_PER_TOKEN, 1))
    begins = range(1, max(longest_shard, 1) + 1, longest)
    return [slice(min(begin, n), min(begin + longest, n)) for begin in begins]


def _sorted_pairs(shard: _Shard, before: np.ndarray, chunk: slice, order: int) -> tuple[np.ndarray, int]:
    """The pairs of a chunk, sorted, (T,) int64, and a number of bits.

    A pair is (context * V + token) << bits | position in the chunk; tokens that no n-gram ends at have none.
    before: (n,) the number of the (order - 1)-gram that ends before each token of the chunk.
    """
    ids = shard.ids
    n = chunk.stop - chunk.start
    bits = n.bit_length()
    pairs = np.empty(n, np.int64)
    so_far = 0
    # Piece by piece: a long row of temporary arrays costs more than the arithmetic.
    for begin in range(0, n, UNBOUNDED_PIECE):
        stop = min(begin + UNBOUNDED_PIECE, n)
        contexts = before[begin:stop].astype(np.int64)
        inside = contexts != NO_GRAM
        if order > 2:  # nothing continues an n-gram that a document mark has closed
            inside &= ids[chunk.start + begin - 1 : chunk.start + stop - 1] != shard.end
        contexts *= shard.vocab_size
        contexts += ids[chunk.start + begin : chunk.start + stop]
        contexts <<= bits
        contexts |= np.arange(begin, stop)
        piece = contexts[inside]
        pairs[so_far : so_far + len(piece)] = piece
        so_far += len(piece)
    pairs = pairs[:so_far]
    pairs.sort()
    return pairs, bits


def _count_runs(packed: np.ndarray, bits: int, gram_ids: np.ndarray) -> CountedKeys:
    """The different pairs, how often each occurs, and the n-gram one order lower that ends where it does."""
    first = np.ones(len(packed), bool)  # of its pair's run
    for begin in range(1, len(packed), UNBOUNDED_PIECE):
        keys = packed[begin - 1 : begin + UNBOUNDED_PIECE] >> bits
        np.not_equal(keys[1:], keys[:-1], out=first[begin : begin + UNBOUNDED_PIECE])
    at = np.flatnonzero(first)
    found = packed[at]
    tags = gram_ids[found & ((1 << bits) - 1)].astype(np.int64)
    return CountedKeys(found >> bits, np.diff(at, append=len(packed)), tags)


def _assign_ids(
    gram_ids: np.ndarray, packed: np.ndarray, bits: int, new: np.ndarray, counts: np.ndarray
) -> None:
    """Give each position of a chunk the number `new` (G,) of its pair, in place; `counts` (G,): how often it occurs."""
    gram_ids[:] = NO_GRAM
    new_ids = np.repeat(new.astype(gram_ids.dtype), counts)
    for begin in range(0, len(packed), UNBOUNDED_PIECE):
        piece = slice(begin, begin + UNBOUNDED_PIECE)
        gram_ids[packed[piece] & ((1 << bits) - 1)] = new_ids[piece]


def _grams_of_pairs(
    merged: CountedKeys, below: Grams, id_dtype: DTypeLike, vocab_size: int, end: int, space: Workspace
) -> Grams:
    n = len(merged)
    words = space.empty(n, np.min_scalar_type(vocab_size - 1))
    parent, suffix = space.empty(n, id_dtype), space.empty(n, id_dtype)
    begins = space.empty(n, bool)
    for piece in space.pieces(n):
        above, words[piece] = np.divmod(merged.keys[piece], vocab_size)
        parent[piece] = above
        suffix[piece] = merged.tags[piece]
        begins[piece] = above == end if below.order == 1 else below.starts_document[above]
    return Grams(below.order + 1, len(below), words, parent, suffix, merged.counts, begins)


def pieces_by_parent(grams: Grams, space: Workspace) -> Iterator[tuple[slice, slice]]:
    """The n-grams piece by piece, no two of one parent in different pieces, each with the slice of their parents.

    The slices of parents cover all of them, those without children too.
    """
    begin = parent = 0
    while begin < len(grams) or parent < grams.n_parents:
        stop = min(begin + space.piece, len(grams))
        if stop < len(grams):  # to the end of the family that the piece would cut
            stop = int(np.searchsorted(grams.parent, grams.parent[stop - 1], side="right"))
        next_parent = int(grams.parent[stop]) if stop < len(grams) else grams.n_parents
        yield slice(begin, stop), slice(parent, next_parent)
        begin, parent = stop, next_parent


def pruning_masks(
    levels: Sequence[Grams], thresholds: Sequence[int], space: Workspace
) -> list[np.ndarray] | None:
    """For each order, which n-grams (G,) occur more often than its threshold; the last holds for all above.

    None where no threshold is above 0. Thresholds that begin with 0 and never fall keep every parent and suffix
    of what they keep: these occur at least as often.
    """
    if not any(thresholds):
        return None
    kept = []
    for grams in levels:
        keep = space.empty(len(grams), bool)
        for piece in space.pieces(len(grams)):
            keep[piece] = grams.counts[piece] > thresholds[min(grams.order, len(thresholds)) - 1]
        if grams.order == 1:
            keep[:] = True
        kept.append(keep)
    return kept
