"""Texts that match: a regular expression, one of some choices, or JSON of a schema, over any rung.

llguidance (its derivative-based lexer, its Earley parser, and a trie of the vocabulary's bytes) tells at every step
which tokens can still lead to a text that matches; all others get probability zero, and the document mark too until the
text is complete. It works on bytes, so a token may be a piece of a character, and one text may be spelled by
any tokens that spell it.

What is left is the model's distribution over the next token, renormalised: not its distribution over all texts that
match. (A choice whose beginning is likely is begun, however unlikely its end.)

Expressions are Rust's (https://docs.rs/regex): as Python's, without look-around and back-references. They match the
whole text made; the prompt is not part of it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper

from rung.errors import UserError
from rung.generation.constraint import Constraint
from rung.text.tokenizers import NotInVocabularyError, Tokenizer

WHITE_SPACE = " ?"
"""What may stand between the parts of JSON. With more, a small model writes nothing but line ends."""


def regex_constraint(regex: str, tokenizer: Tokenizer) -> Constraint:
    """Texts that match `regex` as a whole."""
    return Grammar(LLMatcher.grammar_from_regex(regex), tokenizer, f"--regex {regex!r}")


def choice_constraint(choices: list[str], tokenizer: Tokenizer) -> Constraint:
    """Texts that are one of `choices`."""
    shown = f"--choices {'|'.join(choices)!r}"
    if not all(choices):
        raise UserError(f"{shown} has an empty choice: give texts separated by |")
    spelled = ["".join(f"\\x{{{ord(character):X}}}" for character in choice) for choice in choices]
    return Grammar(LLMatcher.grammar_from_regex("|".join(spelled)), tokenizer, shown)


def json_constraint(schema: Any, tokenizer: Tokenizer, *, name: str = "schema") -> Constraint:
    """Texts that are JSON of `schema`, a schema as `json.load` gives it, with at most one space between parts."""
    shown = f"--json-schema {name}"
    if schema is True:
        schema = {}
    if not isinstance(schema, dict):
        raise UserError(f"{shown} is no JSON schema: it must hold an object, as in {{'type': 'integer'}}")
    try:
        grammar = LLMatcher.grammar_from_json_schema(
            json.dumps(schema), overrides={"whitespace_pattern": WHITE_SPACE}
        )
    except ValueError as error:
        raise UserError(f"{shown} is no JSON schema: {_one_line(str(error))}") from None
    return Grammar(grammar, tokenizer, shown)


@dataclass
class MatcherState:
    """How far one text has come. `mask` is the answer for it, (V,), once it was asked for."""

    matcher: LLMatcher
    mask: np.ndarray | None = None


class Grammar(Constraint):
    """What a grammar of llguidance admits. A state is a matcher a row, copied before it moves on."""

    by_spelling = True

    def __init__(self, grammar: str, tokenizer: Tokenizer, shown: str) -> None:
        if not tokenizer.lossless:
            raise UserError(
                f"{shown} needs a tokeniser whose tokens spell the text; {tokenizer.kind} does not"
            )
        self._n_spellings, self._end = len(tokenizer.spellings), tokenizer.end
        self._silent = tokenizer.silent
        self._shown = shown
        if tokenizer.implies_any:
            grammar = _without_forcing(grammar)
        matcher = LLMatcher(_llguidance_tokenizer(tokenizer), grammar, log_level=0)
        if matcher.is_error():
            raise UserError(f"{shown} is not possible: {_reason(matcher.get_error())}")
        self._first = MatcherState(matcher)
        if not self._mask(self._first).any():
            raise UserError(f"{shown}: no text can match it")

    def start(self, rows: int) -> list[MatcherState]:
        return [self._first] * rows

    def allowed(self, state: list[MatcherState]) -> np.ndarray:
        return np.stack([self._mask(match) for match in state])

    def advance(self, state: list[MatcherState], tokens: np.ndarray) -> list[MatcherState]:
        return [self._after(match, token) for match, token in zip(state, tokens.tolist(), strict=True)]

    def select(self, state: list[MatcherState], rows: np.ndarray) -> list[MatcherState]:
        return [state[row] for row in rows.tolist()]

    def _after(self, match: MatcherState, token: int) -> MatcherState:
        if token == self._end or token in self._silent:
            return match
        matcher = match.matcher.deep_copy()
        matcher.consume_token(token)
        if matcher.is_error():  # an admitted token can always be taken: a limit of llguidance is reached
            raise UserError(f"{self._shown} is too complex: {_reason(matcher.get_error())}")
        return MatcherState(matcher)

    def _mask(self, match: MatcherState) -> np.ndarray:
        """The tokens that may come next (V,); none where llguidance found that nothing can."""
        if match.mask is None:
            matcher = match.matcher
            bits = np.frombuffer(matcher.compute_bitmask(), np.uint8)
            mask = np.unpackbits(bits, count=self._n_spellings, bitorder="little").astype(bool)
            if matcher.is_error():
                if "too complex" in matcher.get_error().lower() or "TooComplex" in matcher.stop_reason():
                    raise UserError(f"{self._shown} is too complex: {_reason(matcher.get_error())}")
                mask[:] = False
            for place, following in self._silent.items():
                mask[place] = mask[following].any()
            match.mask = mask
        return match.mask


class _TokenizerAdapter:
    """A tokeniser as llguidance wants it."""

    bos_token_id = None

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.eos_token_id = tokenizer.end
        self.special_token_ids = [tokenizer.end]
        self.tokens = [*tokenizer.spellings]
        self.tokens[tokenizer.end] = b"<|end|>"
        self._tokenizer = tokenizer

    def __call__(self, text: str) -> list[int]:
        try:
            ids = self._tokenizer.encode_rest(text)
        except NotInVocabularyError:
            return []
        if self._tokenizer.by_neighbour:
            # Before them something that nothing depends on.
            ids = self._tokenizer.spelled(ids, np.append(self._tokenizer.encode_rest("x")[-1], ids[:-1]))
        return [place for place in ids.tolist() if self._tokenizer.spellings[place]]


def _llguidance_tokenizer(tokenizer: Tokenizer) -> LLTokenizer:
    return LLTokenizer(
        TokenizerWrapper(_TokenizerAdapter(tokenizer)),
        n_vocab=len(tokenizer.spellings),
        eos_token=tokenizer.end,
    )


def _without_forcing(grammar: str) -> str:
    """The same, but where only one text is possible llguidance doesn't choose the tokens for it, as it can't know
    which of them have an implied blank."""
    whole = json.loads(grammar)
    for part in whole["grammars"]:
        schema = part.pop("json_schema", None)
        rules = part["lark_grammar"] if schema is None else f"start: %json {json.dumps(schema)}"
        part["lark_grammar"] = rules + '\n%llguidance {"no_forcing": true}'
    return json.dumps(whole)


def _reason(error: str) -> str:
    """What is wrong, without the picture of where."""
    error = error.split("<state>")[0].removeprefix("failed to compile JSON schema: ")
    named = re.findall(r"error: (.*)", error)
    if named:
        return named[-1]
    return _one_line(re.sub(r"^at \d+\(\d+\): ", "", error.split("\n   1 |")[0]))


def _one_line(text: str) -> str:
    return " ".join(text.split())
