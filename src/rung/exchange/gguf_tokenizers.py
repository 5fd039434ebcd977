"""The tokeniser inside a GGUF file as the file of the `tokenizers` library that it was made of.

A byte-level BPE ("gpt2" there) is its pieces, its merges, and the name of the way in which text is cut before: the
expressions below are facts of those tokenisers, as llama.cpp has them (llama-vocab.cpp).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

NORMAL, CONTROL, USER_DEFINED = 1, 3, 4
"""Kinds of tokens: pieces, marks, and words that are found before anything else is."""

_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
_GPT2 = [{**_BYTES, "use_regex": True}]
_DIGITS = [{"type": "Digits", "individual_digits": True}, *_GPT2]


def _cut_by(expression: str) -> list[dict[str, Any]]:
    split = {"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": False}
    return [split, {**_BYTES, "use_regex": False}]


_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

CUTS: dict[str, list[dict[str, Any]]] = {
    "gpt-2": _GPT2,
    **dict.fromkeys(("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone"), _DIGITS),
    **dict.fromkeys(("llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral"), _cut_by(_LLAMA3)),
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen"), _cut_by(_LLAMA3.replace("{1,3}", ""))),
}
"""Name of a way to cut -> what the library calls it."""


def library_of(field: Callable[..., Any]) -> dict[str, Any] | str:
    """The library's file, or why there is none.

    Args:
        field: the value under a name of the file's metadata, None where there is none.
    """
    kind, cut = field("tokenizer.ggml.model"), field("tokenizer.ggml.pre", "gpt-2")
    if kind is None:
        return "the file has no tokeniser"
    if kind != "gpt2":
        return f"its tokeniser is of the kind {kind!r}; only byte-level BPE ('gpt2') can be taken over"
    if cut not in CUTS:
        return f"its tokeniser cuts text as {cut!r}, which isn't known here (known: {', '.join(CUTS)})"
    tokens, merges = field("tokenizer.ggml.tokens"), field("tokenizer.ggml.merges")
    if not tokens or merges is None:
        return "its tokeniser has no pieces or no merges"
    kinds = field("tokenizer.ggml.token_type") or [NORMAL] * len(tokens)
    if len(kinds) != len(tokens):
        return "its tokeniser has other kinds than pieces"
    added = [
        {"id": i, "content": token, "special": kind == CONTROL, "single_word": False}
        | {"lstrip": False, "rstrip": False, "normalized": False}
        for i, (token, kind) in enumerate(zip(tokens, kinds, strict=True))
        if kind in (CONTROL, USER_DEFINED)
    ]
    return {
        "version": "1.0",
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": CUTS[cut]},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "vocab": {token: i for i, token in enumerate(tokens)},
            "merges": [merge.split(" ", 1) for merge in merges],
        },
    }
