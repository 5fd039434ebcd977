"""What help says is what is done."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest

from rung.cli import main
from rung.models.transformer.config import GPTConfig
from rung.models.transformer.decoder import GPT
from rung.models.transformer.presets import PRESETS


def help_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out


def shown_default(text: str, flag: str) -> str:
    """In Shape, Budget or Optimiser: what stands behind [default: of a flag, in one line."""
    entry = re.search(rf"│ +{flag} .*?(?=│ --|╰)", text, re.DOTALL)
    assert entry is not None, flag
    flat = re.sub(r"\s*│\s*", " ", entry[0])
    found = re.search(r"\[default: (.*?)\]", flat)
    return "" if found is None else " ".join(found[1].split())


@pytest.mark.parametrize("preset", [None, "plain", "gpt1", "llama-7b"])
def test_a_presets_defaults_are_those_it_trains_with(capsys: pytest.CaptureFixture[str], preset: str | None):
    text = help_of(capsys, "train", "gpt", *(() if preset is None else ("--preset", preset)))
    million = 1_000_000
    used = GPT.resolve_config(
        GPTConfig(preset=preset), vocab_size=50, train_tokens=million, longest_document=million
    )
    for name in (
        "norm",
        "norm_first",
        "positions",
        "feed_forward",
        "bias",
        "qk_norm",
        "tied",
        "ngrams",
        "dropout",
    ):
        shown = shown_default(text, "--" + name.replace("_", "-"))
        value = getattr(used, name)
        assert shown == (f"{value:g}" if isinstance(value, float) else str(value)), name
    for name in ("n_layer", "n_head", "context"):
        assert shown_default(text, "--" + name.replace("_", "-")).split(",")[0] == str(getattr(used, name))


@pytest.mark.parametrize("preset", PRESETS)
def test_every_default_of_a_preset_is_told(preset: str):
    assert set(PRESETS[preset]) <= set(GPTConfig.defaults_of(preset)) <= {f.name for f in fields(GPTConfig)}


@pytest.mark.parametrize(("rung", "lr", "steps"), [("mlp", "0.01", "2000"), ("neural-bigram", "0.1", "3000")])
def test_each_rungs_own_rate_and_budget_are_told(
    capsys: pytest.CaptureFixture[str], rung: str, lr: str, steps: str
):
    text = help_of(capsys, "train", rung)
    assert shown_default(text, "--lr") == lr
    assert shown_default(text, "--steps") == f"{steps} if no budget is given"


def test_every_verb_has_one_line(capsys: pytest.CaptureFixture[str]):
    lines = [line for line in help_of(capsys).splitlines() if line.startswith("│")]
    assert len(lines) > 10
    for line in lines:
        assert re.match(r"│ \S+( \(-h\))? +\S", line), f"{line!r} goes on from the line before it"


def test_names_keep_their_capitals(capsys: pytest.CaptureFixture[str]):
    assert "interpolated Kneser-Ney" in help_of(capsys, "train", "ngram")
    assert "WaveNet's hierarchy" in help_of(capsys, "train", "wavenet")
