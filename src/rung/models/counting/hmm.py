"""A hidden Markov model that tags (Brants 2000, "TnT: A Statistical Part-of-Speech Tagger").

    P(tags, words) ~ product over words i of P(t_i | t_(i-2), t_(i-1)) P(t_i | w_i) / P(t_i),  then the closing border

The tags' own n-grams are those of our `ngram` rung, Kneser-Ney smoothed. By Bayes P(w | t) is P(t | w) / P(t) but for a
factor that all tags share, and

    P(t | w) = (C(w, t) + a P(t | how w ends)) / (C(w) + a)

so that a word met once leans on its ending, and one never met has nothing else (`suffix_tags`). A word that begins a
sentence with a capital counts as the same word in small letters too.

Tags that are far from a word's likeliest are left out of the sums; the answer mixes a little of the words by themselves
in, (1 - e) P + e times the product of P(t_i | w_i), so that no way to tag is impossible and the probabilities of all
ways add up to one. a and e are chosen where validation words cost least. What `decode` answers is the likeliest path of
the model itself; where tags are B-, I- and O, a path of possible steps alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np

from rung.errors import UserError
from rung.events import Event, Note
from rung.models.base import fitted
from rung.models.config_checks import check_field
from rung.models.counting.ngram import NGram, NGramConfig
from rung.models.counting.suffix_tags import SuffixTags
from rung.models.counting.word_tags import WordTags
from rung.models.tagger import CountedTagger, sums
from rung.opening import check_array
from rung.text.spans import allowed_transitions, marks_spans
from rung.text.stream import TokenStream
from rung.text.tagged import TaggedExamples, TaggedStream, word_counts, words_of

STRENGTHS = (0.03, 0.1, 0.2, 0.4, 0.8, 1.6, 3.0)
UNCHOSEN = 0.4
SHARES = (1e-4, 1e-3, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3)
UNCHOSEN_SHARE = 0.01
FAR, FURTHER = 2e-3, 1e-6
"""A tag by so much less likely than a word's likeliest is left out of paths; of sums, which its share adds to."""
LARGEST = 1 << 28
"""The most numbers of the table of transitions: 1 GiB."""
HISTORIES_AT_ONCE = 1 << 12
SENTENCES_AT_ONCE = 1 << 12


@dataclass(frozen=True)
class HMMConfig:
    """How far back it sees."""

    order: int = 3
    """The longest n-gram of tags: 3 is a tag and the two before it."""

    def __post_init__(self) -> None:
        check_field(
            self, "order", lambda value: type(value) is int and 1 <= value <= 3, "1, 2 or 3", optional=False
        )


class _Candidates(NamedTuple):
    """What may be said of W words. first: (W + 1,) where each one's begin among C; tags, weights: (C,), the latter
    P(t | w) / P(t); word: (W,) which row of own, P(t | w), (D, K), each word has."""

    first: np.ndarray
    tags: np.ndarray
    weights: np.ndarray
    word: np.ndarray
    own: np.ndarray


