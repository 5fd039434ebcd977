"""The shape of an encoder, and the published ones by name.

Sources: bert-base and bert-large, Devlin et al. 2018 (arXiv:1810.04805); bert-tiny to bert-medium, Turc et al. 2019
(arXiv:1908.08962). All norm after each part with eps 1e-12, have GELU by the error function, learned positions, types
of tokens, heads of 64, a feed-forward four times as wide, dropout 0.1. What else one may find in a file of transformers
(another activation, another width inside) has its field.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from rung.errors import UserError, nearest
from rung.models.config_checks import check_counts, check_field, check_fraction
from rung.models.transformer.config import HEAD_SIZE, Shape, default_n_head

ACTIVATIONS = ("gelu", "gelu-exact", "relu")
LONGEST_CONTEXT = 512
"""The longest that is chosen unasked."""


def _size(n_layer: int, n_embd: int) -> dict[str, int]:
    return {"context": 512, "n_layer": n_layer, "n_head": n_embd // 64, "n_embd": n_embd}


PRESETS: dict[str, Mapping[str, Any]] = {
    # With 30,522 ids and the pooler, as BertModel:
    "bert-tiny": _size(2, 128),  # 4,385,920 parameters
    "bert-mini": _size(4, 256),  # 11,170,560
    "bert-small": _size(4, 512),  # 28,763,648
    "bert-medium": _size(8, 512),  # 41,373,184
    "bert-base": _size(12, 768),  # 109,482,240
    "bert-large": _size(24, 1024),  # 335,141,888
}

TRAINING: Mapping[str, Any] = {
    "lr": 1e-4,
    "batch_size": 256,
    "schedule": "linear",
    "weight_decay": 0.01,
    "beta2": 0.999,
}
"""How the published ones were trained (appendix A.2): what is not given otherwise when a preset is."""


@dataclass(frozen=True)
class EncoderConfig:
    """The shape. `resolved_for` replaces None by what suits the data."""

    context: int | None = None
    """The most tokens seen at once, [CLS] and [SEP] included; by default the longest text's, up to 128."""
    n_layer: int | None = None
    """Blocks; by default 2."""
    n_head: int | None = None
    """Attention heads a block, a divisor of n_embd; by default one for every 32 of it."""
    n_embd: int | None = None
    """Width; by default 128."""
    n_hidden: int | None = None
    """Width inside the feed-forward; by default 4 n_embd."""
    dropout: float = 0.1
    """The share of activations dropped in training."""
    activation: str = "gelu-exact"
    """gelu (by its tanh formula), gelu-exact or relu: what the feed-forward has between its layers."""
    norm_eps: float = 1e-12
    """What norms add to a variance before they divide."""
    preset: str | None = None
    """bert-tiny, bert-mini, bert-small, bert-medium, bert-base or bert-large: the published sizes."""

    def __post_init__(self) -> None:
        check_counts(self, "context", "n_layer", "n_head", "n_embd", "n_hidden", optional=True)
        check_fraction(self, "dropout")
        check_field(
            self,
            "norm_eps",
            lambda value: type(value) in (int, float) and 0 < value < math.inf,
            "a number above 0",
            optional=False,
        )
        for name, allowed in (("activation", ACTIVATIONS), ("preset", tuple(PRESETS))):
            value = getattr(self, name)
            if value is not None and value not in allowed:
                near = nearest(value, allowed) if isinstance(value, str) else ""
                raise UserError(f"--{name} {value!r} is unknown{near} (known: {', '.join(allowed)})")
        if self.context is not None and self.context < 3:
            raise UserError(
                f"--context {self.context} has no room for a token between two marks: give 3 or more"
            )
        if self.n_head is not None and self.n_embd is not None and self.n_embd % self.n_head:
            raise UserError(
                f"--n-head {self.n_head} does not divide --n-embd {self.n_embd}: heads share the width equally; try"
                f" --n-head {default_n_head(self.n_embd)}"
            )

    def resolved_for(self, longest: int, most: int = 128) -> Self:
        """Nothing left open, for texts of at most `longest` tokens, marks included."""
        config = self
        if self.preset is not None:
            sizes = {k: v for k, v in PRESETS[self.preset].items() if getattr(self, k) is None}
            config = replace(self, **sizes)
        n_embd = config.n_embd
        if n_embd is None:
            n_embd = 128 if config.n_head is None else HEAD_SIZE * config.n_head
        return replace(
            config,
            context=max(3, min(longest, most)) if config.context is None else config.context,
            n_layer=2 if config.n_layer is None else config.n_layer,
            n_embd=n_embd,
            n_head=default_n_head(n_embd) if config.n_head is None else config.n_head,
            n_hidden=4 * n_embd if config.n_hidden is None else config.n_hidden,
        )

    def shape(self) -> Shape:
        """For the blocks. Raises ValueError when a size is still open."""
        sizes = self.context, self.n_layer, self.n_head, self.n_embd, self.n_hidden
        context, n_layer, n_head, n_embd, n_hidden = (size or 0 for size in sizes)
        if 0 in (context, n_layer, n_head, n_embd, n_hidden):
            raise ValueError("a size is left open; pass the config through resolve_config first")
        return Shape(
            context=context,
            n_layer=n_layer,
            n_head=n_head,
            n_embd=n_embd,
            dropout=self.dropout,
            bias=True,
            norm="layer",
            norm_first=False,
            norm_eps=self.norm_eps,
            positions="learned",
            rotary_base=1.0,
            feed_forward=self.activation,
            n_hidden=n_hidden,
            n_kv_head=n_head,
            qk_norm=False,
            attention="softmax",
            local=None,
            stride=None,
            tied=True,
            ngrams=0,
            ngram_rows=None,
            ngram_dropout=0.0,
        )
