"""The rungs of the ladder. `RUNGS` is the one registry: a new rung is a new file and a line here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from rung.errors import UserError, nearest

if TYPE_CHECKING:
    from rung.models.base import Model

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

MASKED: Rungs = {
    "unigram": (
        "rung.models.counting.unigram:Unigram",
        "how often each token occurs, whatever stands around it",
    ),
    "bert": ("rung.models.transformer.bert:Bert", "a transformer that guesses hidden words from both sides"),
}

CLASSIFICATION: Rungs = {
    "majority": ("rung.models.counting.majority:Majority", "how often each label occurs, whatever the text"),
    "bag-of-words": (
        "rung.models.linear.bag_of_words:BagOfWords",
        "a weight for each word, run of words and label: logistic regression",
    ),
    "ngram": (
        "rung.models.counting.ngram_classifier:NGramClassifier",
        "counted n-grams, one Kneser-Ney model a label, by Bayes",
    ),
    "bag-of-ngrams": (
        "rung.models.linear.bag_of_ngrams:BagOfNgrams",
        "hashed runs of words and letters, averaged, and a linear layer: fastText's model",
    ),
    "rnn": (
        "rung.models.networks.recurrent_classifier:RNNClassifier",
        "a recurrent network, its states pooled",
    ),
    "lstm": ("rung.models.networks.recurrent_classifier:LSTMClassifier", "long short-term memory, pooled"),
    "gru": ("rung.models.networks.recurrent_classifier:GRUClassifier", "gated recurrent units, pooled"),
    "gpt": (
        "rung.models.transformer.classifier:GPTClassifier",
        "a transformer that answers at a token behind the text, GPT-1's manner",
    ),
    "bert": (
        "rung.models.transformer.bert_classifier:BertClassifier",
        "a transformer that reads from both sides and answers at a token before the text",
    ),
    "mix": (
        "rung.models.label_mix:LabelMix",
        "a weighted sum of other runs' answers, weights learned on validation",
    ),
}

TAGGING: Rungs = {
    "majority": (
        "rung.models.counting.majority_tagger:MajorityTagger",
        "how often each word had each tag, whatever stands around it",
    ),
    "hmm": (
        "rung.models.counting.hmm:HMM",
        "tags by their order, counted n-grams, and by their words and endings: TnT's model",
    ),
    "rnn": ("rung.models.networks.recurrent_tagger:RNNTagger", "a recurrent network, from both ends"),
    "lstm": ("rung.models.networks.recurrent_tagger:LSTMTagger", "long short-term memory, from both ends"),
    "gru": ("rung.models.networks.recurrent_tagger:GRUTagger", "gated recurrent units, from both ends"),
    "bert": (
        "rung.models.transformer.bert_tagger:BertTagger",
        "a transformer that reads from both sides and answers at each word's first piece",
    ),
}

TRANSLATION: Rungs = {
    "ngram": (
        "rung.models.counting.ngram_translator:NGramTranslator",
        "counted n-grams of the targets, whatever the source says",
    ),
    "rnn": (
        "rung.models.networks.recurrent_translator:RNNTranslator",
        "a recurrent network that reads, another that writes and looks back",
    ),
    "lstm": (
        "rung.models.networks.recurrent_translator:LSTMTranslator",
        "long short-term memory, with attention to what it read",
    ),
    "gru": (
        "rung.models.networks.recurrent_translator:GRUTranslator",
        "gated recurrent units, with attention to what they read",
    ),
    "gpt": (
        "rung.models.transformer.gpt_translator:GPTTranslator",
        "a transformer over the source, a delimiter and the target",
    ),
    "encoder-decoder": (
        "rung.models.transformer.encoder_decoder:EncoderDecoder",
        "a transformer that reads one text and writes another",
    ),
}

VECTORS: Rungs = {
    "skipgram": (
        "rung.models.vectors.word2vec:SkipGram",
        "word vectors: a word is told from noise by each neighbour",
    ),
    "cbow": (
        "rung.models.vectors.word2vec:CBOW",
        "word vectors: a word is told from noise by its neighbours' mean",
    ),
    "imported-vectors": (
        "rung.models.vectors.imported:ImportedVectors",
        "word vectors made elsewhere: rung import vectors FILE",
    ),
}

CONTRASTIVE: Rungs = {
    "tf-idf": (
        "rung.models.counting.tf_idf:TfIdf",
        "which tokens a text has, the rarer the more they count",
    ),
    "rnn": ("rung.models.networks.recurrent_encoder:RNNEncoder", "a recurrent network, its states pooled"),
    "lstm": ("rung.models.networks.recurrent_encoder:LSTMEncoder", "long short-term memory, pooled"),
    "gru": ("rung.models.networks.recurrent_encoder:GRUEncoder", "gated recurrent units, pooled"),
    "gpt": ("rung.models.transformer.text_encoders:GPTEncoder", "a transformer, its states pooled"),
    "bert": (
        "rung.models.transformer.text_encoders:BertEncoder",
        "a transformer that reads from both sides, its states pooled",
    ),
}

RUNGS: dict[str, Rungs] = {
    "language": LANGUAGE,
    "masked": MASKED,
    "classification": CLASSIFICATION,
    "tagging": TAGGING,
    "translation": TRANSLATION,
    "vectors": VECTORS,
    "contrastive": CONTRASTIVE,
}
"""Task -> name -> where the class lives, and the line that help shows. Order is the order of the climb."""


def tasks_with(rung: str) -> list[str]:
    """The tasks that have a rung of this name, or `PATH.py:CLASS`. Raises UserError for what names none."""
    found = [task for task, rungs in RUNGS.items() if rung in rungs]
    if found:
        return found
    from rung.models import own

    return [own.task_of_class(_own_class(rung))]


def rungs_by_task() -> str:
    """All rungs for a message, each with its task's."""
    return "; ".join(f"rungs of {task}: {', '.join(rungs)}" for task, rungs in RUNGS.items())


