"""What is hidden in a text: how much, in whole words, of what, and always the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.text.masked_batches import MaskedBatches
from rung.text.masking import HIDDEN, PADDING, Masking, window_begins
from rung.text.stream import TokenStream
from rung.text.tokenizers import Tokenizer, train_tokenizer
from tests.text_made import sentences

TEXT = "the cow's milk, 12 litres; a horse\nand (two) unseen zebras"
WORDS = [
    "the",
    " cow",
    "'",
    "s",
    " milk",
    ",",
    " 12",
    " litres",
    ";",
    " a",
    " horse",
    "\nand",
    " (",
    "two",
    ")",
]
WORDS += [" unseen", " zebras"]


def tokenizer_of(kind: str) -> Tokenizer:
    size = {"bpe": 300, "wordpiece": 560, "unigram": 300}.get(kind)
    return train_tokenizer(kind, [sentences(40), TEXT * 5], size)


@pytest.mark.parametrize("kind", ["char", "byte", "bpe", "wordpiece", "unigram"])
def test_a_word_is_the_same_whatever_its_tokens(kind: str) -> None:
    tokenizer = tokenizer_of(kind)
    ids = tokenizer.encode(TEXT)
    begins = np.flatnonzero(Masking(tokenizer).word_starts(ids))
    words = [tokenizer.decode(piece.tolist()) for piece in np.split(ids, begins[1:])]
    apart = {"\nand": ["\n", "and"]} if kind in ("bpe", "wordpiece", "unigram") else {}
    assert words in (WORDS, [part for word in WORDS for part in apart.get(word, [word])])


@given(n=st.integers(1, 300), seed=st.integers(0, 1000))
def test_of_tokens_by_themselves_as_many_as_whole_numbers_allow(n: int, seed: int) -> None:
    """The counts of a row are the shares rounded up or down: 15 % of its tokens, of these 80/10/10."""
    masking = Masking(tokenizer_of_bytes, whole_words=False)
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, 256, n)
    places = masking.choose(ids, rng)
    assert len(places) in {max(1, int(0.15 * n + 1e-9)), int(0.15 * n + 1e-9) + 1}
    assert (np.diff(places) > 0).all()
    out = masking.corrupted(ids, places, rng)
    at = out[places]
    hidden = int((at == HIDDEN).sum())
    changed = int(((at != ids[places]) & (at != HIDDEN)).sum())
    k = len(places)
    for count, share in ((hidden, 0.8), (changed, 0.1), (k - hidden - changed, 0.1)):
        assert abs(count - share * k) < 1
    untouched = np.setdiff1d(np.arange(n), places)
    np.testing.assert_array_equal(out[untouched], ids[untouched])


tokenizer_of_bytes = train_tokenizer("byte", ["x"])


def test_the_shares_are_those_of_the_paper_on_average() -> None:
    """Of 4,000 rows of 30 tokens, 0.45 of a token random in each: rounding would make it none, or one, always."""
    masking = Masking(tokenizer_of_bytes, whole_words=False)
    rng = np.random.default_rng(0)
    chosen = hidden = changed = 0
    drawn: list[np.ndarray] = []
    for _ in range(4000):
        ids = rng.integers(0, 256, 30)
        places = masking.choose(ids, rng)
        at = masking.corrupted(ids, places, rng)[places]
        other = (at != HIDDEN) & (at != ids[places])
        chosen, hidden, changed = chosen + len(places), hidden + (at == HIDDEN).sum(), changed + other.sum()
        drawn.append(at[other])
    # 4.5 a row; each count is a mean over 4,000 rows with a spread below 1/2, so 5 of its errors are below 0.04 a row.
    assert chosen / 4000 == pytest.approx(4.5, abs=0.04)
    assert hidden / 4000 == pytest.approx(0.8 * 4.5, abs=0.05)
    assert changed / 4000 == pytest.approx(0.1 * 4.5, abs=0.04)
    # Any byte may come, none much more often than another: chi-squared, 255 degrees of freedom, p above 1e-4.
    counts = np.bincount(np.concatenate(drawn), minlength=256)
    expected = counts.sum() / 256
    assert ((counts - expected) ** 2 / expected).sum() < 348


def test_whole_words_are_hidden_whole_and_as_near_to_the_share_as_they_allow() -> None:
    tokenizer = tokenizer_of("char")
    masking = Masking(tokenizer)
    text = sentences(30)
    ids = tokenizer.encode(text)
    word = np.cumsum(masking.word_starts(ids))
    longest = int(np.bincount(word).max())
    for seed in range(20):
        places = masking.choose(ids, np.random.default_rng(seed))
        hidden = set(word[places])
        assert sum(int((word == w).sum()) for w in hidden) == len(places)
        assert abs(len(places) - 0.15 * len(ids)) <= longest / 2 + 1


def test_a_text_of_one_word_is_not_hidden_altogether() -> None:
    ids = tokenizer_of("char").encode("unseen")
    assert len(Masking(tokenizer_of("char")).choose(ids, np.random.default_rng(0))) == 1  # of 0.9


def test_marks_are_neither_hidden_nor_put_in_a_words_place() -> None:
    tokenizer = tokenizer_of("wordpiece")
    masking = Masking(tokenizer)
    ids = np.concatenate([tokenizer.encode("the cow"), [tokenizer.end], tokenizer.encode("a horse")])
    end = int(np.flatnonzero(ids == tokenizer.end)[0])
    for seed in range(200):
        rng = np.random.default_rng(seed)
        places = masking.choose(ids, rng, share=0.9)
        out = masking.corrupted(ids, places, rng)
        assert end not in places
        assert out[end] == tokenizer.end
        assert (np.delete(out, end) != tokenizer.end).all()


def batches(
    seed: int = 0, *, pairs: bool = False, lengths: tuple[int, ...] = (3, 50, 1, 17, 200)
) -> MaskedBatches:
    rng = np.random.default_rng(1)
    stream = TokenStream.of([rng.integers(0, 256, n) for n in lengths], 256)
    masking = Masking(tokenizer_of_bytes, whole_words=False)
    return MaskedBatches(stream, masking, 20, 4, seed, pairs=pairs)


@pytest.mark.parametrize("pairs", [False, True])
def test_a_batch_is_a_function_of_the_seed_and_its_number(pairs: bool) -> None:
    forward = batches(pairs=pairs)
    made = [forward.batch(t) for t in range(12)]  # three epochs and more
    for t in (7, 0, 11):
        for one, other in zip(batches(pairs=pairs).batch(t).arrays, made[t].arrays, strict=True):
            np.testing.assert_array_equal(one, other)
    assert not np.array_equal(batches(1).batch(0).arrays[0], batches().batch(0).arrays[0])
    for texts, targets, *_ in (batch.arrays for batch in made):
        assert texts.shape[1] <= 20
        assert (targets[texts == PADDING] == PADDING).all()
        assert ((texts == HIDDEN) <= (targets != PADDING)).all()


def test_each_epoch_reads_every_token_once_and_hides_others() -> None:
    made = batches(lengths=(3, 50, 1, 17, 229))  # 300 tokens
    whole: list[np.ndarray] = []
    hidden: list[int] = []
    while sum(map(len, whole)) < 600:
        texts, targets = made.batch(len(whole) // 4).arrays
        for row, right in zip(np.where(targets == PADDING, texts, targets), targets, strict=True):
            whole.append(row[row != PADDING])
            hidden.append(int((right != PADDING).sum()))
    lengths = np.cumsum([len(row) for row in whole])
    first, second = (int(np.flatnonzero(lengths == n)[0]) + 1 for n in (300, 600))
    for epoch in (whole[:first], whole[first:second]):
        np.testing.assert_array_equal(np.sort(np.concatenate(epoch)), np.sort(made._ids[made._ids != 256]))
    assert sum(hidden[:first]) == pytest.approx(0.15 * 300, abs=first)


def test_half_of_the_pairs_are_followers_exactly() -> None:
    made = batches(pairs=True, lengths=(400, 300, 500))
    for t in range(10):
        texts, targets, follows = made.batch(t).arrays
        for two in (follows[:2], follows[2:]):
            assert PADDING in two or two.sum() == 1
        whole = np.where(targets == PADDING, texts, targets)
        stream = made._ids.tolist()
        for row, other in zip(whole, follows, strict=True):
            if other == PADDING:
                continue
            tokens = row[row != PADDING].tolist()
            cut = tokens.index(256)
            glued = tokens[:cut] + tokens[cut + 1 :]
            together = any(stream[i : i + len(glued)] == glued for i in range(len(stream)))
            assert together == (not other)


@given(length=st.integers(1, 200), context=st.integers(1, 60))
def test_every_place_has_a_window_it_stands_in_with_text_on_both_sides(length: int, context: int) -> None:
    places = np.arange(length)
    begins = window_begins(places, length, context)
    width = min(context, length)
    assert (begins <= places).all()
    assert (places < begins + width).all()
    assert (begins >= 0).all()
    assert (begins + width <= length).all()
    before, after = places - begins, begins + width - 1 - places
    least = np.minimum(width // 4 - 1, np.minimum(places, length - 1 - places))
    assert (np.minimum(before, after) >= least).all()
