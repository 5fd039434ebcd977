"""N-grams with probabilities and backoff weights, laid out for scoring whole texts by array operations.

Every n-gram w1 .. wk is a node; its parent is w1 .. w(k-1), its suffix w2 .. wk. Node 0 is the empty n-gram,
node 1 + w the token w; then come all 2-grams, all 3-grams and so on, each level sorted by parent and then by
last token. So the children of a node lie side by side, sorted, and one array of `first_child` tells where.

    log P(w | h) = log_prob[h w]                            when the n-gram h w is kept
                   log_backoff[h] + log P(w | h')           otherwise; h' is h less its first token,
                                                            and the backoff of an n-gram not kept is 0

Every suffix of a kept n-gram is kept, so the longest kept suffix of a history says all there is to know: one
node is the whole state, and suffix links lead to the shorter ones (as in Aho and Corasick 1975).

The document mark begins histories and ends documents, so after the mark nothing older matters. That needs no
special case in scoring: an n-gram that ends with the mark has no children and a backoff of 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rung.models.counting.arrays import concatenated_ranges, read_only
from rung.models.counting.ngram_counts import Grams
from rung.models.counting.workspace import Workspace
from rung.opening import check_array, check_at_most, check_below, check_rising

ROOT = 0
MISSING = -1
TOKENS_AT_ONCE = 1 << 16
MAX_LOG_PROB = 1e-3  # what was rounded on its way through a file may be a little above 0
MAX_LOG_BACKOFF = (
    40.0  # nats; double precision can't tell what would leave less to a backoff's divisor from nothing
)


@dataclass(frozen=True)
class BackoffTrie:
    """The arrays of a backoff model. M nodes, of which I are of an order below the highest; V tokens.

    level_start: (N + 2,) the k-grams are nodes level_start[k] to level_start[k + 1]; N is the order.
    words: (M,) the last token of each n-gram.
    log_prob: (M,) its log-probability in nats, given the tokens before it.
    suffix: (M,) the n-gram less its first token.
    first_child: (I + 1,) the children of node i are nodes first_child[i] to first_child[i + 1].
    log_backoff: (I,) what a token pays, in nats, to be predicted from the suffix instead.
    """

    level_start: np.ndarray
    words: np.ndarray
    log_prob: np.ndarray
    suffix: np.ndarray
    first_child: np.ndarray
    log_backoff: np.ndarray

    @property
    def order(self) -> int:
        return len(self.level_start) - 2

    @property
    def vocab_size(self) -> int:
        return int(self.level_start[2] - 1)

    def check(self, vocab_size: int, max_order: int) -> None:
        """Raise ValueError unless every walk through these arrays stays within them and comes to an end.

        The children of a level are the next one, in order, and suffix links lead to levels below.
        """
        starts = self.level_start
        check_array("level_start", starts, "i8", [None])
        check_below("the order", np.array([self.order - 1]), max_order)
        check_rising("level_start", starts, 0, len(self.words))
        if starts[1:3].tolist() != [1, 1 + vocab_size]:
            raise ValueError(f"level_start begins with {starts[:3]}, and there are {vocab_size} tokens")
        n_nodes, n_inner = int(starts[-1]), int(starts[-2])
        check_array("words", self.words, "u1 u2 u4", [n_nodes])
        check_below("words", self.words, vocab_size)
        if (self.words[1 : 1 + vocab_size] != np.arange(vocab_size)).any():
            raise ValueError("words does not begin with every token")
        check_array("log_prob", self.log_prob, "f4", [n_nodes])
        check_at_most("log_prob", self.log_prob, MAX_LOG_PROB)
        check_array("log_backoff", self.log_backoff, "f4", [n_inner])
        check_at_most("log_backoff", self.log_backoff, MAX_LOG_BACKOFF)
        check_array("suffix", self.suffix, "i4 i8", [n_nodes])
        check_array("first_child", self.first_child, "i4 i8", [n_inner + 1])
        check_rising("first_child", self.first_child, 1, n_nodes)
        if (self.first_child[starts[:-1]] != starts[1:]).any():
            raise ValueError("first_child leads out of the level below")
        check_below("suffix", self.suffix[:1], 1)
        for level in range(1, self.order + 1):
            check_below("suffix", self.suffix[starts[level] : starts[level + 1]], int(starts[level]))

    def child(self, nodes: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """The node of `nodes[i]`, an inner one, followed by `tokens[i]`, or MISSING, (n,)."""
        low = self.first_child[nodes].astype(np.int64)
        high = self.first_child[nodes + 1].astype(np.int64)
        stop = high
        for _ in range(int((high - low).max(initial=0)).bit_length()):
            middle = (low + high) >> 1
            # `middle` can reach a row's end only when low == high: that row has been decided.
            right = (low < high) & (self.words[np.minimum(middle, len(self.words) - 1)] < tokens)
            low = np.where(right, middle + 1, low)
            high = np.where(right, high, middle)
        found = (low < stop) & (self.words[np.minimum(low, len(self.words) - 1)] == tokens)
        return np.where(found, low, MISSING)

    def step(self, nodes: np.ndarray, tokens: np.ndarray, end: int) -> np.ndarray:
        """The longest kept suffix of each history after one more token, (B,)."""
        if self.order == 1:
            return np.zeros_like(nodes)
        after = np.where(tokens == end, 1 + end, MISSING)
        context = nodes
        while (open_rows := np.flatnonzero(after == MISSING)).size:
            after[open_rows] = self.child(context[open_rows], tokens[open_rows])
            context = self.suffix[context]  # the root is its own suffix and has every token for a child
        return np.where(after >= self.level_start[self.order], self.suffix[after], after)

    def next_log_probs(self, nodes: np.ndarray) -> np.ndarray:
        """The log-probabilities of every token after each history, (B,) -> (B, V)."""
        # Longest first: nodes (B,), and the backoff paid on the way there (B,).
        contexts: list[tuple[np.ndarray, np.ndarray]] = []
        backoff = np.zeros(len(nodes), np.float32)
        while nodes.any():
            contexts.append((nodes, backoff))
            backoff = backoff + np.where(nodes != ROOT, self.log_backoff[nodes], np.float32(0))
            nodes = self.suffix[nodes]
        out = self.log_prob[1 : 1 + self.vocab_size] + backoff[:, None]
        for context, total_backoff in reversed(contexts):
            children, rows = self._children(context)
            out[rows, self.words[children]] = self.log_prob[children] + total_backoff[rows]
        return out

    def compiled_step(
        self, nodes: np.ndarray, tokens: np.ndarray, end: int, step: Callable[..., None]
    ) -> tuple[np.ndarray, np.ndarray]:
        """(B,), (B, T) -> what `next_log_probs` gives after the last token, (B, V), and the states, (B,).

        `step` is that of `trie_kernels`.
        """
        nodes = nodes.copy()
        out = np.empty((len(nodes), self.vocab_size), np.float32)
        step(nodes, np.ascontiguousarray(tokens), end, *self._arrays, out)
        return out, nodes

    def log_probs(self, ids: np.ndarray) -> np.ndarray:
        """The log-probability of every token of `ids` given those before it, (T,) -> (T,) float32."""
        out = np.empty(len(ids), np.float32)
        for begin in range(0, len(ids), TOKENS_AT_ONCE):
            margin = min(begin, self.order - 1)
            chunk = np.asarray(ids[begin - margin : begin + TOKENS_AT_ONCE]).astype(np.int64)
            out[begin : begin + TOKENS_AT_ONCE] = self._chunk_log_probs(chunk)[margin:]
        return out

    def scanned_log_probs(self, ids: np.ndarray, end: int, scan: Callable[..., int]) -> np.ndarray:
        """What `log_probs` gives, to the bit, by the `scan` of `trie_kernels`."""
        out = np.empty(len(ids), np.float32)
        node = ROOT
        for begin in range(0, len(ids), TOKENS_AT_ONCE):
            chunk = np.asarray(ids[begin : begin + TOKENS_AT_ONCE]).astype(np.int64)
            node = scan(chunk, node, end, *self._arrays, out[begin : begin + TOKENS_AT_ONCE])
        return out

    def longest_matches(self, ids: np.ndarray) -> np.ndarray:
        """The longest kept n-gram that ends at each token, as a node, (T,) -> (T,)."""
        longest = 1 + ids
        for at, _, child in self._match_orders(ids):
            kept = child != MISSING
            longest[at[kept]] = child[kept]
        return longest

    def histories(self, ids: np.ndarray, end: int) -> np.ndarray:
        """The state after each token, as `step` gives it: the longest kept n-gram that can be looked on from, (T,)."""
        if self.order == 1:
            return np.zeros(len(ids), np.int64)
        longest = self.longest_matches(ids.astype(np.int64))
        longest = np.where(longest >= self.level_start[self.order], self.suffix[longest], longest)
        return np.where(ids == end, 1 + end, longest)

    def lengths(self, nodes: np.ndarray) -> np.ndarray:
        """How many tokens the n-gram of each node has, (n,)."""
        return np.searchsorted(self.level_start, nodes, side="right") - 1

    @cached_property
    def _arrays(self) -> list[np.ndarray]:
        """What compiled functions take, in their order."""
        arrays = (self.words, self.log_prob, self.suffix, self.first_child, self.log_backoff)
        return [read_only(array) for array in arrays]

    def _chunk_log_probs(self, ids: np.ndarray) -> np.ndarray:
        out = self.log_prob[1 + ids]
        for at, context, child in self._match_orders(ids):
            kept = child != MISSING
            out[at[kept]] = self.log_prob[child[kept]]
            out[at[~kept]] += self.log_backoff[context[~kept]]
        return out

    def _match_orders(self, ids: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """By rising order k: positions, the (k-1)-gram before each, and its child or MISSING, each (n,)."""
        nodes = 1 + ids
        at = np.arange(1, len(ids))
        for _ in range(2, self.order + 1):
            context = nodes[at - 1]
            child = self.child(context, ids[at])
            yield at, context, child
            kept = child != MISSING
            nodes[at[kept]] = child[kept]
            at = at[kept] + 1  # a longer n-gram can only end right after one of these
            at = at[at < len(ids)]

    def _children(self, nodes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Every child of every node that isn't the root, and the row it comes from."""
        begin = self.first_child[nodes].astype(np.int64)
        n = np.where(nodes != ROOT, self.first_child[nodes + 1] - begin, 0)
        return concatenated_ranges(begin, n)


