"""The check of a language model's promises: what is broken is found, and said."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rung.models.base import State, fitted
from rung.models.counting.bigram import Bigram, BigramConfig
from rung.testing import check_model
from rung.text.stream import TokenStream


class Shouting(Bigram):
    """Its probabilities sum to 2."""

    def advance(self, state: State, tokens: np.ndarray) -> tuple[np.ndarray, State]:
        log_probs, state = super().advance(state, tokens)
        return log_probs + np.float32(np.log(2)), state


class Peeking(Bigram):
    """It scores a token by the one that follows."""

    def score(self, tokens: np.ndarray) -> np.ndarray:
        return np.roll(super().score(tokens), -1, axis=-1)


class Forgetful(Bigram):
    """What is loaded is not what was saved."""

    @classmethod
    def from_tensors(cls, config: Any, vocab_size: int, end: int, tensors: dict[str, np.ndarray]) -> Any:
        return fitted(cls.fit(config, TokenStream.of([np.array([1])], end), vocab_size, end))


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (Shouting, "Shouting breaks a promise, 'sums to one'"),
        (Peeking, "Peeking breaks a promise, 'score equals the walk'"),
        (Forgetful, "Forgetful breaks a promise, 'saved is the same'"),
    ],
)
def test_a_broken_promise_is_named(broken: type[Bigram], told: str):
    stream = TokenStream.of([np.array([0, 1, 2, 1, 0])], 3)
    check_model(fitted(Bigram.fit(BigramConfig(), stream, 4, 3)))
    with pytest.raises(AssertionError, match=told):
        check_model(fitted(broken.fit(BigramConfig(), stream, 4, 3)))


def test_a_check_needs_no_test_framework():
    import subprocess
    import sys

    code = "import sys, rung.testing; sys.exit(bool({'pytest', 'hypothesis', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
