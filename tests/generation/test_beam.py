"""Beam search: transformers' token for token, exhaustive search where the beam is wide enough, groups that differ."""

from __future__ import annotations

import itertools
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from transformers import GenerationConfig, GPT2Config, GPT2LMHeadModel, RepetitionPenaltyLogitsProcessor

from rung.errors import UserError
from rung.exchange.hugging_face_weights import from_transformers
from rung.generation.beam import BeamSettings, beam_search
from rung.generation.sampling import Sampling, generate
from rung.models.base import LanguageModel, fitted
from rung.models.counting.bigram import Bigram, BigramConfig
from rung.text.stream import TokenStream
from tests.generation.letters import Letters

LETTERS = Letters(*"abcdefghijk")
ABC = Letters(*"abc")
PROMPT = "ab"
THEIR_NAME = {"never": "never", "heuristic": False, "full": True}


def gpt2(seed: int) -> Any:
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=LETTERS.vocab_size,
        n_positions=48,
        n_embd=16,
        n_layer=2,
        n_head=2,
        bos_token_id=LETTERS.end,
        eos_token_id=LETTERS.end,
        initializer_range=0.25,
    )
    return GPT2LMHeadModel(config).eval()


def theirs(
    network: Any, new_tokens: int, processors: list[Any] | None = None, **settings: Any
) -> list[list[int]]:
    """What `generate` makes, from the mark and the prompt on, without the filling after the mark."""
    end = LETTERS.end
    prompt = torch.tensor([[end, *LETTERS.encode(PROMPT).tolist()]])
    config = GenerationConfig(
        max_new_tokens=new_tokens, do_sample=False, eos_token_id=end, pad_token_id=end, **settings
    )
    with torch.no_grad():
        out = network.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            generation_config=config,
            logits_processor=processors,
        )
    rows = [row[prompt.shape[1] :].tolist() for row in cast(torch.Tensor, out)]
    return [row[: row.index(end) + 1] if end in row else row for row in rows]


def random_bigram(seed: int) -> LanguageModel:
    """Over three letters and the mark."""
    rng = np.random.default_rng(seed)
    documents = [rng.integers(0, 3, rng.integers(0, 5)) for _ in range(6)]
    stream = TokenStream.of(documents, ABC.end)
    return fitted(Bigram.fit(BigramConfig(add_k=0.3), stream, ABC.vocab_size, ABC.end))


def all_texts(longest: int) -> list[list[int]]:
    """Every text of three letters that ends with the mark, or is as long as may be."""
    whole = [list(text) for text in itertools.product(range(3), repeat=longest)]
    ended = [[*text, ABC.end] for n in range(longest) for text in itertools.product(range(3), repeat=n)]
    return whole + ended


@pytest.mark.parametrize("early_stopping", ["never", "heuristic", "full"])
def test_beams_are_those_of_transformers(early_stopping: Any) -> None:
    reasons = set()
    for seed, width, penalty in itertools.product(range(3), (2, 5), (0.0, 1.0, 2.0, -0.5)):
        network = gpt2(seed)
        ours = from_transformers(network.config.to_dict(), network.state_dict())
        expected = theirs(
            network,
            12,
            num_beams=width,
            num_return_sequences=width,
            length_penalty=penalty,
            early_stopping=THEIR_NAME[early_stopping],
        )
        beams = BeamSettings(width, n_best=width, length_penalty=penalty, early_stopping=early_stopping)
        found = beam_search(ours, LETTERS, PROMPT, Sampling(max_tokens=12), beams)
        assert [sample.token_ids for sample in found] == expected
        reasons |= {sample.finish_reason for sample in found}
    assert reasons == {"end", "length"}


