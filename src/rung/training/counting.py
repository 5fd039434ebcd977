"""Training by counting: one pass over the data."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from rung.events import Event, Finished, Phase
from rung.models.base import Model
from rung.text.stream import TokenStream
from rung.training.parents import examples_of
from rung.training.starting_vectors import vectors_to_start_from
from rung.training.trainers import Job, Trainer


class CountingTrainer(Trainer):
    """Has the model class count."""

    def train(self, job: Job) -> Iterator[Event | Model]:
        job.model_class.warm_up()
        began = time.monotonic()
        examples = job.task.examples(job.dataset, job.model_class)
        if "parent" in job.run.recipe:
            examples = examples_of(job.run, examples)
        n_tokens = examples.n_tokens if isinstance(examples, TokenStream) else job.dataset.train.n_tokens
        yield Phase(f"counting {n_tokens:,} tokens")
        shared: dict[str, Any] = {"group": job.group} if job.model_class.distributed else {}
        if job.model_class.seeded:
            shared["seed"] = job.seed
        if job.model_class.starts_from_vectors:
            shared["vectors"] = vectors_to_start_from(job.run)
        model = None
        for event in job.model_class.fit(job.config, examples, **job.shape, **shared):
            if isinstance(event, Event):
                yield event
            else:
                model = event
        yield Finished(0, "counted", time.monotonic() - began, n_tokens)
        if model is not None:
            yield model