class HMM(CountedTagger):
    """Tags by their order and by their words.

    Attributes:
        transitions: the n-gram model of tags, K + 1 ids, the last the border of a sentence.
        lexicon: how often each word had each tag.
        suffixes: the tags of endings.
        strength, share: a and e.
        strict: whether what B-, I- and O forbid was never seen, and is never answered.
    """

    rung = "hmm"
    config_class = HMMConfig

    def __init__(
        self,
        config: HMMConfig,
        vocab_size: int,
        end: int,
        delimiter: int,
        tags: Sequence[str],
        transitions: NGram,
        lexicon: WordTags,
        suffixes: SuffixTags,
        strength: float,
        share: float,
        strict: bool,
    ) -> None:
        super().__init__(config, vocab_size, end, delimiter, tags)
        self.config: HMMConfig = config
        self.transitions = transitions
        self.lexicon = lexicon
        self.suffixes = suffixes
        self.strength = strength
        self.share = share
        self.strict = strict
        n_tags = len(self.tags)
        overall = np.bincount(lexicon.tag_ids, lexicon.tag_counts, minlength=n_tags)
        self._overall = (overall + 1) / (overall.sum() + n_tags)
        self._allowed = allowed_transitions(self.tags) if strict else np.ones((n_tags + 1, n_tags + 1), bool)

    @cached_property
    def _table(self) -> tuple[np.ndarray, np.ndarray]:
        return _transition_table(self.transitions, len(self.tags))

    @classmethod
    def fit(
        cls,
        config: HMMConfig,
        examples: TaggedExamples,
        vocab_size: int,
        end: int,
        delimiter: int,
        tags: Sequence[str],
    ) -> Iterator[Event | Self]:
        """Count. Raises UserError where so many tags make too large a table."""
        n_tags = len(tags)
        stream, numbers = examples.train.stream, np.asarray(examples.train.tags)
        counts = word_counts(stream, delimiter)
        lexicon = WordTags.of(words_of(stream, delimiter), numbers)
        suffixes = SuffixTags.of(lexicon, n_tags)
        sequences = TokenStream.pack(numbers, counts, n_tags)
        transitions = fitted(NGram.fit(NGramConfig(order=config.order), sequences, n_tags + 1, n_tags))
        strict = marks_spans(tags) and bool(
            allowed_transitions(tags)[sequences.ids[:-1], sequences.ids[1:]].all()
        )
        shape: dict[str, Any] = {
            "vocab_size": vocab_size,
            "end": end,
            "delimiter": delimiter,
            "tags": tags,
            "transitions": transitions,
            "lexicon": lexicon,
            "suffixes": suffixes,
            "strict": strict,
        }
        model = cls(config, strength=UNCHOSEN, share=UNCHOSEN_SHARE, **shape)
        held_out = examples.validation
        if held_out is not None and len(held_out.tags):
            right = np.asarray(held_out.tags)
            tried = [cls(config, strength=a, share=UNCHOSEN_SHARE, **shape) for a in STRENGTHS]
            model = max(tried, key=lambda one: one._alone(held_out, right))
            model.share = model._best_share(held_out)
            yield Note(
                f"a word counts beside {model.strength:g} of its ending; {model.share:g} of each answer is by words "
                "alone: both by validation words"
            )
        yield model

    def log_probs(self, sentences: TokenStream) -> np.ndarray:
        counts = word_counts(sentences, self.delimiter)
        out = np.empty((int(counts.sum()), len(self.tags)), np.float32)
        for begin, part in _in_parts(sentences, counts):
            found = self._candidates(part, FURTHER)
            posteriors, _ = self._sums(part, found)
            rows = self.share * found.own[found.word]
            n = np.diff(found.first)
            rows[np.repeat(np.arange(len(n)), n), found.tags] += (1 - self.share) * posteriors
            out[begin : begin + len(rows)] = np.log(rows)
        return out

    def score(self, sentences: TokenStream, tags: np.ndarray) -> np.ndarray:
        counts = word_counts(sentences, self.delimiter)
        out = []
        for begin, part in _in_parts(sentences, counts):
            found = self._candidates(part, FURTHER)
            own = tags[begin : begin + len(found.word)]
            by_order, alone = self._scores(part, found, own)
            out.append(np.logaddexp(np.log1p(-self.share) + by_order, np.log(self.share) + alone))
        return np.concatenate([np.empty(0), *out])

    def decode(self, sentences: TokenStream) -> np.ndarray:
        from rung.models.counting.hmm_kernels import best_paths

        counts = word_counts(sentences, self.delimiter)
        out = np.zeros(int(counts.sum()), np.int64)
        for begin, part in _in_parts(sentences, counts):
            found = self._candidates(part)
            own = word_counts(part, self.delimiter)
            paths, alive = np.zeros(len(found.word), np.int64), np.zeros(len(own), bool)
            how = *self._table, self._allowed
            best_paths(own, found.first, found.tags, found.weights, *how, paths, alive)
            if not alive.all():  # no path leads through the candidates: all tags are, then
                whole = self._candidates(part, 0)
                others, reached = np.zeros_like(paths), np.zeros_like(alive)
                best_paths(own, whole.first, whole.tags, whole.weights, *how, others, reached)
                dead = np.repeat(~alive, own)
                paths[dead] = others[dead]
            out[begin : begin + len(paths)] = paths
        return out

    def _alone(self, part: TaggedStream, right: np.ndarray) -> float:
        """What the tags get by their words alone, nats."""
        found = self._candidates(part.stream)
        return float(np.log(found.own[found.word, right]).sum())

    def _best_share(self, held_out: TaggedStream) -> float:
        """The e under which held-out sentences cost least."""
        found = self._candidates(held_out.stream, FURTHER)
        by_order, alone = self._scores(held_out.stream, found, np.asarray(held_out.tags))
        costs = [-np.logaddexp(np.log1p(-e) + by_order, np.log(e) + alone).sum() for e in SHARES]
        return SHARES[int(np.argmin(costs))]

    def _scores(
        self, stream: TokenStream, found: _Candidates, tags: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """log P(tags | words) of each sentence (S,), by order and words, and by words alone."""
        from rung.models.counting.hmm_kernels import path_log_probs

        counts = word_counts(stream, self.delimiter)
        _, totals = self._sums(stream, found)
        own = found.own[found.word, tags]
        by_order = np.zeros(len(counts))
        path_log_probs(counts, tags.astype(np.int64), own / self._overall[tags], *self._table, by_order)
        n = np.diff(found.first)
        codes = np.repeat(np.arange(len(n)), n) * len(self.tags) + found.tags
        considered = np.isin(np.arange(len(tags)) * len(self.tags) + tags, codes)
        by_order -= totals
        by_order[sums(~considered, counts) > 0] = -np.inf
        by_order[~np.isfinite(totals)] = -np.inf
        return by_order, sums(np.log(own), counts)

    def _sums(self, stream: TokenStream, found: _Candidates) -> tuple[np.ndarray, np.ndarray]:
        """P(tag | words) of each candidate (C,), and the log of the sum over all paths (S,)."""
        from rung.models.counting.hmm_kernels import forward_backward

        counts = word_counts(stream, self.delimiter)
        posteriors, totals = np.zeros(len(found.tags)), np.zeros(len(counts))
        forward_backward(counts, found.first, found.tags, found.weights, *self._table, posteriors, totals)
        return posteriors, totals

    def _candidates(self, stream: TokenStream, far: float = FAR) -> _Candidates:
        """The tags that each word may have: all but those by so much less likely."""
        words, counts = words_of(stream, self.delimiter), word_counts(stream, self.delimiter)
        initial = np.zeros(len(words), bool)
        initial[(np.cumsum(counts) - counts)[counts > 0]] = True
        numbers: dict[tuple[bytes, bool], int] = {}
        word = np.empty(len(words), np.int64)
        for i, (one, begins) in enumerate(zip(words, initial.tolist(), strict=True)):
            key = one, begins and one[:1].isupper()
            word[i] = numbers.setdefault(key, len(numbers))
        own = np.empty((len(numbers), len(self.tags)))
        for (one, capital), number in numbers.items():
            own[number] = self._of_word(one, capital)
        near = own >= far * own.max(axis=1, keepdims=True)
        kinds, tags = np.nonzero(near)
        begins = np.searchsorted(kinds, np.arange(len(own) + 1))
        sizes = np.diff(begins)[word]
        first = np.concatenate([[0], np.cumsum(sizes)])
        places = np.arange(first[-1]) + np.repeat(begins[word] - first[:-1], sizes)
        weights = (own / self._overall)[kinds, tags]
        return _Candidates(first, tags[places], weights[places], word, own)

    def _of_word(self, word: bytes, capital: bool) -> np.ndarray:
        """P(t | w), (K,)."""
        counts = np.zeros(len(self.tags))
        prior = self.suffixes.probs(word)
        spellings = [word]
        if capital:
            small = word.decode("utf-8", "replace").lower().encode("utf-8", "replace")
            spellings.append(small)
            prior = (prior + self.suffixes.probs(small)) / 2
        for spelling in spellings:
            number = self.lexicon.numbers.get(spelling)
            if number is not None:
                span = slice(self.lexicon.starts[number], self.lexicon.starts[number + 1])
                counts[self.lexicon.tag_ids[span]] += self.lexicon.tag_counts[span]
        return (counts + self.strength * prior) / (counts.sum() + self.strength)

    @property
    def n_parameters(self) -> int:
        return (
            self.transitions.n_parameters
            + len(self.lexicon.tag_counts)
            + len(self.suffixes.endings.tag_counts)
            + len(self.suffixes.overall)
            + 2
        )

    def tensors(self) -> dict[str, np.ndarray]:
        return {
            **{f"transitions.{name}": array for name, array in self.transitions.tensors().items()},
            **{f"suffixes.{name}": array for name, array in self.suffixes.tensors().items()},
            **self.lexicon.tensors(),
            "chosen": np.array([self.strength, self.share, float(self.strict)]),
        }

    @classmethod
    def from_tensors(
        cls,
        config: Any,
        vocab_size: int,
        end: int,
        delimiter: int,
        tags: Sequence[str],
        tensors: dict[str, np.ndarray],
    ) -> Self:
        def under(prefix: str) -> dict[str, np.ndarray]:
            return {
                name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)
            }

        n_tags = len(tags)
        chosen = np.array(tensors["chosen"])
        check_array("chosen", chosen, "f8", [3])
        strength, share, strict = chosen.tolist()
        if not (0 < strength < 1e6 and 0 < share < 1 and strict in (0, 1)):
            raise ValueError(f"what was chosen can't be {strength}, {share} and {strict}")
        return cls(
            config,
            vocab_size,
            end,
            delimiter,
            tags,
            NGram.from_tensors(NGramConfig(order=config.order), n_tags + 1, n_tags, under("transitions.")),
            WordTags.from_tensors(tensors, n_tags),
            SuffixTags.from_tensors(under("suffixes."), n_tags),
            strength,
            share,
            bool(strict),
        )


