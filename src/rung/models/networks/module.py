"""A plain torch module made a rung: any `nn.Module` from tokens (B, T), int64, to logits (B, T, V).

What is asked of it: it is made by `Class(config, vocab_size)`, where `config` is a dataclass, named by the class's
attribute `config_class` or by the annotation of the first argument; place t of its answer predicts token t + 1 and
depends on the tokens up to t alone. How far it looks back is its attribute `context`, or its configuration's field of
that name; without either it reads a document whole. `training_defaults` may name fields of `TrainingConfig`.

Its weights begin as its own `__init__` draws them, from torch's generator with the run's seed.
"""

from __future__ import annotations

import typing
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from rung.errors import UserError
from rung.models.base import check_tensors
from rung.models.networks.network import Network, NeuralModel

TRIED = 16
"""How many tokens a new module is tried on."""


class ModuleNetwork(Network):
    """The module, with its context beside it."""

    def __init__(self, module: nn.Module, context: int | None) -> None:
        super().__init__()
        self.module = module
        self._context = context

    @property
    def context(self) -> int | None:
        return self._context

    @property
    def with_states(self) -> None:
        """None: it goes from tokens to logits at once."""

    def hidden(self, tokens: Tensor) -> Tensor:
        return self.module(tokens)  # logits already

    def logits(self, hidden: Tensor) -> Tensor:
        return hidden

    def init_weights(self, generator: torch.Generator) -> None:
        """Nothing: the module's own `__init__` has done it."""


class ModuleModel(NeuralModel[ModuleNetwork]):
    """The rung that a module's class is made. A state is the inputs of the present window."""

    module_class: ClassVar[type[nn.Module]]

    @classmethod
    def of(cls, module_class: type[nn.Module]) -> type[ModuleModel]:
        """The rung. Raises UserError when the module's class doesn't say what its configuration is."""
        config_class = getattr(module_class, "config_class", None) or _annotated(module_class)
        if config_class is None:
            raise UserError(
                f"{module_class.__name__} does not say what it is configured by: give it config_class = a dataclass"
            )
        members = {
            "__doc__": module_class.__doc__,
            "__module__": module_class.__module__,
            "module_class": module_class,
            "config_class": config_class,
            "training_defaults": getattr(module_class, "training_defaults", {}),
        }
        return type(module_class.__name__, (cls,), members)

    @classmethod
    def build(cls, config: Any, vocab_size: int) -> ModuleNetwork:
        module = cls.module_class(config, vocab_size)
        context = getattr(module, "context", getattr(config, "context", None))
        if context is not None and (type(context) is not int or context < 1):
            raise UserError(
                f"the context of {cls.__name__} is {context!r}: give a whole number above 0, or None"
            )
        return ModuleNetwork(module, context)

    @classmethod
    def new_network(cls, config: Any, seed: int, *shape: Any) -> ModuleNetwork:
        """Raises UserError when the answers have another shape than (B, T, V), or know what comes after them."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            cls._try(cls.build(config, *shape), *shape)
            torch.manual_seed(seed)
            return cls.build(config, *shape)

    @classmethod
    def loaded_network(cls, config: Any, tensors: dict[str, np.ndarray], *shape: Any) -> ModuleNetwork:
        # On no meta device: what a module holds that is no part of its state, a mask say, is made by its `__init__`.
        with torch.random.fork_rng(devices=[]):
            network = cls.build(config, *shape)
        expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
        check_tensors(expected, tensors)
        network.load_state_dict(
            {name: torch.from_numpy(np.array(tensor)) for name, tensor in tensors.items()}
        )
        network.eval()
        return network

    @classmethod
    def _try(cls, network: ModuleNetwork, vocab_size: int) -> None:
        width = TRIED if network.context is None else min(network.context, TRIED)
        tokens = torch.randint(vocab_size, (2, width))
        network.eval()
        with torch.no_grad():
            for weight in network.parameters():  # a head of zeros would hide what it is given
                weight += 0.1 * torch.randn_like(weight)
            logits = network(tokens)
            if tuple(logits.shape) != (2, width, vocab_size):
                raise UserError(
                    f"{cls.__name__} answers tokens of shape (2, {width}) with {tuple(logits.shape)}: it should be "
                    f"logits, (2, {width}, {vocab_size})"
                )
            cut = width // 2
            changed = tokens.clone()
            changed[:, cut:] = (changed[:, cut:] + 1) % vocab_size
            if not torch.allclose(network(changed)[:, :cut], logits[:, :cut], rtol=1e-3, atol=1e-3):
                raise UserError(
                    f"{cls.__name__} looks ahead: what it predicts depends on tokens that come later; mask them, or "
                    "pad on the left only"
                )


def _annotated(module_class: type) -> Any:
    hints = typing.get_type_hints(module_class.__init__)
    return next(iter(hints.values()), None)