def rung_class(name: str, task: str = "language") -> Any:
    """The class of a task's rung; its file is imported only now. Raises UserError for a name that is none.

    Args:
        name: of a rung of ours, of one that an installed package offers, or a class in a file, `PATH.py:CLASS`.
        task: what is predicted.
    """
    if task not in RUNGS:
        raise UserError(f"there is no task {task!r}{nearest(task, RUNGS)} (tasks: {', '.join(RUNGS)})")
    if task not in tasks_with(name):
        raise UserError(f"{task} has no rung {name!r} (rungs: {', '.join(RUNGS[task])})")
    if name not in RUNGS[task]:
        return _own_class(name)
    module, _, attribute = RUNGS[task][name][0].partition(":")
    return getattr(import_module(module), attribute)


def summary_of(model_class: Any, task: str) -> str:
    """The line that says what a rung is; of a class of the user's own, the first of its docstring."""
    ours = RUNGS[task].get(model_class.rung)
    said = ours[1] if ours is not None else model_class.__doc__ or model_class.rung
    return said.strip().splitlines()[0]


def class_described(described: Mapping[str, Any], task: str = "language", of: str = "this model") -> Any:
    """The class of what a model says of itself (`Model.describe`), `of` what is opened.

    Raises UserError when it lies in a file that is not trusted (`rung.models.own`).
    """
    if "code" in described:
        from rung.models import own

        return own.class_of(described["code"], of)
    return rung_class(described["rung"], task)


def short_name(rung: str) -> str:
    """What a rung is called in tables and folders: its name, also of one that is a class in a file."""
    return _own_class(rung).rung if is_file(rung) else rung


def is_file(rung: str) -> bool:
    """Whether a rung is named as one in a file is: `PATH.py` or `PATH.py:CLASS`."""
    return re.fullmatch(r".+\.py(:\w*)?", rung) is not None


def _own_class(rung: str) -> type[Model]:
    """The class of a rung that is none of ours."""
    from rung.models import own

    names = [name for rungs in RUNGS.values() for name in rungs]
    if is_file(rung):
        found = own.class_in(rung)
        if found.rung in (*names, "best"):
            raise UserError(
                f"{rung}: a rung of the name {found.rung} is there already; give it another: rung = 'NAME'"
            )
        return found
    offered = own.installed()
    if rung in offered:
        return own.installed_class(offered[rung])
    raise UserError(
        f"there is no rung {rung!r}{nearest(rung, [*names, *offered])} ({rungs_by_task()}; one of your own: "
        "./FILE.py:CLASS)"
    )