def _transition_table(model: NGram, n_tags: int) -> tuple[np.ndarray, np.ndarray]:
    """rows (K + 1, K + 1) and table (R, K + 1), P(. | a, b) at table[rows[a, b]].

    Histories that were never seen have the distribution of their last tag: all of them one row.
    """
    border = n_tags
    seen = np.zeros((n_tags + 1, n_tags + 1), bool)
    trie = model.trie
    if trie.order >= 3:  # nodes of two tags, b under a
        pairs = _pairs(model, n_tags)
        seen[pairs[:, 0], pairs[:, 1]] = True
    seen[border, border] = False
    n_rows = n_tags + 1 + int(seen.sum())
    if n_rows * (n_tags + 1) > LARGEST:
        raise UserError(
            f"{n_tags:,} tags have {int(seen.sum()):,} pairs, too many for a table of transitions: give --order 2"
        )
    rows = np.tile(np.arange(n_tags + 1), (n_tags + 1, 1))
    rows[seen] = n_tags + 1 + np.arange(int(seen.sum()))
    table = np.empty((n_rows, n_tags + 1))
    single = np.arange(n_tags + 1)[:, None]
    table[: n_tags + 1] = _after(model, single)
    table[n_tags + 1 :] = _after(model, np.argwhere(seen))
    return rows, table


