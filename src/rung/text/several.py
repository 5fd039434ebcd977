"""A corpus of several texts (`rung.text.mixture`): each is split by itself, and what it brings is written down.

In a part of the corpus the documents of one text stand after those of the one before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rung.errors import UserError
from rung.opening import check_count, check_kind, opening
from rung.text.dated import BEGINNING, LOOKED_AT, look_dated
from rung.text.mixture import Component
from rung.text.sources import Source
from rung.text.splits import Split, divide
from rung.text.spool import Spool
from rung.text.stream import TokenStream


def divided(
    spool: Spool, components: Sequence[Component], shares: Split, by: str
) -> tuple[dict[str, np.ndarray], str, dict[str, list[int]]]:
    """The ranges of each part, a text after the other; by what rule; and how many of them each text has."""
    parts: dict[str, list[np.ndarray]] = {}
    rules = []
    for one, begin, end in zip(components, spool.borders[:-1], spool.borders[1:], strict=True):
        try:
            ranges, rule = divide(spool.offsets[begin : end + 1], shares, spool.data, by)
        except UserError as error:
            raise error if len(components) == 1 else UserError(f"{one.data}: {error}") from None
        rules.append(rule)
        for part, own in ranges.items():
            parts.setdefault(part, []).append(own)
    told = (
        rules[0]
        if len(set(rules)) == 1
        else "; ".join(f"{one.data}: {rule}" for one, rule in zip(components, rules, strict=True))
    )
    whole = {part: np.concatenate(own) for part, own in parts.items()}
    return whole, told, {part: [len(one) for one in own] for part, own in parts.items()}


def looks_dated(spool: Spool) -> bool:
    """Whether the documents look like a log's, by some spread over all of them."""
    n = len(spool.offsets) - 1
    some = np.unique(np.linspace(0, n - 1, min(n, LOOKED_AT)).astype(np.int64))
    return look_dated(
        spool.data[spool.offsets[i] : min(spool.offsets[i] + BEGINNING, spool.offsets[i + 1])] for i in some
    )


def described(data: str | Path, sources: Sequence[Source]) -> dict[str, Any]:
    """What is said of the data as a whole."""
    facts = [source.describe() for source in sources]
    if len(facts) == 1:
        return facts[0]
    kinds = sorted({kind for own in facts for kind in str(own["documents"]).split(" and ")})
    left_out = [file for own in facts for file in own.get("left_out", {}).get("files", [])]
    n_left_out = sum(own.get("left_out", {}).get("n", 0) for own in facts)
    return {
        "data": str(data),
        "files": [file for own in facts for file in own["files"]],
        "n_files": sum(own["n_files"] for own in facts),
        **({"left_out": {"n": n_left_out, "files": left_out}} if n_left_out else {}),
        "documents": " and ".join(kinds),
        "field": next((own["field"] for own in facts if own["field"] is not None), None),
        "sha256": hashlib.sha256("".join(own["sha256"] for own in facts).encode()).hexdigest(),
        "bytes": sum(own["bytes"] for own in facts),
        "n_documents": sum(own["n_documents"] for own in facts),
    }


def of_each(
    work: Path,
    sources: Sequence[Source],
    components: Sequence[Component],
    from_each: dict[str, list[int]],
) -> list[dict[str, Any]]:
    """What is said of each of several texts: its share, and in each part how many documents and tokens it has."""
    starts = {part: np.load(work / f"{part}.documents.npy") for part in from_each}
    out = []
    for i, (source, one) in enumerate(zip(sources, components, strict=True)):
        parts = {}
        for part, counts in from_each.items():
            begin = sum(counts[:i])
            tokens = int(starts[part][begin + counts[i]] - starts[part][begin])
            parts[part] = {"documents": counts[i], "tokens": tokens}
        out.append({**source.describe(), "share": one.share, "parts": parts})
    return out


def check_sources(folder: Path, facts: dict[str, Any], streams: dict[str, TokenStream]) -> None:
    """Raises UserError when what is said of several texts is not what is there."""
    with opening(folder / "corpus.json"):
        sources = facts.get("sources", [])
        check_kind("sources", sources, tuple[dict, ...])
        shares = [one["share"] for one in sources]
        check_kind("shares", shares, tuple[float | None, ...])
        if not all(share is None or 0 < share <= 1 for share in shares):
            raise ValueError(f"shares can't be {shares}")
        for part in {part for one in sources for part in one["parts"]}:
            for one in sources:
                check_kind("data", one["data"], str)
                check_count("documents", one["parts"][part]["documents"], 1)
                check_count("tokens", one["parts"][part]["tokens"], 1)
            for name, there in (("documents", streams[part].n_documents), ("tokens", streams[part].n_tokens)):
                if sum(one["parts"][part][name] for one in sources) != there:
                    raise ValueError(f"the texts have not the {name} of {part} together")
