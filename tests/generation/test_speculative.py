"""A draft changes how fast a text is made, and nothing else: the same greedy text, the same distribution."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rung import api
from rung.errors import UserError
from rung.generation import sampling
from rung.generation.drafts import Draft, NGramDraft, PromptLookupDraft, Proposal
from rung.generation.settings import Sampling
from rung.generation.speculative import SpeculationReport, open_draft, speculative_steps
from rung.models.base import LanguageModel, fitted
from rung.models.counting.bigram import Bigram, BigramConfig
from rung.models.counting.ngram import NGram, NGramConfig
from rung.models.transformer.decoder import GPT, GPTConfig
from rung.text.stream import TokenStream
from rung.text.tokenizers import Tokenizer, train_tokenizer
from tests.generation.letters import Letters

ABC = Letters("a", "b", "c", "d")


def counted(order: int, seed: int = 0) -> NGram:
    rng = np.random.default_rng(seed)
    stream = TokenStream.of([rng.integers(0, 4, 12) for _ in range(30)], ABC.end)
    return fitted(NGram.fit(NGramConfig(order=order, smoothing="witten-bell"), stream, 5, ABC.end))


def gpt(seed: int = 1) -> GPT:
    config = GPTConfig(context=6, n_layer=1, n_head=2, n_embd=8)
    model = GPT.initialise(config, 5, ABC.end, seed)
    far_from_uniform = {name: 8 * tensor for name, tensor in model.tensors().items()}
    return GPT.from_tensors(model.config, 5, ABC.end, far_from_uniform)


class Stubborn(Draft):
    """Guesses the same whatever happens."""

    def __init__(self, tokens: list[int]) -> None:
        self.tokens = tokens

    def start(self) -> None:
        pass

    def push(self, tokens: list[int]) -> None:
        pass

    def propose(self, k: int) -> Proposal:
        return Proposal(self.tokens[:k], None)


def drawn(
    model: LanguageModel, how: Sampling, draft: Draft | LanguageModel | None, prompt: str = ""
) -> list[list[int]]:
    """The tokens of every sample."""
    texts: list[list[int]] = [[] for _ in range(how.samples)]
    made = (
        sampling.sample_steps(model, ABC, prompt, how)
        if draft is None
        else speculative_steps(model, ABC, prompt, how, draft)
    )
    for step in made:
        for row, token in zip(step.rows.tolist(), step.tokens.tolist(), strict=True):
            texts[row].append(token)
    return texts


DRAFTS = {
    "itself": lambda model: model,
    "a counted bigram": lambda model: fitted(
        Bigram.fit(BigramConfig(), TokenStream.of([np.array([0, 1, 2, 3, 1])], 4), 5, 4)
    ),
    "an n-gram's path": lambda model: NGramDraft(counted(3, seed=5)),
    "look-up": lambda model: PromptLookupDraft(4, 1),
    "nonsense": lambda model: Stubborn([2, 2, 0, 1, 3, 3]),
    "the mark": lambda model: Stubborn([4, 0]),
    "nothing": lambda model: Stubborn([]),
}


@pytest.mark.parametrize("target", [counted(4), gpt()], ids=["ngram", "gpt"])
@pytest.mark.parametrize("draft", DRAFTS)
@pytest.mark.parametrize(
    "how",
    [
        Sampling(temperature=0, max_tokens=25, min_tokens=20),
        Sampling(temperature=0, max_tokens=17, repetition_penalty=1.3, frequency_penalty=0.4, ban=("abc",)),
        Sampling(temperature=0, max_tokens=40, force="dad"),
        Sampling(temperature=0, max_tokens=1),
    ],
    ids=["least length", "penalties and a ban", "forced", "one token"],
)
def test_a_greedy_text_is_that_of_the_model_alone(target: LanguageModel, draft: str, how: Sampling) -> None:
    assert drawn(target, how, DRAFTS[draft](target), "ab") == drawn(target, how, None, "ab")


def exact(model: LanguageModel, how: Sampling, length: int) -> dict[tuple[int, ...], float]:
    """The probability of every text, by multiplying along the tree."""
    from rung.generation.constraint import constraints_of
    from rung.generation.pipeline import Pipeline

    pipeline, limits_of = Pipeline(how, ABC), constraints_of(how, ABC)
    log_probs, state = model.advance(model.start(1), np.array([ABC.end]))
    out: dict[tuple[int, ...], float] = {}
    open_texts: list[tuple[tuple[int, ...], float, Any, Any, Any, Any]]
    open_texts = [((), 1.0, log_probs, state, pipeline.start([np.array([], np.int64)]), limits_of.start(1))]
    while open_texts:
        text, probability, log_probs, state, past, limits = open_texts.pop()
        row = np.exp(pipeline.process(log_probs, past, limits_of.allowed(limits))[0].astype(np.float64))
        for token in np.flatnonzero(row).tolist():
            longer = (*text, token)
            if token == ABC.end or len(longer) == length:
                out[longer] = probability * row[token]
                continue
            column = np.array([token])
            after, next_state = model.advance(state, column)
            open_texts.append(
                (
                    longer,
                    probability * row[token],
                    after,
                    next_state,
                    past.after(column),
                    limits_of.advance(limits, column),
                )
            )
    return out


def chi_square_limit(n: int) -> float:
    """The 0.9999 quantile with n degrees of freedom, by Wilson and Hilferty's cubic approximation."""
    return n * (1 - 2 / (9 * n) + 3.719 * (2 / (9 * n)) ** 0.5) ** 3


