"""The rungs of the ladder. `RUNGS` is the one registry: a new rung is a new file and a line here."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from rung.errors import UserError, nearest

Rungs = dict[str, tuple[str, str]]

LANGUAGE: Rungs = {
    "bigram": ("rung.models.counting.bigram:Bigram", "counted pairs, add-k smoothing"),
    "ngram": ("rung.models.counting.ngram:NGram", "counted n-grams, interpolated Kneser-Ney"),
    "infinigram": (
        "rung.models.counting.infinigram:InfiniGram",
        "n-grams of any length over a suffix array of the text",
    ),
    "neural-bigram": (
        "rung.models.networks.neural_bigram:NeuralBigram",
        "one table of logits, learned by gradient descent",
    ),
    "mlp": ("rung.models.networks.mlp:MLP", "a perceptron over the last few tokens, Bengio et al. 2003"),
    "wavenet": ("rung.models.networks.wavenet:WaveNet", "neighbours fused pair by pair, WaveNet's hierarchy"),
    "rnn": ("rung.models.networks.recurrent:RNN", "a recurrent network, Elman 1990"),
    "lstm": ("rung.models.networks.recurrent:LSTM", "a recurrent network with long short-term memory"),
    "gru": ("rung.models.networks.recurrent:GRU", "a recurrent network with gated units"),
    "gpt": (
        "rung.models.transformer.decoder:GPT",
        "a transformer beside rows for n-grams; --preset plain: GPT-2's shape",
    ),
    "scratch-bigram": (
        "rung.models.scratch:ScratchBigram",
        "neural-bigram in NumPy alone, by our own autograd",
    ),
    "scratch-mlp": ("rung.models.scratch:ScratchMLP", "mlp in NumPy alone, by our own autograd"),
    "scratch-rnn": ("rung.models.scratch:ScratchRNN", "rnn in NumPy alone, by our own autograd"),
    "scratch-gpt": ("rung.models.scratch:ScratchGPT", "gpt in NumPy alone, by our own autograd"),
    "mix": ("rung.models.mix:Mix", "a weighted sum of other runs, weights learned on held-out text"),
}

CLASSIFICATION: Rungs = {
    "majority": ("rung.models.counting.majority:Majority", "how often each label occurs, whatever the text"),
    "bag-of-words": (
        "rung.models.networks.bag_of_words:BagOfWords",
        "a weight for each token and label, summed",
    ),
}

RUNGS: dict[str, Rungs] = {"language": LANGUAGE, "classification": CLASSIFICATION}
"""Task -> name -> where the class lives, and the line that help shows. Order is the order of the climb."""


def tasks_with(rung: str) -> list[str]:
    """The tasks that have a rung of this name. Raises UserError for a name that none has."""
    found = [task for task, rungs in RUNGS.items() if rung in rungs]
    if not found:
        names = [name for rungs in RUNGS.values() for name in rungs]
        raise UserError(f"there is no rung {rung!r}{nearest(rung, names)} ({rungs_by_task()})")
    return found


def rungs_by_task() -> str:
    """All rungs for a message, each with its task's."""
    return "; ".join(f"rungs of {task}: {', '.join(rungs)}" for task, rungs in RUNGS.items())


def rung_class(name: str, task: str = "language") -> Any:
    """The class of a task's rung; its file is imported only now. Raises UserError for a name that is none."""
    if task not in RUNGS:
        raise UserError(f"there is no task {task!r}{nearest(task, RUNGS)} (tasks: {', '.join(RUNGS)})")
    if task not in tasks_with(name):
        raise UserError(f"{task} has no rung {name!r} (rungs: {', '.join(RUNGS[task])})")
    module, _, attribute = RUNGS[task][name][0].partition(":")
    return getattr(import_module(module), attribute)
