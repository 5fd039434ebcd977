"""A hidden layer: a matrix, perhaps BatchNorm, a function of each number, perhaps dropout. Its parts go by name.

    y = dropout(f(norm(W x + b)))

Functions (x one number): sigmoid 1 / (1 + e^-x); tanh; relu max(0, x); leaky-relu x or 0.01 x; elu x or e^x - 1
(Clevert et al. 2016); selu, elu scaled so that layers norm themselves (Klambauer et al. 2017); gelu x Phi(x) (Hendrycks
and Gimpel 2016).

First weights, with I inputs and O outputs, g the function's gain:

    kaiming      N(0, g^2 / I)                      He et al. 2015: the spread is kept on the way forward
    xavier       N(0, 2 g^2 / (I + O))              Glorot and Bengio 2010: on the way forward and back
    lecun        N(0, 1 / I)                        LeCun et al. 1998
    normal       N(0, 0.01^2)
    orthogonal   g times rows at right angles       Saxe et al. 2014
    zeros        nothing                            all neurons alike: it can't learn, and shows why

BatchNorm is Ioffe and Szegedy 2015 (arXiv:1502.03167). Shapes: M positions, I inputs, O outputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rung.errors import UserError, nearest

ACTIVATIONS: dict[str, tuple[Callable[[Tensor], Tensor], float]] = {
    "tanh": (torch.tanh, 5 / 3),
    "sigmoid": (torch.sigmoid, 1.0),
    "relu": (F.relu, math.sqrt(2)),
    "leaky-relu": (F.leaky_relu, math.sqrt(2 / (1 + 0.01**2))),
    "elu": (F.elu, 1.0),
    "selu": (F.selu, 3 / 4),
    "gelu": (F.gelu, 1.0),
}
"""Name -> the function, and its gain: what weights are enlarged by so that layers stacked on it keep their spread, as
`torch.nn.init.calculate_gain` has it; 1 where it has none."""

INITS = ("kaiming", "xavier", "lecun", "normal", "orthogonal", "zeros")


def check_layer_names(activation: str, init: str) -> None:
    """Raises UserError for a name that is none."""
    for flag, value, known in (("activation", activation, ACTIVATIONS), ("init", init, INITS)):
        if value not in known:
            near = nearest(value, known) if isinstance(value, str) else ""
            raise UserError(f"--{flag} {value!r} is unknown{near} (known: {', '.join(known)})")


class HiddenLayer(nn.Module):
    """(M, I) -> (M, O). BatchNorm has a shift of its own and needs no bias."""

    def __init__(
        self,
        n_in: int,
        n_out: int,
        batch_norm: bool,
        activation: str = "tanh",
        init: str = "kaiming",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.linear = nn.Linear(n_in, n_out, bias=not batch_norm)
        self.norm = BatchNorm(n_out) if batch_norm else nn.Identity()
        self.activation, self.gain = ACTIVATIONS[activation]
        self.init = init
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.activation(self.norm(self.linear(x))))

    def init_weights(self, generator: torch.Generator) -> None:
        """By the scheme's name; biases 0."""
        weight, gain = self.linear.weight, self.gain
        n_out, n_in = weight.shape
        spreads = {
            "kaiming": gain / math.sqrt(n_in),
            "xavier": gain * math.sqrt(2 / (n_in + n_out)),
            "lecun": 1 / math.sqrt(n_in),
            "normal": 0.01,
        }
        if self.init in spreads:
            weight.normal_(0, spreads[self.init], generator=generator)
        elif self.init == "orthogonal":
            nn.init.orthogonal_(weight, gain, generator=generator)
        else:
            weight.zero_()
        if self.linear.bias is not None:
            self.linear.bias.zero_()
        if isinstance(self.norm, BatchNorm):
            self.norm.init_weights()


class BatchNorm(nn.Module):
    """(M, O) -> (M, O): each column brought to mean 0 and variance 1 over the M positions, then scaled and shifted.

    y = gamma * (x - mean) / sqrt(variance + 1e-5) + beta

    While training, mean and variance are those of the batch, and running averages of both are kept; afterwards the
    averages are used, so that a prediction does not depend on what else is in its batch.
    """

    MOMENTUM = 0.1
    """Weight of the newest batch in the running averages."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.empty(width))
        self.beta = nn.Parameter(torch.empty(width))
        self.register_buffer("running_mean", torch.empty(width))
        self.register_buffer("running_var", torch.empty(width))

    def forward(self, x: Tensor) -> Tensor:
        # One position alone has no variance: it is normed by the averages of those before it.
        use_batch_statistics = self.training and len(x) > 1
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.gamma, self.beta, use_batch_statistics, self.MOMENTUM
        )

    def init_weights(self) -> None:
        self.gamma.fill_(1)
        self.beta.zero_()
        self.running_mean.zero_()
        self.running_var.fill_(1)
