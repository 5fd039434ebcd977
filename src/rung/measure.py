"""One unit for every rung: bits per byte of the raw UTF-8 text.

    bits per byte = total nats / (ln 2 x bytes)

over the whole split, every token and every document's closing mark counted. Bytes are those of the documents' text;
what stood between documents (the line ends of a list of names) is spelled by the mark and not counted. It compares
models whose tokenisers differ, which nats per token and perplexity can't.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from rung.errors import UserError
from rung.models.base import LanguageModel
from rung.text.stream import TokenStream


@dataclass(frozen=True)
class Measure:
    """How well a model predicts a split.

    Attributes:
        bits_per_byte: total nats / (ln 2 x bytes).
        nats_per_token: mean negative log-likelihood, natural logarithm, per token of this run's tokeniser.
        perplexity: exp(nats_per_token), per token of this run's tokeniser.
        tokens: how many tokens were predicted, closing marks included.
        bytes: UTF-8 bytes of the documents' text.
        documents: how many documents.
        split: train, validation, test, or the name of the file.
    """

    bits_per_byte: float
    nats_per_token: float
    perplexity: float
    tokens: int
    bytes: int
    documents: int
    split: str

    @staticmethod
    def total(nats: float, tokens: int, n_bytes: int, documents: int, split: str) -> Measure:
        """From the sum of -log p. Raises UserError when there is nothing to measure."""
        if tokens == 0 or n_bytes == 0:
            raise UserError(f"{split}: no text to measure")
        per_token = nats / tokens
        return Measure(
            bits_per_byte=nats / (math.log(2) * n_bytes),
            nats_per_token=per_token,
            perplexity=math.exp(per_token) if per_token < 700 else math.inf,
            tokens=tokens,
            bytes=n_bytes,
            documents=documents,
            split=split,
        )


def measure(model: LanguageModel, stream: TokenStream, n_bytes: int, split: str) -> Measure:
    """Score the whole stream, each document from its own beginning, with the model's full context.

    Args:
        model: any rung.
        stream: the split's tokens.
        n_bytes: the UTF-8 bytes of its documents' text.
        split: its name.
    """
    nats = -float(np.sum(model.score_stream(stream), dtype=np.float64))
    return Measure.total(nats, stream.n_tokens, n_bytes, stream.n_documents, split)
