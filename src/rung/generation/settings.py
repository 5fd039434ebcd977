"""How a text is drawn: the settings of `rung sample` and `rung.generate`, checked when they are made.

What depends on the model (is top-k above the vocabulary? is a text one token?) is checked where the two meet.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rung.errors import UserError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

LARGEST_PENALTY = 1e6
MOST_SAMPLES, MOST_BEAMS = 1_000_000, 10_000  # what is made side by side is held in memory
"""Of a bias in nats: far beyond any difference of log-probabilities, which still tell beside it."""


@dataclass(frozen=True)
class Sampling:
    """How to draw. What each does to the probabilities, and in which order, is told in `rung.generation.pipeline`.

    Attributes:
        max_tokens: the most tokens to make; those that spell the end of the prompt again (see heal) count too.
        min_tokens: the document mark cannot come before so many tokens are made, unless a constraint admits no more.
        stop: strings that end the text; they are not part of it.
        samples: how many texts to make from each prompt.
        seed: of the draws.
        temperature: divides the log-probabilities; 0 = greedy, below 1 safer, above 1 bolder.
        top_k: draw among the k likeliest tokens only.
        top_p: draw among the likeliest tokens that together hold this much probability.
        min_p: draw among the tokens with at least this share of the likeliest one's probability.
        typical_p: draw among the tokens of the most typical surprise that together hold this much probability.
        repetition_penalty: log-probabilities of tokens seen, prompt included, times this; above 1 discourages.
        presence_penalty: taken off the log-probability of every token made before; below 0 encourages.
        frequency_penalty: taken off for every time the token was made before.
        bias: TEXT=NUMBER, added to the log-probability of the token that spells the text; several allowed.
        ban: texts that must not appear in what is made, however tokens spell them.
        force: what the text made begins with, whatever its probability.
        heal: a prompt that ends inside a word goes on with the whole word: its last token is given back, and its bytes
            spelled again by whatever begins with them (`rung.generation.healing`); not under --force, --ban or a
            constraint. On the command line --heal=false turns it off.
        top_logprobs: tell so many of the likeliest tokens, with log-probabilities, at every step.
    """

    max_tokens: int = 200
    min_tokens: int = 0
    stop: tuple[str, ...] = ()
    samples: int = 1
    seed: int = 0
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    typical_p: float | None = None
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    bias: tuple[str, ...] = ()
    ban: tuple[str, ...] = ()
    force: str = ""
    heal: bool = True
    top_logprobs: int = 0

    def __post_init__(self) -> None:
        for name in ("stop", "bias", "ban"):
            value = getattr(self, name)
            object.__setattr__(self, name, (value,) if isinstance(value, str) else tuple(value))
        most = LARGEST_PENALTY
        share, any_penalty = "a number above 0 and at most 1", f"a number from -{most:,.0f} to {most:,.0f}"
        check_settings(
            self,
            max_tokens=(self.max_tokens >= 1, "1 or more"),
            min_tokens=(0 <= self.min_tokens <= self.max_tokens, f"0 to --max-tokens, {self.max_tokens}"),
            stop=(all(self.stop), "text; an empty string would stop everything"),
            samples=(1 <= self.samples <= MOST_SAMPLES, f"1 to {MOST_SAMPLES:,}"),
            seed=(self.seed >= 0, "0 or more"),
            temperature=(0 <= self.temperature < math.inf, "0 (greedy) or more"),
            top_k=(self.top_k is None or self.top_k >= 1, "1 or more; leave it out for no limit"),
            top_p=(self.top_p is None or 0 < self.top_p <= 1, share),
            min_p=(self.min_p is None or 0 <= self.min_p <= 1, "a number from 0 to 1"),
            typical_p=(self.typical_p is None or 0 < self.typical_p <= 1, share),
            repetition_penalty=(
                0 < self.repetition_penalty <= most,
                f"a number above 0 and at most {most:,.0f}; 1 changes nothing",
            ),
            presence_penalty=(abs(self.presence_penalty) <= most, any_penalty),
            frequency_penalty=(abs(self.frequency_penalty) <= most, any_penalty),
            ban=(all(self.ban), "text; an empty string stands everywhere"),
            top_logprobs=(self.top_logprobs >= 0, "0 or more"),
        )
        self.biases()

    def biases(self) -> list[tuple[str, float]]:
        """`bias`, taken apart at each last equals sign. Raises UserError when one is not TEXT=NUMBER."""
        pairs = []
        for entry in self.bias:
            text, _, number = entry.rpartition("=")
            try:
                value = float(number)
            except ValueError:
                value = math.nan
            if not text or not abs(value) <= LARGEST_PENALTY:
                raise UserError(
                    f"--bias {entry!r} is not possible: give TEXT=NUMBER, as in ' the=-2.5', the number from "
                    f"-{LARGEST_PENALTY:,.0f} to {LARGEST_PENALTY:,.0f}"
                )
            pairs.append((text, value))
        return pairs


def check_settings(settings: DataclassInstance, **checks: tuple[bool, str]) -> None:
    """Raise UserError at the first field that is not as it must be: field = (whether it is, what it must be)."""
    for name, (allowed, meaning) in checks.items():
        if not allowed:
            value = getattr(settings, name)
            shown = "''" if isinstance(value, tuple) else repr(value) if isinstance(value, str) else value
            raise UserError(f"--{name.replace('_', '-')} {shown} is not possible: give {meaning}")
