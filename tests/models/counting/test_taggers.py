"""Taggers that count: the contract, and every path written out."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from rung.models.base import fitted
from rung.models.counting.hmm import HMM, HMMConfig
from rung.models.counting.majority_tagger import MajorityTagger, MajorityTaggerConfig
from rung.models.counting.ngram import NGram, NGramConfig
from rung.models.counting.suffix_tags import SuffixTags
from rung.models.counting.word_tags import WordTags
from rung.testing import check_tagger
from rung.text.spans import allowed_transitions
from rung.text.stream import TokenStream
from rung.text.tagged import TaggedExamples, TaggedStream, encode_sentences
from rung.text.tokenizers import train_tokenizer
from tests.tagged_made import entity_sentences, tagged_sentences

BYTES = train_tokenizer("byte", ["a"], None)
Made = list[tuple[list[str], list[str]]]


def part_of(sentences: Made, tags: list[str]) -> TaggedStream:
    stream = encode_sentences(BYTES, [words for words, _ in sentences])
    return TaggedStream(stream, np.array([tags.index(tag) for _, own in sentences for tag in own]))


def shape_of(tags: list[str]) -> dict[str, Any]:
    n = BYTES.vocab_size
    return {"vocab_size": n + 1, "end": BYTES.end, "delimiter": n, "tags": tags}


def fit(model: Any, config: Any, sentences: Made, validation: Made | None = None) -> Any:
    tags = sorted({tag for _, own in sentences for tag in own})
    examples = TaggedExamples(
        part_of(sentences, tags), None if validation is None else part_of(validation, tags)
    )
    return fitted(model.fit(config, examples, **shape_of(tags)))


def stream_of(*sentences: str) -> TokenStream:
    return encode_sentences(BYTES, [text.split() for text in sentences])


@pytest.mark.parametrize(
    ("model", "config"),
    [
        (MajorityTagger, MajorityTaggerConfig()),
        (HMM, HMMConfig()),
        (HMM, HMMConfig(order=2)),
        (HMM, HMMConfig(order=1)),
    ],
    ids=str,
)
@pytest.mark.parametrize("validation", [True, False])
def test_the_contract_is_kept(model: Any, config: Any, validation: bool):
    held_out = tagged_sentences(20, seed=1) if validation else None
    check_tagger(fit(model, config, tagged_sentences(60), held_out))


def test_majority_answers_what_a_word_was_most_often():
    """Counted by hand: `can` twice MD, once NN; a word never seen is like words seen once."""
    sentences = [
        (["can", "can", "can"], ["MD", "MD", "NN"]),
        (["a", "a", "tin"], ["DT", "DT", "NN"]),
    ]
    model = fit(MajorityTagger, MajorityTaggerConfig(), sentences)
    answer = [model.tags[tag] for tag in model.decode(stream_of("a can zebra"))]
    assert answer == ["DT", "MD", "NN"]


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("made", [tagged_sentences, entity_sentences])
def test_sums_and_the_best_path_are_those_of_all_paths_written_out(order: int, made: Any):
    """P(tags | words) from its definition, every path multiplied out, with the n-gram model asked tag by tag."""
    model = fit(HMM, HMMConfig(order=order), made(80), made(20, seed=1))
    n_tags = len(model.tags)
    for words in (["The", "Zebras", "eat"], ["in", "New", "York"], ["牛"], ["New", "New", "saw"]):
        stream = encode_sentences(BYTES, [words])
        own = np.stack(
            [model._of_word(word.encode(), i == 0 and word[0].isupper()) for i, word in enumerate(words)]
        )
        near = own >= 1e-6 * own.max(axis=1, keepdims=True)
        paths = list(itertools.product(range(n_tags), repeat=len(words)))
        weights = np.array(
            [
                float(np.exp(model.transitions.score(np.array([*path, n_tags]))).prod())
                * float(
                    np.prod([own[i, tag] / model._overall[tag] * near[i, tag] for i, tag in enumerate(path)])
                )
                for path in paths
            ]
        )
        alone = np.array([np.prod([own[i, tag] for i, tag in enumerate(path)]) for path in paths])
        whole = (1 - model.share) * weights / weights.sum() + model.share * alone
        found = np.array([np.exp(model.score(stream, np.array(path))[0]) for path in paths])
        np.testing.assert_allclose(found, whole, atol=1e-6)
        for i in range(len(words)):
            by_tag = [whole[[path[i] == tag for path in paths]].sum() for tag in range(n_tags)]
            np.testing.assert_allclose(np.exp(model.log_probs(stream)[i]), by_tag, atol=1e-5)
        allowed = allowed_transitions(model.tags) if model.strict else np.ones((n_tags + 1, n_tags + 1), bool)
        proper = np.array(
            [all(allowed[a, b] for a, b in itertools.pairwise((n_tags, *path, n_tags))) for path in paths]
        )
        best = paths[int(np.argmax(np.where(proper, weights, -1)))]
        assert tuple(model.decode(stream)) == best


def test_impossible_sequences_are_never_answered():
    """Where words by themselves would be I- after O, by far, no path has that step."""
    model = fit(HMM, HMMConfig(), entity_sentences(200), entity_sentences(30, seed=1))
    assert model.strict
    names = [model.tags[tag] for tag in model.decode(stream_of("York York and Delhi saw York"))]
    before = ["O", *names]
    for one, after in zip(before, names, strict=False):
        assert after[0] != "I" or (one[0] in "BI" and one[2:] == after[2:])


def test_where_training_broke_the_rules_they_are_none():
    """IOB1 has I- first; what was seen is possible."""
    sentences = [(["New", "York"], ["I-LOC", "I-LOC"]), (["in", "it"], ["O", "O"])] * 20
    model = fit(HMM, HMMConfig(), sentences)
    assert not model.strict
    assert [model.tags[tag] for tag in model.decode(stream_of("New York"))] == ["I-LOC", "I-LOC"]


def test_transitions_are_those_of_the_ngram_rung():
    model = fit(HMM, HMMConfig(), tagged_sentences(60))
    rows, table = model._table
    n = len(model.tags)
    tags = [model.tags.index(tag) for tag in ("DT", "JJ", "NN")]
    sequence = TokenStream.of(
        [np.array([model.tags.index(t) for t in own]) for _, own in tagged_sentences(60)], n
    )
    counted = fitted(NGram.fit(NGramConfig(order=3), sequence, n + 1, n))
    scores = np.exp(counted.score(np.array([*tags, n])))
    history = [n, n, *tags]
    mine = [table[rows[a, b], c] for a, b, c in zip(history[0:], history[1:], [*tags, n], strict=False)]
    np.testing.assert_allclose(mine, scores, rtol=1e-5)
    np.testing.assert_allclose(table.sum(axis=1), 1, atol=1e-5)


def test_endings_abstract_as_brants_has_it():
    """Equation 2.3 by hand for words `ab` X, `cb` X, `db` Y, `da` Y, each once."""
    lexicon = WordTags.of([b"ab", b"cb", b"db", b"da"], np.array([0, 0, 1, 1]))
    model = SuffixTags.of(lexicon, 2)
    base = np.array([3, 3]) / 6  # add one: no tag is impossible
    theta = 1e-3  # equal shares have no deviation; the least is taken
    one = (np.array([2, 1]) / 3 + theta * base) / (1 + theta)
    two = (np.array([1, 0]) / 1 + theta * one) / (1 + theta)
    np.testing.assert_allclose(model.probs(b"xb"), one)
    np.testing.assert_allclose(model.probs(b"xab"), two)
    np.testing.assert_allclose(model.probs(b"xq"), base)


def test_the_suffix_of_a_new_word_tells_its_tag():
    """Numbers never seen are numbers."""
    model = fit(HMM, HMMConfig(), tagged_sentences(200), tagged_sentences(40, seed=1))
    names = [model.tags[tag] for tag in model.decode(stream_of("The red cows eat 31337"))]
    assert names == ["DT", "JJ", "NN", "VB", "CD"]