def build_trie(
    levels: Sequence[Grams],
    log_prob: Sequence[np.ndarray],
    log_backoff: Sequence[np.ndarray],
    kept: Sequence[np.ndarray] | None,
    space: Workspace,
) -> BackoffTrie:
    """Lay out counted levels in one row.

    Args:
        levels: for each order, its n-grams sorted by parent and then by last token.
        log_prob: for each order, (G,).
        log_backoff: for each order k, of the (k-1)-grams, (H,); that of the empty one is not used.
        kept: for each order, which n-grams (G,) to take, their parents and suffixes among them; None = all.
        space: where the arrays go.
    """
    sizes = [len(grams) if kept is None else int(kept[i].sum()) for i, grams in enumerate(levels)]
    level_start = np.cumsum([0, 1, *sizes])  # the root is a level of its own
    n_nodes, n_inner = int(level_start[-1]), int(level_start[-2])
    node_dtype = np.int32 if n_nodes < np.iinfo(np.int32).max else np.int64
    trie = BackoffTrie(
        level_start=level_start,
        words=space.zeros(n_nodes, np.min_scalar_type(len(levels[0]) - 1)),
        log_prob=space.zeros(n_nodes, np.float32),
        suffix=space.zeros(n_nodes, node_dtype),
        first_child=space.zeros(n_inner + 1, node_dtype),
        log_backoff=space.zeros(n_inner, np.float32),
    )
    node_of = np.zeros(1, node_dtype)  # of every n-gram one order lower
    for level, grams in enumerate(levels):
        at = int(level_start[level + 1])
        above = node_of
        node_of = space.empty(len(grams), node_dtype)
        for piece in space.pieces(len(grams)):
            keep = np.ones(piece.stop - piece.start, bool) if kept is None else kept[level][piece]
            nodes = np.cumsum(keep) + (at - 1)
            node_of[piece] = nodes
            row = slice(at, int(nodes[-1]) + 1)
            trie.words[row] = grams.words[piece][keep]
            trie.log_prob[row] = log_prob[level][piece][keep]
            trie.suffix[row] = above[grams.suffix[piece][keep]]
            parents = above[grams.parent[piece][keep]]
            if len(parents):
                first, last = int(parents[0]), int(parents[-1])
                trie.first_child[first + 1 : last + 2] += np.bincount(parents - first).astype(node_dtype)
            if level + 1 < len(levels):
                trie.log_backoff[row] = log_backoff[level + 1][piece][keep]
            at = row.stop
    n_children = 1
    for piece in space.pieces(n_inner + 1):  # from how many children each node has to where they begin
        sums = np.cumsum(trie.first_child[piece]) + n_children
        trie.first_child[piece] = sums
        n_children = int(sums[-1])
    return trie
