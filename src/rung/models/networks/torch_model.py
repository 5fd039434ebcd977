"""A rung that torch trains: its network and its weights, whatever it answers.

`network.py` makes a language model of it, `classifier.py` a classifier.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Generic, Self, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from rung.errors import UserError
from rung.models.base import GradientModel, check_size, check_tensors
from rung.models.networks.states import HasStates


class TrainableModule(nn.Module, ABC):
    """A torch module that a trainer can learn the weights of: it has a loss.

    Attributes:
        carried: what it keeps of one batch for the next, a tensor (S, L, B, ...) with the rows of the batch third; None
            = nothing, as it is unless training has called `start_carrying` and the network has something to keep.
        heads: how the names begin of what turns states into answers, the last of them what gives the answers' logits.
        above: how those begin that stand between the blocks and the heads.
        tables: tensors with a row for each token.
        frozen: parts that stay in evaluation mode, whatever mode the network is in.
    """

    carried: Tensor | None
    heads: ClassVar[tuple[str, ...]] = ()
    above: ClassVar[tuple[str, ...]] = ()
    tables: tuple[str, ...] = ()

    def __init__(self) -> None:
        super().__init__()
        self.frozen: tuple[nn.Module, ...] = ()
        # A buffer, so that a checkpoint holds it, but no part of the model.
        self.register_buffer("carried", None, persistent=False)

    loss: Callable[..., Tensor]
    """The sum, in nats, of -log p over the targets of a batch, whose arrays come in the order of its `Batches`."""

    @property
    def token_embedding(self) -> nn.Parameter | None:
        """The table (V or more, E) whose row i is what token i comes in as; None where there is none."""
        return None

    @property
    def with_states(self) -> HasStates | None:
        """The part of it whose states are vectors of a text's tokens; None = there is none."""
        return None

    def start_carrying(self, batch: int) -> None:
        """From now on `loss` may go on from one batch of this many rows to the next."""

    def set_epochs(self, epochs: float) -> None:
        """Called before each step of training: how many times over the training data was read."""

    def blocks_of(self) -> tuple[str, int]:
        """How the names of its blocks begin, up to their number, and how many there are, from the bottom up."""
        return "", 0

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for part in self.frozen:
            part.train(False)
        return self

    @abstractmethod
    def init_weights(self, generator: torch.Generator) -> None:
        """Give every weight and buffer its first value, in place, with no other source of chance."""


M = TypeVar("M", bound=TrainableModule)


class TorchModel(GradientModel, Generic[M]):
    """A rung whose weights are learned by gradient descent, in torch.

    Attributes:
        network: the torch module, in training mode when new, in evaluation mode when loaded. A trainer
            sets the mode it needs; inference never drops anything and leaves the mode as it finds it.
    """

    trained_by = "torch"
    distributed = True
    network: M

    build: ClassVar[Callable[..., Any]]
    """From a configuration and the sizes of the data to the network. Its weights may hold anything yet: `init_weights`
    or a checkpoint fills them."""

    @property
    def row_names(self) -> list[str] | None:
        """What the rows of the network's `token_embedding` are called ("" = nothing); None = as the tokens are."""
        return None

    @classmethod
    def new_network(cls, config: Any, seed: int, *shape: Any) -> M:
        """A new network, `build(config, *shape)`; the same seed gives the same weights. torch's global generator is
        left alone."""
        # On the meta device torch's own initialisation, which draws from the global generator, does nothing.
        with torch.device("meta"):
            network = cls.build(config, *shape)
        network.to_empty(device="cpu")
        with torch.no_grad():
            network.init_weights(torch.Generator().manual_seed(seed))
        return network

    @classmethod
    def loaded_network(cls, config: Any, tensors: dict[str, np.ndarray], *shape: Any) -> M:
        """The network whose `tensors()` these are. Raises UserError when names or shapes don't fit `config`."""
        check_size(config, tensors)
        with torch.device("meta"):
            network = cls.build(config, *shape)
        state = network.state_dict()
        check_tensors({name: tuple(tensor.shape) for name, tensor in state.items()}, tensors)
        for name, tensor in tensors.items():
            if state[name].is_floating_point() != (tensor.dtype.kind == "f"):
                raise UserError(f"the weights don't fit the model: {name} holds {tensor.dtype}")
        copies = {name: torch.from_numpy(np.array(tensor)) for name, tensor in tensors.items()}
        network.load_state_dict(copies, assign=True)
        network.eval()
        return network

    def tensors(self) -> dict[str, np.ndarray]:
        """Copies of the weights and buffers."""
        state = self.network.state_dict()
        return {name: tensor.numpy(force=True).copy() for name, tensor in state.items()}

    @property
    def n_parameters(self) -> int:
        """How many weights are learned; a tied one counts once."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    def to(self, device: torch.device | str) -> Self:
        """Move the network, in place. States made before belong to the old device."""
        self.network.to(device)
        return self

    @contextmanager
    def inference(self) -> Iterator[None]:
        """No gradients and no dropout inside; afterwards every module is in the mode it was in."""
        training = (
            [module for module in self.network.modules() if module.training] if self.network.training else []
        )
        for module in training:
            module.training = False
        try:
            with torch.inference_mode():
                yield
        finally:
            for module in training:
                module.training = True

    def _tensor(self, array: np.ndarray) -> Tensor:
        """`array`, one of our own making (torch won't share a read-only one), where the network is."""
        return torch.from_numpy(array).to(self.device)


def upcast(x: Tensor) -> Tensor:
    """`x` in float32 if it is in half precision."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def next_log_probs(logits: Tensor) -> np.ndarray:
    """Logits (B, V) as log-probabilities for the other side of the boundary, float32."""
    return torch.log_softmax(logits.float(), dim=-1).numpy(force=True)