def _pairs(model: NGram, n_tags: int) -> np.ndarray:
    """The pairs of tags (N, 2) that a longer history was seen as."""
    singles = np.arange(n_tags + 1)
    nodes = model.trie.step(np.zeros(n_tags + 1, np.int64), singles, n_tags)
    found = []
    for second in range(n_tags + 1):
        after = model.trie.step(nodes, np.full(n_tags + 1, second, np.int64), n_tags)
        lengths = model.trie.lengths(after)
        firsts = np.flatnonzero(lengths >= 2)
        found.append(np.stack([firsts, np.full(len(firsts), second)], axis=1))
    return np.concatenate(found)


def _after(model: NGram, histories: np.ndarray) -> np.ndarray:
    """P(. | history) of each (N, T) history: (N, K + 1)."""
    out = [np.empty((0, model.vocab_size))]
    for begin in range(0, len(histories), HISTORIES_AT_ONCE):
        own = histories[begin : begin + HISTORIES_AT_ONCE]
        log_probs, _ = model.advance(model.start(len(own)), own)
        out.append(np.exp(np.asarray(log_probs, np.float64)))
    return np.concatenate(out)


def _in_parts(stream: TokenStream, counts: np.ndarray) -> Iterator[tuple[int, TokenStream]]:
    """Stretches of sentences, and the number of the first word of each."""
    if stream.n_documents <= SENTENCES_AT_ONCE:
        yield 0, stream
        return
    before = np.concatenate([[0], np.cumsum(counts)])
    for begin in range(0, stream.n_documents, SENTENCES_AT_ONCE):
        rows = np.arange(begin, min(begin + SENTENCES_AT_ONCE, stream.n_documents))
        yield int(before[begin]), stream.of_documents(rows)
