"""An encoder and a decoder: the contract, torch's own transformer with the same weights, beams against every text."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rung.generation.beam import BeamSettings, beam_search
from rung.generation.settings import Sampling
from rung.models.base import fitted
from rung.models.counting.ngram import NGramConfig
from rung.models.counting.ngram_translator import NGramTranslator
from rung.models.transformer.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from rung.testing import check_translator
from rung.text.stream import TokenStream
from rung.text.tokenizers import train_tokenizer
from tests.models.random_weights import randomize

V, END = 12, 11
SHAPE: dict[str, Any] = {"n_layer": 2, "n_head": 2, "n_embd": 8, "n_hidden": 12}


def small(vocab_size: int = V, **more: Any) -> EncoderDecoder:
    config = EncoderDecoderConfig(**{**SHAPE, **more})
    return randomize(EncoderDecoder.initialise(config, vocab_size, vocab_size - 1, 0))


@pytest.mark.parametrize("more", [{}, {"bias": True, "n_layer": 1}])
def test_the_contract(more: dict[str, Any]) -> None:
    check_translator(small(**more))


def test_the_contract_of_the_counted_one() -> None:
    streams = [TokenStream.of([np.array([1, 2, 2, 3]), np.array([2])], END) for _ in range(2)]
    check_translator(fitted(NGramTranslator.fit(NGramConfig(order=2), (streams[0], streams[1]), V, END)))


def test_blocks_are_those_of_torch() -> None:
    """nn.Transformer's layers with the same weights, norms first, GELU; positions left out of ours for it."""
    model = small(bias=True)
    network: Any = model.network.eval()
    for block in network.encoder:
        block.attention.rotary = None
    for block in network.blocks:
        block.block.attention.rotary = None
    how: dict[str, Any] = {"dropout": 0.0, "batch_first": True, "norm_first": True, "activation": _gelu}
    encoder: Any = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(8, 2, 12, **how), 2, nn.LayerNorm(8), enable_nested_tensor=False
    )
    decoder: Any = nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 12, **how), 2, nn.LayerNorm(8))
    with torch.no_grad():
        for ours, theirs in zip(network.encoder, encoder.layers, strict=True):
            _copy(ours, theirs)
        for ours, theirs in zip(network.blocks, decoder.layers, strict=True):
            _copy(ours.block, theirs)
            cross = theirs.multihead_attn
            cross.in_proj_weight.copy_(torch.cat([ours.cross.query.weight, ours.cross.key_value.weight]))
            cross.in_proj_bias.copy_(torch.cat([ours.cross.query.bias, ours.cross.key_value.bias]))
            cross.out_proj.load_state_dict(ours.cross.project.state_dict())
            theirs.norm2.load_state_dict(ours.norm_cross.state_dict())
            theirs.norm3.load_state_dict(ours.block.norm_2.state_dict())
        encoder.norm.load_state_dict(network.norm_encoder.state_dict())
        decoder.norm.load_state_dict(network.norm.state_dict())
        sources = torch.tensor([[1, 2, 3, 4], [5, 6, -1, -1]])
        inputs = torch.tensor([[END, 7, 8], [END, 9, 1]])
        ended = torch.tensor([[1, 2, 3, 4, END], [5, 6, END, 0, 0]])
        hidden = torch.tensor([[False] * 5, [False, False, False, True, True]])
        memory = encoder(network.embed(ended), src_key_padding_mask=hidden)
        causal = nn.Transformer.generate_square_subsequent_mask(3)
        x = decoder(network.embed(inputs), memory, tgt_mask=causal, memory_key_padding_mask=hidden)
        found = network(sources, inputs)
        np.testing.assert_allclose(found, torch.nn.functional.linear(x, network.tokens), atol=1e-5)


def test_a_loss_is_told_without_its_smoothing_and_learned_with_it() -> None:
    model = small(dropout=0.0, label_smoothing=0.3)
    sources = torch.tensor([[1, 2], [3, -1]])
    targets = torch.tensor([[4, 5, END], [6, END, -1]])
    network = model.network
    plain = network.eval().loss(sources, targets)
    loss = network.train().loss(sources, targets)
    torch.testing.assert_close(loss, plain)
    loss.backward()
    logits = network(sources, torch.tensor([[END, 4, 5], [END, 6, 0]])).flatten(0, 1)
    theirs = nn.functional.cross_entropy(
        logits, targets.flatten(), ignore_index=-1, reduction="sum", label_smoothing=0.3
    )
    (expected,) = torch.autograd.grad(theirs, network.tokens)
    torch.testing.assert_close(network.tokens.grad, expected)


@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
def test_wide_beams_find_the_best_of_all_texts(length_penalty: float) -> None:
    """Of every text of up to 3 tokens, scored by the pairs' own scores, over its length."""
    tokenizer = train_tokenizer("char", ["abab"], None, vocabulary="closed")
    n = tokenizer.vocab_size
    model = small(n)
    source = TokenStream.of([np.array([0, 1])], n - 1)
    most = 3
    texts = [ids for k in range(most + 1) for ids in itertools.product(range(n - 1), repeat=k)]
    scored = []
    for ids in texts:
        targets = TokenStream.of([np.array(ids, np.int64)], n - 1)
        scores = model.score_pairs(source, targets)
        own = scores if len(ids) < most else scores[:-1]  # at the limit it is finished as it is
        scored.append((float(own.sum()) / len(own) ** length_penalty, ids))
    best = max(scored)
    found = beam_search(
        model.given(source),
        tokenizer,
        "",
        Sampling(max_tokens=most),
        BeamSettings(beams=40, length_penalty=length_penalty),
    )
    assert found[0].text == tokenizer.decode(best[1])


def _gelu(x: torch.Tensor) -> torch.Tensor:
    return nn.functional.gelu(x, approximate="tanh")


def _copy(ours: Any, theirs: Any) -> None:
    """Self-attention, first norm and feed-forward."""
    theirs.self_attn.in_proj_weight.copy_(ours.attention.qkv.weight)
    theirs.self_attn.in_proj_bias.copy_(ours.attention.qkv.bias)
    theirs.self_attn.out_proj.load_state_dict(ours.attention.project.state_dict())
    theirs.norm1.load_state_dict(ours.norm_1.state_dict())
    theirs.norm2.load_state_dict(ours.norm_2.state_dict())
    theirs.linear1.load_state_dict(ours.feed_forward.expand.state_dict())
    theirs.linear2.load_state_dict(ours.feed_forward.project.state_dict())
