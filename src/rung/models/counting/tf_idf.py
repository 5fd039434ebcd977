"""The first rung of texts as vectors: which tokens a text has, the rarer the more they count.

    h[w] = (1 + ln tf) idf      idf = ln((1 + N) / (1 + df)) + 1;   N training texts, df of them with the token,
                                tf how often the text has it

Salton and Buckley 1988; smoothed as in scikit-learn's TfidfVectorizer. Two texts are as near as the tokens that they
share are rare. What reads texts has to be better than this. The temperature is the one of a few that is best at telling
the partners of training texts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from rung.events import Event
from rung.models.base import Counted
from rung.models.config_checks import check_field
from rung.models.partners import partner_scores
from rung.models.text_encoder import TextEncoder
from rung.opening import check_array, check_finite
from rung.text.stream import TokenStream
from rung.text.views import Views

TEMPERATURES = (0.02, 0.035, 0.05, 0.07, 0.1, 0.14, 0.2, 0.35, 0.5, 1.0)
MOST_TRIED = 1000
"""Training examples that the temperature is chosen by."""


@dataclass(frozen=True)
class TfIdfConfig:
    """What cosines are divided by."""

    temperature: float | None = None
    """What cosines are divided by before their softmax; by default what is best on training texts."""

    def __post_init__(self) -> None:
        check_field(
            self,
            "temperature",
            lambda value: type(value) in (int, float) and 0 < value < math.inf,
            "a number above 0",
            optional=True,
        )


class TfIdf(Counted, TextEncoder):
    """Weighted counts of a text's tokens.

    Attributes:
        idf: (V,) float64, the weight of each token.
    """

    rung = "tf-idf"
    config_class = TfIdfConfig

    def __init__(self, config: TfIdfConfig, vocab_size: int, end: int, idf: np.ndarray) -> None:
        super().__init__(config, vocab_size, end)
        self.idf = idf

    @classmethod
    def fit(cls, config: TfIdfConfig, views: Views, vocab_size: int, end: int) -> Iterator[Event | Self]:
        """The texts counted are both views of every example."""
        n, df = 0, np.zeros(vocab_size)
        for stream in (views.first, views.second):
            owners = np.repeat(np.arange(stream.n_documents), np.diff(stream.starts))
            pairs = np.unique(owners * vocab_size + np.asarray(stream.ids[1:]).astype(np.int64))
            df += np.bincount(pairs % vocab_size, minlength=vocab_size)
            n += stream.n_documents
        model = cls(config, vocab_size, end, np.log((1 + n) / (1 + df)) + 1)
        if config.temperature is None:
            rows = np.random.default_rng(0).permutation(len(views.alike))[:MOST_TRIED]
            tried = Views(views.first.of_documents(rows), views.second.of_documents(rows), views.alike[rows])
            nats = [-partner_scores(model, tried, t)[:, 0].sum() for t in TEMPERATURES]
            model.config = replace(config, temperature=TEMPERATURES[int(np.argmin(nats))])
        yield model

    @property
    def temperature(self) -> float:
        assert isinstance(self.config, TfIdfConfig)
        assert self.config.temperature is not None
        return self.config.temperature

    def vectors(self, texts: TokenStream) -> np.ndarray:
        """(N, V); marks don't count."""
        found = np.zeros((texts.n_documents, self.vocab_size), np.float32)
        owners = np.repeat(np.arange(texts.n_documents), np.diff(texts.starts))
        np.add.at(found, (owners, np.asarray(texts.ids[1:]).astype(np.int64)), 1)
        found[:, self.end] = 0
        there = found > 0
        found[there] = 1 + np.log(found[there])
        return found * self.idf.astype(np.float32)

    @property
    def n_parameters(self) -> int:
        return len(self.idf)

    def tensors(self) -> dict[str, np.ndarray]:
        return {"idf": self.idf}

    @classmethod
    def from_tensors(cls, config: Any, vocab_size: int, end: int, tensors: dict[str, np.ndarray]) -> Self:
        idf = np.array(tensors["idf"])
        check_array("idf", idf, "f8", [vocab_size])
        check_finite("idf", idf)
        if config.temperature is None:
            raise ValueError("the temperature is left open")
        return cls(config, vocab_size, end, idf)
