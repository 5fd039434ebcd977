"""The torch network of a transformer that reads a text from both sides: BERT's encoder, of the decoder's blocks.

    [CLS] text [SEP]               one text, of type 0
    [CLS] text [SEP] text 2 [SEP]  two, the second and its mark of type 1

    x = norm(token + position + type), then blocks that norm after each part (`blocks.PostNormBlock`)

Devlin et al. 2018, "BERT: Pre-training of deep bidirectional transformers for language understanding"
(arXiv:1810.04805). With the same weights the states are those of transformers' BertModel.

Texts come as rows of ids (B, T) in which PADDING is no token, on whichever side it stands, and HIDDEN one that is to be
guessed. [SEP] is the tokeniser's own mark, `end`, which no text has; [CLS] and [MASK] are two rows behind the
tokeniser's. How far a text reaches is told by its length alone, never by an id: what fills up a batch is neither
attended to nor counted in positions.

Shapes: B texts, T tokens of theirs, S = T + 2 with the marks, C = n_embd, V ids of the tokeniser, `end` the last.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rung.models.networks.states import States, to_the_left
from rung.models.transformer.blocks import Block, build_block, build_norm
from rung.models.transformer.config import Shape
from rung.text.masking import HIDDEN, PADDING

MARKS = 2
"""[CLS] before a text and [SEP] behind it: so many more tokens than the text has."""
EXTRA_ROWS = 2
"""[CLS] and [MASK]: rows of the embedding behind the tokeniser's."""
SEGMENTS = 2
"""Types of tokens: of the first text, and of the second."""


class EncoderEmbedding(nn.Module):
    """What a token is, where it stands and of which text it is: three rows added, normed."""

    def __init__(self, n_rows: int, shape: Shape) -> None:
        super().__init__()
        self.tokens = nn.Parameter(torch.empty(n_rows, shape.n_embd))
        self.positions = nn.Parameter(torch.empty(shape.context, shape.n_embd))
        self.segments = nn.Parameter(torch.empty(SEGMENTS, shape.n_embd))
        self.norm = build_norm(shape)
        self.dropout = nn.Dropout(shape.dropout)

    def forward(self, tokens: Tensor, segments: Tensor) -> Tensor:
        """(B, S) and (B, S) -> (B, S, C)."""
        x = F.embedding(tokens, self.tokens) + self.positions[: tokens.shape[1]]
        return self.dropout(self.norm(x + F.embedding(segments, self.segments)))


class Encoder(nn.Module):
    """Embedding and blocks that see both sides."""

    def __init__(self, vocab_size: int, shape: Shape, blocks: list[Block]) -> None:
        super().__init__()
        self.end, self.cls, self.mask = vocab_size - 1, vocab_size, vocab_size + 1
        self.context = shape.context
        self.embedding = EncoderEmbedding(vocab_size + EXTRA_ROWS, shape)
        self.blocks = nn.ModuleList(blocks)

    def forward(self, texts: Tensor) -> Tensor:
        """Texts (B, T) -> the last states (B, T + 2, C): of [CLS], of each token in order, of [SEP]; any beyond."""
        return self.states(texts).values

    first_knows = True

    @property
    def room(self) -> int:
        """The most tokens of a text, without its marks."""
        return self.context - MARKS

    def states(self, texts: Tensor, mark: int | None = None) -> States:
        """As `forward`, with which of them are there; it has marks of its own."""
        tokens, segments, there = self.marked(texts)
        x = self.embedding(tokens, segments)
        seen = None if bool(there.all()) else there[:, None, None, :]
        for block in self.blocks:
            x = block(x, seen)
        return States(x, there)

    def init_weights(self, generator: torch.Generator) -> None:
        """As published, where it stands alone."""
        init_like_bert(self, generator)

    def marked(self, texts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens, their types and which are there, (B, S) each, of texts (B, T), to the left, between their marks."""
        texts = to_the_left(texts)
        lengths = (texts != PADDING).sum(1)
        tokens = torch.where(texts == HIDDEN, self.mask, texts.clamp(min=0))
        tokens = F.pad(tokens, (1, 1), value=self.cls)
        tokens[torch.arange(len(tokens), device=tokens.device), lengths + 1] = self.end
        there = torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None] + MARKS
        marks = ((tokens == self.end) & there).long()
        segments = (marks.cumsum(1) - marks).clamp(max=SEGMENTS - 1) * there
        return tokens, segments, there


def build_encoder(shape: Shape, vocab_size: int) -> Encoder:
    return Encoder(vocab_size, shape, [build_block(shape, causal=False) for _ in range(shape.n_layer)])


class Pooler(nn.Module):
    """tanh(W x + b) of the state of [CLS]: a vector of the whole text."""

    def __init__(self, n_embd: int) -> None:
        super().__init__()
        self.dense = nn.Linear(n_embd, n_embd)

    def forward(self, states: Tensor) -> Tensor:
        """(B, S, C) -> (B, C)."""
        return torch.tanh(self.dense(states[:, 0]))


def mean_of_text(states: Tensor, texts: Tensor) -> Tensor:
    """The mean (B, C) of the states (B, S, C) that are of texts (B, T) and their marks, by their lengths."""
    there = torch.arange(states.shape[1], device=states.device) < (texts != PADDING).sum(1)[:, None] + MARKS
    return (states * there[..., None]).sum(1) / there.sum(1)[:, None]


def init_like_bert(network: nn.Module, generator: torch.Generator) -> None:
    """Matrices and tables N(0, 0.02), biases 0, norms the identity: as published (arXiv:1810.04805, their code)."""
    for name, weight in network.named_parameters():
        if weight.dim() == 2:
            weight.normal_(0, 0.02, generator=generator)
        elif name.endswith("bias"):
            weight.zero_()
        else:
            weight.fill_(1)
