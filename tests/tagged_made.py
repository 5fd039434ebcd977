"""Made sentences with tags: what they are made of is known."""

from __future__ import annotations

import random

NOUNS = ["cows", "Cats", "théâtre", "牛", "grass", "Rome"]
VERBS = ["eat", "see", "made", "ran"]


def tagged_sentences(n: int, seed: int = 0) -> list[tuple[list[str], list[str]]]:
    """`n` sentences: the, an adjective perhaps, a noun, a verb, a noun; numbers and names among them."""
    rng = random.Random(seed)
    found = []
    for _ in range(n):
        words, tags = ["The"], ["DT"]
        if rng.random() < 0.5:
            words.append(rng.choice(["big", "red", "lovely"]))
            tags.append("JJ")
        words += [rng.choice(NOUNS), rng.choice(VERBS)]
        tags += ["NN", "VB"]
        if rng.random() < 0.7:
            words.append(rng.choice([*NOUNS, str(rng.randrange(1000))]))
            tags.append("CD" if words[-1].isdigit() else "NN")
        found.append((words, tags))
    return found


def entity_sentences(n: int, seed: int = 0) -> list[tuple[list[str], list[str]]]:
    """`n` sentences with spans in B-, I- and O."""
    rng = random.Random(seed)
    found = []
    for _ in range(n):
        words, tags = ["in"], ["O"]
        for _ in range(rng.randrange(3)):
            if rng.random() < 0.5:
                words += ["New", rng.choice(["York", "Delhi"])]
                tags += ["B-LOC", "I-LOC"]
            else:
                words += [rng.choice(["Anna", "Bob"])]
                tags += ["B-PER"]
            words.append(rng.choice(["saw", "and"]))
            tags.append("O")
        found.append((words, tags))
    return found


def slashed(sentences: list[tuple[list[str], list[str]]]) -> str:
    """A sentence a line, word/tag."""
    return "".join(" ".join(f"{w}/{t}" for w, t in zip(*one, strict=True)) + "\n" for one in sentences)
