"""Runs made smaller: what is rounded lies within half a step, what is left out is what is smallest, runs stay runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rung
from rung.cli import main
from rung.errors import UserError
from rung.models.quantisation import GROUP, quantise, unpacked
from tests.text_made import sentences


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("smaller")
    (folder / "text.txt").write_text(sentences(300))
    small = {"preset": "plain", "n_layer": 2, "n_head": 2, "n_embd": 16, "steps": 20, "tokenizer": "char"}
    return rung.train("gpt", folder / "text.txt", out=folder / "run", documents="lines", **small).folder


@given(st.sampled_from([8, 4]), st.integers(1, 70), st.integers(0, 1000))
def test_no_number_is_off_by_more_than_half_a_step(bits: int, width: int, seed: int) -> None:
    """A step is the largest of the row (of its group, at 4 bits, rounded up to a level) over the largest number."""
    matrix = np.random.default_rng(seed).normal(size=(3, width)).astype(np.float32) ** 3
    matrix[1] = 0
    written = quantise({"a": matrix, "bias": matrix[0]}, bits)
    codes, weights = unpacked(written)
    np.testing.assert_array_equal(weights["bias"], matrix[0])
    np.testing.assert_array_equal(weights["a"], codes["a"].weights())
    assert not weights["a"][1].any()
    off = np.abs(weights["a"] - matrix)
    largest = np.abs(matrix).max(1, keepdims=True)
    if bits == 8:
        assert (off <= largest / 127 / 2 * 1.001 + 1e-12).all()
        return
    for begin in range(0, width, GROUP):
        own = slice(begin, begin + GROUP)
        step = np.abs(matrix[:, own]).max(1, keepdims=True) / 7 + largest / 126
        assert (off[:, own] <= step / 2 * 1.001 + 1e-12).all()


@pytest.mark.parametrize("bits", [8, 4])
def test_a_quantised_run_is_the_run_of_its_rounded_weights(run: Path, tmp_path: Path, bits: int) -> None:
    """Scored, and written token by token by the product that reads whole numbers, beyond where that is compiled."""
    made = rung.quantise(run, bits=bits, out=tmp_path / "made").made.run
    again, before = rung.load(made.folder), rung.load(run)
    _, weights = unpacked(quantise(before.model.tensors(), bits))
    plain = type(before.model).from_tensors(before.model.config, tensors=weights, **before.model.shape)
    ids = before.tokenizer.encode("the old dog saw a bird in the garden")
    np.testing.assert_allclose(again.model.score(ids), plain.score(ids), atol=1e-5)
    one, other = again.model.start(1), plain.start(1)
    for token in [before.tokenizer.end, *ids.tolist()] * 3:
        found, one = again.model.advance(one, np.array([token]))
        expected, other = plain.advance(other, np.array([token]))
        np.testing.assert_allclose(found, expected, atol=1e-4)
    assert (made.folder / "model.safetensors").stat().st_size < (run / "model.safetensors").stat().st_size / 2
    with pytest.raises(UserError, match="quantised already"):
        rung.quantise(made.folder, out=tmp_path / "twice")


def test_the_smallest_weights_go_and_no_others(run: Path, tmp_path: Path) -> None:
    pruned = rung.prune(run, share=0.3, out=tmp_path / "pruned")
    before, after = rung.load(run).model.tensors(), pruned.made.run.model.tensors()
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed
    assert not any("embedding" in name or "norm" in name for name in changed)
    for name in changed:
        gone = after[name] == 0
        assert gone.mean() == pytest.approx(0.3, abs=0.01)
        assert np.abs(before[name][gone]).max() <= np.abs(before[name][~gone]).min()
        np.testing.assert_array_equal(after[name][~gone], before[name][~gone])


def test_heads_and_blocks_go_and_a_run_is_left(run: Path, tmp_path: Path) -> None:
    """A network without a block is smaller; without heads it is what it would be if they wrote nothing."""
    heads = rung.prune(run, share=0.25, of="heads", out=tmp_path / "heads").made.run
    assert heads.model.n_parameters == rung.load(run).model.n_parameters
    (told,) = heads.recipe["pruned"]["heads"]
    weight = heads.model.tensors()[f"blocks.{told['block']}.attention.project.weight"]
    assert not weight[:, 8 * told["head"] : 8 * told["head"] + 8].any()
    blocks = rung.prune(run, share=0.5, of="blocks", out=tmp_path / "blocks").made.run
    assert blocks.config.n_layer == 1
    assert rung.evaluate(blocks).bits_per_unit > 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["prune", "--share", "1"], "above 0 and below 1"),
        (["prune", "--share", ".3", "--of", "head"], "heads"),
        (["quantise", "--bits", "3"], "--bits"),
    ],
)
def test_what_can_not_be_is_said(
    run: Path, tmp_path: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([arguments[0], str(run), *arguments[1:], "--out", str(tmp_path / "made")])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "made").exists()


def test_as_typed(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["quantise", str(run), "--bits", "8", "--out", str(tmp_path / "made"), "--json"])
    assert ended.value.code == 0
    assert isinstance(json.loads(capsys.readouterr().out), dict)
