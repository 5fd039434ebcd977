"""The first rung of tagging: each word's tags, as often as it had them, whatever stands around it.

    P(t | w) = (C(w, t) + a P(t)) / (C(w) + a),    P(t) = (C(t) + 1) / (N + K)

a is chosen where validation words cost least; a word never seen has P(t) of the words that were seen once, as a new one
is more like those than like `the`. Every other tagger has to be better than this.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from rung.events import Event
from rung.models.counting.word_tags import WordTags
from rung.models.tagger import CountedTagger
from rung.opening import check_array
from rung.text.stream import TokenStream
from rung.text.tagged import TaggedExamples, words_of

STRENGTHS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
UNCHOSEN = 0.1
"""What a is without validation words."""


@dataclass(frozen=True)
class MajorityTaggerConfig:
    """There is nothing to choose."""


class MajorityTagger(CountedTagger):
    """The tags of each word.

    Attributes:
        lexicon: how often each word had each tag.
        strength: a.
    """

    rung = "majority"
    config_class = MajorityTaggerConfig

    def __init__(
        self,
        config: MajorityTaggerConfig,
        vocab_size: int,
        end: int,
        delimiter: int,
        tags: Sequence[str],
        lexicon: WordTags,
        strength: float,
    ) -> None:
        super().__init__(config, vocab_size, end, delimiter, tags)
        self.lexicon = lexicon
        self.strength = strength
        self._table = _log_table(lexicon.rows(len(self.tags)), strength)

    @classmethod
    def fit(
        cls,
        config: MajorityTaggerConfig,
        examples: TaggedExamples,
        vocab_size: int,
        end: int,
        delimiter: int,
        tags: Sequence[str],
    ) -> Iterator[Event | Self]:
        lexicon = WordTags.of(words_of(examples.train.stream, delimiter), np.asarray(examples.train.tags))
        strength = UNCHOSEN
        if examples.validation is not None and len(examples.validation.tags):
            counts = lexicon.rows(len(tags))
            ids = lexicon.ids(words_of(examples.validation.stream, delimiter))
            right = np.asarray(examples.validation.tags)
            strength = max(STRENGTHS, key=lambda a: float(_log_table(counts, a)[ids, right].sum()))
        yield cls(config, vocab_size, end, delimiter, tags, lexicon, strength)

    def log_probs(self, sentences: TokenStream) -> np.ndarray:
        return self._table[self.lexicon.ids(words_of(sentences, self.delimiter))]

    @property
    def n_parameters(self) -> int:
        return len(self.lexicon.tag_counts) + 1

    def tensors(self) -> dict[str, np.ndarray]:
        return {**self.lexicon.tensors(), "strength": np.array([self.strength])}

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
        strength = np.array(tensors["strength"])
        check_array("strength", strength, "f8", [1])
        if not 0 < strength[0] < 1e6:
            raise ValueError(f"strength can't be {strength[0]}")
        lexicon = WordTags.from_tensors(tensors, len(tags))
        return cls(config, vocab_size, end, delimiter, tags, lexicon, float(strength[0]))


def _log_table(counts: np.ndarray, strength: float) -> np.ndarray:
    """log P(t | w) of N words, and last of a word never seen: (N + 1, K), float32."""
    n_tags = counts.shape[1]
    overall = (counts.sum(axis=0) + 1) / (counts.sum() + n_tags)
    rare = counts[counts.sum(axis=1) == 1].sum(axis=0)
    new = (rare + overall) / (rare.sum() + 1)
    table = (counts + strength * overall) / (counts.sum(axis=1, keepdims=True) + strength)
    return np.log(np.concatenate([table, new[None]])).astype(np.float32)
