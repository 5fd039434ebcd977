"""Networks that begin with a run's weights for another task: what is taken over, what is learned, what stays."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import rung
from rung import api
from rung.errors import UserError
from rung.exchange.hugging_face_weights import from_transformers
from rung.models.networks import lora
from rung.models.transformer.decoder import GPT, GPTConfig
from rung.runs import Run
from rung.tensors import load_tensors
from rung.text.stream import TokenStream
from rung.training import transfer
from rung.training.learn import Learn
from tests.text_made import sentences

PLAIN: dict[str, Any] = {"preset": "plain", "n_layer": 2, "n_head": 2, "n_embd": 8, "context": 16}
LANGUAGE: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt": ("gpt", {"n_layer": 2, "n_head": 2, "n_embd": 8, "context": 16, "ngrams": 3, "ngram_rows": 64}),
    "gpt with a head of its own": ("gpt", {**PLAIN, "tied": False, "positions": "learned"}),
    "gru": ("gru", {"n_embd": 8, "n_hidden": 8}),
}
HEADS = ("classify.", "pooler.", "head.")
FEW: dict[str, Any] = {"steps": 3, "batch_size": 4, "lr": 0.01}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text, labels of some of its lines, and other labels of them."""
    folder = tmp_path_factory.mktemp("data")
    text = sentences(120)
    (folder / "text.txt").write_text(text, encoding="utf-8")
    lines = text.splitlines()[:60]
    rows = [{"text": line, "label": "ab"[len(line) % 2], "size": "xyz"[len(line) % 3]} for line in lines]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def parents(data: Path) -> dict[str, Run]:
    found = {
        name: api.train(rung_, data / "text.txt", out=data / name, **FEW, **how)
        for name, (rung_, how) in LANGUAGE.items()
    }
    shape: dict[str, Any] = {"n_layer": 2, "n_head": 2, "n_embd": 8, "context": 16}
    found["bert"] = api.train(
        "bert", data / "text.txt", task="masked", tokenizer="char", out=data / "bert", **FEW, **shape
    )
    found["labels"] = api.train(
        "gpt", data / "rows.jsonl", label="size", tokenizer="char", out=data / "labels", **FEW, **PLAIN
    )
    return found


def child_of(parent: Run, data: Path, out: Path, **how: Any) -> Run:
    settings: dict[str, Any] = {"label": "label", "from_": parent.folder, "out": out, **FEW, **how}
    return api.train(parent.rung, data / "rows.jsonl", **settings)


def bodies(parent: Run, child: Run) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """What is called alike in both, but for heads."""
    theirs = {name.removeprefix("body."): array for name, array in parent.model.tensors().items()}
    ours = {name.removeprefix("body."): array for name, array in child.model.tensors().items()}
    return {
        name: (theirs[name], array)
        for name, array in ours.items()
        if name in theirs and not name.startswith(HEADS)
    }


@pytest.mark.parametrize("name", [*LANGUAGE, "bert", "labels"])
def test_with_a_head_alone_the_body_stays_what_it_was(
    name: str, parents: Mapping[str, Run], data: Path, tmp_path: Path
):
    parent = parents[name]
    child = child_of(parent, data, tmp_path / "child", learn="head")
    found = bodies(parent, child)
    assert len(found) >= 5
    for theirs, ours in found.values():
        np.testing.assert_array_equal(ours[: len(theirs)], theirs)
    fresh = child_of(parent, data, tmp_path / "fresh", learn="head", lr=1e-12, weight_decay=0.0)
    changed = [
        key for key, array in child.model.tensors().items() if np.any(array != fresh.model.tensors()[key])
    ]
    assert changed
    assert all(key.startswith(HEADS) or key in child.model.network.tables for key in changed)
    for own in (parent, child):
        assert (own.folder / "tokenizer.json").read_bytes() == (parent.folder / "tokenizer.json").read_bytes()


@pytest.mark.parametrize("name", ["gpt with a head of its own", "gru", "bert"])
def test_with_all_of_it_everything_is_learned_from_there(
    name: str, parents: Mapping[str, Run], data: Path, tmp_path: Path
):
    parent = parents[name]
    still = child_of(parent, data, tmp_path / "still", lr=1e-12, weight_decay=0.0)
    for theirs, ours in bodies(parent, still).values():
        np.testing.assert_allclose(ours[: len(theirs)], theirs, atol=1e-6)
    moved = child_of(parent, data, tmp_path / "moved")
    assert (
        sum(bool(np.any(ours[: len(theirs)] != theirs)) for theirs, ours in bodies(parent, moved).values())
        >= 5
    )


