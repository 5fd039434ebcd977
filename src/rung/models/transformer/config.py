"""The shape of a transformer: sizes, and which of several ways each of its parts is made in.

None leaves a field open: to the preset, if one is named, else to GPT-2's way (`presets.GPT2`); sizes that
neither settles are fitted to the data by `GPT.resolve_config`. What is given explicitly always holds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

from rung.errors import UserError, nearest
from rung.models.config_checks import check_bool, check_counts, check_field, check_fraction, flag
from rung.models.transformer.presets import GPT2, PRESETS, SIZES

ALLOWED = {
    "preset": tuple(PRESETS),
    "size": tuple(SIZES),
    "norm": ("layer", "rms"),
    "positions": ("learned", "sinusoidal", "alibi", "rotary", "none"),
    "feed_forward": ("gelu", "swiglu", "relu2"),
    "attention": ("softmax", "linear"),
}
"""What the fields that are words can be."""

ABSOLUTE_POSITIONS = ("learned", "sinusoidal")
"""Those of `positions` that are added to the token embedding."""

DEFAULT_PRESET = "rung"
"""What is trained if nobody says otherwise."""

DEFAULT_N_LAYER, DEFAULT_N_HEAD, DEFAULT_CONTEXT = 4, 4, 64
"""What a config leaves open, when the data allow: nanoGPT's shape for a CPU, 4 x 4 x 128."""

DEFAULT_N_LAYER_RUNG = 2
"""The same in preset rung: beside n-grams, two layers reach the same loss in half the time (docs/log.md)."""

HEAD_SIZE = 32
"""How wide a head is if nothing says otherwise: nanoGPT's, for a CPU."""


