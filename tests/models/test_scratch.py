"""The rungs of the scratch engine: the contract, and torch as the authority for logits, gradients and training."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

import rung
from rung.errors import UserError
from rung.events import Step
from rung.models.networks.mlp import MLP, MLPConfig
from rung.models.networks.network import NeuralModel, RecurrentNetwork
from rung.models.networks.neural_bigram import NeuralBigram, NeuralBigramConfig
from rung.models.networks.recurrent import RNN, RecurrentConfig
from rung.models.scratch import (
    ScratchBigram,
    ScratchBigramConfig,
    ScratchGPT,
    ScratchGPTConfig,
    ScratchMLP,
    ScratchMLPConfig,
    ScratchModel,
    ScratchRNN,
    ScratchRNNConfig,
)
from rung.models.transformer.config import GPTConfig
from rung.models.transformer.decoder import GPT
from rung.scratch.tape import Tape
from rung.tasks.language import token_batches
from rung.testing import check_model
from rung.text.stream import TokenStream
from rung.training.config import TrainingConfig
from rung.training.optimizers import add_penalties, make_optimizer
from rung.training.schedules import cosine
from rung.training.scratch import train_model

V, END = 13, 12

Pair = tuple[type[ScratchModel[Any]], Any, type[NeuralModel[Any]], Any]

PAIRS: dict[str, Pair] = {
    "bigram": (ScratchBigram, ScratchBigramConfig(), NeuralBigram, NeuralBigramConfig()),
    "mlp": (ScratchMLP, ScratchMLPConfig(n_hidden=16, n_layer=2), MLP, MLPConfig(n_hidden=16, n_layer=2)),
    "rnn": (
        ScratchRNN,
        ScratchRNNConfig(n_embd=6, n_hidden=8),
        RNN,
        RecurrentConfig(n_embd=6, n_hidden=8),
    ),
    "gpt": (
        ScratchGPT,
        ScratchGPTConfig(context=8, n_layer=2, n_head=2, n_embd=8),
        GPT,
        GPTConfig(context=8, n_layer=2, n_head=2, n_embd=8),
    ),
}

each = pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)


def stream(seed: int = 0, documents: int = 40) -> TokenStream:
    rng = np.random.default_rng(seed)
    return TokenStream.of([rng.integers(0, END, rng.integers(1, 20)) for _ in range(documents)], END)


def twins(pair: Pair, seed: int = 0) -> tuple[ScratchModel[Any], NeuralModel[Any]]:
    """The same weights in both, float64, large enough that everything bends."""
    ours_class, ours_config, theirs_class, theirs_config = pair
    theirs = theirs_class.initialise(theirs_config, V, END, seed)
    theirs.network.double()
    with torch.no_grad():
        for weight in theirs.network.parameters():
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed)), alpha=0.3)
    ours = ours_class.from_tensors(ours_config, V, END, theirs.tensors())
    back = theirs_class.from_tensors(theirs_config, V, END, ours.tensors())
    for name, tensor in back.tensors().items():
        np.testing.assert_array_equal(tensor, theirs.tensors()[name])
    return ours, theirs


@each
@given(seed=st.integers(0, 1000), vocab_size=st.integers(2, 30))
@settings(max_examples=4, deadline=None)
def test_contract(pair: Pair, seed: int, vocab_size: int) -> None:
    model = pair[0].initialise(pair[1], vocab_size, seed % vocab_size, seed)
    rng = np.random.default_rng(seed)
    for weight in model.weights().values():
        weight.data += 0.3 * rng.standard_normal(weight.shape).astype(np.float32)
    check_model(model, seed=seed)


@pytest.mark.parametrize("context", [1, 2, 5])
def test_contract_of_small_windows(context: int) -> None:
    for kind, config in (
        (ScratchGPT, ScratchGPTConfig(context=context, n_layer=1, n_head=1, n_embd=4)),
        (ScratchMLP, ScratchMLPConfig(context=context, n_hidden=4)),
    ):
        check_model(kind.initialise(config, V, END, 0))


@each
def test_same_weights_same_scores(pair: Pair) -> None:
    """Documents of several windows, so the window policy is the same too."""
    ours, theirs = twins(pair)
    rows = np.random.default_rng(1).integers(0, V, (3, 37))
    np.testing.assert_allclose(ours.score(rows), theirs.score(rows), rtol=1e-5, atol=1e-6)


@each
def test_same_logits_and_gradients(pair: Pair) -> None:
    """Logits to 1e-10 and gradients to 1e-8, in float64."""
    ours, theirs = twins(pair)
    window = 8
    batch = token_batches(ours, stream(), window, 4, 0).batch(0)
    inputs, targets, *_ = batch.arrays
    with Tape() as tape:
        loss = ours.loss(*batch.arrays)
    logits = next(record for record in tape.records if record[2][0] is loss)[1][0].data
    tape.backward(loss)
    real = targets >= 0
    expected = theirs.network(torch.tensor(inputs))[torch.tensor(real)]
    reference = expected.detach().numpy()
    np.testing.assert_allclose(logits if logits.ndim == 2 else logits[real], reference, rtol=0, atol=1e-10)
    assert batch.n_targets == real.sum()
    cross_entropy(expected, torch.tensor(targets[real])).backward()
    gradients = {name: weight.grad for name, weight in theirs.network.named_parameters()}
    for name, weight in ours.weights().items():
        assert weight.grad is not None
        np.testing.assert_allclose(weight.grad, gradients[name].numpy(), rtol=0, atol=1e-8)


@each
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "nesterov", "adamw"])
def test_same_curve(pair: Pair, optimizer: str, tmp_path: Path) -> None:
    """The loss of each of 100 steps beside the main trainer's parts on torch's network, on the same batches: schedule,
    penalties, clipping, decay, and a recurrent state that goes on from batch to batch."""
    ours, theirs = twins(pair)
    config = TrainingConfig(
        steps=100,
        optimizer=optimizer,
        schedule="cosine",
        min_lr=0.1,
        lr=0.01,
        weight_decay=0.1,
        batch_size=4,
        window=8,
        l1=1e-4,
        l2=1e-3,
    )
    batches = token_batches(ours, stream(), 8, 4, 3)
    events = list(train_model(ours, batches, config, tmp_path))
    curve = [event.loss for event in events if isinstance(event, Step)]

    network = theirs.network
    stepper = make_optimizer(optimizer, network, lr=0.01, weight_decay=0.1, beta2=config.beta2)
    state = network.initial_state(4) if isinstance(network, RecurrentNetwork) else None
    expected = []
    for t in range(100):
        inputs, targets, *fresh = (torch.tensor(part) for part in batches.batch(t).arrays)
        if isinstance(network, RecurrentNetwork) and state is not None:
            state[:, :, fresh[0]] = 0
            hidden, state = network.run(inputs, state)
            state, logits = state.detach(), network.logits(hidden)
        else:
            logits = network(inputs)
        loss = cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-1)
        stepper.zero_grad()
        loss.backward()
        add_penalties(network.parameters(), config.l1, config.l2)
        torch.nn.utils.clip_grad_norm_(network.parameters(), config.clip)
        for group in stepper.param_groups:
            group["lr"] = 0.01 * cosine((t + 1) / 100, warmup=config.warmup, floor=config.min_lr)
        stepper.step()
        expected.append(loss.item())
    np.testing.assert_allclose(curve, expected, rtol=1e-9)


def test_weights_that_do_not_fit_are_named() -> None:
    model = ScratchMLP.initialise(ScratchMLPConfig(), V, END, 0)
    with pytest.raises(UserError, match=r"embedding should be \(13, 4\) and is \(13, 10\)"):
        ScratchMLP.from_tensors(ScratchMLPConfig(n_embd=4), V, END, model.tensors())


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: ScratchGPTConfig(n_head=3), "--n-head 3 does not divide --n-embd 128"),
        (lambda: ScratchMLPConfig(context=0), "--context 0 is not allowed"),
        (lambda: ScratchBigram.initialise(ScratchBigramConfig(), 20_000, 0, 0), "--vocab-size 14142 or less"),
    ],
)
def test_shapes_that_cannot_be(make: Callable[[], object], says: str) -> None:
    with pytest.raises(UserError, match=says):
        make()


NAMES = "".join(f"{a}{b}{a}{c}n\n" for a in "mkt" for b in "aeiou" for c in "aeiou")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"accumulate": 2}, "--accumulate is not there for scratch rungs"),
        ({"average": 0.9}, "--average is not there"),
        ({"optimizer": "muon"}, "--optimizer muon is not there"),
    ],
)
def test_settings_it_does_not_have(settings: dict[str, Any], says: str, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text(NAMES)
    with pytest.raises(UserError, match=says):
        rung.train("scratch-mlp", tmp_path / "names.txt", out=tmp_path / "run", steps=2, **settings)


@pytest.mark.parametrize("name", ["scratch-bigram", "scratch-mlp", "scratch-rnn", "scratch-gpt"])
def test_a_run_that_is_stopped_ends_as_one_that_is_not(name: str, tmp_path: Path) -> None:
    """Killed after any step and resumed, the weights are bit for bit those of a run that went through."""
    (tmp_path / "names.txt").write_text(NAMES * 3)
    settings: dict[str, Any] = {
        "steps": 12,
        "eval_every": 3,
        "documents": "lines",
        "lr": 0.01,
        "window": 4,
        "batch_size": 4,
    }
    whole = rung.train(name, tmp_path / "names.txt", out=tmp_path / "whole", **settings)
    taken = 0

    def stop() -> bool:
        nonlocal taken
        taken += 1
        return taken == 5

    half = rung.train(name, tmp_path / "names.txt", out=tmp_path / "half", stop=stop, **settings)
    assert half.recipe["status"] == "training"
    resumed = rung.resume(tmp_path / "half")
    for key, tensor in whole.model.tensors().items():
        np.testing.assert_array_equal(resumed.model.tensors()[key], tensor)
    assert resumed.recipe["result"]["steps"] == 12
    assert resumed.recipe["result"]["validation"] == whole.recipe["result"]["validation"]
    assert rung.generate(whole, temperature=0.0)


def test_torch_stays_unloaded(tmp_path: Path) -> None:
    """Train, evaluate and sample through the command line."""
    (tmp_path / "names.txt").write_text(NAMES)
    program = (
        "import sys\nfrom rung.cli import main\n"
        "for line in ('train scratch-gpt names.txt --out run --steps 2 --n-layer 1 --json', 'evaluate run --json',"
        " 'sample run --json'):\n"
        "    sys.argv = ['rung', *line.split()]\n"
        "    try:\n        main()\n    except SystemExit as done:\n        assert not done.code, done.code\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[0])["parameters"] > 0
