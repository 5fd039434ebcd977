"""Which text a model learns from, which it is tuned on, and which it is judged by.

Many documents (100 or more): whole documents are dealt out at random, in the exact shares by their number.
The seed is fixed and is not the training seed, so two runs on the same data are judged by the same
documents.

Few documents: the documents, one after another, are cut into contiguous parts in the shares by bytes.
Documents keep their borders; one in which a cut falls is divided there, at the line end nearest to the
share. Near means closer than half the smallest share, and than a megabyte. Only where no line or document
ends so near is a line divided, and a character never.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass

import numpy as np

from rung.errors import UserError

PARTS = ("train", "validation", "test")
MANY_DOCUMENTS = 100
SEED = 20_220_901
MAX_NEAR_BYTES = 1 << 20
ADVICE = "give more text, another --split, or held-out text of its own with --val FILE and --test FILE"


@dataclass(frozen=True)
class Split:
    """The shares of train, validation and test; they add up to 1. Validation and test may be 0."""

    train: float
    validation: float
    test: float

    def __post_init__(self) -> None:
        shares = (self.train, self.validation, self.test)
        if not (min(shares) >= 0 and abs(sum(shares) - 1) < 1e-6 and self.train > 0):
            raise UserError(
                f"--split {self}: shares can't be negative, add up to 100 (or 1), and train needs some"
            )

    def __str__(self) -> str:
        return "/".join(f"{100 * share:.10g}" for share in (self.train, self.validation, self.test))


def shares_of(split: str | None, *, validation: bool = False, test: bool = False) -> Split:
    """The shares of the data, where validation or test text may be given as a file of its own.

    Without a `split` the data are for training as a whole when validation text is given; 5 % validate, and nothing is
    held out to test, when only test text is; 90/5/5 else. With one, a part that is given leaves its share to train.
    """
    if split is None:
        return Split(1, 0, 0) if validation else Split(0.95, 0.05, 0) if test else Split(0.9, 0.05, 0.05)
    shares = parse_split(split)
    given = (shares.validation if validation else 0) + (shares.test if test else 0)
    return Split(shares.train + given, 0 if validation else shares.validation, 0 if test else shares.test)


def parse_split(text: str) -> Split:
    """`90/5/5` or `0.9/0.05/0.05`. Raises UserError for anything else."""
    try:
        shares = [float(share) for share in text.split("/")]
    except ValueError:
        shares = []
    total = sum(shares)
    if len(shares) != 3 or not (abs(total - 100) < 1e-6 or abs(total - 1) < 1e-6):
        raise UserError(
            f"--split {text} is not understood: give train/validation/test in per cent, as in 90/5/5, sum 100"
        )
    train, validation, test = (share / round(total) for share in shares)
    return Split(train, validation, test)


def divide(
    offsets: np.ndarray, split: Split, text: bytes | mmap.mmap, by: str = "chance"
) -> tuple[dict[str, np.ndarray], str]:
    """Deal documents out to the parts.

    Args:
        offsets: (D + 1,) int64. Document i is bytes offsets[i] to offsets[i + 1] of `text`; none is empty.
        split: the shares.
        text: all documents, one after another, as UTF-8; only slices of it are looked at.
        by: chance, or time: many documents are held out in their order too, the last ones.

    Returns:
        For every part whose share isn't 0, the byte ranges (n, 2) of its documents in their order; and the
        rule followed, in words. Raises UserError when a part would be left with nothing.
    """
    shares = {part: share for part in PARTS if (share := getattr(split, part)) > 0}
    n_documents = len(offsets) - 1
    if n_documents >= MANY_DOCUMENTS:
        parts = _split_documents(offsets, shares, by)
        how = "in their order, the last held out" if by == "time" else f"at random, seed {SEED}"
        rule = f"whole documents {how}, shares {split} by documents"
    else:
        parts, cuts = _split_text(offsets, shares, text)
        rule = (
            f"contiguous, cut at byte {' and '.join(str(cut - offsets[0]) for cut in cuts)}, shares {split} by bytes"
            if cuts
            else "not cut"
        )
    for part, ranges in parts.items():
        if not len(ranges):
            size = (
                f"{n_documents} documents"
                if n_documents >= MANY_DOCUMENTS
                else f"{offsets[-1] - offsets[0]} bytes"
            )
            raise UserError(
                f"{size} of text are too few for --split {split}: {part} would be empty; {ADVICE}"
            )
    return parts, rule


def _split_documents(offsets: np.ndarray, shares: dict[str, float], by: str) -> dict[str, np.ndarray]:
    count = len(offsets) - 1
    ranges = np.stack([offsets[:-1], offsets[1:]], axis=1)
    order = np.arange(count) if by == "time" else np.random.default_rng(SEED).permutation(count)
    sizes = {part: int(count * share + 0.5) for part, share in shares.items() if part != "train"}
    parts, begin = {}, count - sum(sizes.values())
    parts["train"] = ranges[np.sort(order[:begin])]
    for part, size in sizes.items():
        parts[part] = ranges[np.sort(order[begin : begin + size])]
        begin += size
    return parts


def _split_text(
    offsets: np.ndarray, shares: dict[str, float], text: bytes | mmap.mmap
) -> tuple[dict[str, np.ndarray], list[int]]:
    first, last = int(offsets[0]), int(offsets[-1])
    total = last - first
    near = min(int(min(shares.values()) * total) // 2, MAX_NEAR_BYTES)
    cuts, share_before = [], 0.0
    for share in list(shares.values())[:-1]:
        share_before += share
        cuts.append(_nearest_border(first + int(share_before * total + 0.5), near, offsets, text))
    borders = [first, *cuts, last]
    parts = {}
    for part, begin, end in zip(shares, borders[:-1], borders[1:], strict=True):
        ranges = np.stack([np.clip(offsets[:-1], begin, end), np.clip(offsets[1:], begin, end)], axis=1)
        parts[part] = ranges[ranges[:, 1] > ranges[:, 0]]
    return parts, cuts


def _nearest_border(wanted: int, near: int, offsets: np.ndarray, text: bytes | mmap.mmap) -> int:
    """The end of a line or document closer to `wanted` than `near`; else the character border before it."""
    before, after = (
        bytes(text[max(wanted - near, offsets[0]) : wanted]),
        bytes(text[wanted : min(wanted + near, offsets[-1])]),
    )
    ends = [int(offset) for offset in offsets]
    if b"\n" in before:
        ends.append(wanted - len(before) + before.rindex(b"\n") + 1)
    if b"\n" in after:
        ends.append(wanted + after.index(b"\n") + 1)
    best = min(ends, key=lambda end: abs(end - wanted))
    if abs(best - wanted) < near:
        return best
    start = max(wanted - 3, int(offsets[0]))
    around = bytes(text[start : wanted + 1])
    while start < wanted < offsets[-1] and around[wanted - start] & 0xC0 == 0x80:
        wanted -= 1
    return wanted


def stratified(labels: np.ndarray, split: Split) -> dict[str, np.ndarray]:
    """The examples of each part that has a share, in order, of every label about its share.

    Args:
        labels: (N,) int64, which label each example has. A label met once falls to train.
    """
    rng = np.random.default_rng(SEED)
    shares = {part: getattr(split, part) for part in PARTS}
    ends = np.cumsum(list(shares.values()))
    part_of = np.empty(len(labels), np.int64)
    for label in range(int(labels.max()) + 1):
        rows = rng.permutation(np.flatnonzero(labels == label))
        # Row i of n stands at (i + 1/2) / n; train has the largest share.
        part_of[rows] = np.searchsorted(ends, (np.arange(len(rows)) + 0.5) / len(rows), side="right")
    return _by_part(np.minimum(part_of, len(PARTS) - 1), shares)


def stratified_groups(labels: np.ndarray, groups: np.ndarray, split: Split) -> dict[str, np.ndarray]:
    """The same of whole groups: the largest first, each goes where the labels it has are wanted most.

    Args:
        labels: (N,) int64.
        groups: (N,) int64, from 0 without gaps, which group each example belongs to.
    """
    rng = np.random.default_rng(SEED)
    shares = {part: getattr(split, part) for part in PARTS}
    n_labels, n_groups = int(labels.max()) + 1, int(groups.max()) + 1
    counts = np.zeros((n_groups, n_labels))
    np.add.at(counts, (groups, labels), 1)
    wanted = np.array(list(shares.values()))[:, None] * counts.sum(axis=0)  # (parts, L)
    held = np.zeros_like(wanted)
    part_of_group = np.empty(n_groups, np.int64)
    order = rng.permutation(n_groups)
    for group in order[np.argsort(-counts.sum(axis=1)[order], kind="stable")]:
        lacking = np.where(wanted > 0, 1 - held / np.where(wanted > 0, wanted, 1), -np.inf)  # (parts, L)
        there = counts[group] > 0
        part = int(np.argmax((lacking[:, there] * counts[group, there]).sum(axis=1)))
        part_of_group[group] = part
        held[part] += counts[group]
    return _by_part(part_of_group[groups], shares)


def dealt_groups(groups: np.ndarray, split: Split) -> dict[str, np.ndarray]:
    """Rows dealt out at random, whole groups, until a part has its share of the rows; held-out parts come first.

    Args:
        groups: (N,) int64, from 0 without gaps, which group each row belongs to.

    A part that no group is left for has no rows.
    """
    shares = {part: getattr(split, part) for part in PARTS}
    sizes = np.bincount(groups)
    order = np.random.default_rng(SEED).permutation(len(sizes))
    part_of = np.full(len(sizes), list(shares).index("train"), np.int64)
    place = 0
    for i, part in sorted(enumerate(shares), reverse=True):
        wanted, held = shares[part] * len(groups), 0
        # A group goes in while that brings the part nearer to its share.
        while part != "train" and place < len(order) - 1 and held + sizes[order[place]] / 2 <= wanted:
            part_of[order[place]] = i
            held += sizes[order[place]]
            place += 1
    return _by_part(part_of[groups], shares)


def _by_part(part_of: np.ndarray, shares: dict[str, float]) -> dict[str, np.ndarray]:
    found = {part: np.flatnonzero(part_of == i) for i, part in enumerate(shares)}
    return {part: rows for part, rows in found.items() if len(rows)}
