"""The command line: verbs parse, call and show. What they do is in `rung.api`.

Exit codes: 0 done; 2 the user's input is at fault (one line on stderr); 1 our fault; 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import errno
import json as json_library
import math
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from itertools import tee
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, CycloptsError, Parameter

from rung import __version__
from rung.errors import Stopped, UserError
from rung.models import RUNGS, rung_class

if TYPE_CHECKING:
    from rung.runs import Run
    from rung.training.lr_finder import Sweep

# Arguments that may begin with a dash: "-" is standard input.
Text = Annotated[str, Parameter(allow_leading_hyphen=True)]
Dashed = Annotated[str | None, Parameter(allow_leading_hyphen=True)]

HELP = """Train, measure, compare and use small language models on your own text.

Example: rung climb my.txt
"""


def climb(
    data: Text,
    *,
    out: Path | None = None,
    rungs: str | None = None,
    training: Any,
    options: Any,
    seed: int = 0,
    device: str = "auto",
    force: bool = False,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Train the ladder's rungs on one text, compare them, say what each step up buys.

    Example: rung climb my.txt --minutes 2

    Args:
        data: shakespeare, names, a file, folder, glob, https URL, hf://owner/dataset, or - for standard input.
        out: where the runs and the report go; by default runs/climb.
        rungs: which rungs, comma-separated; by default bigram,ngram,infinigram,neural-bigram,gpt,mix.
        seed: of weights, batches, dropout and the bootstrap.
        device: auto, cpu, cuda or mps.
        force: overwrite the climb that is there.
        json: print the report as one JSON object, nothing else.
        quiet: show no progress.
    """
    no_option(data)
    from rung import api, terminal
    from rung.evaluation.compare import DEFAULT_MINUTES, LADDER
    from rung.evaluation.compare import climb as run_climb
    from rung.evaluation.report import headline
    from rung.runs import free_folder

    if training.steps is None and training.tokens is None and training.minutes is None:
        training = replace(training, minutes=DEFAULT_MINUTES)
    folder = out if out is not None else free_folder("climb")
    names = LADDER if rungs is None else tuple(name.strip() for name in rungs.split(",") if name.strip())
    with interruptible() as stop, terminal.Progress(quiet=quiet or json) as progress:
        progress.phase(f"climbing {', '.join(names)} on {data}")
        report = run_climb(
            data,
            folder,
            rungs=names,
            options=options,
            training=training,
            force=force,
            seed=seed,
            device=device,
            sample=api.short_sample,
            on_event=progress.event,
            stop=stop,
            command="rung " + " ".join(sys.argv[1:]),
        )
    if json:
        show_json(report)
    else:
        terminal.climb_table(report)
        best = next(row for row in report["rungs"] if row["name"] == report["best"])
        print(f"\n{headline(report)}")
        print(f"best: {best['name']}, {best['bits_per_byte']:.3f} bits per byte")
        print(f"report: {folder / 'report.html'}")
        print(f"next: rung sample {best['run']}")
    return (
        stopped(f"; the report holds what was finished. Runs can be resumed, see {folder}") if stop() else 0
    )