def test_the_last_block_is_learned_and_what_lies_below_stays(
    parents: Mapping[str, Run], data: Path, tmp_path: Path
):
    parent = parents["gpt"]
    child = child_of(parent, data, tmp_path / "child", learn="last:1")
    for key, (theirs, ours) in bodies(parent, child).items():
        same = np.array_equal(ours[: len(theirs)], theirs)
        assert same == (not key.startswith(("blocks.1.", "norm."))), key


@pytest.mark.parametrize("name", ["gpt", "bert"])
def test_what_low_rank_adds_to_each_linear_layer_is_of_that_rank_and_the_rest_stays(
    name: str, parents: Mapping[str, Run], data: Path, tmp_path: Path
):
    parent = parents[name]
    child = child_of(parent, data, tmp_path / "child", learn="lora:2", lr=0.1)
    adapted = {f"{layer.removeprefix('body.')}.weight" for layer in lora.linear_layers(child.model.network)}
    for key, (theirs, ours) in bodies(parent, child).items():
        added = ours[: len(theirs)].astype(np.float64) - theirs
        if key in adapted:
            sizes = np.linalg.svd(added, compute_uv=False)
            assert sizes[1] > 1e-4, key
            assert sizes[2] < 1e-5 * sizes[0], key
        else:
            assert not added.any(), key


def test_the_small_file_holds_all_that_was_learned(parents: Mapping[str, Run], data: Path, tmp_path: Path):
    """The parent's weights, the products times their scale, and the new head: nothing else is in the model."""
    parent = parents["bert"]
    child = child_of(parent, data, tmp_path / "child", learn="lora:2", lr=0.1)
    path = child.folder / "adapter.safetensors"
    small, told = load_tensors(path)
    scale = float(told["scale"])
    theirs, made = parent.model.tensors(), {}
    for key, array in child.model.tensors().items():
        if key in small:
            made[key] = small[key]
        else:
            made[key] = np.array(theirs[key])
            if f"{key}.0.a" in small:
                made[key] += scale * small[f"{key}.0.b"] @ small[f"{key}.0.a"]
        np.testing.assert_allclose(made[key], array, atol=1e-6, err_msg=key)
    assert {key.rpartition(".0.")[0] or key for key in small} <= made.keys()
    assert sum(array.size for array in small.values()) < 0.5 * sum(array.size for array in made.values())


def test_frozen_parts_drop_nothing_in_training(parents: Mapping[str, Run], data: Path, tmp_path: Path):
    parent = parents["bert"]
    child = child_of(parent, data, tmp_path / "child", learn="head", dropout=0.5).model
    texts = torch.randint(0, 5, (3, 7), generator=torch.Generator().manual_seed(0))
    child.network.train()
    assert not torch.equal(child.network.body(texts), child.network.body(texts))
    transfer.restrict(child.network, Learn("head"), 0, seed=0)
    child.network.train()
    assert torch.equal(child.network.body(texts), child.network.body(texts))
    assert not torch.equal(child.network(texts), child.network(texts))  # the head's dropout is there
    with child.inference():
        pass
    assert not child.network.body.blocks[0].training


def gpt(**how: Any) -> GPT:
    model = GPT.initialise(
        GPT.resolve_config(
            GPTConfig(**{**PLAIN, **how}), vocab_size=13, train_tokens=99, longest_document=16
        ),
        13,
        12,
        seed=3,
    )
    model.network.eval()
    return model


def randomised(network: torch.nn.Module) -> None:
    with torch.no_grad():
        for i, (_, parameter) in enumerate(sorted(network.named_parameters())):
            if parameter.requires_grad:
                parameter.normal_(0, 0.3, generator=torch.Generator().manual_seed(i))


