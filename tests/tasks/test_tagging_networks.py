"""Networks that tag, trained: they learn, they go on where they stopped, they begin with what others know."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import rung
from rung.embeddings import open_vectors
from rung.errors import UserError
from rung.exchange.hugging_face import export_hf, import_hf
from rung.text.tagged import encode_sentences
from tests.tagged_made import entity_sentences, slashed, tagged_sentences

SMALL: dict[str, Any] = {"n_embd": 8, "n_hidden": 8, "batch_size": 8}
TINY: dict[str, Any] = {"n_layer": 1, "n_embd": 8, "n_hidden": 8, "n_head": 2, "batch_size": 8}


@pytest.fixture(scope="module")
def tagged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tagged") / "tagged.txt"
    path.write_text(slashed(tagged_sentences(300)), encoding="utf-8")
    return path


def test_a_network_learns_what_counting_words_cannot(tmp_path: Path):
    """Every word is as often the one as the other: only the first word of a sentence tells which."""
    rng = np.random.default_rng(0)
    lines = []
    for _ in range(600):
        kind = rng.choice(["A", "B"])
        words = rng.choice(["p", "q", "r"], 5)
        lines.append(" ".join([f"{kind.lower()}/N", *(f"{word}/{kind}" for word in words)]))
    data = tmp_path / "data.txt"
    data.write_text("\n".join(lines) + "\n")
    how: dict[str, Any] = {"split": "60/20/20"}
    counted = rung.evaluate(rung.train("majority", data, out=tmp_path / "majority", **how))
    learned = rung.evaluate(rung.train("gru", data, out=tmp_path / "gru", steps=250, **SMALL, **how))
    assert counted.figures["accuracy"] < 0.75
    assert learned.figures["accuracy"] > 0.99
    assert learned.bits_per_unit < 0.5
    # What decides stands at the end: a network that reads one way can't know it.
    data.write_text("\n".join(" ".join(line.split()[::-1]) for line in lines) + "\n")
    how |= {"steps": 250, **SMALL}
    one_way = rung.evaluate(rung.train("gru", data, out=tmp_path / "one", bidirectional=False, **how))
    both = rung.evaluate(rung.train("gru", data, out=tmp_path / "both", **how))
    assert one_way.figures["accuracy"] < 0.75
    assert both.figures["accuracy"] > 0.99


@pytest.mark.parametrize(("kind", "how"), [("lstm", {"crf": True, **SMALL}), ("bert", TINY)])
def test_interrupted_and_resumed_it_ends_with_the_same_weights(
    tagged: Path, tmp_path: Path, kind: str, how: dict[str, Any]
):
    how = {"steps": 10, "eval_every": 5, "checkpoint_every": 2, **how}
    whole = rung.train(kind, tagged, out=tmp_path / "whole", **how)
    asked = count()
    part = rung.train(kind, tagged, out=tmp_path / "part", stop=lambda: next(asked) == 6, **how)
    assert part.recipe["status"] == "training"
    part = rung.resume(part.folder)
    weights = [(run.folder / "model.safetensors").read_bytes() for run in (whole, part)]
    assert weights[0] == weights[1]


def test_spans_are_learned_and_possible(tmp_path: Path):
    data = tmp_path / "entities.txt"
    data.write_text(slashed(entity_sentences(300)))
    run = rung.train("lstm", data, out=tmp_path / "run", crf=True, steps=300, split="60/20/20", **SMALL)
    assert rung.evaluate(run).figures["span_f1"] > 0.98


def test_vectors_from_elsewhere_begin_the_rows_of_words(tagged: Path, tmp_path: Path):
    (tmp_path / "vectors.txt").write_text("cows 1 0 0\nmade 0 1 0\nhorse 0 0 1\n")
    how: dict[str, Any] = {"vectors": tmp_path / "vectors.txt", "vectors_frozen": True, "steps": 2}
    run = rung.train("gru", tagged, out=tmp_path / "run", n_hidden=4, **how)
    table, names = run.model.network.inputs.table, run.model.row_names
    rows = np.array([table[names.index(word)].tolist() for word in ("cows", "made")])
    np.testing.assert_allclose(rows / rows[0, 0], [[1, 0, 0], [0, 1, 0]], atol=1e-6)
    assert open_vectors(run.folder).words == [name for name in names if name]


def test_a_tagger_has_the_body_of_the_network_it_begins_with(tagged: Path, tmp_path: Path):
    text = tmp_path / "text.txt"
    text.write_text("".join(" ".join(words) + "\n" for words, _ in tagged_sentences(100)))
    sizes = {**TINY, "context": 16, "vocab_size": 600}
    how: dict[str, Any] = {"steps": 2, "tokenizer": "wordpiece", "documents": "lines", **sizes}
    parent = rung.train("bert", text, out=tmp_path / "parent", **how)
    child = rung.train("bert", tagged, out=tmp_path / "child", from_=parent.folder, learn="head", steps=2)
    before, after = parent.model.tensors(), child.model.tensors()
    bodies = [name for name in after if name.startswith("body.")]
    assert bodies
    for name in bodies:
        np.testing.assert_array_equal(after[name], before[name], err_msg=name)
    assert child.tokenizer.kind == "wordpiece"


def test_tags_of_transformers_are_known_by_name(tagged: Path, tmp_path: Path):
    from transformers import AutoTokenizer, BertConfig, BertForTokenClassification

    words = sorted({word.lower() for words, _ in tagged_sentences(300) for word in words})
    names = ["VB", "NN", "DT", "CD", "JJ"]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 8,
    }
    theirs = BertForTokenClassification(
        BertConfig(
            vocab_size=len(pieces), **sizes, max_position_embeddings=16, id2label=dict(enumerate(names))
        )
    )
    theirs.save_pretrained(tmp_path / "theirs")
    (tmp_path / "theirs" / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    parent = import_hf(tmp_path / "theirs", tmp_path / "parent")
    run = rung.train("bert", tagged, out=tmp_path / "run", from_=parent.folder, steps=1, lr=1e-9)
    assert run.model.tags == sorted(names)
    rows = [names.index(name) for name in run.model.tags]
    head = theirs.classifier.weight.detach().numpy()[rows]
    np.testing.assert_allclose(run.model.tensors()["tagger.weight"], head, atol=1e-6)
    # And back: the same answers at the first (here the only) piece of each word.
    export_hf(run, tmp_path / "back")
    again = BertForTokenClassification.from_pretrained(tmp_path / "back").eval()
    assert list((again.config.id2label or {}).values()) == run.model.tags
    ids = AutoTokenizer.from_pretrained(tmp_path / "back")("The big cows eat grass", return_tensors="pt")
    with torch.no_grad():
        logits = again(**ids).logits[0, 1:-1].log_softmax(-1).numpy()
    stream = encode_sentences(run.tokenizer, [["The", "big", "cows", "eat", "grass"]])
    np.testing.assert_allclose(run.model.log_probs(stream), logits, atol=1e-5)


def test_rows_of_words_are_not_taken_from_another_run(tagged: Path, tmp_path: Path):
    run = rung.train("gru", tagged, out=tmp_path / "run", steps=1, **SMALL)
    with pytest.raises(UserError, match=r"--from does not go with a gru of tagging.*--vectors"):
        rung.train("gru", tagged, out=tmp_path / "other", from_=run.folder, steps=1)