def test_beams_with_a_least_length_are_those_of_transformers() -> None:
    network = gpt2(1)
    ours = from_transformers(network.config.to_dict(), network.state_dict())
    expected = theirs(
        network, 12, num_beams=4, num_return_sequences=4, early_stopping="never", min_new_tokens=6
    )
    found = beam_search(
        ours, LETTERS, PROMPT, Sampling(max_tokens=12, min_tokens=6), BeamSettings(4, n_best=4)
    )
    assert [sample.token_ids for sample in found] == expected


def test_beams_with_a_penalty_are_those_of_transformers() -> None:
    """The mark that begins a history is no token of the prompt for us."""
    network = gpt2(1)
    ours = from_transformers(network.config.to_dict(), network.state_dict())
    penalty = RepetitionPenaltyLogitsProcessor(1.7, prompt_ignore_length=1)
    expected = theirs(
        network,
        12,
        [penalty],
        num_beams=4,
        num_return_sequences=4,
        early_stopping="never",
    )
    how = Sampling(max_tokens=12, repetition_penalty=1.7)
    found = beam_search(ours, LETTERS, PROMPT, how, BeamSettings(4, n_best=4))
    assert [sample.token_ids for sample in found] == expected


@pytest.mark.parametrize("seed", range(3))
def test_greedy_is_transformers_greedy_and_a_beam_of_one(seed: int) -> None:
    network = gpt2(seed)
    ours = from_transformers(network.config.to_dict(), network.state_dict())
    greedy = generate(ours, LETTERS, PROMPT, Sampling(temperature=0, max_tokens=20))[0].token_ids
    assert [greedy] == theirs(network, 20)
    assert beam_search(ours, LETTERS, PROMPT, Sampling(max_tokens=20), BeamSettings(1))[0].token_ids == greedy


@hypothesis_settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.sampled_from([0.0, 0.7, 1.0, 1.5, -1.0]))
def test_a_beam_as_wide_as_the_space_is_exhaustive_search(seed: int, penalty: float) -> None:
    """Every text scored one by one, the best ten of all."""
    model, longest = random_bigram(seed), 4
    texts = all_texts(longest)
    scored = sorted(
        ((float(model.score(np.array(text)).sum()) / len(text) ** penalty, text) for text in texts),
        key=lambda pair: -pair[0],
    )
    beams = BeamSettings(len(texts), n_best=10, length_penalty=penalty)
    found = beam_search(model, ABC, "", Sampling(max_tokens=longest), beams)
    assert [sample.score for sample in found] == pytest.approx([score for score, _ in scored[:10]], rel=1e-5)
    of_text = {tuple(text): score for score, text in scored}
    for sample in found:
        assert sample.score == pytest.approx(of_text[tuple(sample.token_ids)], rel=1e-5)
        assert sample.log_prob == pytest.approx(
            float(model.score(np.array(sample.token_ids)).sum()), rel=1e-5
        )
    assert len({tuple(sample.token_ids) for sample in found}) == 10


@pytest.mark.parametrize("seed", range(5))
def test_groups_without_a_penalty_search_alike(seed: int) -> None:
    """Each group is a search of its own, so all find what a search with the beams of one finds."""
    model, how = random_bigram(seed), Sampling(max_tokens=8)
    grouped = beam_search(model, ABC, "", how, BeamSettings(6, n_best=6, beam_groups=3))
    alone = beam_search(model, ABC, "", how, BeamSettings(2, n_best=2))
    assert [sample.token_ids for sample in grouped] == [sample.token_ids for sample in alone]


@pytest.mark.parametrize("seed", range(5))
def test_a_heavy_penalty_makes_every_group_begin_with_another_letter(seed: int) -> None:
    model, how = random_bigram(seed), Sampling(max_tokens=5, min_tokens=5)
    beams = BeamSettings(3, n_best=3, beam_groups=3, diversity_penalty=100)
    found = beam_search(model, ABC, "", how, beams)
    for place in zip(*(sample.token_ids for sample in found), strict=True):
        assert sorted(place) == [0, 1, 2]
    for sample in found:  # the penalty chooses; it is no part of the score
        assert sample.score == pytest.approx(sample.log_prob / 5, rel=1e-5)
        assert sample.log_prob == pytest.approx(model.score(np.array(sample.token_ids)).sum(), rel=1e-5)