def test_low_rank_begins_as_nothing_and_merged_it_is_the_same_to_the_bit():
    model = gpt()
    text = np.arange(10) % 12
    before = model.score(text)
    transfer.restrict(model.network, Learn("lora", 2), 0, seed=0)
    model.network.eval()
    np.testing.assert_array_equal(model.score(text), before)
    randomised(model.network)
    apart = model.score(text)
    assert np.abs(apart - before).max() > 0.01
    lora.merge(model.network)
    np.testing.assert_array_equal(model.score(text), apart)
    lora.merge(model.network)
    np.testing.assert_array_equal(model.score(text), apart)
    assert model.tensors().keys() == gpt().tensors().keys()


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_low_rank_numbers_are_pefts():
    """Its LoRA on transformers' GPT-2, whose matrices lie transposed, with the same products."""
    from peft import LoraConfig, get_peft_model
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    theirs: Any = GPT2LMHeadModel(
        GPT2Config(vocab_size=13, n_positions=16, n_embd=8, n_layer=2, n_head=2)
    ).eval()
    model = from_transformers(theirs.config.to_dict(), theirs.state_dict())
    transfer.restrict(model.network, Learn("lora", 3), 0, seed=0)
    randomised(model.network)
    layers = ["c_attn", "c_proj", "c_fc"]
    how = LoraConfig(r=3, lora_alpha=round(3 * lora.ALPHA), target_modules=layers, fan_in_fan_out=True)
    adapted: Any = get_peft_model(theirs, how)
    names = {
        "attention.qkv": "attn.c_attn",
        "attention.project": "attn.c_proj",
        "feed_forward.expand": "mlp.c_fc",
        "feed_forward.project": "mlp.c_proj",
    }
    products = {
        name.replace(".parametrizations.weight", ""): part
        for name, part in model.network.named_modules()
        if isinstance(part, lora.LowRank)
    }
    assert len(products) == 2 * len(names)
    with torch.no_grad():
        for block in range(2):
            for ours, its in names.items():
                layer = adapted.get_submodule(f"base_model.model.transformer.h.{block}.{its}")
                product = products[f"blocks.{block}.{ours}.0"]
                layer.lora_A["default"].weight.copy_(product.a)
                layer.lora_B["default"].weight.copy_(product.b)
        tokens = torch.arange(10)[None] % 13
        expected = adapted(tokens).logits
        torch.testing.assert_close(model.network.eval()(tokens), expected, rtol=0, atol=1e-5)
        lora.merge(model.network)
        torch.testing.assert_close(model.network(tokens), expected, rtol=0, atol=1e-5)


def test_the_first_products_are_as_wide_as_pefts():
    """A uniform within 1 / sqrt(in), as its kaiming_uniform_(a=sqrt(5)) makes it; B zero."""
    product = lora.LowRank(5, 400, 64, 1.0, torch.Generator().manual_seed(0))
    assert product.a.abs().max() <= 1 / 20
    assert product.a.std().item() == pytest.approx(1 / 20 / 3**0.5, rel=0.02)
    assert not product.b.any()


@pytest.mark.parametrize("name", ["gpt", "bert"])
def test_cut_it_has_the_lower_blocks(name: str, parents: Mapping[str, Run], data: Path, tmp_path: Path):
    parent = parents[name]
    child = child_of(parent, data, tmp_path / "child", learn="head", keep_layers=1)
    assert child.recipe["model"]["config"]["n_layer"] == 1
    found = bodies(parent, child)
    assert any(key.startswith("blocks.0.") for key in found)
    assert not any("blocks.1." in key for key in child.model.tensors())
    for theirs, ours in found.values():
        np.testing.assert_array_equal(ours[: len(theirs)], theirs)


@pytest.mark.parametrize(
    ("name", "learn"), [("gpt", "lora:2"), ("gpt", "last:1"), ("bert", "lora:1"), ("gru", "head")]
)
def test_stopped_and_gone_on_with_it_is_the_same_and_needs_no_parent(
    name: str, learn: str, parents: Mapping[str, Run], data: Path, tmp_path: Path
):
    parent = tmp_path / "parent"
    shutil.copytree(parents[name].folder, parent)
    how = {"learn": learn, "steps": 6, "from_": parent}
    whole = child_of(parents[name], data, tmp_path / "whole", **how)
    stops = iter([False, False, True])
    part = child_of(parents[name], data, tmp_path / "part", **how, stop=lambda: next(stops))
    assert part.recipe["status"] != "finished"
    shutil.rmtree(parent)
    part = api.resume(part.folder)
    for file in ("model.safetensors", "adapter.safetensors"):
        assert (part.folder / file).read_bytes() == (whole.folder / file).read_bytes()


def test_the_same_labels_go_on_with_the_same_head(parents: Mapping[str, Run], data: Path, tmp_path: Path):
    parent = parents["labels"]
    same = child_of(parent, data, tmp_path / "same", label="size", lr=1e-12, weight_decay=0.0, steps=1)
    texts = TokenStream.of([np.arange(5)], parent.tokenizer.end)
    np.testing.assert_allclose(same.model.log_probs(texts), parent.model.log_probs(texts), atol=1e-5)
    new = child_of(parent, data, tmp_path / "new", lr=1e-12, weight_decay=0.0, steps=1)
    assert new.model.labels == ["a", "b"]


