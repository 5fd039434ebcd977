"""What is to be told of a dataset, by its facts, before anybody trusts a number measured on it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from rung.text.overlap import NOTABLE

NAMED = 3
FEW = 5


WORDS = {
    "lines": "a line",
    "paragraphs": "a paragraph",
    "files": "a file",
    "rows": "a row",
    "sentences": "a list of words",
}


def summary(facts: Mapping[str, Any]) -> str:
    """What a document was, how many there are, how they were split, and what of the held-out text was learned from.

    Known by this much is whether a measure on these data can be believed, so it is told always. Of the last, what is
    too much to pass over is left to `notes`.
    """
    source, parts = facts["source"], facts["parts"]
    counted_in = next(iter(parts.values()))
    kind = next((kind for kind in ("examples", "sentences") if kind in counted_in), "documents")
    unit = kind[:-1]
    total = sum(counts[kind] for counts in parts.values())
    mode = str(source.get("documents", ""))
    each = " or ".join(WORDS.get(word, word) for word in mode.split(" and ")) if mode else "as they came"
    split = ", ".join(f"{part} {counts[kind]:,}" for part, counts in parts.items())
    given = "".join(f", {part} from {of['data']}" for part, of in facts.get("given", {}).items())
    found = facts.get("in_training", {})
    known = " and ".join(
        f"{found[part]:.1%} of the {part} text" for part in parts if found.get(part, NOTABLE) < NOTABLE
    )
    seen = f"; {known} stand in the training text too ({found['pieces']} compared)" if known else ""
    counted = f"{total:,} {unit if total == 1 else kind}, each {each}"
    return f"{source['data']}: {counted}; {split}: {facts['split_rule']}{given}{seen}"


def notes(facts: Mapping[str, Any], parts: Collection[str] = ("validation", "test")) -> list[str]:
    """A sentence for each: files of a folder that were not read; held-out `parts` that stand in the training part."""
    told = []
    for source in (facts.get("source", {}), *facts.get("given", {}).values()):
        if left_out := source.get("left_out"):
            n, names = left_out["n"], left_out["files"][:NAMED]
            listed = ", ".join(names) + (", ..." if n > len(names) else "")
            told.append(
                f"left out, as no text, or a run of ours: {n:,} file{'' if n == 1 else 's'}: {listed}"
            )
    if facts.get("dated"):
        told.append(
            "the documents begin with dates, and what is held out was drawn by chance: its neighbours in time were "
            "learned from. --split-by time holds out the last ones"
        )
    rare = [label for label, n in facts.get("counts", {}).items() if n < FEW] if "labels" in facts else []
    if rare:
        listed = ", ".join(rare[:NAMED]) + (", ..." if len(rare) > NAMED else "")
        told.append(
            f"{len(rare):,} label{' has' if len(rare) == 1 else 's have'} fewer than {FEW} examples ({listed}): what "
            "is learned of them, or measured, says little"
        )
    if facts.get("empty"):
        told.append(
            f"{facts['empty']:,} texts are empty: their labels can only be guessed by how often each occurs"
        )
    too_long = facts.get("too_long", {})
    if n := too_long.get("train"):
        share = n / facts["parts"]["train"]["examples"]
        told.append(
            f"{n:,} training pairs ({share:.1%}) have more than {too_long['longest']} tokens on a side: they are left "
            "out of training (--longest), and measured where they are held out"
        )
    found = facts.get("in_training", {})
    for part in parts:
        if found.get(part, 0) >= NOTABLE:
            told.append(
                f"{found[part]:.0%} of the {part} text stands word for word in the training text "
                f"({found['pieces']} compared): what is measured on it is memory"
            )
    return told


def same_source(facts: Mapping[str, Any], own: Mapping[str, Any]) -> list[str]:
    """What is to be told when a text, by the facts of its source, is the one that a model's `own` facts are of."""
    known = own.get("source", {}).get("sha256")
    if known is None or facts.get("sha256") != known:
        return []
    return ["trained on this very text, or on the part that its split gave: what is measured on it is memory"]
