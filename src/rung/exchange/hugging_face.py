"""Runs as folders of transformers and back: config.json, model.safetensors, tokenizer.json; GGUF files in.

What goes out, AutoModelForCausalLM and AutoTokenizer load, and greedy decoding gives the text that our run gives, as
far as the context reaches (beyond it transformers stops, and we slide; see
`rung.models.networks.network`). Only safetensors
are read: a pickle can run anything.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rung.errors import UserError
from rung.exchange import hugging_face_bert as bert
from rung.exchange.gguf import read_gguf
from rung.exchange.hugging_face_architectures import architecture_of, marks_of, setting
from rung.exchange.hugging_face_bert_tokenizers import read_bert_tokenizer, write_bert_tokenizer
from rung.exchange.hugging_face_classifiers import (
    body_config,
    body_weights,
    classifier_of,
    classifier_to_transformers,
    is_classifier,
)
from rung.exchange.hugging_face_tokenizers import MARK, converted, read_tokenizer, to_tokenizer_json
from rung.exchange.hugging_face_weights import from_transformers, to_transformers
from rung.files import atomic_path, read_json, write_json
from rung.models.transformer.bert import Bert
from rung.models.transformer.bert_classifier import BertClassifier
from rung.models.transformer.bert_tagger import BertTagger
from rung.models.transformer.classifier import GPTClassifier
from rung.models.transformer.decoder import GPT
from rung.opening import opening
from rung.run_files import TOKENIZER
from rung.run_folders import check_no_run, new_run, settle, written_into
from rung.runs import Run, load, save_model, write_imported
from rung.tensors import save_tensors
from rung.text.tokenizers import BertTokenizer, Tokenizer, WhitespaceTokenizer

if TYPE_CHECKING:
    from torch import Tensor

Head = Callable[[GPT], GPTClassifier]

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
CONFIG = "config.json"


def export_hf(run: Run, folder: Path, *, force: bool = False) -> None:
    """Write a gpt or bert run as a folder for transformers.

    Raises UserError when the run is no transformer, has a shape that transformers lacks, or the folder is taken.
    """
    if isinstance(run.model, Bert | BertClassifier | BertTagger):
        _export_bert(run, folder, force)
        return
    if isinstance(run.model, GPTClassifier):
        config, weights = classifier_to_transformers(run.model)
    elif isinstance(run.model, GPT):
        config, weights = to_transformers(run.model)
    else:
        raise UserError(
            f"{run.folder} is a {run.rung} of {run.task.name}; only gpt runs of language or of labels, and bert "
            "runs, can be written for transformers"
        )
    tokenizer = to_tokenizer_json(run.tokenizer)
    if not isinstance(run.model, GPT):  # no mark before a text that gets a label
        tokenizer = json.dumps({**json.loads(tokenizer), "post_processor": None}, ensure_ascii=False)
    check_no_run(folder)
    marks = {"bos_token": MARK, "eos_token": MARK, "pad_token": MARK}
    with written_into(folder, force=force) as place:
        write_json(
            place / "generation_config.json",
            {"bos_token_id": run.model.end, "eos_token_id": run.model.end, "pad_token_id": run.model.end},
        )
        with atomic_path(place / "tokenizer.json") as temporary:
            temporary.write_text(tokenizer, encoding="utf-8")
        write_json(
            place / "tokenizer_config.json",
            {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "clean_up_tokenization_spaces": False,
                "model_max_length": run.config.context,
                **marks,
            },
        )
        save_tensors(place / WEIGHTS, weights, {"format": "pt"})
        write_json(place / CONFIG, config)


def import_hf(path: Path, folder: Path, *, force: bool = False, pairs: bool = False) -> Run:
    """Make a run of a folder from transformers.

    The run has the folder's tokeniser when that is a byte-level BPE; else `recipe["data"]["no_tokenizer"]` says why
    it has none, and the run knows ids, not text. Where documents begin with another id than they end with,
    `recipe["data"]["marks"]` has both.

    A BERT becomes a run of masked language modelling, or, with labels for texts, of classification: of two texts where
    `pairs` says so.

    Raises UserError when there is no such folder, its architecture is not supported or its weights don't fit.
    """
    settle(path)
    if not path.is_dir():
        raise UserError(f"there is no folder {path}; give one with a config.json and a {WEIGHTS}")
    config = read_json(path / "config.json")
    if not isinstance(config, dict):
        raise UserError(f"{path / 'config.json'} is no JSON object")
    if config.get("model_type") == "bert":
        return _import_bert(path, config, folder, force, pairs)
    if pairs:
        raise UserError("--pairs goes with a BertForSequenceClassification; leave it out")
    labelled, own = is_classifier(config), config
    if labelled:
        config = body_config(config)
    try:
        architecture_of(config)  # said before the weights are read
        weights = _weights(path)
        head: Head | None = (lambda body: classifier_of(body, own, weights)) if labelled else None
        model = from_transformers(config, body_weights(weights) if labelled else weights)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path / 'config.json'} has a value that makes no sense: {error}") from error
    found = read_tokenizer(path, model.end, model.vocab_size, marks_of(config)[0])
    with opening(path / CONFIG):
        return _keep(path, "hf", config, model, found, folder, head=head, force=force)


def import_gguf(path: Path, folder: Path, *, force: bool = False) -> Run:
    """Make a run of a GGUF file: a Llama or a GPT-2, its weights in float32.

    The run has the file's tokeniser when that is a byte-level BPE; else `recipe["data"]["no_tokenizer"]` says why it
    has none. `recipe["data"]["chat_template"]` is the file's, where it has one.

    Raises UserError when there is no such file, it is damaged, or its architecture is not supported.
    """
    config, weights, library, template = read_gguf(path)
    with opening(path):
        model = from_transformers(config, weights)
    found = (
        library
        if isinstance(library, str)
        else converted(library, model.end, model.vocab_size, marks_of(config)[0])
    )
    facts = {} if template is None else {"chat_template": template}
    return _keep(path, "gguf", config, model, found, folder, facts, force=force)


def _keep(
    path: Path,
    format: str,
    config: dict[str, Any],
    model: GPT,
    found: tuple[Tokenizer, np.ndarray] | str,
    folder: Path,
    facts: dict[str, Any] | None = None,
    *,
    head: Head | None = None,
    force: bool,
) -> Run:
    """Write what was read as a run; with what a `head` makes of it, a classifier, in its place."""
    data: dict[str, Any] = {"source": {"data": path.name}, "imported": format, **(facts or {})}
    begin, end = marks_of(config)
    if not isinstance(found, str) and found[0].kind == WhitespaceTokenizer.kind:
        data["source"]["documents"] = "lines"  # as such a tokeniser reads any text
    if begin != end:
        data["marks"] = {"bos_token_id": begin, "eos_token_id": end}
    with new_run(folder, force=force, inputs=[path], resumable=False) as place:
        if isinstance(found, str):
            data["no_tokenizer"] = found
        else:
            tokenizer, order = found
            model = _reordered(model, order)
            tokenizer.save(place / TOKENIZER)
        whole = model if head is None else head(model)
        if head is not None:
            data["columns"] = {"text": "text", "label": "label", "second": None}
        save_model(place, whole)
        kind = None if isinstance(found, str) else found[0].kind
        write_imported(place, whole, kind, data, "language" if head is None else "classification")
        place.stand()
    return load(folder)


def _import_bert(path: Path, config: dict[str, Any], folder: Path, force: bool, pairs: bool) -> Run:
    try:
        tokenizer, order = read_bert_tokenizer(path, setting(config, "vocab_size", 30522))
        model, tags = bert.from_transformers(config, _weights(path), order, pairs=pairs)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        raise UserError(f"{path / 'config.json'} has a value that makes no sense: {error}") from error
    labelled = isinstance(model, BertClassifier)
    if pairs and not labelled:
        raise UserError(f"{path}: --pairs goes with a BertForSequenceClassification; leave it out")
    data: dict[str, Any] = {
        "source": {"data": path.name},
        "imported": "hf",
        **({"tags": tags} if tags else {}),
    }
    if labelled:
        data["columns"] = {"text": "text", "label": "label", "second": "second" if pairs else None}
    with new_run(folder, force=force, inputs=[path], resumable=False) as place:
        tokenizer.save(place / TOKENIZER)
        save_model(place, model)
        write_imported(place, model, tokenizer.kind, data, "classification" if labelled else "masked")
        place.stand()
    return load(folder)


def _export_bert(run: Run, folder: Path, force: bool) -> None:
    if getattr(run.config, "pool", "first") != "first":
        raise UserError(
            f"{run.folder} averages its states (--pool {run.config.pool}), which BERT of transformers does not: "
            "only --pool first can be written"
        )
    if getattr(run.config, "crf", False):
        raise UserError(f"{run.folder} scores its tags together (--crf), which BERT of transformers does not")
    tokenizer: Tokenizer = run.tokenizer
    order = tokenizer.order if isinstance(tokenizer, BertTokenizer) else np.arange(tokenizer.vocab_size + 2)
    config, weights = bert.to_transformers(
        run.model, order, run.shape.get("tags", run.recipe["data"].get("tags", []))
    )
    check_no_run(folder)
    with written_into(folder, force=force) as place:
        write_bert_tokenizer(tokenizer, place, run.config.context)
        save_tensors(place / WEIGHTS, weights, {"format": "pt"})
        write_json(place / CONFIG, config)


def _reordered(model: GPT, order: np.ndarray) -> GPT:
    """The model whose id i was `order[i]`; the last id is the mark."""
    tensors = model.tensors()
    for name in ("embedding.tokens", "free_head"):
        if name in tensors:
            tensors[name] = tensors[name][order]
    return GPT.from_tensors(model.config, model.vocab_size, model.vocab_size - 1, tensors)


def _listed(index: Path) -> list[str]:
    """The files that an index names. Raises UserError when it is none."""
    found = read_json(index)
    names = found.get("weight_map") if isinstance(found, dict) else None
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise UserError(f"{INDEX} is damaged: it has no weight_map from weights to files")
    return sorted(set(names.values()))


def _weights(path: Path) -> dict[str, Tensor]:
    """The state dict of a folder, from one file or several."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if (path / WEIGHTS).exists():
        names = [WEIGHTS]
    elif (path / INDEX).exists():
        names = _listed(path / INDEX)
    else:
        pickles = sorted(
            found.name for suffix in ("bin", "pt", "pth", "ckpt") for found in path.glob(f"*.{suffix}")
        )
        if pickles:
            raise UserError(
                f"the weights are a pickle ({pickles[0]}), which may run anything when it is read; Rung reads only"
                f" {WEIGHTS}: load the model where you trust it and call its save_pretrained"
            )
        raise UserError(f"there is no {WEIGHTS}")
    weights: dict[str, Tensor] = {}
    for name in names:
        if Path(name).name != name:
            raise UserError(f"{INDEX} points out of the folder, to {name!r}")
        try:
            weights |= load_file(path / name)
        except FileNotFoundError:
            raise UserError(f"{name}, which {INDEX} lists, is missing") from None
        except (SafetensorError, OSError) as error:
            raise UserError(f"{name} is no whole safetensors file ({error})") from error
    return weights
