"""`rung sample`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import tee
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rung.cli.common import Dashed, Text, require_utf8, show_json
from rung.errors import UserError

if TYPE_CHECKING:
    from rung.generation.constraint import Constraint
    from rung.generation.sampling import Piece, Sample
    from rung.text.tokenizers import Tokenizer


def sample(
    run: Path,
    prompt: Text = "",
    *,
    prompts: Dashed = None,
    draft: str | None = None,
    novelty: bool = False,
    how: Any,
    search: Any,
    form: Any,
    json: bool = False,
) -> int:
    """Write text with a run.

    Example: rung sample runs/gpt "ROMEO" --temperature 0.8 --samples 2

    Args:
        run: a run's folder.
        prompt: what the text begins with; empty = the beginning of a document. One that begins
            with -- stands last, behind a lone --.
        prompts: a file with a prompt a line, or - for standard input; one JSON object a line comes out, in order.
        draft: a run with the same tokeniser that guesses ahead, or lookup: the text's own repetitions. The text is as
            without (drawn texts have the same distribution), sooner if the guesses are quick and good.
        novelty: tell of each text the longest passage that it shares with the training text, and whether all of it
            stands there; of names and the like: in training, in validation, or new.
        json: print the samples as one JSON object, nothing else; their text does not repeat the prompt.
    """
    from rung.cli.filling import draft_record, print_draft
    from rung.cli.samples import show_samples, stream_samples
    from rung.generation.constraint_settings import constraint_from
    from rung.generation.prompts import generate_each, read_prompts, sample_record
    from rung.generation.sampling import Sample, sample_steps, text_pieces
    from rung.generation.speculative import SpeculationReport, open_draft, speculative_steps
    from rung.inspection.novelty import NoveltyIndex
    from rung.runs import load_language_model

    if prompts is not None and prompt:
        raise UserError("--prompts does not go with a PROMPT: put it in the file")
    require_utf8("the prompt", prompt)
    require_utf8("--regex or --choices", form.regex, form.choices)
    for name in ("stop", "bias", "ban", "force"):
        value = getattr(how, name)
        require_utf8(f"--{name}", *((value,) if isinstance(value, str) else value))
    opened = load_language_model(run)
    model, tokenizer = opened.model, opened.tokenizer
    constraint = constraint_from(form, tokenizer)
    guesser = None if draft is None else open_draft(draft, opened)
    known = NoveltyIndex(opened) if novelty else None
    report = SpeculationReport()
    if prompts is not None or json:
        texts, again = (iter([prompt]), iter([prompt])) if prompts is None else tee(read_prompts(prompts))
        made = generate_each(model, tokenizer, texts, how, search, constraint, guesser, report)
        for samples, begin in zip(made, again, strict=True):
            records = [sample_record(one, tokenizer, begin) for one in samples]
            if known is not None:
                for one, found in zip(records, known.novelties(begin, samples), strict=True):
                    one["novelty"] = asdict(found)
            extra = {} if guesser is None else {"draft": draft_record(report)}
            show_json({"prompt": begin, "samples": records, **extra})
            report = report.clear()
    elif search.beams is not None or how.top_logprobs or known is not None:
        for samples in generate_each(model, tokenizer, [prompt], how, search, constraint, guesser, report):
            novelties = [] if known is None else known.novelties(prompt, samples)
            show_samples(tokenizer, prompt, samples, novelties)
            _tell_ends(samples, how.min_tokens, constraint, tokenizer, prompt)
    else:
        if guesser is None:
            steps = sample_steps(model, tokenizer, prompt, how, constraint)
        else:
            steps = speculative_steps(model, tokenizer, prompt, how, guesser, constraint, report)
        made = [Sample() for _ in range(how.samples)]
        stream_samples(_gathered(text_pieces(steps, tokenizer, how), made), prompt, how.samples)
        _tell_ends(made, how.min_tokens, constraint, tokenizer, prompt)
    if guesser is not None and prompts is None and not json:
        print_draft(report)
    return 0


def _gathered(pieces: Iterable[Piece], samples: list[Sample]) -> Iterator[Piece]:
    """The same pieces; `samples` take in their tokens and how they ended."""
    for piece in pieces:
        own = samples[piece.sample]
        own.token_ids.extend(token.id for token in piece.tokens)
        own.finish_reason = piece.finish_reason or ""
        yield piece


def _tell_ends(
    samples: list[Sample], least: int, constraint: Constraint | None, tokenizer: Tokenizer, prompt: str
) -> None:
    """Say on stderr which texts look finished and are not, and which ended before they should."""
    from rung.generation.constraint import is_complete

    for number, made in enumerate(samples, start=1):
        which = f"text {number} of {len(samples)}" if len(samples) > 1 else "the text"
        n_tokens = len(made.token_ids) - (made.finish_reason == "end")
        if made.finish_reason == "end" and n_tokens < least:
            print(
                f"rung: {which} ends after {n_tokens} tokens, below --min-tokens {least}: no more are admitted",
                file=sys.stderr,
            )
        elif (
            made.finish_reason == "length"
            and constraint is not None
            and not is_complete(constraint, tokenizer, prompt, made.token_ids)
        ):
            print(f"rung: {which} is not finished: --max-tokens cut it at {n_tokens}", file=sys.stderr)
