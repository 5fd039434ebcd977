"""BERTs: what transformers and we make of each other's, to 1e-5."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    BertForPreTraining,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
    BertTokenizer,
)

import rung
from rung.errors import UserError
from rung.exchange.hugging_face import export_hf, import_hf
from rung.exchange.hugging_face_bert import from_transformers, to_transformers
from rung.models.networks.states import pooled_vectors
from rung.text.masking import HIDDEN, PADDING
from rung.text.stream import TokenStream
from rung.text.tokenizers import BertTokenizer as OurTokenizer
from tests.exchange.test_hugging_face_weights import random_weights
from tests.text_made import sentences

SMALL: dict[str, Any] = {
    "vocab_size": 40,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 36,
    "max_position_embeddings": 16,
}
ORDER = np.array([i for i in range(40) if i not in (2, 3, 4)] + [3, 2, 4])  # [CLS] 2, [SEP] 3, [MASK] 4
PIECES = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "the",
    "cat",
    "sat",
    "un",
    "##able",
    "##s",
    "zurich",
    ",",
    "!",
]
PIECES += ["naive", "北", "京", "a", "##b", "c", "[unused1]"]
TEXTS = ["The cats sat, unable!", "Zürich", "naïve 北京 quxx", "a\tc ab  [MASK] the"]


def rows() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 37, n) for n in (14, 3, 1, 0, 9)]


def padded(texts: list[np.ndarray], *, left: bool = False) -> np.ndarray:
    out = np.full((len(texts), max(map(len, texts))), PADDING, np.int64)
    for row, text in enumerate(texts):
        out[row, slice(len(out[row]) - len(text), None) if left else slice(len(text))] = text
    return out


def described(theirs: Any) -> dict[str, Any]:
    """Its config.json."""
    return {**theirs.config.to_dict(), "architectures": [type(theirs).__name__]}


def theirs_of(text: np.ndarray, second: np.ndarray | None = None) -> dict[str, torch.Tensor]:
    """One text as transformers takes it, alone: so nothing is filled up there."""
    ids = [2, *[4 if i == HIDDEN else int(ORDER[i]) for i in text], 3]
    types = [0] * len(ids)
    if second is not None:
        ids += [*ORDER[second].tolist(), 3]
        types += [1] * (len(second) + 1)
    return {"input_ids": torch.tensor([ids]), "token_type_ids": torch.tensor([types])}


@pytest.mark.parametrize("left", [False, True], ids=["right", "left"])
def test_hidden_tokens_cost_what_they_cost_in_transformers(left: bool) -> None:
    theirs = random_weights(BertForMaskedLM(BertConfig(**SMALL)))
    ours = from_transformers(described(theirs), theirs.state_dict(), ORDER).model
    texts = rows()
    for text, places in zip(texts, ([0, 5, 13], [1], [0], [], [8]), strict=True):
        text[places] = HIDDEN
    found = ours.masked_log_probs(padded(texts, left=left))
    expected = []
    for text in texts:
        with torch.no_grad():
            logits = theirs(**theirs_of(text)).logits[0, 1:-1]
        expected.append(torch.log_softmax(logits, -1)[torch.tensor(text == HIDDEN)][:, ORDER[:-2]].numpy())
    np.testing.assert_allclose(found, np.concatenate(expected), atol=1e-5, rtol=1e-5)
    assert ours.n_parameters == sum(weight.numel() for weight in theirs.parameters())


def test_vectors_of_a_bare_encoder_are_those_of_transformers() -> None:
    theirs = random_weights(BertModel(BertConfig(**SMALL, hidden_act="gelu_new")))
    ours = from_transformers(described(theirs), theirs.state_dict(), ORDER).model
    states = ours.states(padded(rows()))
    for text, own in zip(rows(), states, strict=True):
        with torch.no_grad():
            expected = theirs(**theirs_of(text)).last_hidden_state[0].numpy()
        np.testing.assert_allclose(own[: len(text) + 2], expected, atol=1e-5, rtol=1e-5)
    # Pooled as sentence-transformers pools them: all that the attention mask shows.
    with torch.no_grad():
        means = [theirs(**theirs_of(text)).last_hidden_state[0].mean(0).numpy() for text in rows()]
    stream = TokenStream.of(rows(), ours.end)
    np.testing.assert_allclose(pooled_vectors(ours, ours.network.body, stream, "mean"), means, atol=1e-5)
    assert not ours.has_probabilities
    with pytest.raises(UserError, match="without a head"):
        ours.masked_log_probs(np.array([[HIDDEN]]))


def test_what_follows_what_is_told_as_in_transformers() -> None:
    theirs = random_weights(BertForPreTraining(BertConfig(**SMALL)))
    ours = from_transformers(described(theirs), theirs.state_dict(), ORDER).model
    first, second = rows()[1], rows()[4]
    with torch.no_grad():
        expected = torch.log_softmax(theirs(**theirs_of(first, second)).seq_relationship_logits, -1)
    both = np.concatenate([first, [ours.end], second])[None]
    np.testing.assert_allclose(ours.follows_log_probs(both), expected.numpy(), atol=1e-5)


@pytest.mark.parametrize("pairs", [False, True])
def test_labels_of_texts_are_those_of_transformers(pairs: bool) -> None:
    config = BertConfig(**SMALL, id2label={0: "no", 1: "yes", 2: "perhaps"}, label2id={})
    theirs = random_weights(BertForSequenceClassification(config))
    ours = from_transformers(described(theirs), theirs.state_dict(), ORDER, pairs=pairs).model
    assert ours.labels == ["no", "yes", "perhaps"]
    second = np.array([5, 1, 7, 30])
    texts = [text[:8] for text in rows()]
    documents = [np.concatenate([text, [ours.delimiter], second]) for text in texts] if pairs else texts
    found = ours.log_probs(TokenStream.of(documents, ours.end))
    for text, own in zip(texts, found, strict=True):
        with torch.no_grad():
            logits = theirs(**theirs_of(text, second if pairs else None)).logits[0]
        np.testing.assert_allclose(own, torch.log_softmax(logits, -1).numpy(), atol=1e-5)


def test_labels_of_tokens_are_those_of_transformers() -> None:
    config = BertConfig(**SMALL, id2label={0: "O", 1: "B", 2: "I"}, label2id={})
    theirs = random_weights(BertForTokenClassification(config))
    ours, tags = from_transformers(described(theirs), theirs.state_dict(), ORDER)
    assert tags == ["O", "B", "I"]
    found = ours.tag_log_probs(padded(rows()))
    for text, own in zip(rows(), found, strict=True):
        with torch.no_grad():
            logits = theirs(**theirs_of(text)).logits[0, 1:-1]
        np.testing.assert_allclose(own[: len(text)], torch.log_softmax(logits, -1).numpy(), atol=1e-5)


@pytest.mark.parametrize(
    "kind",
    [
        BertModel,
        BertForMaskedLM,
        BertForPreTraining,
        BertForSequenceClassification,
        BertForTokenClassification,
    ],
)
def test_what_came_in_goes_out_the_same(kind: Any) -> None:
    theirs = random_weights(kind(BertConfig(**SMALL)))
    ours, tags = from_transformers(described(theirs), theirs.state_dict(), ORDER)
    config, weights = to_transformers(ours, ORDER, tags)
    assert config["architectures"] == [kind.__name__]
    again = kind(BertConfig(**config)).eval()
    missing, unexpected = again.load_state_dict(
        {name: torch.from_numpy(weight) for name, weight in weights.items()}, strict=False
    )
    assert not unexpected
    assert all("decoder" in name or "position_ids" in name for name in missing)
    again.tie_weights()
    for text in rows():
        with torch.no_grad():
            torch.testing.assert_close(again(**theirs_of(text))[0], theirs(**theirs_of(text))[0])


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"hidden_act": "silu"}, "hidden_act 'silu'"),
        ({"type_vocab_size": 3}, "type_vocab_size 3"),
        ({"is_decoder": True}, "is_decoder"),
        ({"num_hidden_layers": 3}, "lack bert.encoder.layer.2"),
        ({"hidden_size": 30}, "config.json says"),
        ({"architectures": ["BertForQuestionAnswering"]}, "BertForQuestionAnswering"),
    ],
)
def test_what_does_not_fit_is_said(setting: dict[str, Any], said: str) -> None:
    theirs = BertForMaskedLM(BertConfig(**SMALL))
    config = {**described(theirs), **setting}
    with pytest.raises(UserError, match=said):
        from_transformers(config, theirs.state_dict(), ORDER)


def folder_of(model: Any, folder: Path, *, lower: bool = True) -> Path:
    """As somebody saves it, with a tokeniser."""
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(PIECES) + "\n", encoding="utf-8")
    BertTokenizer(str(folder / "vocab.txt"), do_lower_case=lower).save_pretrained(folder)
    return folder


def small(kind: Any, **more: Any) -> Any:
    return random_weights(kind(BertConfig(**{**SMALL, "vocab_size": len(PIECES)}, **more)))


@pytest.mark.parametrize("lower", [True, False])
def test_texts_are_cut_as_by_transformers(tmp_path: Path, lower: bool) -> None:
    folder = folder_of(small(BertForMaskedLM), tmp_path / "theirs", lower=lower)
    run = import_hf(folder, tmp_path / "run")
    assert isinstance(run.tokenizer, OurTokenizer)
    theirs = AutoTokenizer.from_pretrained(folder)
    for text in TEXTS:
        if "[MASK]" in text:  # there a mark, to us text as any other
            continue
        ours = run.tokenizer.order[run.tokenizer.encode(text)]
        assert ours.tolist() == theirs(text, add_special_tokens=False)["input_ids"]
    assert run.tokenizer.end not in run.tokenizer.encode("[SEP] [MASK] [CLS]")
    if lower:
        assert run.tokenizer.decode(run.tokenizer.encode("Zürich, UNABLE!")) == "zurich , unable !"


def test_a_masked_model_fills_what_transformers_fills(tmp_path: Path) -> None:
    folder = folder_of(small(BertForMaskedLM), tmp_path / "theirs")
    run = import_hf(folder, tmp_path / "run")
    (best, *_) = rung.fill(run, "The [MASK] sat!")
    tokenizer, theirs = AutoTokenizer.from_pretrained(folder), AutoModelForMaskedLM.from_pretrained(folder)
    with torch.no_grad():
        logits = theirs.eval()(**tokenizer("the [MASK] sat!", return_tensors="pt")).logits[0, 2]
    log_probs = torch.log_softmax(logits, -1)
    can = [i for i, piece in enumerate(PIECES) if not piece.startswith(("[", "##"))]
    expected = max(can, key=lambda i: float(log_probs[i]))
    assert best.text == f"the {PIECES[expected]} sat !"
    assert best.log_prob == pytest.approx(float(log_probs[expected]), abs=1e-5)

    export_hf(run, tmp_path / "out")
    again = AutoModelForMaskedLM.from_pretrained(tmp_path / "out").eval()
    written = AutoTokenizer.from_pretrained(tmp_path / "out")
    with torch.no_grad():
        torch.testing.assert_close(
            again(**written(TEXTS, padding=True, return_tensors="pt")).logits,
            theirs(**tokenizer(TEXTS, padding=True, return_tensors="pt")).logits,
        )


def test_a_classifier_predicts_what_transformers_predicts(tmp_path: Path) -> None:
    labels = {"id2label": {0: "bad", 1: "good"}, "label2id": {"bad": 0, "good": 1}}
    folder = folder_of(small(BertForSequenceClassification, **labels), tmp_path / "theirs")
    run = import_hf(folder, tmp_path / "run", pairs=True)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    theirs = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        inputs = tokenizer(TEXTS[:3], TEXTS[1:], padding=True, return_tensors="pt")
        expected = torch.softmax(theirs(**inputs).logits, -1).numpy()
    # The last of their texts has [MASK], to them a mark.
    for own, other in list(zip(rung.predict(run, TEXTS[:3], TEXTS[1:]), expected, strict=True))[:2]:
        assert [own.probabilities[label] for label in ("bad", "good")] == pytest.approx(other, abs=1e-5)


def test_one_of_ours_goes_out_and_comes_back(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text(sentences(60), encoding="utf-8")
    shape = {"n_layer": 1, "n_embd": 16, "context": 40, "vocab_size": 540, "next_sentence": True}
    run = rung.train("bert", text, out=tmp_path / "run", steps=3, batch_size=4, **shape)
    export_hf(run, tmp_path / "out")
    theirs = BertForPreTraining.from_pretrained(tmp_path / "out").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    sentence = "the cow saw a horse"
    ids = run.tokenizer.encode(sentence)
    assert tokenizer(sentence)["input_ids"] == [run.model.end + 1, *ids.tolist(), run.model.end]
    masked = ids.astype(np.int64)
    masked[1] = HIDDEN
    inputs = tokenizer(sentence, return_tensors="pt")
    inputs["input_ids"][0, 2] = tokenizer.mask_token_id
    with torch.no_grad():
        expected = torch.log_softmax(theirs(**inputs).prediction_logits[0, 2], -1)[:-2].numpy()
    np.testing.assert_allclose(run.model.masked_log_probs(masked[None])[0], expected, atol=1e-5)
    again = import_hf(tmp_path / "out", tmp_path / "again")
    assert again.tokenizer.spells_like(run.tokenizer)
    np.testing.assert_array_equal(
        again.model.masked_log_probs(masked[None]), run.model.masked_log_probs(masked[None])
    )


def test_one_that_averages_its_states_is_no_bert_of_theirs(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"text": line, "label": "ab"[len(line) % 2]} for line in sentences(40).splitlines()]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    shape: dict[str, Any] = {"n_layer": 1, "n_head": 2, "n_embd": 8, "steps": 1, "tokenizer": "char"}
    run = rung.train("bert", path, label="label", pool="mean", out=tmp_path / "run", **shape)
    with pytest.raises(UserError, match="only --pool first"):
        export_hf(run, tmp_path / "theirs")
    assert not (tmp_path / "theirs").exists()


def test_a_folder_without_a_tokeniser_is_refused(tmp_path: Path) -> None:
    BertForMaskedLM(BertConfig(**SMALL)).save_pretrained(tmp_path / "theirs")
    with pytest.raises(UserError, match=r"vocab\.txt"):
        import_hf(tmp_path / "theirs", tmp_path / "run")
    assert json.loads((tmp_path / "theirs" / "config.json").read_text())["model_type"] == "bert"
