"""Folders for transformers: what it makes of ours, and what we make of its own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    OpenAIGPTConfig,
    OpenAIGPTLMHeadModel,
)

import rung
from rung.cli import main
from rung.errors import UserError
from rung.exchange.hugging_face import export_hf, import_hf
from rung.runs import Run
from tests.exchange.test_hugging_face_tokenizers import byte_level
from tests.exchange.test_hugging_face_weights import LLAMA, SMALL, random_weights
from tests.text_made import sentences

PROMPT = "Romeo é日🙂 wants"


def small_run(folder: Path, **chosen: Any) -> Run:
    text = folder / "text.txt"
    text.write_text(sentences(60) + "日日 éé été été\n", encoding="utf-8")
    shape: dict[str, Any] = {
        "context": 48,
        "n_layer": 1,
        "n_head": 2,
        "n_embd": 16,
        "preset": "plain",
        **chosen,
    }
    return rung.train("gpt", text, out=folder / "run", steps=8, lr=0.02, batch_size=4, **shape)


@pytest.mark.parametrize(
    "chosen",
    [
        {"tokenizer": "char", "context": 64},
        {"tokenizer": "byte", "norm_first": False},
        {"tokenizer": "word", "tied": False, "bias": False},
        {"tokenizer": "bpe", "vocab_size": 300, "preset": "llama", "n_kv_head": 1},
        {"tokenizer": "wordpiece", "vocab_size": 540},
        {"tokenizer": "unigram", "vocab_size": 300},
    ],
    ids=str,
)
def test_transformers_loads_a_run_and_writes_the_same_text(tmp_path: Path, chosen: dict[str, Any]) -> None:
    run = small_run(tmp_path, **chosen)
    out = tmp_path / "hf"
    export_hf(run, out)
    model: Any = AutoModelForCausalLM.from_pretrained(out)
    tokenizer = AutoTokenizer.from_pretrained(out)
    ids = tokenizer(PROMPT, return_tensors="pt").input_ids
    assert ids[0].tolist() == [run.model.end, *run.tokenizer.encode(PROMPT)]
    made = model.generate(ids, max_new_tokens=20, do_sample=False)[0, ids.shape[1] :].tolist()
    (ours,) = rung.generate(run, PROMPT, temperature=0, max_tokens=20)
    assert made == ours.token_ids
    assert tokenizer.decode(made, skip_special_tokens=True) == ours.text


def test_only_transformers_go_to_transformers(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(sentences(50))
    run = rung.train("bigram", tmp_path / "text.txt", out=tmp_path / "run")
    with pytest.raises(UserError, match="only gpt runs"):
        export_hf(run, tmp_path / "hf")
    assert not (tmp_path / "hf").exists()


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    run = small_run(tmp_path)
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "mine").write_text("")
    with pytest.raises(UserError, match="not empty"):
        export_hf(run, tmp_path / "hf")
    export_hf(run, tmp_path / "hf", force=True)
    assert (tmp_path / "hf" / "mine").exists()


def test_an_export_that_was_killed_in_its_last_renames_is_whole_when_it_is_read(tmp_path: Path) -> None:
    out, moving = tmp_path / "hf", tmp_path / "hf" / ".rung-moving"
    run = small_run(tmp_path)
    export_hf(run, out)
    moving.mkdir()
    for name in ("model.safetensors", "config.json"):
        (out / name).rename(moving / name)
    read = import_hf(out, tmp_path / "read")
    ids = read.tokenizer.encode(PROMPT)
    np.testing.assert_allclose(
        read.model.score(ids), run.model.score(run.tokenizer.encode(PROMPT)), rtol=1e-5
    )
    assert not moving.exists()


def test_no_run_is_written_over(tmp_path: Path) -> None:
    run = small_run(tmp_path)
    before = (run.folder / "model.safetensors").read_bytes()
    (tmp_path / "link").symlink_to(run.folder)
    for out in (run.folder, tmp_path / "link", run.folder / "data"):
        with pytest.raises(UserError, match="part of the run"):
            export_hf(run, out, force=True)
    shutil.copytree(run.folder, tmp_path / "other")
    with pytest.raises(UserError, match="part of the run other"):
        export_hf(run, tmp_path / "other", force=True)
    assert (run.folder / "model.safetensors").read_bytes() == before


def test_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run = small_run(tmp_path)
    for command in (
        ["export", "run", "--format", "hf", "--out", "there"],
        ["import", "hf", "there", "--out", "back"],
    ):
        with pytest.raises(SystemExit) as done:
            main(command)
        assert done.value.code == 0
    back = rung.load("back")
    (ours,) = rung.generate(run, PROMPT, temperature=0, max_tokens=20)
    (again,) = rung.generate(back, PROMPT, temperature=0, max_tokens=20)
    assert again.text == ours.text
    capsys.readouterr()
    with pytest.raises(SystemExit) as done:
        main(["import", "hf", "nowhere"])
    assert done.value.code == 2
    assert capsys.readouterr().err.startswith("rung: there is no folder nowhere;")


def small_gpt2(**changes: Any) -> GPT2LMHeadModel:
    fields: dict[str, Any] = {**SMALL, **changes}
    return GPT2LMHeadModel(GPT2Config(**fields))


def test_a_folder_with_two_marks_scores_from_bos_to_eos(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = byte_level(tmp_path / "hf", ["<s>", "</s>"])
    begin, end = (theirs.get_vocab()[mark] for mark in ("<s>", "</s>"))
    fields: dict[str, Any] = {**LLAMA, "vocab_size": 310, "bos_token_id": begin, "eos_token_id": end}
    network = random_weights(LlamaForCausalLM(LlamaConfig(**{**fields, "max_position_embeddings": 40})))
    network.save_pretrained(tmp_path / "hf")
    with pytest.raises(SystemExit) as done:
        main(["import", "hf", str(tmp_path / "hf"), "--out", str(tmp_path / "run")])
    assert done.value.code == 0
    assert f"documents begin with bos, id {begin} there, and end with eos, {end}" in capsys.readouterr().out
    run = rung.load(tmp_path / "run")
    ids = torch.tensor([[begin, *theirs.encode(PROMPT), end]])
    with torch.no_grad():
        expected = torch.log_softmax(network(ids).logits, -1)[0, :-1].gather(-1, ids[0, 1:, None]).sum()
    (score,) = rung.score(run, [PROMPT])
    assert score.log_prob == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("first", [False, True])
def test_a_folder_of_theirs_becomes_a_run_that_writes_the_same_text(tmp_path: Path, first: bool) -> None:
    """Special tokens after the pieces, as GPT-2 has them, or before, as many small Llamas do."""
    theirs = byte_level(tmp_path / "hf", ["<|endoftext|>", "<|other|>"], first=first)
    mark = theirs.get_vocab()["<|endoftext|>"]
    fields: dict[str, Any] = {**LLAMA, "vocab_size": 310, "eos_token_id": mark, "bos_token_id": mark}
    config = LlamaConfig(**{**fields, "max_position_embeddings": 40})
    network = random_weights(LlamaForCausalLM(config))
    network.save_pretrained(tmp_path / "hf")

    run = import_hf(tmp_path / "hf", tmp_path / "run")
    assert "no_tokenizer" not in run.recipe["data"]
    assert run.tokenizer.end == run.model.end == 309
    spelled = theirs.decode(theirs.encode(PROMPT))
    assert run.tokenizer.decode(run.tokenizer.encode(PROMPT).tolist()) == spelled == PROMPT
    ids = torch.tensor([[mark, *theirs.encode(PROMPT)]])
    with torch.no_grad():
        expected = torch.log_softmax(network(ids).logits, -1)[0, :-1].gather(-1, ids[0, 1:, None])[:, 0]
    found = run.model.score(run.tokenizer.encode(PROMPT))
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)
    (ours,) = rung.generate(run, PROMPT, temperature=0, max_tokens=12)
    made = network.generate(ids, max_new_tokens=12, do_sample=False, pad_token_id=mark)[0, ids.shape[1] :]
    places = {mark: 309, 309: mark}  # our mark has the last id
    assert [places.get(i, i) for i in made.tolist()] == ours.token_ids

    # And out again.
    export_hf(run, tmp_path / "again")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "again")
    tokens = AutoTokenizer.from_pretrained(tmp_path / "again")(PROMPT, return_tensors="pt").input_ids
    with torch.no_grad():
        torch.testing.assert_close(
            again(tokens).logits[..., :-1].sort().values,
            network(ids).logits[..., torch.arange(310) != mark].sort().values,
            atol=1e-4,
            rtol=1e-4,
        )


@pytest.mark.parametrize(
    "network",
    [
        lambda: OpenAIGPTLMHeadModel(OpenAIGPTConfig(**SMALL)),
        lambda: GPT2LMHeadModel(GPT2Config(**SMALL)),
        lambda: LlamaForCausalLM(LlamaConfig(**LLAMA)),
    ],
    ids=["gpt1", "gpt2", "llama"],
)
def test_a_folder_without_a_tokenizer_knows_ids(tmp_path: Path, network: Any) -> None:
    theirs = random_weights(network())
    theirs.save_pretrained(tmp_path / "hf")
    run = import_hf(tmp_path / "hf", tmp_path / "run")
    assert run.recipe["data"]["no_tokenizer"] == "there is no tokenizer.json"
    tokens = np.arange(16)
    history = torch.tensor(np.concatenate([[0], tokens]))[None, :16]
    with torch.no_grad():
        expected = torch.log_softmax(theirs(history).logits, -1)[0, np.arange(16), tokens]
    np.testing.assert_allclose(run.model.score(tokens), expected.numpy(), atol=1e-5)
    with pytest.raises(UserError, match=r"tokenizer\.json is missing"):
        run.tokenizer.encode("text")


def test_a_model_in_several_files(tmp_path: Path) -> None:
    theirs = random_weights(GPT2LMHeadModel(GPT2Config(**SMALL)))
    theirs.save_pretrained(tmp_path / "hf", max_shard_size="10KB")
    assert not (tmp_path / "hf" / "model.safetensors").exists()
    run = import_hf(tmp_path / "hf", tmp_path / "run")
    assert run.model.n_parameters == sum(weight.numel() for weight in theirs.parameters())


def test_gpt2s_older_tokenizer_files_will_do(tmp_path: Path) -> None:
    theirs = byte_level(tmp_path / "hf", ["<|endoftext|>"])
    vocabulary, merges = theirs.get_vocab(), json.loads((tmp_path / "hf" / "tokenizer.json").read_text())
    (tmp_path / "hf" / "tokenizer.json").unlink()
    (tmp_path / "hf" / "vocab.json").write_text(json.dumps(vocabulary))
    lines = [" ".join(pair) for pair in merges["model"]["merges"]]
    (tmp_path / "hf" / "merges.txt").write_text("\n".join(["#version: 0.2", *lines, ""]))
    small_gpt2(vocab_size=301, eos_token_id=300).save_pretrained(tmp_path / "hf")
    run = import_hf(tmp_path / "hf", tmp_path / "run")
    assert run.tokenizer.encode(PROMPT).tolist() == theirs.encode(PROMPT)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"normalizer": {"type": "NFC"}}, "changes the text first"),
        ({"model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}}, "is a WordLevel"),
        ({"pre_tokenizer": {"type": "Whitespace"}}, "not over bytes"),
        ({"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True}}, "adds a space"),
        ({"added_tokens": []}, "the document mark, id 0, is an ordinary piece"),
        ({"added_tokens": [{}]}, "tokenizer.json can't be read"),
        ({"model": {"type": "BPE"}}, "tokenizer.json can't be read"),
        ({"model": {"type": "BPE", "vocab": {"a": 1}, "merges": []}}, "is no byte-level BPE: 242 bytes"),
        (
            {"model": {"type": "BPE", "vocab": {"a": 400}, "merges": []}},
            "ids up to 400, and the model only 301",
        ),
    ],
    ids=str,
)
def test_why_a_tokenizer_cannot_be_taken_over(tmp_path: Path, change: dict[str, Any], why: str) -> None:
    byte_level(tmp_path / "hf", ["<|endoftext|>"], first=True)
    path = tmp_path / "hf" / "tokenizer.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    small_gpt2(vocab_size=301).save_pretrained(tmp_path / "hf")
    run = import_hf(tmp_path / "hf", tmp_path / "run")
    assert why in run.recipe["data"]["no_tokenizer"]


class TestBadFolders:
    def test_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="there is no folder"):
            import_hf(tmp_path / "none", tmp_path / "run")

    def test_has_no_config(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"config\.json is missing"):
            import_hf(tmp_path, tmp_path / "run")

    def test_holds_a_pickle_only(self, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text(json.dumps(GPT2Config(**SMALL).to_dict()))
        torch.save({}, tmp_path / "pytorch_model.bin")
        with pytest.raises(UserError, match=r"pickle \(pytorch_model\.bin\), which may run anything"):
            import_hf(tmp_path, tmp_path / "run")
        assert not (tmp_path / "run").exists()

    def test_is_cut_short(self, tmp_path: Path) -> None:
        small_gpt2().save_pretrained(tmp_path)
        path = tmp_path / "model.safetensors"
        path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(UserError, match="no whole safetensors file"):
            import_hf(tmp_path, tmp_path / "run")

    def test_is_of_another_architecture(self, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text('{"model_type": "mamba"}')
        (tmp_path / "model.safetensors").write_bytes(b"")
        with pytest.raises(UserError, match="'mamba'; supported: GPT2LMHeadModel"):
            import_hf(tmp_path, tmp_path / "run")

    def test_points_out_of_itself(self, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text(json.dumps(GPT2Config(**SMALL).to_dict()))
        index = {"weight_map": {"a": "../else.safetensors"}}
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
        with pytest.raises(UserError, match="points out of the folder"):
            import_hf(tmp_path, tmp_path / "run")

    @pytest.mark.parametrize("index", [[], {}, {"weight_map": 1}, {"weight_map": {"a": 1}}], ids=str)
    def test_has_a_damaged_index(self, tmp_path: Path, index: Any) -> None:
        (tmp_path / "config.json").write_text(json.dumps(GPT2Config(**SMALL).to_dict()))
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
        with pytest.raises(UserError, match=r"index\.json is damaged: it has no weight_map"):
            import_hf(tmp_path, tmp_path / "run")

    def test_has_a_weight_that_is_no_number(self, tmp_path: Path) -> None:
        theirs = small_gpt2()
        dict(theirs.named_parameters())["transformer.h.1.mlp.c_fc.weight"].data[0, 0] = float("nan")
        theirs.save_pretrained(tmp_path)
        with pytest.raises(UserError, match=r"weight h\.1\.mlp\.c_fc\.weight has values that are no finite"):
            import_hf(tmp_path, tmp_path / "run")
        assert not (tmp_path / "run").exists()

    def test_has_a_config_of_nonsense(self, tmp_path: Path) -> None:
        small_gpt2().save_pretrained(tmp_path)
        config = json.loads((tmp_path / "config.json").read_text())
        (tmp_path / "config.json").write_text(json.dumps({**config, "vocab_size": "many"}))
        with pytest.raises(UserError, match="'many' for vocab_size"):
            import_hf(tmp_path, tmp_path / "run")
