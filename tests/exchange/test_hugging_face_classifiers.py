"""GPTs with a head for labels: what transformers and we make of each other's, to 1e-5."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GPT2Config,
    GPT2ForSequenceClassification,
    OpenAIGPTConfig,
    OpenAIGPTForSequenceClassification,
)

import rung
from rung.errors import UserError
from rung.exchange.hugging_face import export_hf, import_hf
from rung.testing import check_classifier
from rung.text.stream import TokenStream
from tests.exchange.test_hugging_face_weights import random_weights
from tests.text_made import sentences

SIZES: dict[str, Any] = {"vocab_size": 40, "n_embd": 24, "n_layer": 2, "n_head": 3, "n_positions": 16}
LABELS = {"id2label": {0: "no", 1: "yes", 2: "so"}, "label2id": {"no": 0, "yes": 1, "so": 2}}


@pytest.mark.parametrize("kind", ["gpt2", "openai-gpt"])
def test_theirs_gives_their_logits_whichever_side_is_filled_up(kind: str, tmp_path: Path) -> None:
    made: Any = (GPT2Config, GPT2ForSequenceClassification)
    if kind == "openai-gpt":
        made = (OpenAIGPTConfig, OpenAIGPTForSequenceClassification)
    marks = {"bos_token_id": 39, "eos_token_id": 39, "pad_token_id": 39}
    theirs: Any = random_weights(made[1](made[0](**SIZES, **LABELS, **marks))).eval()
    theirs.save_pretrained(tmp_path / "theirs")
    run = import_hf(tmp_path / "theirs", tmp_path / "run")
    assert (run.task.name, run.model.labels) == ("classification", ["no", "yes", "so"])
    texts = [np.array([1, 2, 3, 4, 5]), np.array([7]), np.array([38, 5, 5])]
    found = run.model.log_probs(TokenStream.of(texts, run.model.end))
    with torch.no_grad():
        for row, text in zip(found, texts, strict=True):
            expected = theirs(torch.from_numpy(text)[None]).logits[0].log_softmax(-1)
            np.testing.assert_allclose(row, expected, atol=1e-5)
    check_classifier(run.model)
    config = (tmp_path / "theirs" / "config.json").read_text()
    (tmp_path / "theirs" / "config.json").write_text(config.replace('"no"', '"yes"'))
    with pytest.raises(UserError, match="id2label"):
        import_hf(tmp_path / "theirs", tmp_path / "other")


def test_ours_goes_out_and_comes_back(tmp_path: Path) -> None:
    """Trained on texts, read by their classes, by text: the same probabilities; and the same run again."""
    rows = [f"{text}\t{'long' if len(text) > 25 else 'short'}" for text in sentences(120).split("\n") if text]
    (tmp_path / "rows.tsv").write_text("text\tsize\n" + "\n".join(rows) + "\n", encoding="utf-8")
    how: dict[str, Any] = {"label": "size", "tokenizer": "bpe", "vocab_size": 300, "steps": 3}
    shape: dict[str, Any] = {"preset": "plain", "n_layer": 2, "n_head": 2, "n_embd": 16, "bias": True}
    run = rung.train("gpt", tmp_path / "rows.tsv", out=tmp_path / "run", pool="last", **how, **shape)
    export_hf(run, tmp_path / "theirs")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "theirs").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "theirs")
    texts = ["the cat sat", "a bird", "the old dog"]
    ours = [one.probabilities for one in rung.predict(run, texts)]
    with torch.no_grad():
        filled = tokenizer(texts, padding=True, return_tensors="pt")
        theirs = model(**filled).logits.softmax(-1)
    for row, own in zip(theirs.tolist(), ours, strict=True):
        named = {model.config.id2label[i]: p for i, p in enumerate(row)}
        assert named == pytest.approx(own, abs=1e-5)
    again = import_hf(tmp_path / "theirs", tmp_path / "again")
    assert [one.label for one in rung.predict(again, texts)] == [
        one.label for one in rung.predict(run, texts)
    ]
    for one, other in zip(rung.predict(again, texts), ours, strict=True):
        assert one.probabilities == pytest.approx(other, abs=1e-5)
    marked = rung.train("gpt", tmp_path / "rows.tsv", out=tmp_path / "marked", **how, **shape)
    with pytest.raises(UserError, match="--pool last"):
        export_hf(marked, tmp_path / "no")
