"""Transformers of the literature by name, as the fields of `GPTConfig` that make them.

The vocabulary is not among them: it comes from the tokeniser. With the published vocabulary the parameter counts
are the published ones, shown here beside each.

Sources: gpt1, Radford et al. 2018, "Improving language understanding by generative pre-training"; gpt2, Radford et
al. 2019; llama, Touvron et al. 2023 (arXiv:2302.13971); llama-2-70b, Touvron et al. 2023 (arXiv:2307.09288);
llama-3-8b, Grattafiori et al. 2024 (arXiv:2407.21783); tinyllama, Zhang et al. 2024 (arXiv:2401.02385).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

GPT2: Mapping[str, Any] = {
    "dropout": 0.0,
    "bias": True,
    "norm": "layer",
    "norm_first": True,
    "norm_eps": 1e-5,
    "positions": "learned",
    "rotary_base": 10_000.0,
    "feed_forward": "gelu",
    "qk_norm": False,
    "attention": "softmax",
    "tied": True,
    "ngrams": 0,
    "ngram_dropout": 0.0,
}
"""What a transformer is here unless something else is asked for; its sizes stay open."""

_GPT1 = {**GPT2, "norm_first": False, "dropout": 0.1}

_LLAMA = {
    **GPT2,
    "bias": False,
    "norm": "rms",
    "norm_eps": 1e-6,
    "positions": "rotary",
    "feed_forward": "swiglu",
    "tied": False,
}


_RUNG = {
    **GPT2,
    "bias": False,
    "positions": "rotary",
    "feed_forward": "relu2",
    "qk_norm": True,
    "ngrams": 5,
}


TRAINING: Mapping[str, Mapping[str, Any]] = {
    "gpt1": {"lr": 2.5e-4, "batch_size": 64, "schedule": "cosine", "weight_decay": 0.01, "beta2": 0.999},
    **{
        name: {"lr": lr, "schedule": "cosine", "weight_decay": 0.1, "beta2": 0.95}
        for name, lr in (("gpt2", 6e-4), ("gpt2-medium", 3e-4), ("gpt2-large", 2.5e-4), ("gpt2-xl", 2e-4))
    },
}
"""How they were trained, as far as it is published: what is not given otherwise when a preset is. GPT-1: section 4.1 of
its paper, decay on all but biases and gains. GPT-2's paper gives a batch of 512 rows alone (--batch-size 8 --accumulate
64 here) and says that the rate was tuned by hand; what stands here is GPT-3's for models of these sizes (Brown et al.
2020, arXiv:2005.14165, table 2.1 and appendix B)."""


def _size(context: int, n_layer: int, n_head: int, n_embd: int) -> dict[str, Any]:
    return {"context": context, "n_layer": n_layer, "n_head": n_head, "n_embd": n_embd}


PRESETS: dict[str, Mapping[str, Any]] = {
    "plain": GPT2,  # GPT-2's manner alone
    "rung": _RUNG,  # found by experiment on small text, docs/log.md; sizes suit the data
    "gpt1": {**_GPT1, **_size(512, 12, 12, 768)},  # V = 40,478: 116,534,784
    "gpt2": {**GPT2, **_size(1024, 12, 12, 768)},  # V = 50,257: 124,439,808
    "gpt2-medium": {**GPT2, **_size(1024, 24, 16, 1024)},  # 354,823,168
    "gpt2-large": {**GPT2, **_size(1024, 36, 20, 1280)},  # 774,030,080
    "gpt2-xl": {**GPT2, **_size(1024, 48, 25, 1600)},  # 1,557,611,200
    "llama": _LLAMA,  # the manner alone; sizes suit the data
    "tinyllama": {  # V = 32,000: 1,100,048,384
        **_LLAMA,
        **_size(2048, 22, 32, 2048),
        "n_kv_head": 4,
        "n_hidden": 5632,
        "norm_eps": 1e-5,
    },
    "llama-7b": {**_LLAMA, **_size(2048, 32, 32, 4096), "n_hidden": 11008},  # V = 32,000: 6,738,415,616
    "llama-2-70b": {  # V = 32,000: 68,976,648,192
        **_LLAMA,
        **_size(4096, 80, 64, 8192),
        "n_kv_head": 8,
        "n_hidden": 28672,
        "norm_eps": 1e-5,
    },
    "llama-3-8b": {  # V = 128,256: 8,030,261,248
        **_LLAMA,
        **_size(8192, 32, 32, 4096),
        "n_kv_head": 8,
        "n_hidden": 14336,
        "norm_eps": 1e-5,
        "rotary_base": 500_000.0,
    },
}


def _widths(n_layer: int, n_head: int, n_embd: int) -> dict[str, int]:
    return {"n_layer": n_layer, "n_head": n_head, "n_embd": n_embd}


SIZES: dict[str, Mapping[str, int]] = {
    "small": _widths(2, 2, 64),
    "medium": _widths(2, 4, 128),
    "large": _widths(4, 4, 128),
    "xl": _widths(6, 6, 192),
}
"""One dial for three numbers; `rung train best` tries which suits a text and a budget."""
