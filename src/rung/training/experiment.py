"""What is to be trained, on what, how and where: said once, for the command line, the Python call and recipe files.

Each field of these configurations is a flag of `rung train RUNG`, a keyword of `rung.train` and a key of a recipe's
`[settings]`: the rung's own configuration, `TrainingConfig`, the task's options, `RunOptions` and `StartOptions`.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from rung.errors import UserError, nearest
from rung.models import rung_class, short_name
from rung.numbers import numbers_checked
from rung.run_folders import free_folder
from rung.tasks import task_from, task_of
from rung.training.config import TrainingConfig, setting_names
from rung.training.parents import StartOptions
from rung.training.trainers import check_settings

OTHER_FLAGS = ("data", "task", "find_lr", "json", "quiet", "help", "trust", "debug")
"""What is typed after `rung train RUNG` and is of no configuration."""


@dataclass(frozen=True)
class RunOptions:
    """Where a run goes, and with what chance.

    Attributes:
        out: the run's folder; by default runs/NAME, or runs/NAME-2 when that is taken, and so on.
        seed: of weights, batches and dropout.
        device: auto, cpu, cuda or mps.
        force: overwrite the run that is there.
    """

    out: Path | None = None
    seed: int = 0
    device: str = "auto"
    force: bool = False

    def __post_init__(self) -> None:
        if self.out is not None:
            object.__setattr__(self, "out", Path(self.out))

    def folder(self, name: str) -> Path:
        """`out`, or the next free folder of that name."""
        return self.out if self.out is not None else free_folder(name)


@dataclass(frozen=True)
class AgainOptions:
    """Where a run that is made anew goes, and what may differ.

    Attributes:
        out: the run's folder; by default runs/NAME, or runs/NAME-2 when that is taken, and so on.
        seed: of weights, batches and dropout; with --again by default the same, else 0.
        device: auto, cpu, cuda or mps; with --again by default the same.
        force: overwrite the run that is there.
    """

    out: Path | None = None
    seed: int | None = None
    device: str | None = None
    force: bool = False

    def after(self, seed: int = 0, device: str = "auto") -> RunOptions:
        """The options of a run, where nothing is said the earlier one's."""
        return RunOptions(
            self.out,
            seed if self.seed is None else self.seed,
            device if self.device is None else self.device,
            self.force,
        )


@dataclass(frozen=True)
class Experiment:
    """One training, as it is asked for.

    Attributes:
        rung: its name on the ladder.
        data: a built-in text (shakespeare, names), a file, folder, glob, https URL, or - for standard input.
        task: what is to be predicted.
        config: the rung's configuration.
        training: how to train; counting rungs have no use for it.
        options: how the data are read: the task's `options_class`.
        run: where it goes.
        start: from what it starts.
    """

    rung: str
    data: str | Path
    task: str
    config: Any
    training: TrainingConfig
    options: Any
    run: RunOptions
    start: StartOptions = field(default_factory=StartOptions)

    @property
    def model_class(self) -> Any:
        return rung_class(self.rung, self.task)

    @property
    def name(self) -> str:
        """What the rung is called in tables and folders."""
        return short_name(self.rung)

    @property
    def inputs(self) -> tuple[str | Path, ...]:
        """What it is made from; its folder must not hold any of it."""
        parent = () if self.start.from_ is None else (self.start.from_,)
        vectors = () if self.start.vectors is None else (self.start.vectors,)
        return (*inputs_of(self.data, self.options), *getattr(self.config, "runs", ()), *parent, *vectors)

    @property
    def asked(self) -> dict[str, Any]:
        """What was asked for, by name, in JSON's kinds: `Experiment.of(**asked)` is this one, but for where it goes.

        `settings` are those that are not as by default; the seed and the device stand elsewhere in a recipe.
        """
        settings = {
            name: value
            for config in (self.config, self.training, self.options, self.start)
            for name, value in differing(config).items()
        }
        if self.task != task_from([self.rung], settings, [self.data]):
            settings["task"] = self.task
        return {"rung": self.rung, "data": str(self.data), "settings": settings}

    @property
    def command(self) -> str:
        """The line that asks for it, but for where it goes."""
        return command_line(
            self.rung, self.data, self.asked["settings"] | differing(self.run, ("seed", "device"))
        )

    @staticmethod
    def of(rung: str, data: str | Path, settings: Mapping[str, Any]) -> Experiment:
        """The experiment with these settings, by name, `task` among them; without it, what the settings are of.

        Raises UserError for a rung that is none, and for a setting that it does not have.
        """
        settings = dict(settings)
        task = settings.pop("task", None) or task_from([rung], settings, [data])
        model_class = rung_class(rung, task)
        options_class = task_of(task).options_class
        check_names(model_class, options_class)
        config, training, options, run, start = split_settings(
            settings, model_class.config_class, TrainingConfig, options_class, RunOptions, StartOptions
        )
        check_settings(rung, model_class, training)
        return Experiment(
            rung,
            data,
            task,
            model_class.config_class(**config),
            TrainingConfig(**training),
            options_class(**options),
            RunOptions(**run),
            StartOptions(**start),
        )


def differing(config: Any, names: Sequence[str] | None = None) -> dict[str, Any]:
    """The fields of a configuration (`names` of them) that are not as by default, as JSON has them."""
    chosen = {
        field.name: getattr(config, field.name)
        for field in fields(config)
        if names is None or field.name in names
    }
    default = type(config)()
    return {
        name: list(value) if isinstance(value, tuple) else str(value) if isinstance(value, Path) else value
        for name, value in chosen.items()
        if value != getattr(default, name)
    }


def command_line(rung: str, data: str | Path, settings: Mapping[str, Any]) -> str:
    """`rung train RUNG DATA` with settings as flags, to be pasted into a shell."""
    words = ["rung", "train", rung, str(data)]
    for name, value in settings.items():
        flag = f"--{name.rstrip('_').replace('_', '-')}"
        if name == "task":  # settled by the rung and its settings wherever one types
            continue
        if isinstance(value, bool):
            words.append(flag if value else f"{flag}=false")
        elif isinstance(value, list):
            words += [flag, *map(str, value)]
        else:
            words += [f"{flag}={value}"] if str(value).startswith("-") else [flag, str(value)]
    return shlex.join(words)


def inputs_of(data: str | Path, options: Any) -> tuple[str | Path, ...]:
    """The sources that are read: the data, and the held-out texts that a task's options name."""
    named = (getattr(options, name, None) for name in ("val", "test"))
    return (data, *(source for source in named if source is not None))


def check_names(model_class: Any, options_class: type) -> None:
    """Raise UserError when a rung of the user's own has a setting called as one of the training's is."""
    taken = [name for config in (TrainingConfig, options_class, RunOptions) for name in setting_names(config)]
    for name in setting_names(model_class.config_class):
        if name in (*taken, *OTHER_FLAGS):
            raise UserError(
                f"{model_class.__name__} has a setting {name!r}, as training has: call it something else"
            )


def split_settings(settings: Mapping[str, Any], *configs: type) -> list[dict[str, Any]]:
    """Sort settings by which configuration has a field of that name. Raises UserError for one that none has.

    Whole numbers come as int; a number that should be whole and is not, or is none, is a UserError too.
    """
    known = [name for config in configs for name in setting_names(config)]
    for name in settings:
        if name not in known:
            raise UserError(
                f"there is no setting {name!r}{nearest(name, known)} (settings: {', '.join(known)})"
            )
    return [
        numbers_checked({k: v for k, v in settings.items() if k in setting_names(config)}, config)
        for config in configs
    ]
