"""BERTs' tokenisers as files: BERT's own WordPiece as it came, and any of ours with [CLS] before a text.

A tokeniser of ours goes out with its mark as [SEP] and two ids more behind it, [CLS] and [MASK].
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from rung.errors import UserError
from rung.exchange.hugging_face_tokenizers import MARK, read_tokenizer, to_tokenizer_json
from rung.files import atomic_path, read_json, write_json
from rung.run_folders import Place
from rung.text.tokenizers import BertTokenizer, Tokenizer

CLS, MASK = "[CLS]", "[MASK]"


def read_bert_tokenizer(folder: Path, n_ids: int) -> tuple[Tokenizer, np.ndarray]:
    """The tokeniser of a folder with a BERT of `n_ids` ids, and their id of each of our rows (n_ids,).

    Raises UserError when there is none, or it is another kind.
    """
    settings = _settings(folder)
    marks = [_name(settings.get(f"{part}_token"), f"[{part.upper()}]") for part in ("cls", "sep", "mask")]
    library = _library(folder, settings)
    model = library.get("model") or {}
    if model.get("type") == "WordPiece" and model.get("continuing_subword_prefix") == "##":
        try:
            tokenizer = BertTokenizer(json.dumps(library), n_ids, marks)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"tokenizer.json can't be read as BERT's: {error}") from error
        return tokenizer, tokenizer.order
    found = read_tokenizer(folder, n_ids - 3, n_ids - 2)
    if isinstance(found, str):
        raise UserError(f"a BERT without a tokeniser we know: {found}")
    return found[0], np.concatenate([found[1], [n_ids - 2, n_ids - 1]])


def write_bert_tokenizer(tokenizer: Tokenizer, folder: Path | Place, context: int) -> None:
    """Write tokenizer.json and tokenizer_config.json. Raises UserError for one with pieces of the marks' names."""
    if isinstance(tokenizer, BertTokenizer):
        cls, sep, mask = tokenizer.marks
        text = tokenizer.library_json
        vocabulary = json.loads(text)["model"]
        others = {"unk_token": vocabulary["unk_token"]}
        others |= {"pad_token": "[PAD]"} if "[PAD]" in vocabulary["vocab"] else {}
    else:
        cls, sep, mask = CLS, MARK, MASK
        text, others = _with_marks(tokenizer), {"pad_token": MARK}
    with atomic_path(folder / "tokenizer.json") as temporary:
        temporary.write_text(text, encoding="utf-8")
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "clean_up_tokenization_spaces": False,
            "model_max_length": context,
            "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
            "cls_token": cls,
            "sep_token": sep,
            "mask_token": mask,
            **others,
        },
    )


def _with_marks(tokenizer: Tokenizer) -> str:
    from tokenizers import AddedToken, processors
    from tokenizers import Tokenizer as LibraryTokenizer

    library = LibraryTokenizer.from_str(to_tokenizer_json(tokenizer))
    library.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in (CLS, MASK)])
    if [library.token_to_id(name) for name in (CLS, MASK)] != [tokenizer.end + 1, tokenizer.end + 2]:
        raise UserError(f"the tokeniser has a piece {CLS} or {MASK} of its own: the marks can't be so called")
    library.post_processor = processors.TemplateProcessing(
        single=f"{CLS} $A {MARK}",
        pair=f"{CLS} $A {MARK} $B:1 {MARK}:1",
        special_tokens=[(CLS, tokenizer.end + 1), (MARK, tokenizer.end)],
    )
    return library.to_str(pretty=True)


def _settings(folder: Path) -> dict[str, Any]:
    path = folder / "tokenizer_config.json"
    value = read_json(path) if path.exists() else {}
    return value if isinstance(value, dict) else {}


def _library(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """tokenizer.json, or what transformers makes of the older vocab.txt."""
    if (folder / "tokenizer.json").exists():
        value = read_json(folder / "tokenizer.json")
        return value if isinstance(value, dict) else {}
    if not (folder / "vocab.txt").exists():
        raise UserError("there is neither a tokenizer.json nor a vocab.txt")
    from tokenizers.implementations.bert_wordpiece import BertWordPieceTokenizer

    lines = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    made = BertWordPieceTokenizer(
        {piece: i for i, piece in enumerate(lines)},
        lowercase=settings.get("do_lower_case", True),
        strip_accents=settings.get("strip_accents"),
        handle_chinese_chars=settings.get("tokenize_chinese_chars", True),
    )
    return json.loads(made.to_str())


def _name(token: Any, default: str) -> str:
    """A mark's name, which may be an object that has it."""
    content = token.get("content") if isinstance(token, dict) else token
    return content if isinstance(content, str) else default
