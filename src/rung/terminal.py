"""What the terminal shows: progress on stderr, only when someone is watching; results on stdout."""

from __future__ import annotations

import math
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rung.events import Checkpoint, Evaluation, Event, Finished, Note, Phase, Step
from rung.events import Sample as SampleEvent
from rung.measure import Measure, bits_of, number, unit_of
from rung.tasks import task_of
from rung.tasks.base import columns_in

if TYPE_CHECKING:
    from rung.evaluation.reproduction import Reproduction
    from rung.evaluation.survey import Survey
    from rung.training.again import Again

STATUS = "{task.fields[status]}"


class Progress:
    """A consumer of events: a bar with rate, time left and loss; evaluations, notes and samples above it.

    Args:
        quiet: show nothing at all. Without a terminal on stderr only notes are shown, as plain lines.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._live = not quiet and sys.stderr.isatty()
        self._bar: Any = None
        self._task: Any = None
        self._validation = ""
        self._begin: tuple[float, int] | None = None

    def __enter__(self) -> Progress:
        if self._live:
            self._bar = _start_bar("[bold]{task.description:<14}", "{task.percentage:>3.0f}%", STATUS)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def phase(self, text: str) -> None:
        """Tell who is watching what is being done that yields no events."""
        if self._live:
            self._show(text)

    def event(self, rung: str, event: Event) -> None:
        """Take in one event of a training."""
        match event:
            case Note():
                self._show(f"{rung}: {event.text}")
            case Phase() if self._live:
                self._show(f"  {rung}: {event.text}", style="dim")
            case Step() if self._live:
                self._step(rung, event)
            case Evaluation() if self._live:
                unit = "byte" if event.measure is None else event.measure.unit
                self._validation = f"validation {event.bits_per_unit:.3f} bits/{unit}"
            case SampleEvent() if self._live:
                first = " / ".join(line for line in event.text.splitlines() if line.strip())[:90]
                self._show(f"  step {event.step:>6,}  {self._validation}  {first}", style="dim")
            case Finished() if self._live:
                self._finish(rung, event)
            case Checkpoint() | _:
                pass

    def _step(self, rung: str, event: Step) -> None:
        if self._task is None:
            self._begin = (event.seconds, event.tokens)
            self._task = self._bar.add_task(rung, total=1.0, status="")
        assert self._begin is not None
        seconds, tokens = event.seconds - self._begin[0], event.tokens - self._begin[1]
        rate = f"{tokens / seconds:,.0f} tokens/s" if seconds > 0 else ""
        left = event.seconds / event.progress - event.seconds if event.progress > 0 else 0
        status = (
            f"step {event.step:,}  loss {event.loss:.3f} nats  {rate}  {clock(left)} left  {self._validation}"
        )
        self._bar.update(self._task, completed=event.progress, status=status)

    def _finish(self, rung: str, event: Finished) -> None:
        if self._task is None:
            self._task = self._bar.add_task(rung, total=1.0, status="")
        status = f"{event.tokens:,} tokens in {event.seconds:.1f} s ({event.reason})  {self._validation}"
        self._bar.update(self._task, completed=1.0, status=status)
        self._bar.stop_task(self._task)
        self._task, self._begin, self._validation = None, None, ""

    def _show(self, text: str, style: str | None = None) -> None:
        if self._live:
            self._bar.console.print(text, style=style, markup=False, highlight=False)
        elif not self._quiet:
            print(text, file=sys.stderr)


class FileProgress:
    """How far a file has been read: a bar on stderr with rate and time left, when someone is watching.

    Args:
        name: of the file.
        size: its bytes; None where that is not known.
    """

    def __init__(self, name: str, size: int | None, *, quiet: bool) -> None:
        self._name = name
        self._size = size
        self._live = not quiet and sys.stderr.isatty()
        self._bar: Any = None
        self._task: Any = None
        self._begin = 0.0

    def __enter__(self) -> FileProgress:
        if self._live:
            from rich.markup import escape

            self._bar = _start_bar("{task.description}", STATUS)
            self._task = self._bar.add_task(escape(self._name), total=self._size, status="")
        self._begin = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, position: int, records: int) -> None:
        """Say that `position` bytes of the file and `records` records are done."""
        if not self._live:
            return
        seconds = time.monotonic() - self._begin
        status = f"{count(records)} records"
        if seconds > 0:
            status += f"  {count(records / seconds)} records/s"
        if self._size is not None:
            status = f"{size(position)} of {size(self._size)}  {status}"
            if position > 0:
                status += f"  {clock(seconds * (self._size - position) / position)} left"
        self._bar.update(self._task, completed=position, status=status)


def _start_bar(name: str, *others: str) -> Any:
    """A bar of rich's on stderr between its name and other texts, each as a format over the task."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    texts = (TextColumn(text) for text in others)
    bar = Progress(TextColumn(name), BarColumn(bar_width=28), *texts, console=Console(stderr=True))
    bar.start()
    return bar


