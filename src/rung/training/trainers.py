"""The kinds of training there are, behind one door. A new kind is a file and a line in `TRAINERS`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from rung.errors import UserError
from rung.events import Event
from rung.models.base import Model
from rung.opening import from_json, opening
from rung.process_group import SINGLE_PROCESS, ProcessGroup
from rung.run_files import RECIPE
from rung.run_folders import Place
from rung.runs import Run
from rung.tasks.base import Dataset, Task
from rung.training.config import TrainingConfig

TRAINERS = {
    "counting": "rung.training.counting:CountingTrainer",
    "mixing": "rung.training.mixing:MixtureTrainer",
    "scratch": "rung.training.scratch:ScratchTrainer",
    "torch": "rung.training.gradient:TorchTrainer",
}
"""What a model class calls itself `trained_by` -> where the trainer is."""

Sampler = Callable[[Model, Dataset], str]


@dataclass(frozen=True)
class Job:
    """One training: a run whose recipe says everything, and who watches.

    Attributes:
        run: the recipe with nothing left open.
        place: where its files lie now.
        dataset: what it is trained on.
        sample: writes a short text with the model, now and then.
        stop: asked after every step; True ends the training.
        resume: there is a checkpoint: go on from it.
        finish: make no step more: the best there is becomes the model.
        group: the processes that train together.
    """

    run: Run
    place: Place
    dataset: Dataset
    sample: Sampler | None = None
    stop: Callable[[], bool] = lambda: False
    resume: bool = False
    finish: bool = False
    group: ProcessGroup = SINGLE_PROCESS

    @property
    def task(self) -> Task[Any]:
        return self.run.task

    @property
    def model_class(self) -> Any:
        return self.run.model_class

    @property
    def config(self) -> Any:
        return self.run.config

    @property
    def shape(self) -> dict[str, Any]:
        return self.run.shape

    @property
    def training(self) -> TrainingConfig:
        return training_of(self.run)

    @property
    def seed(self) -> int:
        return self.run.recipe["seed"]


def training_of(run: Run) -> TrainingConfig:
    """How a run says that it is trained. Raises UserError when it doesn't, or leaves open what has to be settled."""
    with opening(run.folder / RECIPE):
        training = from_json(TrainingConfig, run.recipe["training"])
        settled = training.batch_size, training.lr, training.weight_decay
        if None in settled or not (training.steps or training.tokens or training.minutes):
            raise ValueError("training leaves open a batch size, a rate, a decay or a budget")
        return training


class Trainer(ABC):
    """One kind of training.

    Attributes:
        by_gradient: whether settings of gradient training have a meaning for it.
    """

    by_gradient = False

    def resolve(
        self,
        model_class: Any,
        task: Task[Any],
        dataset: Dataset,
        config: Any,
        training: TrainingConfig,
        device: str,
    ) -> tuple[Any, TrainingConfig, str | None]:
        """What was left open about the model and its training, set to what suits data, rung and machine; a message.

        Raises UserError when something does not fit.
        """
        return config, training, None

    @abstractmethod
    def train(self, job: Job) -> Iterator[Event | Model]:
        """Events, `Finished` the last of them; then, unless the reason was "interrupted", the model.

        In the processes that follow the first one no model need come.
        """


def trainer_of(model_class: Any) -> Trainer:
    """The trainer of a class of models; its file is imported only now."""
    module, _, name = TRAINERS[model_class.trained_by].partition(":")
    return getattr(import_module(module), name)()


def check_settings(rung: str, model_class: Any, given: Any) -> None:
    """Raises UserError for a setting of gradient training (`given`, by name) that the rung has no use for.

    A budget never hurts, so that one call serves every rung.
    """
    wrong = [name for name in given if name not in ("steps", "tokens", "minutes")]
    if wrong and not trainer_of(model_class).by_gradient:
        raise UserError(f"{rung} is not trained by gradient descent: it has no setting {wrong[0]!r}")