def train(
    *,
    resume: Path | None = None,
    recipe: str | None = None,
    out: Path | None = None,
    seed: int = 0,
    device: str = "auto",
    force: bool = False,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Train one rung: rung train RUNG DATA. Each rung has its own settings: rung train RUNG --help.

    Example: rung train ngram my.txt --order 6

    Args:
        resume: go on with this run, which was stopped, killed or crashed, from its last checkpoint.
        recipe: reproduce a published result, by name; an unknown name lists them.
        out: the recipe's run folder; by default runs/NAME.
        seed: of the recipe's weights, batches and dropout.
        device: auto, cpu, cuda or mps.
        force: overwrite the run that is there.
        json: print the result as one JSON object, nothing else.
        quiet: show no progress.
    """
    if recipe is not None:
        return follow_recipe(recipe, out, json, quiet, seed=seed, device=device, force=force)
    if resume is None:
        raise UserError(f"name a rung and a text, as in 'rung train gpt my.txt' (rungs: {', '.join(RUNGS)})")
    from rung import api, runs, terminal

    name = runs.load(resume).rung
    with interruptible() as stop, terminal.Progress(quiet=quiet or json) as progress:
        run = api.resume(resume, on_event=lambda event: progress.event(name, event), stop=stop)
    return show_run(run, json)


def follow_recipe(
    name: str, out: Path | None, json: bool, quiet: bool, *, seed: int, device: str, force: bool
) -> int:
    """Train as a recipe says; show ours beside the published number."""
    from rung import api, runs, terminal
    from rung.training.recipes import load_recipe

    recipe = load_recipe(name)
    if not (json or quiet):
        print(f"{recipe.title}\n{recipe.source}", file=sys.stderr)
    with interruptible() as stop, terminal.Progress(quiet=quiet or json) as progress:
        run = api.train_recipe(
            name,
            out=out if out is not None else runs.free_folder(name),
            force=force,
            seed=seed,
            device=device,
            on_event=lambda event: progress.event(recipe.rung, event),
            stop=stop,
        )
    code = show_run(run, json)
    if code == 0 and not json:
        ours = run.recipe["result"]["validation"]["nats_per_token"]
        print(f"published: {recipe.published:.3f} nats per token; ours: {ours:.3f}")
    return code


def recipes(
    *names: str,
    train: bool = False,
    minutes: float | None = None,
    out: Path = Path("runs/recipes"),
    markdown: Path | None = None,
    seed: int = 0,
    device: str = "auto",
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Published numbers beside ours: all recipes, and what their runs reached.

    Example: rung recipes --train --minutes 20 --markdown recipes.md

    Args:
        names: which recipes; by default all.
        train: train those that are not finished in OUT first, one after the other; Ctrl-C and the same command again
            go on where it stopped.
        minutes: the most minutes for each; its schedule is squeezed into them.
        out: the folder that holds a run for each recipe.
        markdown: write the table to this file too.
        seed: of weights, batches and dropout.
        device: auto, cpu, cuda or mps.
        json: print the table as one JSON object, nothing else.
        quiet: show no progress.
    """
    from rung import api, terminal
    from rung.evaluation import reproduction
    from rung.files import atomic_path
    from rung.training.recipes import load_recipe, recipe_names

    wanted = [load_recipe(name) for name in names or recipe_names()]
    rows = reproduction.reproductions(out, wanted)
    if train:
        with interruptible() as stop, terminal.Progress(quiet=quiet or json) as progress:
            for row in rows:
                name = row.recipe.name
                if row.ours is not None or stop():
                    continue
                progress.phase(f"{name}: {row.recipe.title}")
                api.train_recipe(
                    name,
                    out=out / name,
                    minutes=minutes,
                    seed=seed,
                    device=device,
                    on_event=lambda event, name=name: progress.event(name, event),
                    stop=stop,
                )
        if stop():
            return stopped("; the same command goes on from here")
        rows = reproduction.reproductions(out, wanted)
    if markdown is not None:
        with atomic_path(markdown) as temporary:
            temporary.write_text(reproduction.markdown(rows), encoding="utf-8")
    if json:
        show_json({"recipes": [asdict(row) for row in rows]})
    else:
        terminal.recipe_table(rows)
        if all(row.ours is None for row in rows):
            print("\nnext: rung recipes --train, or one of them: rung train --recipe NAME")
    return 0


def train_command(name: str) -> Callable[..., int]:
    """The typed function behind `rung train NAME`; its flags are those of the rung's configuration."""
    from rung.models import descends
    from rung.text.options import DataOptions
    from rung.training.config import Budget, TrainingConfig

    model_class = rung_class(name)
    config_class = model_class.config_class
    training_class = TrainingConfig if descends(name) else Budget

    def command(
        data: Text,
        *,
        config: Any,
        training: Any,
        options: Any,
        out: Path | None = None,
        seed: int = 0,
        device: str = "auto",
        find_lr: bool = False,
        force: bool = False,
        json: bool = False,
        quiet: bool = False,
    ) -> int:
        no_option(data)
        from rung import api, runs, terminal

        if find_lr:
            with interruptible() as stop, terminal.Progress(quiet=quiet or json) as progress:
                progress.phase(f"reading and tokenising {data}")
                folder = out if out is not None else runs.free_folder(f"{name}-lr")
                found = api.find_lr_run(
                    name,
                    data,
                    folder,
                    config=config,
                    training=training if isinstance(training, TrainingConfig) else TrainingConfig(),
                    options=options,
                    force=force,
                    seed=seed,
                    device=device,
                    on_event=lambda event: progress.event(name, event),
                    stop=stop,
                )
            return show_learning_rate(name, data, folder, found, json)
        folder = out if out is not None else runs.free_folder(name)
        with interruptible() as stop, terminal.Progress(quiet=quiet or json) as progress:
            progress.phase(f"reading and tokenising {data}")
            run = api.train_run(
                name,
                data,
                folder,
                config=config,
                training=training if isinstance(training, TrainingConfig) else TrainingConfig(),
                options=options,
                force=force,
                seed=seed,
                device=device,
                on_event=lambda event: progress.event(name, event),
                stop=stop,
            )
        return show_run(run, json)

    command.__doc__ = f"""{RUNGS[name][1].capitalize()}.

    Example: rung train {name} shakespeare

    Args:
        data: shakespeare, names, a file, folder, glob, https URL, hf://owner/dataset, or - for standard input.
        out: the run's folder; by default runs/{name}, or runs/{name}-2 when that is taken, and so on.
        seed: of weights, batches and dropout.
        device: auto, cpu, cuda or mps.
        find_lr: train nothing; sweep the learning rate, suggest one and draw a picture, by default in runs/{name}-lr.
        force: overwrite the run that is there.
        json: print the result as one JSON object, nothing else.
        quiet: show no progress.
    """
    # What counts has no learning rate: its help does not mention the flag.
    command.__annotations__["find_lr"] = Annotated[bool, Parameter(show=descends(name))]
    flatten(command, config=config_class, training=training_class, options=DataOptions)
    return command


def train_best(
    data: Text,
    *,
    training: Any,
    options: Any,
    out: Path | None = None,
    seed: int = 0,
    device: str = "auto",
    force: bool = False,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """The lowest loss for the minutes: count, try transformers of some sizes, train the best of them, mix.

    Example: rung train best my.txt --minutes 10

    Args:
        data: shakespeare, names, a file, folder, glob, https URL, hf://owner/dataset, or - for standard input.
        out: the run's folder; by default runs/best. Its parts lie in parts/, each a run of its own.
        seed: of weights, batches and dropout.
        device: auto, cpu, cuda or mps.
        force: overwrite the run that is there.
        json: print the result as one JSON object, nothing else.
        quiet: show no progress.
    """
    no_option(data)
    from rung import api, terminal

    with interruptible() as stop, terminal.Progress(quiet=quiet or json) as progress:
        progress.phase(f"reading and tokenising {data}")
        run = api.train_best(
            data,
            out=out,
            force=force,
            seed=seed,
            device=device,
            on_event=progress.event,
            stop=stop,
            **asdict(training),
            **asdict(options),
        )
    if not json:
        terminal.tried_table(run.recipe["tried"])
    return show_run(run, json)


def evaluate(
    run: Path,
    data: Dashed = None,
    *,
    split: str = "test",
    documents: str = "auto",
    field: str | None = None,
    sha256: str | None = None,
    json: bool = False,
) -> int:
    """Measure a run in bits per byte: on the test split of its own text, or on all of DATA.

    A document longer than a finite context is scored with the window policy that the rung's help states; each
    document starts afresh.

    Example: rung evaluate runs/gpt other.txt

    Args:
        run: a run's folder.
        data: any text; by default the run's own.
        split: train, validation or test, of the run's own text.
        documents: what a document of DATA is: lines, paragraphs, files or auto.
        field: which JSON field or column of DATA holds the text.
        sha256: the hash that an https DATA must have.
        json: print the measure as one JSON object, nothing else.
    """
    from rung import api

    if data is not None:
        no_option(data)
    opened = api.load(run)
    measure = api.evaluate(opened, data, split=split, documents=documents, field=field, sha256=sha256)
    if json:
        show_json({"run": str(run), **asdict(measure)})
        return 0
    print(
        f"{opened.rung} on {measure.split}: {measure.bits_per_byte:.4f} bits per byte\n"
        f"{measure.nats_per_token:.4f} nats per token, perplexity {measure.perplexity:,.4g} per "
        f"{opened.tokenizer.kind} token\n"
        f"{measure.tokens:,} tokens, {measure.bytes:,} bytes, {measure.documents:,} documents"
    )
    return 0


"""A value that may begin with a dash, or be one."""


def score(
    run: Path,
    file: Dashed = None,
    *,
    text: Dashed = None,
    field: str | None = None,
    out: Path | None = None,
    keep: Dashed = None,
    quiet: bool = False,
) -> int:
    """Score a file record by record: one JSON object each, log P(text and its closing mark) in nats.

    A record is a line of plain text, an object of .jsonl, a row of .csv, .tsv or .parquet, each (but Parquet) also as
    .gz or .zst. Reads and writes as it goes, in order and in constant memory. A bad record (no UTF-8, no JSON, no
    text) gives an object with "error" and is counted.

    Example: rung score runs/ngram web.jsonl.zst --keep "bits_per_byte < 2.5" --out good.jsonl.zst

    Args:
        run: a run's folder.
        file: the file, or - for standard input: lines, or with --field JSON lines.
        text: score this text instead, and show the log-probability of every token.
        field: which JSON field or column holds the text; by default text.
        out: write here instead of to standard output, when all is done: .jsonl, perhaps .gz or .zst, holds whole
            records with their scores added; .txt, with --keep, the lines of plain text that are kept.
        keep: keep only what this holds for, over log_prob, tokens, bytes and bits_per_byte: numbers, + - * /,
            comparisons, and, or, not, parentheses.
        quiet: show no progress.
    """
    from rung import api

    if text is not None:
        from rung.evaluation.chain import score_text

        for flag, value in (("FILE", file), ("--field", field), ("--out", out), ("--keep", keep)):
            if value is not None:
                raise UserError(f"{flag} does not go with --text, which is one text by itself")
        show_json(score_text(api.load(run), text))
        return 0
    if file is None:
        raise UserError('name a file, - for standard input, or one text: rung score RUN --text "..."')
    no_option(file)
    from rung import terminal
    from rung.evaluation.filter import Scoring

    scoring = Scoring(api.load(run), file, field=field, keep=keep, out=out)
    shown = out is None and sys.stdout.isatty()
    records, kept, n_bad = 0, 0, 0
    places: list[str] = []
    with (
        terminal.FileProgress(file, scoring.size, quiet=quiet or shown) as progress,
        closing(scoring.parts()) as parts,
    ):
        for part in parts:
            if out is None:
                sys.stdout.write(part.output)
                sys.stdout.flush()
            records, kept = records + part.records, kept + part.kept
            n_bad += len(part.errors)
            places = (places + part.errors)[:3]
            progress.update(part.position, records)
    if keep is not None and not quiet:
        print(f"rung: kept {kept:,} of {records:,} records", file=sys.stderr)
    if n_bad:
        more = "; ..." if n_bad > len(places) else ""
        print(
            f"rung: {n_bad:,} of {records:,} records not scored: {'; '.join(places)}{more}", file=sys.stderr
        )
    return 0


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
        prompt: what the text begins with; empty = the beginning of a document. Any characters work.
        prompts: a file with a prompt a line, or - for standard input; one JSON object a line comes out, in order.
        draft: a run with the same tokeniser that guesses ahead, or lookup: the text's own repetitions. The text is as
            without (drawn texts have the same distribution), sooner if the guesses are quick and good.
        novelty: tell of each text the longest passage that it shares with the training text, and whether all of it
            stands there; of names and the like: in training, in validation, or new.
        json: print the samples as one JSON object, nothing else; their text does not repeat the prompt.
    """
    from rung import api, terminal
    from rung.cli_decoding import draft_record, tell_draft
    from rung.generation.form import constraint_of
    from rung.generation.prompts import generate_each, read_prompts, record
    from rung.generation.sampling import pieces, steps
    from rung.generation.speculative import Speculation, open_draft
    from rung.generation.speculative import steps as speculative_steps
    from rung.inspection.novelty import KnownTexts

    if prompts is not None and prompt:
        raise UserError("--prompts does not go with a PROMPT: put it in the file")
    try:
        prompt.encode("utf-8")
    except UnicodeEncodeError:
        raise UserError("the prompt is not UTF-8") from None
    opened = api.load(run)
    model, tokenizer = opened.model, opened.tokenizer
    constraint = constraint_of(form, tokenizer)
    guesser = None if draft is None else open_draft(draft, opened)
    known = KnownTexts(opened) if novelty else None
    report = Speculation()
    if prompts is not None or json:
        texts, again = (iter([prompt]), iter([prompt])) if prompts is None else tee(read_prompts(prompts))
        made = generate_each(model, tokenizer, texts, how, search, constraint, guesser, report)
        for samples, begin in zip(made, again, strict=True):
            records = [record(one, tokenizer) for one in samples]
            if known is not None:
                for one, found in zip(records, known.of(begin, samples), strict=True):
                    one["novelty"] = asdict(found)
            told = {} if guesser is None else {"draft": draft_record(report)}
            show_json({"prompt": begin, "samples": records, **told})
            report = report.clear()
    elif search.beams is not None or how.top_logprobs or known is not None:
        for samples in generate_each(model, tokenizer, [prompt], how, search, constraint, guesser, report):
            novelties = [] if known is None else known.of(prompt, samples)
            terminal.show_samples(tokenizer, prompt, samples, novelties)
    elif guesser is not None:
        drafted = speculative_steps(model, tokenizer, prompt, how, guesser, constraint, report)
        terminal.stream_samples(pieces(drafted, tokenizer, how), prompt, how.samples)
    else:
        drawn = steps(model, tokenizer, prompt, how, constraint)
        terminal.stream_samples(pieces(drawn, tokenizer, how), prompt, how.samples)
    if guesser is not None and prompts is None and not json:
        tell_draft(report)
    return 0


def export(run: Path, *, format: Literal["arpa", "hf"], out: Path, force: bool = False) -> int:
    """Write a run in another program's format.

    Example: rung export runs/gpt --format hf --out my-model

    Args:
        run: a run's folder.
        format: arpa, of ngram runs, one file (KenLM, SRILM and recognisers read it); hf, of gpt runs, a folder for
            transformers (AutoModelForCausalLM and AutoTokenizer load it).
        out: the file to write, compressed if it ends in .gz, or the folder.
        force: write into a folder that is not empty.
    """
    from rung import api

    opened = api.load(run)
    if format == "hf":
        from rung.export.hugging_face import export_hf

        export_hf(opened, out, force=force)
    else:
        from rung.export.arpa import export_arpa

        export_arpa(opened, out)
    print(f"written: {out}")
    return 0


def import_(
    format: Literal["arpa", "hf"], path: Path, *, out: Path | None = None, force: bool = False
) -> int:
    """Make a run of a model from elsewhere.

    Example: rung import hf path/to/gpt2 --out runs/theirs

    Args:
        format: arpa, an n-gram model as KenLM and SRILM write it, whose text is cut at white space; hf, a folder of
            transformers with config.json and model.safetensors (GPT-1, GPT-2 or Llama).
        path: the file or folder to read.
        out: the run's folder; by default runs/imported.
        force: overwrite the run that is there.
    """
    from rung import runs

    folder = out if out is not None else runs.free_folder("imported")
    if format == "hf":
        from rung.export.hugging_face import import_hf

        run = import_hf(path, folder, force=force)
        reason = run.recipe["data"].get("no_tokenizer")
        if reason is not None:
            print(
                f"run: {run.folder}\nno tokeniser: {reason}; the run knows ids only: rung.load(...).model.score"
            )
            return 0
    else:
        from rung.export.arpa import import_arpa

        run = import_arpa(path, folder, force=force)
    print(f"run: {run.folder}\nnext: rung score {run.folder} FILE")
    return 0


def count(run: Path, text: Text, *, places: int = 5, json: bool = False) -> int:
    """How often, and where, a string occurs in the text a run was trained on. Exact, whatever the tokeniser.

    The first question of a run makes an index beside its data (half a second a megabyte); later ones take milliseconds.

    Example: rung count runs/ngram "to be, or not"

    Args:
        run: a run's folder, with its data.
        text: any string; it is found across line ends, never across documents.
        places: how many places to show.
        json: print the answer as one JSON object, nothing else.
    """
    from rung import api
    from rung.inspection import passages

    found = passages.count(api.load(run), text, places=places)
    if json:
        show_json(asdict(found))
        return 0
    print(f"{found.count:,} time{'s' if found.count != 1 else ''}")
    for place in found.places:
        before, after = ascii_lines(place.before), ascii_lines(place.after)
        print(
            f"document {place.document}, character {place.character:,}: {before}[{ascii_lines(text)}]{after}"
        )
    return 0


def trace(run: Path, file: Text, *, min: int | None = None, json: bool = False) -> int:
    """Mark each part of a text with the longest training passage it repeats: was this written or copied?

    Example: rung trace runs/ngram generated.txt --min 40

    Args:
        run: a run's folder, with its data.
        file: a text file, or - for standard input.
        min: the shortest passage to mark, in bytes; by default 32.
        json: print the answer as one JSON object, nothing else.
    """
    from rung import api
    from rung.inspection import passages
    from rung.text.sources import open_source

    no_option(file)
    text = "".join(open_source(file, documents="files"))
    found = passages.trace(api.load(run), text, minimum=passages.MINIMUM if min is None else min)
    if json:
        show_json(asdict(found))
        return 0
    for passage in found.passages:
        times = f"{passage.count:,} times, first in" if passage.count > 1 else "once, in"
        place = passage.place
        print(
            f"characters {passage.start:,} to {passage.start + passage.length:,}: {times} document "
            f"{place.document} at {place.character:,}: {ascii_lines(passage.text)}"
        )
    print(
        f"{found.share:.1%} of {found.n_bytes:,} bytes stand in training passages of {found.minimum} bytes or more; "
        f"the longest has {found.longest:,}"
    )
    return 0


def ascii_lines(text: str) -> str:
    """`text` on one line: line ends and other control characters as they are written in Python."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


VERBS: dict[str, Callable[..., int]] = {
    "climb": climb,
    "recipes": recipes,
    "evaluate": evaluate,
    "score": score,
    "sample": sample,
    "count": count,
    "trace": trace,
    "export": export,
    "import": import_,
}


def app_for(arguments: list[str]) -> App:
    """The command line, with only as much of it imported as `arguments` need."""
    app = App(
        name="rung",
        help=HELP,
        version=__version__,
        help_format="plaintext",
        default_parameter=Parameter(negative=""),
        exit_on_error=False,
        print_error=False,
        suppress_keyboard_interrupt=False,
        result_action="return_value",
    )
    if arguments[:1] == ["climb"]:
        from rung.text.options import DataOptions
        from rung.training.config import TrainingConfig

        flatten(climb, training=TrainingConfig, options=DataOptions)
    if arguments[:1] == ["sample"]:
        from rung.generation.beam import Beams
        from rung.generation.form import Form
        from rung.generation.settings import Sampling

        flatten(sample, how=Sampling, search=Beams, form=Form)
        for parameter, cls, title in (
            ("how", Sampling, "Drawing"),
            ("search", Beams, "Searching"),
            ("form", Form, "Form"),
        ):
            sample.__annotations__[parameter] = Annotated[cls, Parameter(name="*", group=title)]
    # A flag of several values takes them all: --prune 0 1 1, --runs A B C.
    trainer = App(
        name="train", default_command=train, default_parameter=Parameter(negative="", consume_multiple=True)
    )
    app.command(trainer)
    if arguments[:2] == ["train", "best"]:
        from rung.text.options import DataOptions
        from rung.training.config import TrainingConfig

        flatten(train_best, training=TrainingConfig, options=DataOptions)
    trainer.command(
        train_best if arguments[:2] == ["train", "best"] else _listed_only,
        name="best",
        help="the lowest loss for the minutes: counts, transformers of some sizes, and their mixture",
        sort_key=len(RUNGS),
    )
    for name, (_, summary) in RUNGS.items():
        if arguments[:2] == ["train", name]:
            trainer.command(train_command(name), name=name)
        else:
            place = list(RUNGS).index(name)  # help lists them as they stand on the ladder
            trainer.command(_listed_only, name=name, help=summary, sort_key=place)
    for name, verb in VERBS.items():
        app.command(verb, name=name)
    app.command("rung.cli_decoding:fill", name="fill")
    app.command("rung.cli_scratch:app", name="scratch", help="See inside: the engine in NumPy, its pictures.")
    return app


def flatten(function: Callable[..., Any], **classes: type) -> None:
    """Make each named parameter a configuration whose fields are flags of their own."""
    for parameter, cls in classes.items():
        function.__annotations__[parameter] = Annotated[cls, Parameter(name="*")]
    defaults = {name: cls() for name, cls in classes.items()}
    function.__kwdefaults__ = (function.__kwdefaults__ or {}) | defaults


def no_option(data: str) -> None:
    """Refuse an unknown option that stands where a text is expected."""
    if data.startswith("-") and data != "-":
        raise UserError(f"unknown option {data}; --help lists them (a file of that name is ./{data})")


def _listed_only() -> None:
    """Stands for a rung in the list of commands; the real one is imported when its name is typed."""


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Ctrl-C once: finish the step under way, then stop. Twice: stop at once."""
    pressed = False

    def handle(signum: int, frame: Any) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True
        print("\nrung: stopping after this step; Ctrl-C again stops at once", file=sys.stderr)

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)


def show_run(run: Run, json: bool) -> int:
    """The result of a training; how to go on when it was stopped."""
    from rung import terminal

    if run.recipe["status"] != "finished":
        return stopped(f"; a checkpoint is saved, go on with: rung train --resume {run.folder}")
    result = run.recipe["result"]
    if json:
        keys = ("validation", "train_seconds", "parameters")
        show_json({"run": str(run.folder), **{key: result[key] for key in keys}})
        return 0
    measured = result["validation"]
    if measured is not None:
        print(
            f"{run.rung}: {measured['bits_per_byte']:.3f} bits per byte on validation text "
            f"({measured['nats_per_token']:.3f} nats per {run.tokenizer.kind} token)"
        )
    print(f"{terminal.count(result['parameters'])} parameters, {result['train_seconds']:.1f} s of training")
    print(f"run: {run.folder}")
    usable = run.model.has_probabilities
    print(
        f"next: rung sample {run.folder}"
        if usable
        else "it gives scores, not probabilities: it can't be sampled"
    )
    return 0


def show_learning_rate(rung: str, data: str, folder: Path, found: Sweep | None, json: bool) -> int:
    """What a sweep of the learning rate found."""
    from rung.training.lr_finder import PICTURE

    if found is None:
        return stopped("; nothing was found out yet")
    if json:
        show_json({"run": str(folder), "suggestion": found.suggestion, "picture": str(folder / PICTURE)})
        return 0
    print(
        f"suggested learning rate: {found.suggestion:g}, where the smoothed loss falls fastest\n"
        f"picture: {folder / PICTURE}\nnext: rung train {rung} {data} --lr {found.suggestion:g}"
    )
    return 0


def stopped(how_to_go_on: str) -> int:
    """Say what Ctrl-C left behind."""
    print(f"rung: stopped{how_to_go_on}", file=sys.stderr)
    return 130


def show_json(value: Any) -> None:
    """One JSON object on stdout."""
    # JSON has no infinity; 1e999 is read as one by every parser that knows floating point.
    spelled = json_library.dumps(_spelled_out(value), ensure_ascii=False)
    print(spelled.replace('"\\u0000-inf"', "-1e999").replace('"\\u0000inf"', "1e999"))


def _spelled_out(value: Any) -> Any:
    if isinstance(value, float) and math.isinf(value):
        return "\0inf" if value > 0 else "\0-inf"
    if isinstance(value, dict):
        return {key: _spelled_out(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_spelled_out(part) for part in value]
    return value


def main(arguments: list[str] | None = None) -> None:
    """Run one command and exit with its code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    wait_politely()
    sys.exit(_guarded(arguments, debug))


def wait_politely() -> None:
    """On a machine that others keep busy, let torch's threads sleep while they wait for each other, and NumPy use one.

    They spin by default, which is fastest alone and four to ten times slower than sleeping when the cores are taken
    (docs/log.md). It is read when torch and NumPy are loaded, so it is set here; what the user has set stays.
    """
    try:
        busy = os.getloadavg()[0] >= (os.cpu_count() or 1)
    except (OSError, AttributeError):  # not told on this system
        return
    if busy:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # OpenBLAS has no way to wait but to spin


def _guarded(arguments: list[str], debug: bool) -> int:
    try:
        if "WORLD_SIZE" in os.environ:  # torchrun's: several processes, one of which does as it is told
            from rung.training.distributed import as_one

            result = as_one(lambda: _obey(arguments))
        else:
            result = _obey(arguments)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except (UserError, CycloptsError) as error:
        if debug:
            traceback.print_exc()
        return _fault(str(error), 130 if isinstance(error, Stopped) else 2)
    except KeyboardInterrupt:
        print("rung: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever read our output has seen enough; Python would complain once more when it closes stdout.
        sys.stderr.close()
        return 0
    except MemoryError:
        if debug:
            traceback.print_exc()
        return _fault("out of memory: lower --batch-size, --context or the model's size", 2)
    except Exception as error:
        if debug:
            traceback.print_exc()
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            return _fault("cannot write: no space left on the device; make room, or write elsewhere", 2)
        return _fault(f"internal error: {type(error).__name__}: {error} (--debug shows where)", 1)


def _obey(arguments: list[str]) -> Any:
    if (
        arguments[:1] == ["train"]
        and len(arguments) > 1
        and not arguments[1].startswith("-")
        and arguments[1] != "best"
    ):
        rung_class(arguments[1])  # an unknown name is told what is near it
    return app_for(arguments)(arguments)


def _fault(message: str, code: int) -> int:
    print("rung: " + " ".join(message.split()), file=sys.stderr)
    return code
