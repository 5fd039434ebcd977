"""What word vectors know, by other people's questions: analogies, and how alike words are.

    analogies     Athens Greece Oslo Norway     right if the word nearest to Greece - Athens + Oslo, those three left
                                                out, is Norway (questions-words.txt of word2vec; a line that begins with
                                                a colon names the section that follows)
    similarity    tiger cat 7.35                Spearman's rank correlation of what people said and the measure
                                                (wordsim353, SimLex-999)

A question with a word that has no vector is not asked; how many were is told, for what is right is a share of those.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rung.errors import UserError
from rung.models.vectors.table import WordTable
from rung.opening import opening


@dataclass(frozen=True)
class Section:
    """What came of the analogies of a section.

    name: what the file calls it.
    questions, asked, right: how many there are, of how many all words have a vector, and how many are right.
    """

    name: str
    questions: int
    asked: int
    right: int

    @property
    def accuracy(self) -> float | None:
        """The share of right ones among those asked."""
        return self.right / self.asked if self.asked else None


@dataclass(frozen=True)
class Similarity:
    """How the measure goes with what people said.

    pairs, asked: how many there are, and of how many both words have a vector.
    spearman: rank correlation over those asked, -1 to 1; None where it has none.
    """

    pairs: int
    asked: int
    spearman: float | None


def analogies(table: WordTable, path: Path, measure: str = "cosine") -> list[Section]:
    """Ask every question of a file, section by section. Raises UserError where it holds none."""
    sections: list[Section] = []
    for name, questions in _sections(path):
        rows = np.array([[table.find(word) for word in question] for question in questions], object)
        there = np.array([None not in row for row in rows.tolist()], bool)
        asked = rows[there].astype(np.int64).reshape(-1, 4)
        right = 0
        if len(asked):
            scaled = table.scaled(measure)
            queries = scaled[asked[:, 1]] - scaled[asked[:, 0]] + scaled[asked[:, 2]]
            answers = np.concatenate(list(table.nearest_rows(queries, asked[:, :3], measure)))
            right = int((answers == asked[:, 3]).sum())
        sections.append(Section(name, len(questions), len(asked), right))
    return sections


def total(sections: list[Section]) -> Section:
    """All sections together."""
    counts = np.array([(one.questions, one.asked, one.right) for one in sections]).sum(axis=0).tolist()
    return Section("all", *counts)


def similarity(table: WordTable, path: Path, measure: str = "cosine") -> Similarity:
    """Hold the measure against a file of pairs and numbers. Raises UserError where it holds none."""
    from scipy.stats import spearmanr

    pairs = _pairs(path)
    found = [(table.find(a), table.find(b), said) for a, b, said in pairs]
    asked = [(a, b, said) for a, b, said in found if a is not None and b is not None]
    if len(asked) < 2:
        return Similarity(len(pairs), len(asked), None)
    scaled = table.scaled(measure)
    scores = [float(scaled[a] @ scaled[b]) for a, b, _ in asked]
    told = [said for *_, said in asked]
    if len(set(scores)) < 2 or len(set(told)) < 2:
        return Similarity(len(pairs), len(asked), None)
    return Similarity(len(pairs), len(asked), float(spearmanr(scores, told).statistic))  # pyright: ignore


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    with opening(path):
        text = path.read_text(encoding="utf-8-sig")
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip() and not line.startswith("#"):
            yield number, line.strip()


def _sections(path: Path) -> list[tuple[str, list[list[str]]]]:
    found: list[tuple[str, list[list[str]]]] = []
    for number, line in _lines(path):
        if line.startswith(":"):
            found.append((line[1:].strip() or f"section {len(found) + 1}", []))
            continue
        words = line.split()
        if len(words) != 4:
            raise UserError(
                f"{path}, line {number}: an analogy is four words, and here are {len(words)}: {line[:60]!r}"
            )
        if not found:
            found.append((path.stem, []))
        found[-1][1].append(words)
    found = [section for section in found if section[1]]
    if not found:
        raise UserError(f"{path} holds no analogies: lines of four words")
    return found


def _pairs(path: Path) -> list[tuple[str, str, float]]:
    """The first two words of each line, and the number behind them; a first line without one is a heading."""
    found: list[tuple[str, str, float]] = []
    for place, (number, line) in enumerate(_lines(path)):
        fields = re.split(r"\t|,|;", line) if re.search(r"[\t,;]", line) else line.split()
        fields = [field.strip() for field in fields]
        # SimLex-999 as published has the kind of word before the number.
        told = next((value for value in map(_number, fields[2:]) if value is not None), None)
        if told is None and place == 0:
            continue
        if told is None or not np.isfinite(told):
            raise UserError(f"{path}, line {number}: a pair is two words and a number, not {line[:60]!r}")
        found.append((fields[0], fields[1], told))
    if not found:
        raise UserError(f"{path} holds no pairs: lines of two words and a number")
    return found


def _number(field: str) -> float | None:
    try:
        return float(field)
    except ValueError:
        return None
