"""Everything a verb of the command line does, as one call in Python.

import rung
run = rung.train("ngram", "my.txt", out="runs/mine", order=5)
run = rung.load("runs/mine")                                  # the same, another day
rung.evaluate(run).bits_per_byte
rung.generate(run, "Once upon", temperature=0.8)[0].text
run.model.score(run.tokenizer.encode("to be or not to be"))   # log p of each token, nats
[(c.text, c.probability) for c in rung.complete(run, "Once up")]
rung.climb("my.txt", minutes=1)["best"]
"""

from rung.api.smaller import prune, quantise
from rung.api.training import climb, find_lr, resume, train, train_again, train_best, train_recipe
from rung.api.using import (
    compare,
    complete,
    embed,
    evaluate,
    fill,
    generate,
    generate_many,
    nearest,
    predict,
    score,
    tokenize,
    vectors,
)
from rung.runs import Run, load

__all__ = [
    "Run",
    "climb",
    "compare",
    "complete",
    "embed",
    "evaluate",
    "fill",
    "find_lr",
    "generate",
    "generate_many",
    "load",
    "nearest",
    "predict",
    "prune",
    "quantise",
    "resume",
    "score",
    "tokenize",
    "train",
    "train_again",
    "train_best",
    "train_recipe",
    "vectors",
]
