"""The rungs of the ladder. `RUNGS` is the one registry: a new rung is a new file and a line here."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from rung.errors import UserError, nearest

if TYPE_CHECKING:
    from rung.models.base import LanguageModel

RUNGS = {
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
"""Name -> where the class lives, and the line that help shows. Order is the order of the climb."""


def rung_class(name: str) -> type[LanguageModel]:
    """The class of a rung; its file is imported only now. Raises UserError for a name that is none."""
    if name not in RUNGS:
        raise UserError(f"there is no rung {name!r}{nearest(name, RUNGS)} (rungs: {', '.join(RUNGS)})")
    module, _, attribute = RUNGS[name][0].partition(":")
    return getattr(import_module(module), attribute)


def descends(name: str) -> bool:
    """Whether a rung is trained by gradient descent, so that training settings apply and torch is needed."""
    from rung.models.base import CountedModel
    from rung.models.mix import Mix

    return not issubclass(rung_class(name), (CountedModel, Mix))
