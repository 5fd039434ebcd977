"""One text token by token: log P(text) is the sum of log P(token | the tokens before it). (the chain rule)"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rung.errors import UserError
from rung.measure import NO_NUMBERS
from rung.runs import Run
from rung.text.tokenizers import TextDecoder, utf8


def score_text(run: Run, text: str) -> dict[str, Any]:
    """The text as a document: `log_prob`, `tokens`, `bytes`, `bits_per_byte` as in `rung.evaluation.filter`, `steps`.

    A step is {"text", "log_prob"}: the characters that the token completes, joined up the whole text, and its
    log-probability in nats. A token that leaves a character unfinished has "" for text, and so has the last, the
    closing mark. The steps sum to `log_prob`.

    Raises UserError when the text is no Unicode.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UserError(f"--text is not UTF-8 at character {error.start + 1}") from None
    ids = np.append(run.tokenizer.encode(text), run.tokenizer.end)
    if not text and run.tokenizer.unknown is None:
        ids = ids[:0]  # no document, as in files
    return told(run, text, ids, run.model.score(ids))


def told(run: Run, text: str, ids: np.ndarray, log_probs: np.ndarray) -> dict[str, Any]:
    """What `score_text` gives, of tokens (T,) and their log-probabilities (T,)."""
    log_probs = log_probs.astype(np.float64)
    if np.isnan(log_probs).any():
        raise UserError(f"{run.folder}: {NO_NUMBERS}")
    decoder = TextDecoder(run.tokenizer)
    total, n_bytes = math.fsum(log_probs.tolist()), len(utf8(text))
    return {
        "log_prob": total,
        "tokens": len(ids),
        "bytes": n_bytes,
        "bits_per_byte": -total / (math.log(2) * n_bytes) if n_bytes else None,
        "steps": [
            {"text": decoder.push(token), "log_prob": log_prob}
            for token, log_prob in zip(ids.tolist(), log_probs.tolist(), strict=True)
        ],
    }
