"""A table as text, Markdown, LaTeX or CSV: the same cells, as each of them wants to be written."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field

from rung.errors import UserError, nearest

FORMATS = ("text", "markdown", "csv", "latex", "json")
LATEX = {
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
    "−": "$-$",
    "±": r"$\pm$",
    "<": "$<$",
}


@dataclass(frozen=True)
class Table:
    """Cells of text under headings; the first columns are of names, the others of numbers.

    Attributes:
        title: one line above; empty for none.
        headings: of the columns.
        rows: as many cells each.
        strong: the places of rows that stand out.
        names: how many columns are of names: they begin at the left.
    """

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    strong: Sequence[int] = field(default=())
    names: int = 1


def check_format(name: str) -> None:
    """Raise UserError for a format that is none."""
    if name not in FORMATS:
        raise UserError(f"--format {name!r} is unknown{nearest(name, FORMATS)} (known: {', '.join(FORMATS)})")


def as_text(table: Table) -> str:
    """Columns side by side, two blanks apart."""
    rows = [table.headings, *table.rows]
    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell + " " * (size - width(cell)) if i < table.names else " " * (size - width(cell)) + cell
            for i, (cell, size) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join([*([table.title, ""] if table.title else []), *lines])


def as_markdown(table: Table) -> str:
    """A pipe table; what stands out is bold."""

    def line(row: Sequence[str], *, strong: bool = False) -> str:
        cells = [cell.replace("\\", "\\\\").replace("|", "\\|") for cell in row]
        return "| " + " | ".join(f"**{cell}**" if strong and cell else cell for cell in cells) + " |"

    rule = "|" + "|".join("---" if i < table.names else "---:" for i in range(len(table.headings))) + "|"
    rows = [line(row, strong=i in table.strong) for i, row in enumerate(table.rows)]
    title = [f"**{table.title}**", ""] if table.title else []
    return "\n".join([*title, line(table.headings), rule, *rows])


def as_latex(tables: Sequence[Table]) -> str:
    r"""One `tabular` of the package booktabs, a block of rows a table, each under its title; all have one heading."""
    first = tables[0]
    n = len(first.headings)
    lines = [
        r"\begin{tabular}{" + "l" * first.names + "r" * (n - first.names) + "}",
        r"\toprule",
        _latex_row(first.headings),
    ]
    for table in tables:
        lines.append(r"\midrule")
        if table.title:
            lines.append(rf"\multicolumn{{{n}}}{{l}}{{\emph{{{latex(table.title)}}}}} \\")
        lines += [_latex_row(row, strong=i in table.strong) for i, row in enumerate(table.rows)]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def _latex_row(row: Sequence[str], *, strong: bool = False) -> str:
    cells = [latex(cell) for cell in row]
    return " & ".join(rf"\textbf{{{cell}}}" if strong and cell else cell for cell in cells) + r" \\"


def as_csv(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Rows of values; numbers in full, None as an empty cell."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(headings)
    writer.writerows(rows)
    return out.getvalue().rstrip("\n")


def latex(text: str) -> str:
    """`text` with what LaTeX takes for commands escaped."""
    return "".join(LATEX.get(letter, letter) for letter in text)


def width(text: str) -> int:
    """How many places `text` takes in a terminal: two for a wide character, none for one that combines."""
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )
