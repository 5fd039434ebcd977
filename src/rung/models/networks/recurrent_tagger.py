"""Recurrent networks as taggers: read the sentence word by word, from both ends, and tag each word by its state.

    x_t = a word's vector (`letters`: its own row, and its spelling)
    h_t = cell(x_t, h_t-1)      and from right to left, if bidirectional, from the sentence's own end
    emit_t = V h_t + d          a softmax over each, or a CRF over all of them (`crf`)

Plank, Sogaard and Goldberg 2016 (arXiv:1604.05529); Huang, Xu and Yu 2015 (arXiv:1508.01991) with a CRF. What fills up
a batch is never read (packed sequences), so a sentence costs the same alone and beside longer ones. The cells are those
of `recurrent`. A sentence of any length is read in one go.

Shapes: B sentences of up to T words, U distinct words among them, H = n_hidden, D = 1 or 2 directions, K tags.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rung.errors import UserError, nearest
from rung.models.config_checks import check_bool, check_counts, check_field, check_fraction
from rung.models.networks.crf import CRF
from rung.models.networks.letters import LETTERS, WordInputs, counted_words, rows_for, words_in
from rung.models.networks.recurrent_classifier import init_core, init_head
from rung.models.networks.tagger import NeuralTagger, TaggerNetwork
from rung.opening import check_array, check_below, check_rising
from rung.text.stream import TokenStream
from rung.text.tagged import TaggedExamples, word_counts, words_of
from rung.text.windows import PADDING


@dataclass(frozen=True)
class RecurrentTaggerConfig:
    """The shape."""

    n_embd: int = 100
    """How many numbers stand for a word."""
    n_hidden: int = 128
    """Width of a layer's state, in each direction."""
    n_layer: int = 1
    """Layers, each reading what the one below it has made of the sentence."""
    bidirectional: bool = True
    """Whether the sentence is read from both ends. On the command line --bidirectional=false."""
    letters: str = "ends"
    """How a word's spelling comes in: ends (rows for its first and last letters, shape and small letters), convolution
    (over its letters, a vector beside the word's), or none."""
    crf: bool = False
    """Whether the tags of a sentence are scored together: what follows what is learned, the best path answers."""
    min_count: int = 2
    """Words that are there less often have no row of their own."""
    unknown: float = 0.25
    """How often training takes a word for one never seen: u / (u + n) of a word that is there n times."""
    dropout: float = 0.3
    """The share of activations dropped in training: of words, between layers, before the head."""

    def __post_init__(self) -> None:
        check_counts(self, "n_embd", "n_hidden", "n_layer", "min_count")
        check_fraction(self, "dropout")
        check_bool(self, "bidirectional", "crf")
        check_field(self, "unknown", _is_strength, "a number from 0 to 1000", optional=False)
        if self.letters not in LETTERS:
            near = nearest(self.letters, LETTERS) if isinstance(self.letters, str) else ""
            raise UserError(f"--letters {self.letters!r} is unknown{near} (known: {', '.join(LETTERS)})")


class RecurrentTaggerNetwork(TaggerNetwork):
    """Words' vectors, one of torch's recurrent cores, a linear layer, perhaps a CRF."""

    heads = ("crf.", "head.")

    def __init__(
        self, inputs: WordInputs, core: nn.RNN | nn.LSTM | nn.GRU, n_tags: int, crf: bool, dropout: float
    ) -> None:
        super().__init__()
        self.inputs = inputs
        self.core = core
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(core.hidden_size * (2 if core.bidirectional else 1), n_tags)
        self.crf = CRF(n_tags) if crf else None

    @property
    def token_embedding(self) -> nn.Parameter:
        """A row a word; row 0 is that of words that have none."""
        return self.inputs.table

    def emissions(self, *arrays: Tensor) -> Tensor:
        """Of distinct words (U,) and (U, P), as `WordInputs` takes them, and which of them stand where, (B, T)."""
        places, ids, spelled = arrays
        lengths = (places != PADDING).sum(1)
        x = self.dropout(F.embedding(places.clamp(min=0), self.inputs(ids, spelled)))
        packed, _ = self.core(pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False))
        states, _ = pad_packed_sequence(packed, batch_first=True, total_length=places.shape[1])
        return self.head(self.dropout(states))

    def init_weights(self, generator: torch.Generator) -> None:
        """As of the language models (`recurrent`); the first loss is near ln K."""
        self.inputs.init_weights(generator)
        init_core(self.core, generator)
        init_head(self.head, self.core.hidden_size, generator)
        if self.crf is not None:
            self.crf.init_weights()


