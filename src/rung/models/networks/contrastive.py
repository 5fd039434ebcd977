"""Vectors of texts learned by contrast: what belongs together is to point the same way, everything else is not.

    h, h'  = pooled states of a text and of its partner
    loss   = - log (exp(cos(h_i, h'_i) / t) / sum over j of exp(cos(h_i, h'_j) / t)),   summed over a batch's texts i

InfoNCE (van den Oord et al. 2018, arXiv:1807.03748) with the other partners of the batch as what it is told from. Where
the partner is the same text, read again with other activations dropped, this is SimCSE's equation 1 (Gao et al. 2021,
arXiv:2104.08821); where it is another text, its equation 4 without t's hard negatives; t = 0.05 is theirs. Texts of a
batch that are the same, or whose partners are, are not told from each other.

Shapes: B texts, T tokens, C numbers of a vector.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rung.models.config_checks import check_field
from rung.models.networks.states import HasStates, check_pooling, pooled_vectors
from rung.models.networks.torch_model import TorchModel, TrainableModule, upcast
from rung.models.text_encoder import TextEncoder
from rung.text.stream import TokenStream


@dataclass(frozen=True)
class Contrast:
    """What the configurations of these rungs have beside the shape."""

    pooling: str = "mean"
    """How a vector is made of a network's states: their mean, the first (of bert), or the last."""
    temperature: float = 0.05
    """What cosines are divided by before their softmax: the smaller, the more the nearest of the others count."""

    def __post_init__(self) -> None:
        # What else a configuration inherits has checks of its own.
        getattr(super(), "__post_init__", lambda: None)()
        check_pooling(self.pooling)
        check_field(
            self,
            "temperature",
            lambda value: type(value) in (int, float) and 0 < value < math.inf,
            "a number above 0",
            optional=False,
        )


class ContrastiveNetwork(TrainableModule):
    """A network with states, and what is made of them."""

    def __init__(self, body: Any, mark: int, config: Contrast) -> None:
        super().__init__()
        self.body = body
        self.tables = tuple(f"body.{name}" for name in getattr(body, "tables", ()))
        self.mark, self.pooling, self.temperature = mark, config.pooling, config.temperature
        check_pooling(config.pooling, body)

    @property
    def with_states(self) -> HasStates:
        return self.body

    def forward(self, texts: Tensor) -> Tensor:
        """Texts (B, T), filled up with PADDING on either side -> vectors of length 1 (B, C)."""
        pooled = self.body.states(texts, self.mark).pooled(self.pooling)
        return F.normalize(upcast(pooled), dim=-1)

    def loss(self, texts: Tensor, partners: Tensor, alike: Tensor) -> Tensor:
        """The sum over texts (B, T) of -log p(own partner among those of the batch), `partners` (B, T2).

        alike: (B, 2), which text each of the two is: rows that share one are not told from each other.
        """
        h, others = self(texts), self(partners)
        with torch.autocast(h.device.type, enabled=False):  # half a cosine's digits, over t, are no logit's
            logits = h @ others.T / self.temperature  # (B, B)
        same = (alike[:, None] == alike[None]).any(-1).fill_diagonal_(False)
        right = torch.arange(len(logits), device=logits.device)
        return F.cross_entropy(logits.masked_fill(same, -torch.inf), right, reduction="sum")

    def set_epochs(self, epochs: float) -> None:
        if isinstance(self.body, TrainableModule):
            self.body.set_epochs(epochs)

    def init_weights(self, generator: torch.Generator) -> None:
        self.body.init_weights(generator)


class ContrastiveModel(TorchModel[ContrastiveNetwork], TextEncoder):
    """A network whose vectors were learned by contrast.

    One process trains it: what a text is told from are the others of its batch, all of them.
    """

    config: Any
    distributed = False
    training_defaults: ClassVar = {"lr": 1e-3, "weight_decay": 0.01, "batch_size": 64}

    def __init__(self, config: Any, vocab_size: int, end: int, network: ContrastiveNetwork) -> None:
        super().__init__(config, vocab_size, end)
        self.network = network

    @classmethod
    def build(cls, config: Any, vocab_size: int, end: int) -> ContrastiveNetwork:
        """The network. Its weights may hold anything yet."""
        return ContrastiveNetwork(cls.build_body(config, vocab_size), end, config)

    @classmethod
    def build_body(cls, config: Any, vocab_size: int) -> nn.Module:
        """What has the states (`rung.models.networks.states.HasStates`)."""
        raise NotImplementedError

    @classmethod
    def initialise(cls, config: Any, vocab_size: int, end: int, seed: int) -> Self:
        """A new model; the same seed gives the same weights."""
        return cls(config, vocab_size, end, cls.new_network(config, seed, vocab_size, end))

    @classmethod
    def from_tensors(cls, config: Any, vocab_size: int, end: int, tensors: dict[str, np.ndarray]) -> Self:
        return cls(config, vocab_size, end, cls.loaded_network(config, tensors, vocab_size, end))

    @property
    def pooling(self) -> str:
        return self.config.pooling

    @property
    def temperature(self) -> float:
        return self.config.temperature

    def vectors(self, texts: TokenStream) -> np.ndarray:
        return pooled_vectors(self, self.network.body, texts, self.pooling)
