"""`rung compare`, `rung runs` and `rung show`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from rung.cli.common import ascii_lines, settings_of, show_json
from rung.errors import UserError

Several = Parameter(consume_multiple=True)


def compare(
    *runs: Path,
    data: Annotated[list[str] | None, Several] = None,
    split: str = "test",
    format: str = "text",
    curves: Annotated[list[Path] | None, Several] = None,
    seed: int = 0,
    options: Any,
    json: bool = False,
) -> int:
    """Measure runs on the same texts, and say which is better.

    One table a text. Each run is held against the first, on the same pieces of text, with a 95 % interval and a p-value
    (two-sided, paired randomisation test). Runs that differ by seed alone stand in one row: their mean, and the seeds'
    spread. Tokenisers may differ.

    Example: rung compare runs/ngram runs/gpt runs/gpt-2 --data a.txt b.txt

    Args:
        runs: the runs' folders, two or more.
        data: texts, or tables of texts and labels; by default the runs' own, if it is the same for all. Standard input
            is --data=-.
        split: train, validation or test, of the runs' own data.
        format: text, markdown, csv, latex (booktabs) or json.
        curves: draw how they learned into this .svg or .png, or write it as a table into this .csv; or several.
        seed: of the resampling.
        json: print everything as one JSON object, nothing else.
    """
    from rung import api
    from rung.evaluation.comparison import to_json
    from rung.evaluation.comparison_words import render
    from rung.evaluation.curves import curves_for, write_curves
    from rung.evaluation.tables import check_format

    check_format(format)
    if json and format not in ("text", "json"):
        raise UserError(f"--json does not go with --format {format}; give one of them")
    if data is not None and data.count("-") > 1:
        raise UserError("- is standard input, which can be read only once: name it once")
    opened = [api.load(run) for run in runs]
    drawn = curves_for(opened, curves or ())
    found = api.compare(opened, data or (), split=split, seed=seed, **settings_of(options))
    if json or format == "json":
        show_json(to_json(found))
    else:
        print(render(found, format))
    for path in curves or ():
        write_curves(opened, drawn, path)
    return 0


def runs(folder: Path = Path("runs"), *, json: bool = False) -> int:
    """List the runs in FOLDER: rung, data, measure, size, age.

    Damaged ones too.

    Example: rung runs

    Args:
        folder: where to look, folders inside it too.
        json: print the list as one JSON object, nothing else.
    """
    from datetime import UTC, datetime

    from rung.evaluation.inventory import in_words, inventory

    found = inventory(folder)
    if json:
        show_json({"runs": [entry.to_json() for entry in found]})
    elif found:
        print(in_words(found, datetime.now(UTC)))
    else:
        print(f"no runs in {folder}; make one: rung train RUNG DATA")
    return 0


def show(run: Path, *, json: bool = False) -> int:
    """Tell one run on a page: what, from what, how, what came of it.

    Example: rung show runs/gpt

    Args:
        run: a run's folder.
        json: print everything as one JSON object, nothing else.
    """
    from rung import api
    from rung.evaluation.summary import in_words, measured_again, summary
    from rung.opening import opening
    from rung.run_files import RECIPE

    opened = api.load(run)
    told = summary(opened)
    if json:
        show_json(told)
        return 0
    with opening(opened.folder / RECIPE):
        lines = in_words(told, measured_again(opened)).splitlines()
    print("\n".join(map(ascii_lines, lines)))
    return 0