class ReadWords:
    """Sentences as the network takes them: W words, D of them distinct."""

    def __init__(self, places: np.ndarray, ids: np.ndarray, spelled: np.ndarray, counts: np.ndarray) -> None:
        """places: (W,) which of the D; ids: (D,) their rows; spelled: (D, P); counts: (S,) words of each sentence."""
        self._places, self._ids, self._spelled, self._counts = places, ids, spelled, counts
        self._begins = np.cumsum(counts) - counts

    def arrays(self, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        lengths = self._counts[rows]
        columns = np.arange(max(int(lengths.max(initial=0)), 1))
        there = columns < lengths[:, None]
        distinct, inverse = np.unique(
            self._places[(self._begins[rows][:, None] + columns)[there]], return_inverse=True
        )
        places = np.full(there.shape, PADDING, np.int64)
        places[there] = inverse
        return places, self._ids[distinct], self._spelled[distinct].astype(np.int64)


class RecurrentTagger(NeuralTagger[RecurrentTaggerNetwork]):
    """What the three share: everything but the cell."""

    config_class = RecurrentTaggerConfig
    sees_examples = True
    # Products are small, and half of a step goes into tables: bfloat16 costs more than it saves (docs/log.md).
    training_defaults: ClassVar = {
        "lr": 4e-3,
        "weight_decay": 0.01,
        "batch_size": 64,
        "precision": "float32",
    }
    cell: ClassVar[type[nn.RNN | nn.LSTM | nn.GRU]]

    @classmethod
    def build(
        cls, config: RecurrentTaggerConfig, n_tags: int, n_bytes: int, n_words: int, n_rows: int
    ) -> RecurrentTaggerNetwork:
        inputs = WordInputs(n_bytes, n_words, n_rows, config.n_embd, config.letters, config.unknown)
        core = cls.cell(
            inputs.width,
            config.n_hidden,
            config.n_layer,
            batch_first=True,
            bidirectional=config.bidirectional,
            dropout=config.dropout if config.n_layer > 1 else 0.0,
        )
        return RecurrentTaggerNetwork(inputs, core, n_tags, config.crf, config.dropout)

    @classmethod
    def initialise(
        cls,
        config: RecurrentTaggerConfig,
        vocab_size: int,
        end: int,
        delimiter: int,
        tags: Sequence[str],
        seed: int,
        examples: TaggedExamples,
    ) -> Self:
        there = words_of(examples.train.stream, delimiter)
        words = counted_words(there, config.min_count)
        n_rows = rows_for(list(set(there)), config.letters)
        sizes = len(words["words"]), len(words["word_ends"]), n_rows
        network = cls.new_network(config, seed, len(tags), *sizes)
        with torch.no_grad():
            for name, array in words.items():
                getattr(network.inputs, name).copy_(torch.from_numpy(array))
        return cls(config, vocab_size, end, delimiter, tags, network)

    @classmethod
    def from_tensors(
        cls,
        config: RecurrentTaggerConfig,
        vocab_size: int,
        end: int,
        delimiter: int,
        tags: Sequence[str],
        tensors: dict[str, np.ndarray],
    ) -> Self:
        words, ends, counts = (
            np.asarray(tensors[f"inputs.{name}"]) for name in ("words", "word_ends", "counts")
        )
        check_array("words", words, "u1", [None])
        check_array("word_ends", ends, "i8", [None])
        check_rising("word_ends", np.concatenate([[0], ends]), 0, len(words), strictly=True)
        check_array("counts", counts, "i8", [len(ends) + 1])
        check_below("counts", counts, 1 << 53)
        n_rows = len(tensors.get("inputs.ends.table", ()))
        if config.letters == "ends" and not n_rows:
            raise ValueError("there are no rows for pieces of spelling")
        network = cls.loaded_network(config, tensors, len(tags), len(words), len(ends), n_rows)
        return cls(config, vocab_size, end, delimiter, tags, network)

    @property
    def row_names(self) -> list[str]:
        return ["", *(word.decode("utf-8", "replace") for word in self._words)]

    def read(self, sentences: TokenStream) -> ReadWords:
        words = words_of(sentences, self.delimiter)
        place: dict[bytes, int] = {}
        places = np.fromiter((place.setdefault(word, len(place)) for word in words), np.int64, len(words))
        distinct = list(place)
        ids = np.fromiter((self._rows.get(word, 0) for word in distinct), np.int64, len(distinct))
        spelled = self.network.inputs.spelled(distinct)
        return ReadWords(places, ids, spelled, word_counts(sentences, self.delimiter))

    @cached_property
    def _words(self) -> list[bytes]:
        inputs = self.network.inputs
        return words_in({name: getattr(inputs, name).numpy(force=True) for name in ("words", "word_ends")})

    @cached_property
    def _rows(self) -> dict[bytes, int]:
        return {word: i for i, word in enumerate(self._words, 1)}


class RNNTagger(RecurrentTagger):
    """Elman's network."""

    rung = "rnn"
    cell = nn.RNN


class LSTMTagger(RecurrentTagger):
    """Long short-term memory."""

    rung = "lstm"
    cell = nn.LSTM


class GRUTagger(RecurrentTagger):
    """Gated recurrent units."""

    rung = "gru"
    cell = nn.GRU


def _is_strength(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 1000
