"""Every finished text matches, by Python's own `re` and `json`, whatever the model and the tokeniser."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rung.errors import UserError
from rung.generation.beam import BeamSettings, beam_search
from rung.generation.constrained import choice_constraint, json_constraint, regex_constraint
from rung.generation.constraint import AllOf, Constraint
from rung.generation.constraint_settings import ConstraintSettings, constraint_from
from rung.generation.sampling import Sample, generate
from rung.generation.settings import Sampling
from rung.generation.speculative import speculative_steps
from rung.models.base import LanguageModel, fitted
from rung.models.counting.ngram import NGram, NGramConfig
from rung.models.transformer.decoder import GPT, GPTConfig
from rung.text.tokenizers import Tokenizer, train_tokenizer

TEXTS = [
    "The café on 21 May 2024 was naïve — 日本語 too, and 3.14 is not 42.",
    '{"name": "Zoë", "age": 31, "tags": ["a", "b"]}',
    "Yes! No? Perhaps; it costs 12.50 or 7 euros: “so”. The cat sat on the mat.",
] * 6
TOKENIZERS: dict[str, Tokenizer] = {
    kind: train_tokenizer(kind, TEXTS, 290 if kind in ("bpe", "unigram", "wordpiece") else None)
    for kind in ("char", "byte", "word", "bpe")
}


def counted(tokenizer: Tokenizer) -> NGram:
    return fitted(
        NGram.fit(NGramConfig(order=3), tokenizer.encode_many(TEXTS), tokenizer.vocab_size, tokenizer.end)
    )


MODELS: dict[str, LanguageModel] = {kind: counted(tokenizer) for kind, tokenizer in TOKENIZERS.items()}
MODELS["gpt"] = GPT.initialise(
    GPTConfig(context=32, n_layer=1, n_head=2, n_embd=8),
    TOKENIZERS["char"].vocab_size,
    TOKENIZERS["char"].end,
    0,
)
TOKENIZERS["gpt"] = TOKENIZERS["char"]


def made(kind: str, constraint: Constraint, **how: Any) -> list[Sample]:
    settings_of = Sampling(**{"samples": 8, "max_tokens": 80, **how})
    return generate(MODELS[kind], TOKENIZERS[kind], "The ", settings_of, constraint)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize(
    "regex",
    [
        r"[0-9]{4}-(0[1-9]|1[0-2])-[0-9]{2}",
        r"(caf|na)[éï](ve)?",
        r"[日本語]{2,5}",
        r"(Yes|No|Perhaps)[!?;]( [a-z]+){1,3}\.",
        r"a*",
        r"[^a-zA-Z0-9]{3}",
        r"(?s).{2,4}",
        r"\( ?[a-z]{1,4}\n ?[a-z]\)\.",
    ],
)
def test_what_ends_matches_the_whole_expression(kind: str, regex: str) -> None:
    samples = made(kind, regex_constraint(regex, TOKENIZERS[kind]))
    assert any(sample.finish_reason == "end" for sample in samples)
    for sample in samples:
        assert sample.finish_reason in ("end", "length")
        if sample.finish_reason == "end":
            assert re.fullmatch(regex, sample.text), sample.text
            assert "\ufffd" not in sample.text or "\ufffd".encode() in TOKENIZERS[kind].decode_bytes(
                sample.token_ids
            )


def test_the_limit_cuts_and_says_so() -> None:
    for sample in made("byte", regex_constraint(r"[a-z]{30}", TOKENIZERS["byte"]), max_tokens=10):
        assert sample.finish_reason == "length"
        assert re.fullmatch("[a-z]{10}", sample.text)


LETTERS = st.sampled_from(["a", "b", "é", "日", "[ab]", "[^a]", "a{2}", "b?", "é*", "(a|日)", "(ab|b)+"])


@given(st.lists(LETTERS, min_size=1, max_size=5), st.sampled_from(["char", "byte", "bpe"]), st.integers(0, 9))
@settings(deadline=None, max_examples=40)
def test_any_expression_is_matched(parts: list[str], kind: str, seed: int) -> None:
    regex = "".join(parts)
    for sample in made(kind, regex_constraint(regex, TOKENIZERS[kind]), samples=2, seed=seed):
        if sample.finish_reason == "end":
            assert re.fullmatch(regex, sample.text)


@given(
    st.lists(
        st.text(st.characters(codec="utf-8"), min_size=1, max_size=6), min_size=1, max_size=4, unique=True
    ),
    st.sampled_from(["char", "byte", "word", "bpe"]),
)
@settings(deadline=None, max_examples=40)
def test_choices_are_taken_letter_by_letter(choices: list[str], kind: str) -> None:
    samples = made(kind, choice_constraint(choices, TOKENIZERS[kind]), temperature=1.5)
    assert all(sample.finish_reason == "end" and sample.text in choices for sample in samples)


def test_the_only_choice_is_made_whatever_the_model_thinks() -> None:
    constraint = choice_constraint(["zzzz (.*) ??"], TOKENIZERS["gpt"])
    assert {sample.text for sample in made("gpt", constraint)} == {"zzzz (.*) ??"}


SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 5},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "tags": {"type": "array", "items": {"enum": ["a", "é", None, 3]}, "maxItems": 3},
        "open": {"type": "boolean"},
    },
    "required": ["name", "age", "tags", "open"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("kind", MODELS)
def test_json_is_of_its_schema(kind: str) -> None:
    finished = 0
    for sample in made(kind, json_constraint(SCHEMA, TOKENIZERS[kind]), max_tokens=150):
        if sample.finish_reason == "end":
            finished += 1
            value = json.loads(sample.text)
            assert set(value) == {"name", "age", "tags", "open"}
            assert isinstance(value["name"], str)
            assert len(value["name"]) <= 5
            assert type(value["age"]) is int
            assert 0 <= value["age"] <= 120
            assert len(value["tags"]) <= 3
            assert all(tag in ("a", "é", None, 3) for tag in value["tags"])
            assert type(value["open"]) is bool
    assert finished > 0


def test_all_tokens_allowed_are_those_that_can_go_on() -> None:
    tokenizer = TOKENIZERS["char"]
    constraint = AllOf([regex_constraint("(ab|é)c?", tokenizer)], tokenizer)
    state = constraint.start(1)
    allowed = constraint.allowed(state)
    assert allowed is not None
    # "a" and é whole, and the first halves of their first bytes, 61 and C3.
    assert set(np.flatnonzero(allowed[0]).tolist()) == {*tokenizer.encode("aé").tolist(), 0x6, 0xC}
    begun = constraint.advance(state, np.array([0xC]))
    half = constraint.allowed(begun)
    assert half is not None
    assert np.flatnonzero(half[0]).tolist() == [16 + 0x3]
    second = constraint.allowed(constraint.advance(begun, np.array([16 + 0x3])))
    assert second is not None
    assert np.flatnonzero(second[0]).tolist() == [0xA]  # of A9
    after = constraint.advance(state, tokenizer.encode("é"))
    last = constraint.allowed(after)
    assert last is not None
    assert set(np.flatnonzero(last[0]).tolist()) == {tokenizer.end, *tokenizer.encode("c").tolist(), 0x6}
    assert (constraint.allowed(state) == allowed).all()  # the old state stays valid
    both = constraint.select(constraint.advance(after, tokenizer.encode("c")), np.array([0, 0]))
    done = constraint.allowed(both)
    assert done is not None
    assert [np.flatnonzero(row).tolist() for row in done] == [[tokenizer.end]] * 2


@pytest.mark.parametrize("text", ["The cat", "cat", "(The\nThe cat", " The cat"])
def test_where_only_one_text_is_possible_words_may_spell_it(text: str) -> None:
    tokenizer = TOKENIZERS["word"]
    for constraint in (regex_constraint(re.escape(text), tokenizer), choice_constraint([text], tokenizer)):
        alone = AllOf([constraint], tokenizer)
        state = alone.start(1)
        for token in [*tokenizer.encode(text).tolist(), tokenizer.end]:  # some words are spelled in bytes
            allowed = alone.allowed(state)
            assert allowed is not None
            assert allowed[0, token]
            state = alone.advance(state, np.array([token]))


def test_beams_and_drafts_keep_to_it_too() -> None:
    tokenizer, model = TOKENIZERS["char"], MODELS["char"]
    regex = r"(Yes|No|Perhaps)[!?;] [a-z]+\."
    constraint = regex_constraint(regex, tokenizer)
    for found in beam_search(
        model, tokenizer, "", Sampling(max_tokens=40), BeamSettings(beams=4, n_best=4), constraint
    ):
        assert found.finish_reason == "length" or re.fullmatch(regex, found.text)
    how = Sampling(max_tokens=60, temperature=0)
    alone = generate(model, tokenizer, "", how, constraint)[0].token_ids
    drafted = [
        int(step.tokens[0]) for step in speculative_steps(model, tokenizer, "", how, model, constraint)
    ]
    assert drafted == alone


@pytest.mark.parametrize(
    ("regex", "message"),
    [
        ("a(b", "unclosed group"),
        (r"[^\s\S]", "no text can match it"),
        ("a^b", "lookarounds"),
        ("(?=a)b", "look-ahead"),
        (r"(a)\1", "backreferences"),
    ],
)
def test_an_expression_that_cannot_be_is_told_in_one_line(regex: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        constraint_from(ConstraintSettings(regex=regex), TOKENIZERS["char"])
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("--regex ")


def test_an_expression_beyond_the_engine_is_not_called_a_dead_end() -> None:
    constraint = constraint_from(ConstraintSettings(regex="a{1000000}"), TOKENIZERS["char"])
    assert constraint is not None
    with pytest.raises(UserError, match=r"--regex .* is too complex: too many expressions"):
        made("char", constraint)


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ("[1]", "must hold an object"),
        ('{"type": "strin"}', "strin"),
        ('{"type": "integer", "minimum": 5, "maximum": 3}', "minimum"),
        ('{"type": "array", "uniqueItems": true}', "uniqueItems"),
        ('{"type": ', "JSON"),
    ],
)
def test_a_schema_that_cannot_be_is_told_in_one_line(tmp_path: Path, schema: str, message: str) -> None:
    file = tmp_path / "schema.json"
    file.write_text(schema)
    with pytest.raises(UserError, match=message) as caught:
        constraint_from(ConstraintSettings(json_schema=file), TOKENIZERS["char"])
    assert "\n" not in str(caught.value)
    assert "schema.json" in str(caught.value)


def test_flags_that_do_not_go_together() -> None:
    with pytest.raises(UserError, match="--regex and --choices"):
        ConstraintSettings(regex="a", choices="b")
    with pytest.raises(UserError, match="empty choice"):
        constraint_from(ConstraintSettings(choices="a||b"), TOKENIZERS["char"])
    assert constraint_from(ConstraintSettings(), TOKENIZERS["char"]) is None