def clock(seconds: float) -> str:
    """12 s, 3:05, 2:10:00."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, minutes = whole // 3600, whole % 3600 // 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def size(n_bytes: float) -> str:
    """Decimal units: 512 B, 3.2 MB."""
    for unit in ("B", "kB", "MB"):
        if n_bytes < 1000:
            return f"{n_bytes:.3g} {unit}" if unit != "B" else f"{n_bytes:.0f} B"
        n_bytes /= 1000
    return f"{n_bytes:,.3g} GB"


def count(n: float) -> str:
    """1,234 below ten thousand; then 12.3 k, 4.56 M, 7.89 B."""
    if n < 10_000:
        return f"{n:,.0f}"
    for unit, one in (("k", 1e3), ("M", 1e6), ("B", 1e9)):
        if n < 1000 * one:
            return f"{n / one:.3g} {unit}"
    return f"{n / 1e9:,.0f} B"


def climb_table(report: dict[str, Any]) -> None:
    """The same table as the report's, on stdout, then what each step bought."""
    console = _console(120)
    task = task_of(report.get("task", "language"))
    columns = [column for column in columns_in(task.columns, report["rungs"]) if column.short]
    unit = unit_of(report["rungs"][0]) if report["rungs"] else task.unit
    own = [column.short for column in columns]
    table = _table(
        "rung",
        f"bits/{unit}",
        "95% interval",
        *own,
        "parameters",
        "train s",
        "steps",
        "epochs",
        "tok/s",
        "on disk",
    )
    for row in report["rungs"]:
        interval = row["ci95"]
        table.add_row(
            row["name"],
            f"{bits_of(row):.3f}",
            f"{interval[0]:.3f}-{interval[1]:.3f}" if interval else "-",
            *(column.shown(row) for column in columns),
            count(row["parameters"]),
            f"{row['train_seconds']:.1f}",
            "-" if row["steps"] is None else f"{row['steps']:,}",
            "-" if row["epochs"] is None else f"{row['epochs']:.2g}",
            count(row["tokens_per_second"]),
            size(row["bytes_on_disk"]),
            style="bold green" if row["name"] == report["best"] else None,
        )
    spelled = unit == "byte" and report.get("words")
    a_word = f" ({tokens_a_word(report):.2f} a word)" if spelled else ""
    console.print(
        f"\n{report['data']['name']}: {task.size_of(report, 'held-out ' + report['split'] + ' ')}, "
        f"{report['tokenizer']['kind']} tokens{a_word}, {report['budget']}\n",
        markup=False,
    )
    console.print(table)
    console.print()
    if several := [row for row in report["rungs"] if "by_source" in row]:
        table = _table("rung", *(one["split"] for one in several[0]["by_source"]))
        for row in several:
            table.add_row(row["name"], *(f"{bits_of(one):.3f}" for one in row["by_source"]))
        console.print(table, "")
    for step in report["steps"]:
        console.print(f"- {step['sentence']}", markup=False, soft_wrap=True)
    if "ways" in report:
        console.print(f"- {report['ways']}", markup=False, soft_wrap=True)
    for note in report["data"].get("notes", ()):
        console.print(f"- {note}", markup=False, soft_wrap=True)


def measured(result: Mapping[str, Any], tokenizer: str) -> str:
    """A measure in words: `2.145 bits per byte on validation text (1.487 nats per char token)`."""
    task = task_of(result.get("task", "language"))
    bits = f"{bits_of(result):.3f} bits per {unit_of(result)} on {result['split']} text"
    figures = [f"{c.short} {c.shown(result)}" for c in columns_in(task.columns, [result]) if c.short]
    if "nats_per_token" in result:
        token = "word" if unit_of(result) == "word" else f"{tokenizer} token"
        figures.insert(0, f"{number(result['nats_per_token']):.3f} nats per {token}")
    return f"{bits} ({', '.join(figures)})" if figures else bits


def measure_in_full(measure: Measure, tokenizer: str) -> str:
    """A measure as `rung evaluate` shows it, on a few lines."""
    from rung.tasks import task_of

    said = measure.to_json()
    lines = [measure_in_short(measure)]
    if measure.task == "language":
        token = "word" if measure.unit == "word" else f"{tokenizer} token"
        lines += [
            f"{measure.nats_per_target:.4f} nats per token, perplexity {measure.perplexity:,.4g} per {token}"
        ]
        if "words" in measure.counts:
            lines[-1] += f"; {tokens_a_word(said):.2f} tokens a word"
        if "perplexity_of_known" in said:
            lines[-1] += (
                f", {said['perplexity_of_known']:,.4g} without the unknown; "
                f"{said['unknown_rate']:.2%} of the words are unknown"
            )
    elif measure.figures:
        names = {column.key: column.short for column in task_of(measure.task).columns}
        figures = {names.get(key, key.replace("_", " ")): value for key, value in measure.figures.items()}
        lines += [", ".join(f"{name} {value:.4f}" for name, value in figures.items())]
    counts = {key: value for key, value in said.items() if isinstance(value, int)}
    lines += [", ".join(f"{value:,} {name}" for name, value in counts.items())]
    lines += [f"  {one.split}: {one.bits_per_unit:.4f} bits per {one.unit}" for one in measure.by_source]
    lines += measure.notes
    return "\n".join(lines)