@dataclass(frozen=True)
class GPTConfig:
    """The shape. `GPT.resolve_config` replaces None by what suits the data."""

    context: int | None = None
    """The most inputs seen at once. A longer document is read in windows that overlap by half."""
    n_layer: int | None = None
    """Blocks."""
    n_head: int | None = None
    """Attention heads a block, a divisor of n_embd."""
    n_embd: int | None = None
    """Width."""
    dropout: float | None = None
    """The share of activations dropped in training."""
    bias: bool | None = None
    """Whether linear layers and LayerNorms add a bias. On the command line --bias=false."""
    preset: str | None = None
    """rung, plain (GPT-2's manner), gpt1, gpt2, llama-7b, ...; other flags change it, --preset X --help tells of X."""
    size: str | None = None
    """small, medium, large or xl: layers, heads and width in one word, where neither flag nor preset gives them."""
    norm: str | None = None
    """layer or rms."""
    norm_first: bool | None = None
    """Whether norms stand before each part, or after it: --norm-first=false."""
    norm_eps: float | None = None
    """What norms add to a variance before they divide."""
    positions: str | None = None
    """How a token's place is told: learned, sinusoidal, alibi, rotary or none."""
    rotary_base: float | None = None
    """How slow the slowest rotary turn is."""
    feed_forward: str | None = None
    """gelu, swiglu or relu2 (squared ReLU)."""
    n_hidden: int | None = None
    """Width inside the feed-forward; swiglu has as many weights with 8/3 of n_embd as the others with 4."""
    n_kv_head: int | None = None
    """Heads that keys and values have, a divisor of n_head."""
    qk_norm: bool | None = None
    """Whether queries and keys are normed head by head. On the command line --qk-norm=false turns it off."""
    local: int | None = None
    """How many inputs a position attends to, itself and those right before it."""
    stride: int | None = None
    """Half the heads attend to every stride-th input before a position, and the others to the last --local of them."""
    attention: str | None = None
    """softmax, or linear: a sum that every position before adds to, of a size that does not grow with the context."""
    tied: bool | None = None
    """Whether the head is the token embedding. On the command line --tied=false."""
    ngrams: int | None = None
    """The longest n-gram of tokens looked up as such, beside its last token; 0 = none."""
    ngram_rows: int | None = None
    """Rows a table of n-grams has, a power of two."""
    ngram_dropout: float | None = None
    """The share of looked-up n-grams dropped from epoch 2 on."""

    def __post_init__(self) -> None:
        sizes = ("context", "n_layer", "n_head", "n_embd", "n_hidden", "n_kv_head", "local", "stride")
        check_counts(self, *sizes, optional=True)
        check_field(
            self,
            "ngrams",
            lambda value: type(value) is int and 0 <= value <= 16,
            "0 (none), or 2 to 16",
            optional=True,
        )
        check_field(
            self,
            "ngram_rows",
            lambda value: type(value) is int and value >= 2 and value & (value - 1) == 0,
            "a power of two, such as 65536",
            optional=True,
        )
        check_bool(self, "bias", "norm_first", "qk_norm", "tied", optional=True)
        for name in ("norm_eps", "rotary_base"):
            check_field(
                self,
                name,
                lambda value: type(value) in (int, float) and 0 < value < math.inf,
                "a number above 0",
                optional=True,
            )
        check_fraction(self, "dropout", "ngram_dropout", optional=True)
        for name, allowed in ALLOWED.items():
            value = getattr(self, name)
            if value is not None and value not in allowed:
                near = nearest(value, allowed) if isinstance(value, str) else ""
                raise UserError(f"{flag(name)} {value!r} is unknown{near} (known: {', '.join(allowed)})")
        if self.ngrams == 1:
            raise UserError(
                "--ngrams 1 is not allowed: single tokens have their rows anyway; give 0, or 2 to 16"
            )
        if self.ngrams and self.positions in ABSOLUTE_POSITIONS:
            raise UserError(
                f"--ngrams {self.ngrams} does not go with --positions {self.positions}: both change what is looked up"
                " at the door; give --positions rotary, alibi or none, or --ngrams 0"
            )
        self._check_attention()
        self._check_heads()

    def _check_attention(self) -> None:
        if self.attention == "linear":
            for name in ("local", "stride"):
                if getattr(self, name) is not None:
                    raise UserError(
                        f"{flag(name)} {getattr(self, name)} does not go with --attention linear, which sums up"
                        " all that came before: leave out one of them"
                    )
            if self.positions == "alibi":
                raise UserError(
                    "--positions alibi does not go with --attention linear, which has no scores to lower: give rotary,"
                    " learned, sinusoidal or none"
                )
        if self.stride is not None and self.n_head == 1:
            raise UserError(
                f"--stride {self.stride} does not go with --n-head 1: half the heads look far and half look near; give"
                " --n-head 2 or more"
            )

    def _check_heads(self) -> None:
        if self.n_head is None:
            return
        if self.n_embd is not None and self.n_embd % self.n_head:
            below = self.n_embd // self.n_head * self.n_head
            near = [str(width) for width in (below, below + self.n_head) if width]
            raise UserError(
                f"--n-head {self.n_head} does not divide --n-embd {self.n_embd}: heads share the width"
                f" equally; try --n-embd {' or '.join(near)}, or --n-head {default_n_head(self.n_embd)}"
            )
        if self.n_kv_head is not None and self.n_head % self.n_kv_head:
            divisors = [str(n) for n in range(1, self.n_head + 1) if self.n_head % n == 0]
            raise UserError(
                f"--n-kv-head {self.n_kv_head} does not divide --n-head {self.n_head}: as many heads share each"
                f" key; try --n-kv-head {' or '.join(divisors)}"
            )
        if self.positions == "rotary" and self.n_embd is not None and self.n_embd // self.n_head % 2:
            raise UserError(
                f"--positions rotary turns pairs, and a head of {self.n_embd // self.n_head} is odd: make"
                f" --n-embd an even multiple of --n-head, such as {self.n_head * (self.n_embd // self.n_head + 1)}"
            )

    def resolved(self) -> GPTConfig:
        """The same shape with everything said that the preset or GPT-2's way settles."""
        settled = {**GPT2, **(PRESETS[self.preset] if self.preset is not None else {})}
        if self.size is not None:
            settled = {**SIZES[self.size], **settled}
        if self.positions in ABSOLUTE_POSITIONS:
            settled["ngrams"] = 0  # which are added there too
        if self.stride is not None:
            settled["local"] = self.stride
        known = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: value for name, value in settled.items() if known[name] is None})

    @staticmethod
    def defaults_of(preset: str | None) -> dict[str, str]:
        """What each field is, in words, where only a preset is given; for a name that is none, `DEFAULT_PRESET`'s."""
        preset = preset if preset in PRESETS else DEFAULT_PRESET
        settled = {name: value for name, value in PRESETS[preset].items() if value is not None}
        words = {
            "context": f"{DEFAULT_CONTEXT}, or the longest document if that is shorter",
            "n_layer": str(default_n_layer(preset)),
            "n_head": f"{DEFAULT_N_HEAD}, with --n-embd about one for every {HEAD_SIZE} of it",
            "n_embd": f"{HEAD_SIZE} a head",
            "n_hidden": "8/3 of n_embd, a multiple of 8"
            if settled["feed_forward"] == "swiglu"
            else "4 n_embd",
            "n_kv_head": "n_head",
            "local": "all of the context, with --stride as many as that",
            "stride": "none",
        }
        words |= {
            name: f"{value:g}" if type(value) is float else str(value) for name, value in settled.items()
        }
        if settled["ngrams"]:
            words["ngram_rows"] = "a sixteenth of the training tokens, 1,024 to 32,768"
            words["ngram_dropout"] = "0.75 for little text, 0.4 for much"
        return words | {"preset": DEFAULT_PRESET}

    def shape(self) -> Shape:
        """The shape with nothing open. Raises ValueError when a size still is: only the data can settle those."""
        config = self.resolved()
        values = {field.name: getattr(config, field.name) for field in fields(Shape)}
        if config.n_embd is not None and config.n_hidden is None:
            gated = config.feed_forward == "swiglu"
            values["n_hidden"] = -(-config.n_embd // 3) * 8 if gated else 4 * config.n_embd
        if config.n_kv_head is None:
            values["n_kv_head"] = config.n_head
        optional = "local", "stride", "ngram_rows"
        still_open = [name for name, value in values.items() if value is None and name not in optional]
        if still_open:
            raise ValueError(
                f"{', '.join(still_open)} left open; pass the config through GPT.resolve_config first"
            )
        return Shape(**values)


@dataclass(frozen=True)
class Shape:
    """A `GPTConfig` in which everything is said; only `local` and `stride` may be None."""

    context: int
    n_layer: int
    n_head: int
    n_embd: int
    dropout: float
    bias: bool
    norm: str
    norm_first: bool
    norm_eps: float
    positions: str
    rotary_base: float
    feed_forward: str
    n_hidden: int
    n_kv_head: int
    qk_norm: bool
    local: int | None
    stride: int | None
    attention: str
    tied: bool
    ngrams: int
    ngram_rows: int | None
    ngram_dropout: float


def default_n_layer(preset: str | None) -> int:
    """Blocks, where neither a flag nor the preset says."""
    return DEFAULT_N_LAYER_RUNG if preset == "rung" else DEFAULT_N_LAYER


def default_n_head(n_embd: int) -> int:
    """As many heads as divide the width, each at least HEAD_SIZE wide."""
    return next(heads for heads in range(max(1, n_embd // HEAD_SIZE), 0, -1) if n_embd % heads == 0)