def log_prob(model: LanguageModel, text: tuple[int, ...]) -> float:
    return float(model.score(np.array(text, np.int64)).astype(np.float64).sum())


@hypothesis_settings(deadline=None, max_examples=15)
@given(st.integers(0, 1000), st.sampled_from([(1, 3), (2, 2), (3, 2)]), st.sampled_from([0.3, 1.0, 2.5]))
def test_groups_are_the_papers_algorithm(seed: int, shape: tuple[int, int], penalty: float) -> None:
    """Vijayakumar et al. 2016, algorithm 1, with Hamming diversity, each candidate scored from its beginning."""
    model, longest, (width, n_groups) = random_bigram(seed), 5, shape
    groups: list[list[tuple[int, ...]]] = [[()] for _ in range(n_groups)]
    for _ in range(longest):
        chosen: list[int] = []
        for number, group in enumerate(groups):
            candidates = [(*text, token) for text in group for token in range(3)]
            value = {text: log_prob(model, text) - penalty * chosen.count(text[-1]) for text in candidates}
            groups[number] = sorted(candidates, key=lambda text: -value[text])[:width]
            chosen += [text[-1] for text in groups[number]]
    expected = {text for group in groups for text in group}
    beams = BeamSettings(
        width * n_groups, n_best=width * n_groups, beam_groups=n_groups, diversity_penalty=penalty
    )
    found = beam_search(model, ABC, "", Sampling(max_tokens=longest, min_tokens=longest), beams)
    assert {tuple(sample.token_ids) for sample in found} == expected


def test_bans_and_stop_strings_hold_for_every_beam() -> None:
    model = random_bigram(7)
    texts = beam_search(model, ABC, "", Sampling(max_tokens=6, ban=("ab", "c")), BeamSettings(8, n_best=8))
    assert all("ab" not in sample.text and "c" not in sample.text for sample in texts)
    stopped = beam_search(
        model, ABC, "", Sampling(max_tokens=8, stop=("bc",), min_tokens=8), BeamSettings(64, n_best=64)
    )
    assert {"stop", "length"} == {sample.finish_reason for sample in stopped}
    for sample in stopped:
        assert "bc" not in sample.text
        assert ABC.decode(sample.token_ids) == sample.text
        assert sample.tokens == len(sample.token_ids)


@pytest.mark.parametrize(
    ("wrong", "flag"),
    [
        ({"beams": 0}, "--beams"),
        ({"beams": 2, "n_best": 3}, "--n-best"),
        ({"beams": 2, "n_best": 0}, "--n-best"),
        ({"beams": 4, "beam_groups": 3}, "--beam-groups"),
        ({"beams": 4, "diversity_penalty": 1.0}, "--diversity-penalty"),
        ({"beams": 4, "beam_groups": 2, "diversity_penalty": -1.0}, "--diversity-penalty"),
        ({"beams": 4, "length_penalty": float("nan")}, "--length-penalty"),
        ({"beams": 4, "early_stopping": "soon"}, "--early-stopping"),
        ({"n_best": 2}, "--n-best"),
        ({"length_penalty": 0.5}, "--length-penalty"),
    ],
)
def test_impossible_searches_are_refused_by_name(wrong: dict[str, Any], flag: str) -> None:
    with pytest.raises(UserError, match=flag):
        BeamSettings(**wrong)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"temperature": 0.5}, "--temperature"),
        ({"top_k": 2}, "--top-k"),
        ({"samples": 3}, "--samples"),
        ({"ban": ("a", "b", "c"), "min_tokens": 3}, "no token is left"),
    ],
)
def test_what_a_search_cannot_do_is_said(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        beam_search(random_bigram(0), ABC, "", Sampling(**wrong), BeamSettings(2))
