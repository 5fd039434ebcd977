"""From prompts to records: a file of prompts read as it is needed, and what `rung sample --json` says of a text."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from typing import Any

from rung.errors import UserError
from rung.generation.beam import BeamSettings, beam_search
from rung.generation.constraint import Constraint
from rung.generation.drafts import Draft
from rung.generation.sampling import ROWS_AT_ONCE, Sample, Sampling, collect_samples, generate_many
from rung.generation.speculative import SpeculationReport, speculative_steps
from rung.models.base import LanguageModel
from rung.text.tokenizers import Tokenizer, text_of


def read_prompts(path: str) -> Iterator[str]:
    """The lines of a file, or of standard input for -, without their ends; an empty one is an empty prompt.

    Raises UserError when there is no such file or a line is no UTF-8.
    """
    try:
        with nullcontext(sys.stdin.buffer) if path == "-" else open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    yield line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8")
                except UnicodeDecodeError:
                    raise UserError(f"--prompts {path}: line {number} is not UTF-8") from None
    except OSError as error:
        raise UserError(f"--prompts {path} can't be read: {error.strerror}") from None


def generate_each(
    model: LanguageModel,
    tokenizer: Tokenizer,
    prompts: Iterable[str],
    sampling: Sampling,
    search: BeamSettings,
    constraint: Constraint | None = None,
    draft: Draft | LanguageModel | None = None,
    report: SpeculationReport | None = None,
) -> Iterator[list[Sample]]:
    """For each prompt, in order, the texts that are drawn, or found if `search` has beams; many prompts go together.

    With a draft, prompts and samples go one after the other; `report` counts up what became of its guesses.
    """
    if search.beams is not None:
        if draft is not None:
            raise UserError("--draft does not go with --beams: a search draws nothing")
        for prompt in prompts:
            yield beam_search(model, tokenizer, prompt, sampling, search, constraint)
        return
    if draft is not None:
        for prompt in prompts:
            made = speculative_steps(model, tokenizer, prompt, sampling, draft, constraint, report)
            yield collect_samples(made, tokenizer, sampling)
        return
    waiting: list[str] = []
    for prompt in prompts:
        waiting.append(prompt)
        if len(waiting) * sampling.samples >= ROWS_AT_ONCE:
            yield from generate_many(model, tokenizer, waiting, sampling, constraint)
            waiting = []
    yield from generate_many(model, tokenizer, waiting, sampling, constraint)


def sample_record(sample: Sample, tokenizer: Tokenizer, prompt: str) -> dict[str, Any]:
    """What JSON says of a text: `text`, `tokens`, `log_prob`, `finish_reason`; `score` of a beam; `top_logprobs`.

    The last, if asked for, is a list with, for each token, {"id", "text", "log_prob", "top": [the same of each of the
    likeliest]}. Bytes of a character that a token doesn't complete are shown as U+FFFD.
    """

    def named(token: int, log_prob: float, before: int) -> dict[str, Any]:
        return {"id": token, "text": text_of(tokenizer.spelling(token, before)), "log_prob": log_prob}

    out: dict[str, Any] = {
        "text": sample.text,
        "tokens": sample.tokens,
        "log_prob": sample.log_prob,
        "finish_reason": sample.finish_reason,
    }
    if sample.score is not None:
        out["score"] = sample.score
    if any(sample.top):
        before = [tokenizer.last(prompt) if sample.after is None else sample.after, *sample.token_ids[:-1]]
        made = zip(sample.token_ids, sample.token_log_probs, sample.top, before, strict=True)
        out["top_logprobs"] = [
            {**named(token, log_prob, after), "top": [named(*other, after) for other in top]}
            for token, log_prob, top, after in made
        ]
    return out
