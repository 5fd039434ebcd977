"""Training of a mixture: its weights, learned on the validation text, which no part may have been trained on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import cast

from rung.errors import UserError
from rung.events import Event, Finished, Note, Phase
from rung.models.base import Model
from rung.models.label_mix import LabelMix, LabelPart
from rung.models.mix import Mix
from rung.runs import Run, load
from rung.text.labelled import LabelledCorpus
from rung.training.trainers import Job, Trainer


class MixtureTrainer(Trainer):
    """Opens the runs that are mixed and weighs them."""

    def train(self, job: Job) -> Iterator[Event | Model]:
        """Raises UserError when there is no validation text, or the runs can't be mixed."""
        began = time.monotonic()
        corpus = job.dataset
        if "validation" not in corpus.splits:
            raise UserError(
                "a mixture learns its weights on validation text: give --val FILE, or a --split with some"
            )
        runs = [load(path) for path in job.config.runs]
        yield Phase(f"counting {corpus.train.n_tokens:,} tokens")
        for run in runs:
            theirs = run.recipe["data"]
            if any(theirs.get(key) != corpus.facts[key] for key in ("split_rule", "given")) or (
                theirs["source"].get("sha256") != corpus.facts["source"]["sha256"]
            ):
                yield Note(
                    f"{run.folder} was trained on another text or split; if that held the text the weights are "
                    "learned on, its weight comes out too high"
                )
        model = _mixed(job, runs)
        yield Note(model.summary())
        yield Finished(0, "counted", time.monotonic() - began, corpus.train.n_tokens)
        yield model


def _mixed(job: Job, runs: list[Run]) -> Mix | LabelMix:
    """Raises UserError when the runs can't be mixed."""
    for run in runs:
        if run.task.name != job.task.name:
            raise UserError(f"{run.folder} is a {run.rung} of {run.task.name}; mix runs of {job.task.name}")
    if issubclass(job.model_class, LabelMix):
        parts = [LabelPart(run.model, run.tokenizer) for run in runs]
        return LabelMix.fit(
            job.config, parts, cast(LabelledCorpus, job.dataset).labelled("validation"), **job.shape
        )
    return Mix.fit(job.config, [run.model for run in runs], job.dataset.stream("validation"))