def mixture_table(result: Mapping[str, Any]) -> None:
    """What was learned from each of several texts, and how well each is predicted."""
    bits = {one["split"]: bits_of(one) for one in (result["validation"] or {}).get("by_source", [])}
    unit = f"bits/{unit_of(result['validation'])}" if bits else ""
    table = _table("text", "tokens", "share", "epochs", *([unit] if bits else []))
    for one in result["mixture"]:
        shown = [f"{bits[one['data']]:.3f}"] if bits else []
        table.add_row(
            one["data"], f"{one['tokens']:,}", f"{one['share']:.1%}", f"{one['epochs']:.2f}", *shown
        )
    _console().print(table)


def tokens_a_word(measured: Mapping[str, Any]) -> float:
    """How many tokens a word between white space has, by what a measure counted; closing marks are none."""
    return (measured["tokens"] - measured["documents"]) / measured["words"]


def measure_in_short(measure: Measure) -> str:
    """A measure with its interval, on one line."""
    said = f"{measure.split}: {measure.bits_per_unit:.4f} bits per {measure.unit}"
    if measure.ci95 is None:
        return f"{said} (too little data for an interval)" if measure.nats < math.inf else said
    return f"{said} (95% interval {measure.ci95[0]:.4f} to {measure.ci95[1]:.4f})"


def again_in_words(found: Again) -> list[str]:
    """Whether a run that was made anew is the same as the earlier one."""
    if found.same:
        return [f"the same as {found.of}, byte for byte: SHA-256 {found.sha256}"]
    if found.same is None:
        return [f"not held against {found.of} byte by byte: {'; '.join(found.reasons)}"]
    return [f"not the same as {found.of}; SHA-256 {found.sha256}", *(f"- {why}" for why in found.reasons)]


def next_step(run: Path | str, *, writes: bool, tested: bool = True, own: bool = False) -> str:
    """The command that somebody with a new run would want, to be pasted into a shell.

    Args:
        run: the run's folder.
        writes: whether its task writes text.
        tested: whether it has test data of its own.
        own: whether its model is in a file of the user's.
    """
    verb = "sample" if writes else "evaluate" if tested else "show"
    return shlex.join(["rung", verb, str(run), *["--trust"] * own])


def tried_table(tried: Sequence[dict[str, Any]]) -> None:
    """What a search for the lowest loss has tried, on stdout."""
    console = _console()
    table = _table("tried", "bits/byte", "train s")
    table.add_column("shape")
    for entry in tried:
        shape = ", ".join(f"{name} {value}" for name, value in entry["settings"].items())
        table.add_row(entry["name"], f"{entry['bits_per_byte']:.3f}", f"{entry['train_seconds']:.1f}", shape)
    console.print(table)
    console.print("bits per byte of validation text, by which was chosen\n", markup=False)


def recipe_table(rows: Sequence[Reproduction]) -> None:
    """Published numbers beside ours, nats per token of validation text, on stdout."""
    console = _console(110)
    table = _table("recipe", "published", "ours", "steps", "seconds", "reached after")
    for row in rows:
        reached = "not run" if row.ours is None else "not reached"
        table.add_row(
            row.recipe.name,
            f"{row.recipe.published:.3f}",
            "-" if row.ours is None else f"{row.ours:.3f}",
            "-" if row.steps is None else f"{row.steps:,}",
            "-" if row.seconds is None else f"{row.seconds:,.0f}",
            reached if row.reached is None else f"{row.reached:,.0f} s",
        )
    console.print(table)
    console.print(
        "\nnats per token of validation text, closing marks counted (of made-...: the share of texts written right); "
        "sources: rung recipes --json",
        markup=False,
    )


def _console(width: int | None = None) -> Any:
    """stdout; `width` where it is no terminal, which has one of its own."""
    from rich.console import Console

    console = Console(highlight=False)
    if width is not None and not console.is_terminal:
        console.width = width
    return console


def _table(first: str, *numbers: str) -> Any:
    """A table with one column of names and then columns of numbers."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(first, no_wrap=True)
    for heading in numbers:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def survey(found: Survey) -> None:
    """What scores the records of a file have, on stdout."""
    left = f", {found.bad:,} of them bad" if found.bad else ""
    left += f", {found.empty:,} empty" if found.empty else ""
    print(
        f"{found.records:,} records{left}; {found.scored:,} scored\n\nbits per byte that a share of them has at most:"
    )
    for share, bits in found.quantiles.items():
        print(f"{share:>5.0%}  {bits:.3f}")
    most = max(found.counts)
    print("\nbits per byte")
    for low, high, n in zip(found.edges, found.edges[1:], found.counts, strict=False):
        print(f"{low:6.2f} to {high:6.2f}  {'█' * round(40 * n / most)} {n:,}".rstrip())