def test_three_epochs_at_a_quarter_of_the_rate_unless_told(
    parents: Mapping[str, Run], data: Path, tmp_path: Path
):
    """Radford et al. 2018: 6.25e-5 after 2.5e-4, three epochs."""
    settings: dict[str, Any] = {"label": "label", "from_": parents["gpt"].folder, "batch_size": 16}
    child = api.train("gpt", data / "rows.jsonl", out=tmp_path / "child", **settings)
    assert child.recipe["training"]["lr"] == pytest.approx(0.0025)
    n = child.corpus.facts["parts"]["train"]["examples"]
    assert child.recipe["result"]["train_tokens"] == pytest.approx(3 * n, abs=16)


@pytest.mark.parametrize(
    ("rung_name", "settings", "says"),
    [
        ("gpt", {"learn": "half"}, "--learn half is not possible: give all, head, last:K"),
        ("gpt", {"learn": "lora:0"}, "--learn lora:0 is not possible"),
        ("gpt", {"learn": "last:3"}, "--learn last:3 is more than the 2 blocks"),
        ("gpt", {"learn": "head", "from_": None}, "--learn head says what .*: give --from RUN"),
        ("gpt", {"keep_layers": 1, "from_": None}, "--keep-layers 1 says what .*: give --from RUN"),
        ("gpt", {"keep_layers": 3}, "--keep-layers 3 is more than the 2 layers"),
        ("gpt", {"keep_layers": 0}, "--keep-layers 0 is not possible"),
        ("gpt", {"n_embd": 16}, "--n-embd 16 does not go with --from .*whose weights have 8"),
        ("gpt", {"tokenizer": "word"}, "--tokenizer word does not go with --from"),
        ("gru", {}, "is a gpt, not a gru"),
        ("bert", {}, "is a gpt, not a bert"),
        ("bag-of-words", {}, "is a gpt, not a bag-of-words"),
    ],
)
def test_what_cannot_be_says_so_in_one_line(
    rung_name: str,
    settings: dict[str, Any],
    says: str,
    parents: Mapping[str, Run],
    data: Path,
    tmp_path: Path,
):
    how = {"label": "label", "from_": parents["gpt"].folder, "out": tmp_path / "x", **settings}
    with pytest.raises(UserError, match=says):
        api.train(rung_name, data / "rows.jsonl", **how)
    assert not (tmp_path / "x").exists()


def test_the_best_of_restarts_leaves_what_it_learned_alone_too(
    parents: Mapping[str, Run], data: Path, tmp_path: Path
):
    best = child_of(parents["gpt"], data, tmp_path / "best", learn="lora:2", restarts=2)
    seed = next(entry["seed"] for entry in best.recipe["restarts"] if entry["kept"])
    alone = child_of(parents["gpt"], data, tmp_path / "alone", learn="lora:2", seed=seed)
    for name in ("adapter.safetensors", "model.safetensors"):
        assert (best.folder / name).read_bytes() == (alone.folder / name).read_bytes()


def test_no_way_is_named_that_is_none(data: Path, tmp_path: Path):
    bag = api.train("bag-of-words", data / "rows.jsonl", label="label", out=tmp_path / "bag")
    with pytest.raises(UserError, match=r"is a bag-of-words, not a gpt$"):
        api.train("gpt", data / "rows.jsonl", label="label", from_=bag.folder, out=tmp_path / "x")


def test_blocks_and_linear_layers_are_asked_of_networks_that_have_some(
    parents: Mapping[str, Run], data: Path, tmp_path: Path
):
    for learn, says in (("last:1", "needs blocks"), ("lora:2", "needs linear layers")):
        with pytest.raises(UserError, match=says):
            child_of(parents["gru"], data, tmp_path / "x", learn=learn)


def test_a_climb_sets_the_ways_to_use_a_run_side_by_side(
    parents: Mapping[str, Run], data: Path, tmp_path: Path
):
    report = rung.climb(
        data / "rows.jsonl",
        label="label",
        rungs=["majority"],
        from_=parents["gpt"].folder,
        split="60/20/20",
        steps=2,
        out=tmp_path / "climb",
    )
    names = [row["name"] for row in report["rungs"]]
    assert names == ["majority", "gpt-head", "gpt-cut", "gpt-all", "gpt-scratch"]
    assert "Of the ways to use" in report["ways"]
    assert report["ways"] in (tmp_path / "climb" / "report.html").read_text(encoding="utf-8")
    for name, begins in zip(names[1:], (True, True, True, False), strict=True):
        run = rung.load(tmp_path / "climb" / name)
        assert ("parent" in run.recipe) == begins
        assert run.tokenizer.vocab_size == parents["gpt"].tokenizer.vocab_size
    with pytest.raises(UserError, match="give --label too"):
        rung.climb(data / "text.txt", from_=parents["gpt"].folder, out=tmp_path / "other")
