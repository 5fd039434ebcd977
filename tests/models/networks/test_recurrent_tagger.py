"""Recurrent taggers: the contract, sentences by hand, what is told of words and their spelling."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from rung.errors import UserError
from rung.models.networks.letters import letters_of, pieces_of_spelling, shape_of
from rung.models.networks.recurrent_tagger import (
    GRUTagger,
    LSTMTagger,
    RecurrentTagger,
    RecurrentTaggerConfig,
    RNNTagger,
)
from rung.models.networks.tagger import in_stretches
from rung.testing import check_tagger
from rung.text.stream import TokenStream
from rung.text.tagged import TaggedExamples, TaggedStream

END, DELIMITER, V = 256, 257, 258
TAGS = ["D", "N", "V"]
SPANS = ["B-x", "I-x", "O", "B-y", "I-y"]


def stream_of(*sentences: str) -> TokenStream:
    """Words of sentences, cut at blanks."""
    documents = []
    for sentence in sentences:
        words = [list(word.encode()) for word in sentence.split()]
        ids = [i for word in words for i in (*word, DELIMITER)]
        documents.append(np.array(ids[:-1], np.int64))
    return TokenStream.of(documents, END)


def examples_of(*sentences: str) -> TaggedExamples:
    n_words = sum(len(sentence.split()) for sentence in sentences)
    return TaggedExamples(TaggedStream(stream_of(*sentences), np.zeros(n_words, np.int64)))


EXAMPLES = examples_of("the dog sees the cat", "the cat sees", "a dog")


def new(kind: type[RecurrentTagger], tags: list[str] = TAGS, seed: int = 0, **settings):
    config = RecurrentTaggerConfig(**{"n_embd": 4, "n_hidden": 5, **settings})
    return kind.initialise(config, V, END, DELIMITER, tags, seed, EXAMPLES)


def shaken(model: RecurrentTagger) -> RecurrentTagger:
    """With transitions that are not zero."""
    with torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        for weight in model.network.parameters():
            weight.add_(torch.empty_like(weight).normal_(0, 0.3, generator=generator))
    return model


@pytest.mark.parametrize("kind", [RNNTagger, LSTMTagger, GRUTagger])
@pytest.mark.parametrize("crf", [True, False])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_the_contract(kind: type[RecurrentTagger], crf: bool, bidirectional: bool):
    check_tagger(shaken(new(kind, crf=crf, bidirectional=bidirectional, n_layer=2)))


@pytest.mark.parametrize("letters", ["ends", "convolution", "none"])
def test_the_contract_however_spelling_comes_in(letters: str):
    check_tagger(shaken(new(GRUTagger, SPANS, letters=letters, crf=letters == "ends")))


def test_a_sentence_is_read_from_both_ends():
    """Forward and backward cells by hand over one sentence that stands between two others."""
    model = shaken(new(GRUTagger, letters="none", min_count=1))
    network = model.network
    names = model.row_names
    rows = [names.index(word) if word in names else 0 for word in ("a", "cat", "flies")]
    x = network.inputs.table[rows]
    halves = []
    for suffix, order in (("", range(3)), ("_reverse", range(2, -1, -1))):
        cell = torch.nn.GRUCell(4, 5)
        own = {name: network.core.get_parameter(f"{name}_l0{suffix}") for name in cell.state_dict()}
        cell.load_state_dict(own)
        h, states = torch.zeros(1, 5), {}
        for t in order:
            h = states[t] = cell(x[t : t + 1], h)
        halves.append(torch.cat([states[t] for t in range(3)]))
    expected = torch.log_softmax(network.head(torch.cat(halves, dim=1)), dim=-1).detach().numpy()
    found = model.log_probs(stream_of("the dog sees the cat", "a cat flies", "", "dog"))
    np.testing.assert_allclose(found[5:8], expected, atol=1e-5)


def test_read_one_way_a_tag_does_not_know_what_comes_after():
    one, both = (shaken(new(LSTMTagger, bidirectional=both)) for both in (False, True))
    texts = stream_of("the dog sees"), stream_of("the dog a cat")
    for model, same in ((one, True), (both, False)):
        first, second = (model.log_probs(text)[:2] for text in texts)
        assert np.allclose(first, second, atol=1e-6) is same


def test_with_a_crf_the_answer_is_the_likeliest_of_all_sequences():
    model = shaken(new(LSTMTagger, crf=True))
    sentence = stream_of("the cat sees a dog")
    paths = list(product(range(3), repeat=5))
    scores = [model.score(sentence, np.array(path))[0] for path in paths]
    assert np.exp(scores).sum() == pytest.approx(1, abs=1e-4)
    assert tuple(model.decode(sentence)) == paths[int(np.argmax(scores))]


@pytest.mark.parametrize("crf", [True, False])
def test_an_answer_never_has_an_impossible_step(crf: bool):
    rng = np.random.default_rng(0)
    words = ["the", "cat", "Berlin", "sees", "x"]
    texts = [" ".join(rng.choice(words, rng.integers(1, 12))) for _ in range(60)]
    model = shaken(new(GRUTagger, SPANS, crf=crf))
    with torch.no_grad():
        model.network.head.bias[[1, 4]] += 2  # it would like to say I- everywhere
    answers = iter(model.decode(stream_of(*texts)).tolist())
    inside = 0
    for text in texts:
        before = "O"
        for _ in text.split():
            tag = SPANS[next(answers)]
            inside += tag.startswith("I")
            assert not tag.startswith("I") or (before[0] in "BI" and before[2:] == tag[2:])
            before = tag
    assert inside


def test_words_of_training_have_rows_and_rare_ones_none():
    assert new(LSTMTagger).row_names == ["", "cat", "dog", "sees", "the"]
    assert new(LSTMTagger, min_count=1).row_names == ["", "a", "cat", "dog", "sees", "the"]
    without = new(LSTMTagger, letters="none")
    found = without.log_probs(stream_of("a", "zebra", "the"))
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)
    assert not np.allclose(found[0], found[2])


def test_spelling_tells_words_apart_that_were_never_seen():
    for letters in ("ends", "convolution"):
        found = new(LSTMTagger, letters=letters).log_probs(stream_of("zebra", "zebras"))
        assert not np.allclose(found[0], found[1], atol=1e-7)


def test_dropped_words_are_dropped_in_training_alone_and_by_their_counts():
    inputs = new(LSTMTagger, letters="none", unknown=2.0).network.inputs
    ids = torch.tensor([4] * 4000)  # `the`, three times there
    with torch.no_grad():
        table = torch.arange(5.0)[:, None].expand(5, 4)
        inputs.table.copy_(table)
        torch.manual_seed(0)
        seen = inputs.train()(ids, torch.empty(4000, 0))[:, 0]
        assert (seen == 0).float().mean().item() == pytest.approx(2 / 5, abs=0.03)
        assert (inputs.eval()(ids, torch.empty(4000, 0))[:, 0] == 4).all()


def test_pieces_of_spelling():
    assert shape_of("Berlin-2000b") == "Aa-9a"
    one, two, other = pieces_of_spelling([b"walking", b"talking", b"X1"])
    assert (one == two)[[4, 5, 6, 7, 9]].all()  # the same last four letters, and the shape
    assert not (one == two)[[0, 1, 2, 3, 8]].any()
    assert not (one == other).any()
    assert letters_of([b"ab"])[0, :5].tolist() == [256, 97, 98, 257, 258]
    long = letters_of([b"a" * 50 + b"ing"])[0].tolist()
    assert (long[0], long[-4:]) == (256, [*b"ing", 257])


def test_settings_that_are_none_are_told():
    with pytest.raises(UserError, match="did you mean 'ends'"):
        RecurrentTaggerConfig(letters="end")
    with pytest.raises(UserError, match="--unknown -1"):
        RecurrentTaggerConfig(unknown=-1)
    with pytest.raises(UserError, match="--crf"):
        new(LSTMTagger, ["N"], crf=True)


def test_a_long_sentence_is_several_to_learn_from():
    stream = stream_of("a b c d e f g", "", "h i", "j k l")
    cut, tags = in_stretches(TaggedStream(stream, np.arange(12)), DELIMITER, 3)
    expected = stream_of("a b c", "d e f", "g", "", "h i", "j k l")
    np.testing.assert_array_equal(cut.ids, expected.ids)
    np.testing.assert_array_equal(cut.starts, expected.starts)
    np.testing.assert_array_equal(tags, np.arange(12))
