"""A transformer that reads from both sides as a tagger: BERT, the state of a word's first piece through a linear layer.

    [CLS] the play ##er left [SEP]
           |    |        |
          tag  tag      tag         emit = W h + b; a softmax over each, or a CRF over all of them (`crf`)

Devlin et al. 2018 (arXiv:1810.04805), section 5.3. With the same weights the emissions are those of transformers'
BertForTokenClassification at the first pieces. A sentence longer than the context is read in stretches of whole words,
none of which sees another; of a word longer than that its beginning.

Shapes: B sentences of up to T words, N stretches of up to P pieces, K tags, C = n_embd; V ids of the tokeniser and one
for the delimiter, which is never read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from torch import Tensor, nn

from rung.models.config_checks import check_bool
from rung.models.networks.crf import CRF
from rung.models.networks.states import HasStates
from rung.models.networks.tagger import NeuralTagger, TaggerNetwork
from rung.models.transformer.bert_config import LONGEST_CONTEXT, EncoderConfig
from rung.models.transformer.encoder import MARKS, Encoder, build_encoder, init_like_bert
from rung.text.masking import PADDING
from rung.text.stream import TokenStream


@dataclass(frozen=True)
class BertTaggerConfig(EncoderConfig):
    """The shape, and whether tags know each other."""

    crf: bool = False
    """Whether the tags of a sentence are scored together: what follows what is learned, the best path answers."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bool(self, "crf")


class EncoderTagger(TaggerNetwork):
    """Encoder, a linear layer, perhaps a CRF."""

    heads = ("crf.", "tagger.")

    def __init__(self, body: Encoder, n_embd: int, n_tags: int, dropout: float, crf: bool) -> None:
        super().__init__()
        self.body = body
        self.dropout = nn.Dropout(dropout)
        self.tagger = nn.Linear(n_embd, n_tags)
        self.crf = CRF(n_tags) if crf else None

    @property
    def token_embedding(self) -> nn.Parameter:
        return self.body.embedding.tokens

    @property
    def with_states(self) -> HasStates:
        return self.body

    def emissions(self, *arrays: Tensor) -> Tensor:
        """Of where words begin, (B, T), among all the places of stretches with their marks, and the pieces (N, P)."""
        places, pieces = arrays
        states = self.body(pieces).flatten(0, 1)  # (N (P + 2), C)
        return self.tagger(self.dropout(states[places.clamp(min=0)]))

    def blocks_of(self) -> tuple[str, int]:
        return "body.blocks.", len(self.body.blocks)

    def init_weights(self, generator: Any) -> None:
        init_like_bert(self, generator)
        if self.crf is not None:
            self.crf.init_weights()


class ReadPieces:
    """Sentences as the network takes them."""

    def __init__(self, sentences: TokenStream, delimiter: int, room: int) -> None:
        """room: the most pieces that are read at once."""
        self._sentences, self._delimiter, self._room = sentences, delimiter, room

    def arrays(self, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        stretches: list[np.ndarray] = []
        found: list[
            tuple[np.ndarray, np.ndarray]
        ] = []  # of each word of a sentence its stretch, its place in that
        for row in rows:
            ids = np.asarray(self._sentences.document(int(row))[:-1])
            between = ids == self._delimiter
            # The k-th word begins behind the k-th delimiter, which is no piece.
            begins = np.concatenate([[0], np.flatnonzero(between) - np.arange(between.sum())])
            pieces = ids[~between].astype(np.int64)
            firsts = cuts_of(begins, len(pieces), self._room)
            which = np.searchsorted(firsts, begins, side="right") - 1
            found.append((which + len(stretches), begins - firsts[which]))
            for begin, stop in zip(firsts, [*firsts[1:], len(pieces)], strict=True):
                stretches.append(pieces[begin : min(stop, begin + self._room)])
        tokens = np.full((len(stretches), max(map(len, stretches), default=0)), PADDING, np.int64)
        for i, stretch in enumerate(stretches):
            tokens[i, : len(stretch)] = stretch
        width = tokens.shape[1] + MARKS
        places = np.full((len(rows), max((len(own) for own, _ in found), default=1)), PADDING, np.int64)
        for i, (own, at) in enumerate(found):
            places[i, : len(own)] = own * width + 1 + at
        return places, tokens


def cuts_of(begins: np.ndarray, n_pieces: int, room: int) -> np.ndarray:
    """Where stretches begin of a sentence whose words begin at `begins` (T,): each is as many whole words as fit."""
    cuts = [0]
    while n_pieces - cuts[-1] > room:
        later = begins[begins > cuts[-1]]
        if not len(later):
            break  # its last word is longer than the room
        fitting = later[later <= cuts[-1] + room]
        cuts.append(int(fitting[-1] if len(fitting) else later[0]))
    return np.array(cuts, np.int64)


class BertTagger(NeuralTagger[EncoderTagger]):
    """An encoder that answers with a tag a word."""

    rung = "bert"
    config_class = BertTaggerConfig
    reads_bytes = False
    tokenizer: ClassVar[str] = "wordpiece"
    training_defaults: ClassVar = {"lr": 1e-3, "weight_decay": 0.01, "batch_size": 32}
    fine_tuning_lr: ClassVar[float] = 5e-5  # the largest of the published (appendix A.3)

    @classmethod
    def resolve_config(
        cls, config: BertTaggerConfig, *, vocab_size: int, train_tokens: int, longest_document: int
    ) -> BertTaggerConfig:
        return config.resolved_for(longest_document - 1 + MARKS, LONGEST_CONTEXT)

    @classmethod
    def published_training(cls, config: BertTaggerConfig) -> Mapping[str, Any]:
        """Of the published, for fine-tuning (appendix A.3)."""
        return {"lr": 5e-5, "batch_size": 32, "schedule": "linear"} if config.preset is not None else {}

    @classmethod
    def build(cls, config: BertTaggerConfig, vocab_size: int, n_tags: int) -> EncoderTagger:
        """Of `vocab_size` ids without the delimiter."""
        shape = config.shape()
        body = build_encoder(shape, vocab_size)
        return EncoderTagger(body, shape.n_embd, n_tags, config.dropout, config.crf)

    @classmethod
    def initialise(
        cls,
        config: BertTaggerConfig,
        vocab_size: int,
        end: int,
        delimiter: int,
        tags: Sequence[str],
        seed: int,
    ) -> Self:
        """A new model; the same seed gives the same weights."""
        network = cls.new_network(config, seed, end + 1, len(tags))
        return cls(config, vocab_size, end, delimiter, tags, network)

    @classmethod
    def from_tensors(
        cls,
        config: BertTaggerConfig,
        vocab_size: int,
        end: int,
        delimiter: int,
        tags: Sequence[str],
        tensors: dict[str, np.ndarray],
    ) -> Self:
        network = cls.loaded_network(config, tensors, end + 1, len(tags))
        return cls(config, vocab_size, end, delimiter, tags, network)

    def read(self, sentences: TokenStream) -> ReadPieces:
        return ReadPieces(sentences, self.delimiter, self.network.body.room)