@pytest.mark.parametrize("draft", DRAFTS)
@pytest.mark.parametrize(
    "how",
    [
        Sampling(max_tokens=3, temperature=0.7, top_k=3),
        Sampling(max_tokens=3, temperature=1.3, top_p=0.9, presence_penalty=0.5, ban=("ca",)),
    ],
    ids=["top-k", "penalties, top-p and a ban"],
)
def test_drawn_texts_have_the_model_s_own_distribution(draft: str, how: Sampling) -> None:
    model = counted(3)
    expected = exact(model, how, 3)
    assert sum(expected.values()) == pytest.approx(1, abs=1e-5)
    n = 700
    many = Sampling(**{**vars(how), "samples": n, "seed": 11})
    found = Counter(map(tuple, drawn(model, many, DRAFTS[draft](counted(3, seed=9)))))
    assert set(found) <= set(expected)
    # Rare texts are counted together, so that each cell expects ten or more.
    cells = [
        (probability * n, found[text]) for text, probability in expected.items() if probability * n >= 10
    ]
    rest = n - sum(e for e, _ in cells), n - sum(f for _, f in cells)
    cells = [*cells, rest] if rest[0] >= 10 else cells
    statistic = sum((f - e) ** 2 / e for e, f in cells)
    assert statistic < chi_square_limit(len(cells) - 1)


def test_a_model_that_drafts_for_itself_is_always_right() -> None:
    report = SpeculationReport()
    how = Sampling(max_tokens=30, min_tokens=30, seed=3)
    model = counted(3)
    assert len(list(speculative_steps(model, ABC, "ab", how, model, report=report))) == 30
    assert report.accepted == report.drafted
    assert report.tokens == 30
    assert report.model_calls == 30 - report.accepted < 8


def test_log_probabilities_are_the_model_s_own() -> None:
    model, how = counted(3), Sampling(max_tokens=20, min_tokens=20, temperature=0.5, seed=2, top_logprobs=2)
    made = list(speculative_steps(model, ABC, "b", how, counted(2)))
    tokens = np.array([step.tokens[0] for step in made])
    scores = model.score(np.append(ABC.encode("b"), tokens))[1:]
    np.testing.assert_allclose([step.log_probs[0] for step in made], scores, rtol=1e-5)
    assert all(step.top_log_probs[0, 0] >= step.top_log_probs[0, 1] for step in made)


@given(st.lists(st.integers(0, 2), max_size=40), st.integers(1, 6))
@settings(deadline=None, max_examples=60)
def test_look_up_proposes_what_followed_the_longest_end_that_stood_before(text: list[int], k: int) -> None:
    draft = PromptLookupDraft(3, 1)
    draft.start()
    for token in text:
        draft.push([token])
    expected: list[int] = []
    for length in (3, 2, 1):
        earlier = [at for at in range(len(text) - length) if text[at : at + length] == text[-length:]]
        if length < len(text) and earlier:
            expected = text[earlier[-1] + length :][:k]
            break
    assert draft.propose(k).tokens == expected


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_an_n_gram_s_path_is_its_greedy_text(order: int) -> None:
    model = counted(order, seed=order)
    draft = NGramDraft(model)
    for opening in ([4], [4, 0, 1], [4, 3, 3, 3, 2, 1, 0]):
        draft.start()
        draft.push(opening)
        path = draft.propose(3).tokens
        state = model.start(1)
        log_probs, state = model.advance(state, np.array([opening]))
        for token in path:
            assert token == log_probs[0].argmax()
            log_probs, state = model.advance(state, np.array([token]))
        assert path


def run_of(tmp_path: Path, name: str, text: str, tokenizer: str = "char") -> api.Run:
    file = tmp_path / f"{name}.txt"
    file.write_text(text)
    return api.train("ngram", file, out=tmp_path / name, order=3, tokenizer=tokenizer)


def test_another_tokeniser_is_refused_in_one_line(tmp_path: Path) -> None:
    lines = "to be or not to be\n" * 20
    ours, theirs = run_of(tmp_path, "ours", lines), run_of(tmp_path, "theirs", lines, "word")
    with pytest.raises(UserError, match="another tokeniser") as caught:
        open_draft(str(theirs.folder), ours)
    assert "\n" not in str(caught.value)
    assert open_draft(str(ours.folder), ours) is not None
    assert isinstance(open_draft("lookup", ours), PromptLookupDraft)


def test_text_of_many_bytes_is_the_same_with_a_draft() -> None:
    texts = ["héé wörld ≤ 日本 日本 héé", "日本 wörld"] * 8
    tokenizer: Tokenizer = train_tokenizer("byte", texts)
    model = fitted(
        NGram.fit(NGramConfig(order=4), tokenizer.encode_many(texts), tokenizer.vocab_size, tokenizer.end)
    )
    how = Sampling(temperature=0, max_tokens=60)
    alone = [int(step.tokens[0]) for step in sampling.sample_steps(model, tokenizer, "h", how)]
    assert [
        int(step.tokens[0]) for step in speculative_steps(model, tokenizer, "h", how, PromptLookupDraft())
    ] == alone
