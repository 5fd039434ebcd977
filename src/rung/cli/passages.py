"""`rung count` and `rung trace`: where text comes from."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from rung.cli.common import Text, ascii_lines, no_option, require_utf8, show_json
from rung.errors import UserError


def count(run: Path, text: Text, *, places: int = 5, json: bool = False) -> int:
    """How often, and where, a string occurs in the training text.

    Exact, whatever the tokeniser.

    The first question of a run makes an index beside its data (half a second a megabyte); later ones take milliseconds.

    Example: rung count runs/ngram "to be, or not"

    Args:
        run: a run's folder, with its data.
        text: any string; it is found across line ends, never across documents.
        places: how many places to show.
        json: print the answer as one JSON object, nothing else.
    """
    from rung.inspection.passages import open_index
    from rung.runs import load_language_model

    require_utf8("the text", text)
    if places < 0:
        raise UserError(f"--places {places} is not possible: give 0 or more")
    found = open_index(load_language_model(run)).count(text, places=places)
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
    """Was this written or copied? What a text repeats of training.

    Each part is marked with the longest training passage that it repeats.

    Example: rung trace runs/ngram generated.txt --min 40

    Args:
        run: a run's folder, with its data.
        file: a text file, or - for standard input.
        min: the shortest passage to mark, in bytes; by default 32.
        json: print the answer as one JSON object, nothing else.
    """
    from rung.inspection.passages import MIN_BYTES, open_index
    from rung.runs import load_language_model
    from rung.text.sources import open_source

    no_option(file)
    text = "".join(open_source(file, documents="files"))
    found = open_index(load_language_model(run)).trace(text, minimum=MIN_BYTES if min is None else min)
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
