"""How soon a loss is reached, how many tokens a second, how low in a few minutes: the goals of the speed issue.

    python benchmarks/speedrun.py [loss] [tokens] [minutes] [names] [ladder]

loss     the plain GPT-2 shape (4 layers, 4 heads, 128 wide, context 64, batch 12, AdamW at 1e-3, cosine, 2,000 steps)
         on character Shakespeare, then `rung train gpt` as it is by default for 1/16, 1/8, 1/4 of its seconds: which of
         them ends at or below its validation loss? Three rounds.
tokens   training tokens a second of the default beside a plain float32 loop over transformers' GPT2 of the same
         sizes: 4 x 128 (context 64, batch 12) and 6 x 384 (context 256, batch 16). Medians of five and two rounds.
minutes  `rung train best` for ten minutes on character Shakespeare, validation and test, and of what it tried, the
         transformer alone, which had about eight of them. Three rounds.
names    the same for five minutes on names. Three rounds.
ladder   each recipe of the names' ladder, and then `rung train gpt names` for a third of its seconds: does that end at
         or below the published number?

Everything runs on all threads there are; run it on a quiet machine, with nothing else.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import train as training_speed

import rung
from rung.events import Step
from rung.models import rung_class
from rung.runs import Run
from rung.training.recipes import load_recipe, recipe_names
from rung.training.trainers import trainer_of

PLAIN = {
    "preset": "plain",
    "n_layer": 4,
    "n_head": 4,
    "n_embd": 128,
    "context": 64,
    "batch_size": 12,
    "lr": 1e-3,
    "schedule": "cosine",
    "min_lr": 0.1,
    "precision": "float32",
    "steps": 2000,
    "eval_every": 2000,
}
ROUNDS = 3


def loss() -> None:
    """Seconds to the plain shape's loss. Both count training alone: the one evaluation at the end is left out."""
    for number in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            began = _Seconds()
            run = rung.train(
                "gpt", "shakespeare", out=f"{folder}/plain", seed=number, on_event=began, **PLAIN
            )
            target, seconds = _nats(run), began.last_step
            print(
                f"round {number + 1}: plain GPT-2 shape {target:.4f} nats after {seconds:.0f} s", flush=True
            )
            for share in (1 / 16, 1 / 8, 1 / 4):
                clock = _Seconds()
                run = rung.train(
                    "gpt",
                    "shakespeare",
                    out=f"{folder}/ours-{share}",
                    seed=number,
                    on_event=clock,
                    minutes=seconds * share / 60,
                    eval_every=10**9,
                )
                reached = "reached" if _nats(run) <= target else "not reached"
                print(
                    f"  default for {clock.last_step:.1f} s (1/{1 / share:.0f}): {_nats(run):.4f} nats, {reached}",
                    flush=True,
                )


def tokens() -> None:
    """Tokens a second beside a plain loop."""
    ids = np.random.default_rng(0).integers(0, training_speed.VOCAB - 1, 200_000)
    for name, shape, batch, steps, rounds in (
        ("4 x 128", {"context": 64, "n_layer": 4, "n_head": 4, "n_embd": 128}, 12, 60, 5),
        ("6 x 384", {"context": 256, "n_layer": 6, "n_head": 6, "n_embd": 384}, 16, 2, 2),
    ):
        rates: dict[str, list[float]] = {"plain loop": [], "preset plain": [], "preset rung": []}
        for _ in range(rounds):
            rates["plain loop"].append(_plain(shape, ids, batch, steps))
            for preset, extra in (("plain", {}), ("rung", {"ngram_rows": 1 << 15})):
                rates[f"preset {preset}"].append(
                    training_speed.measured(
                        "gpt",
                        {**shape, "preset": preset, **extra},
                        [ids],
                        training_speed.VOCAB,
                        batch=batch,
                        window=None,
                        steps=steps,
                    )[0]
                )
        for kind, values in rates.items():
            ratios = [a / b for a, b in zip(values, rates["plain loop"], strict=True)]
            print(
                f"{name} {kind:<13} {statistics.median(values):9,.0f} tokens/s  {statistics.median(ratios):.2f}"
            )


def _plain(shape: dict[str, int], ids: np.ndarray, batch: int, steps: int) -> float:
    model = training_speed.GPT2(**shape)
    return training_speed.plain_loop(model, None, ids, batch, shape["context"], steps)


def minutes() -> None:
    """The lowest loss in ten minutes."""
    _in_minutes("shakespeare", 10)


def names() -> None:
    """The lowest loss on names in five minutes, by the split of the published ladder."""
    _in_minutes("names", 5, split="80/10/10")


def _in_minutes(data: str, budget: float, **options: Any) -> None:
    for number in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            run = rung.train_best(data, out=f"{folder}/best", minutes=budget, seed=number, **options)
            alone = min(Path(f"{folder}/best/parts").glob("gpt*"), key=lambda place: _nats(rung.load(place)))
            for name, found in (("mixed", run), (alone.name, rung.load(alone))):
                test = rung.evaluate(found)
                print(
                    f"round {number + 1}: {data}, {budget:g} minutes, {name}: {_nats(found):.4f} nats per character of "
                    f"validation text, {test.nats_per_token:.4f} of test text ({test.bits_per_byte:.4f} bits per byte)",
                    flush=True,
                )
            for entry in run.recipe["tried"]:
                told = f"{entry['bits_per_byte']:.4f} bits per byte after {entry['train_seconds']:.0f} s"
                print(f"  tried {entry['name']:<12} {told} {entry['settings']}", flush=True)


def ladder() -> None:
    """Each published number on names in a third of the time that its own recipe takes."""
    recipes = [
        recipe
        for recipe in map(load_recipe, recipe_names())
        if recipe.data == "names" and trainer_of(rung_class(recipe.rung)).by_gradient
    ]
    for recipe in sorted(recipes, key=lambda recipe: -recipe.published):
        with tempfile.TemporaryDirectory() as folder:
            clock = _Seconds()
            own = rung.train_recipe(recipe.name, out=f"{folder}/own", on_event=clock)
            seconds = clock.last_step
            run = rung.train(
                "gpt",
                "names",
                out=f"{folder}/ours",
                split="80/10/10",
                minutes=seconds / 3 / 60,
                eval_every=10**9,
            )
            reached = "reached" if _nats(run) <= recipe.published else "not reached"
            print(
                f"{recipe.name:<20} published {recipe.published:.3f}, recipe {_nats(own):.4f} after {seconds:.0f} s, "
                f"default after {seconds / 3:.0f} s: {_nats(run):.4f}, {reached}",
                flush=True,
            )


def _nats(run: Run) -> float:
    return run.recipe["result"]["validation"]["nats_per_token"]


class _Seconds:
    """The time of the last step, before the evaluation that follows it."""

    def __init__(self) -> None:
        self.last_step = 0.0

    def __call__(self, event: object) -> None:
        if isinstance(event, Step):
            self.last_step = event.seconds


def main() -> None:
    """Run what is named, by default everything."""
    print(f"threads {torch.get_num_threads()}, torch {torch.__version__}")
    parts = {"loss": loss, "tokens": tokens, "minutes": minutes, "names": names, "ladder": ladder}
    for name in sys.argv[1:] or parts:
        parts[name]()


if __name__ == "__main__":
    main()
