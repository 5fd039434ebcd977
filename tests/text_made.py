"""Small made-up texts for the tests: enough structure to learn, no file to fetch."""

from __future__ import annotations

import random


def sentences(n: int, seed: int = 0) -> str:
    """`n` lines of a tiny grammar: a few words, an order they keep, some variety."""
    rng = random.Random(seed)
    who = ["the cows", "our cows", "two goats", "a farmer", "the old king", "Romeo"]
    does = ["eat", "eats", "sees", "wants", "brings", "forgets"]
    what = ["grass", "hay", "corn", "the moon", "a letter", "bread and wine"]
    lines = [f"{rng.choice(who)} {rng.choice(does)} {rng.choice(what)}." for _ in range(n)]
    return "\n".join(line if i % 5 else line + "\n" for i, line in enumerate(lines)) + "\n"


def names(n: int, seed: int = 0) -> list[str]:
    """`n` name-like words."""
    rng = random.Random(seed)
    syllables = ["an", "na", "el", "la", "mi", "ra", "jo", "se", "ti", "o"]
    return ["".join(rng.choice(syllables) for _ in range(rng.randint(1, 4))) for _ in range(n)]
