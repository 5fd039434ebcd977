"""bfloat16 where it pays."""

from pathlib import Path
from typing import Any

import pytest
import torch

from rung import api
from rung.errors import UserError
from rung.events import Event, Note
from rung.tensors import load_tensors
from rung.training import precision
from rung.training.config import TrainingConfig

SIZES: dict[str, dict[str, Any]] = {
    "gpt": {"n_layer": 2, "n_head": 2, "n_embd": 32, "context": 16},
    "mlp": {},
    "wavenet": {},
    "rnn": {},
    "lstm": {},
    "gru": {},
    "neural-bigram": {},
}


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "t.txt"
    path.write_text(
        "\n".join(f"the {a} sat on the {b}" for a in ("cat", "dog", "hen") for b in ("mat", "log") * 60)
    )
    return path


@pytest.mark.parametrize("rung", SIZES)
def test_bfloat16_learns_what_float32_learns_and_keeps_float32_weights(rung: str, text: Path, tmp_path: Path):
    nats = {}
    for kind in ("float32", "bfloat16"):
        run = api.train(rung, text, out=tmp_path / kind, steps=60, precision=kind, **SIZES[rung])
        nats[kind] = run.recipe["result"]["validation"]["nats_per_token"]
        weights, _ = load_tensors(run.folder / "model.safetensors")
        assert all(weight.dtype == "float32" for weight in weights.values())
    # Eight bits of precision: the losses differ in the third digit, not in the first.
    assert nats["bfloat16"] == pytest.approx(nats["float32"], rel=0.05)


def test_auto_follows_the_measurement_says_so_and_is_written_down(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for gain, expected in ((4.0, "bfloat16"), (1.1, "float32"), (0.5, "float32")):
        monkeypatch.setattr(precision, "speed_up", lambda width, gain=gain: gain)
        events: list[Event] = []
        run = api.train("mlp", text, out=tmp_path / str(gain), steps=2, on_event=events.append)
        assert run.recipe["training"]["precision"] == expected
        told = [event.text for event in events if isinstance(event, Note) and "bfloat16" in event.text]
        assert len(told) == (expected == "bfloat16")


def test_the_measurement_is_a_ratio_of_times():
    assert 0.01 < precision.speed_up(64) < 100


def test_matrices_are_multiplied_in_bfloat16_and_sums_are_not():
    x = torch.ones(2, 3)
    with precision.computing("bfloat16", torch.device("cpu")):
        product = x @ x.T
    assert product.dtype == torch.bfloat16
    with precision.computing("float32", torch.device("cpu")):
        assert (x @ x.T).dtype == torch.float32


def test_an_unknown_precision_is_one_line():
    with pytest.raises(UserError, match=r"--precision 'bf16' is unknown.*bfloat16"):
        TrainingConfig(precision="bf16")
