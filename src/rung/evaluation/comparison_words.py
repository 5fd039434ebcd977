"""A comparison as it is shown: a table a text, and what may be said of the best in a sentence or two."""

from __future__ import annotations

from rung.evaluation.comparison import Comparison, Pair, Row, Text
from rung.evaluation.report import bits
from rung.evaluation.tables import Table, as_csv, as_latex, as_markdown, as_text
from rung.tasks import task_of
from rung.tasks.base import columns_in

SIGNIFICANT = 0.05


def render(comparison: Comparison, format: str) -> str:
    """The comparison as text, markdown, csv or latex."""
    if format == "csv":
        return _csv(comparison)
    tables = [_table(comparison, text, plain=format == "text") for text in comparison.texts]
    if format == "latex":
        return as_latex(tables)
    show = as_text if format == "text" else as_markdown
    blocks = [
        "\n".join([show(table), "", *(f"- {said}" for said in sentences(comparison, text))])
        for table, text in zip(tables, comparison.texts, strict=True)
    ]
    return "\n\n".join(blocks)


def _table(comparison: Comparison, text: Text, *, plain: bool) -> Table:
    task = task_of(comparison.task)
    mixed = len({row.tokenizer for row in text.rows}) > 1
    seeds = any(len(row.runs) > 1 for row in text.rows)
    # Nats per token say nothing where tokens differ.
    columns = [
        column
        for column in columns_in(task.columns, [row.figures for row in text.rows])
        if column.short and not (mixed and comparison.task == "language")
    ]
    headings = ["run", f"bits/{comparison.unit}", "95% interval"]
    headings += ["± seeds"] * seeds + [column.short for column in columns] + ["tokens"] * mixed
    headings += ["parameters", f"less {'the first' if plain else text.rows[0].name}", "95% interval", "p"]
    rows = []
    for row in text.rows:
        pair = text.against_first(row)
        cells = [_name(row), f"{row.mean:.4f}", _interval(row.ci95)]
        cells += ["" if row.spread is None else f"{row.spread:.4f}"] * seeds
        cells += [column.shown(row.figures) for column in columns]
        cells += [row.tokenizer] * mixed + [f"{row.parameters:,}"]
        if pair is None:
            cells += ["", "", ""]
        else:
            p = "-" if pair.p is None else _chance(pair.p)
            cells += [_signed(pair.found.difference), _interval(pair.found.ci95, signed=True), p]
        rows.append(cells)
    title = f"{text.name}: {task.size_of({f'{comparison.unit}s': text.units})}, {text.pieces:,} pieces"
    return Table(title, headings, rows, [text.rows.index(text.best)])


def sentences(comparison: Comparison, text: Text) -> list[str]:
    """Which is the best, whether it can be told from the next, and what is not known."""
    unit = comparison.unit
    best, *others = sorted(text.rows, key=lambda row: row.mean)
    out = []
    if others:
        pair = next(
            pair for pair in text.pairs if {id(pair.first), id(pair.second)} == {id(best), id(others[0])}
        )
        gap = abs(pair.found.difference)
        out.append(
            f"{_name(best)} is the lowest at {best.mean:.4f} bits per {unit}, {bits(gap)} below "
            f"{_name(others[0])}: {_verdict(pair)}"
        )
    out += [_by_seed(row) for row in text.rows if row.spread is not None]
    lone = [row.name for row in text.rows if len(row.runs) == 1 and not row.counted]
    if lone:
        out.append(
            f"one seed alone of {', '.join(lone)}: how much another would change is not known; train with --seed 1, "
            "--seed 2 and compare them all"
        )
    if others[1:]:
        out.append("the p-values are for each pair by itself: of twenty such, one falls below 0.05 by chance")
    return out + text.notes


def _by_seed(row: Row) -> str:
    """Each seed's figure, and the two noises as standard deviations, of which an interval is 3.92 wide."""
    each = ", ".join(f"seed {seed} {value:.4f}" for seed, value in zip(row.seeds, row.bits, strict=True))
    by = [] if row.ci95 is None else [f"by text {bits((row.ci95[1] - row.ci95[0]) / 3.92)}"]
    by += [f"by seed {bits(row.spread or 0)}"]
    return f"{_name(row)}: {each}; standard deviation {', '.join(by)}"


def _verdict(pair: Pair) -> str:
    """Whether a difference is larger than the noise of the text and of seeds, as far as that is known."""
    if pair.found.ci95 is None or pair.p is None:
        said = "the text is too short to tell that from noise"
    else:
        size = "larger than" if pair.found.larger_than_noise else "within"
        said = f"{size} the noise of the text (p {_chance(pair.p)})"
    if pair.seeds is None or (pair.first.counted and pair.second.counted):
        return said
    size = "larger than" if pair.seeds.p < SIGNIFICANT else "within"
    error = bits(pair.seeds.standard_error)
    return f"{said}, {size} that of the seeds (standard error {error}, p {_chance(pair.seeds.p)})"


def _csv(comparison: Comparison) -> str:
    """A line a row of every text, numbers in full."""
    figures = [row.figures for text in comparison.texts for row in text.rows]
    keys = [column.key for column in columns_in(task_of(comparison.task).columns, figures)]
    against = [
        "difference_from",
        "difference",
        "difference_low",
        "difference_high",
        "p",
        "seeds_standard_error",
    ]
    against += ["seeds_p"]
    headings = ["text", "run", "rung", "seeds", f"bits_per_{comparison.unit}", "low", "high", "sd_over_seeds"]
    headings += [*keys, "tokenizer", "parameters", *against]
    rows = []
    for text in comparison.texts:
        for row in text.rows:
            pair = text.against_first(row)
            low, high = row.ci95 or (None, None)
            cells: list[object] = [text.name, row.name, row.rung, " ".join(map(str, row.seeds)), row.mean]
            cells += [
                low,
                high,
                row.spread,
                *(row.figures[key] for key in keys),
                row.tokenizer,
                row.parameters,
            ]
            if pair is None:
                cells += [None] * len(against)
            else:
                noise = (None, None) if pair.seeds is None else pair.seeds
                found = pair.found
                cells += [pair.first.name, found.difference, *(found.ci95 or (None, None)), pair.p, *noise]
            rows.append(cells)
    return as_csv(headings, rows)


def _name(row: Row) -> str:
    return row.name if len(row.runs) == 1 else f"{row.name} and {len(row.runs) - 1} of other seeds"


def _interval(ci95: tuple[float, float] | None, *, signed: bool = False) -> str:
    if ci95 is None:
        return "-"
    if signed:
        return f"{_signed(ci95[0])} to {_signed(ci95[1])}"
    return f"{ci95[0]:.4f} to {ci95[1]:.4f}"


def _chance(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else "<0.001"


def _signed(value: float) -> str:
    return f"{value:+.4f}".replace("-", "−")
