"""Weights of transformers: in with the same logits, out again, and clear words where they do not fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    OpenAIGPTConfig,
    OpenAIGPTLMHeadModel,
)

from rung.errors import UserError
from rung.exchange.hugging_face_architectures import marks_of, vocab_size_of
from rung.exchange.hugging_face_weights import from_transformers, to_transformers
from rung.models.transformer.decoder import GPT, GPTConfig
from tests.models.networks.test_network import random_gpt

IDS: dict[str, Any] = {"bos_token_id": 0, "eos_token_id": 0}
SMALL: dict[str, Any] = {"vocab_size": 37, "n_positions": 16, "n_embd": 24, "n_layer": 3, "n_head": 4, **IDS}
LLAMA: dict[str, Any] = {
    "vocab_size": 37,
    "max_position_embeddings": 16,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    **IDS,
}
THEIRS = {
    "gpt1": lambda: OpenAIGPTLMHeadModel(OpenAIGPTConfig(**SMALL)),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(**SMALL)),
    "gpt2 inner, free head": lambda: GPT2LMHeadModel(
        GPT2Config(**SMALL, n_inner=10, tie_word_embeddings=False, activation_function="relu2")
    ),
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**LLAMA)),
    "llama shared keys": lambda: LlamaForCausalLM(
        LlamaConfig(
            **LLAMA,
            num_key_value_heads=2,
            tie_word_embeddings=True,
            rms_norm_eps=1e-3,
            attention_bias=True,
            mlp_bias=True,
            rope_parameters={"rope_type": "default", "rope_theta": 123.0},
        )
    ),
}


def random_weights(network: Any) -> Any:
    """Biases and norms too: fresh ones are all 0 and 1."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in network.parameters():
            weight.normal_(0, 0.3, generator=generator)
    return network.eval()


@pytest.mark.parametrize("name", THEIRS)
def test_logits_are_those_of_transformers_both_ways(name: str) -> None:
    theirs = random_weights(THEIRS[name]())
    ours = from_transformers(theirs.config.to_dict(), theirs.state_dict())
    tokens = torch.randint(37, (5, 16), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = theirs(tokens).logits
        torch.testing.assert_close(ours.network(tokens), expected, atol=1e-5, rtol=1e-5)
    assert ours.n_parameters == sum(weight.numel() for weight in theirs.parameters())

    # The same through the contract: a first token given the mark, then its followers.
    history = np.concatenate([np.full((5, 1), ours.end), tokens[:, :15].numpy()], axis=1)
    with torch.no_grad():
        log_probs = torch.log_softmax(theirs(torch.tensor(history)).logits, dim=-1)
    picked = log_probs.gather(-1, tokens[..., None])[..., 0].numpy()
    np.testing.assert_allclose(ours.score(tokens.numpy()), picked, atol=1e-4)
    np.testing.assert_allclose(ours.advance(ours.start(5), history)[0], log_probs[:, -1].numpy(), atol=1e-4)

    config, weights = to_transformers(ours)
    again = type(theirs)(type(theirs.config)(**config))
    again.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()}, strict=False)
    again.eval()
    assert {key for key in theirs.state_dict() if key != "lm_head.weight"} <= set(weights)
    with torch.no_grad():
        torch.testing.assert_close(again(tokens).logits, expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    ("network", "fields"),
    [
        (GPT2LMHeadModel, {}),
        (GPT2LMHeadModel, {"bias": False, "tied": False}),
        (OpenAIGPTLMHeadModel, {"norm_first": False}),
        (OpenAIGPTLMHeadModel, {"norm_first": False, "bias": False}),
        (LlamaForCausalLM, {"preset": "llama", "n_kv_head": 1}),
        (LlamaForCausalLM, {"preset": "llama", "bias": True, "tied": True}),
    ],
    ids=str,
)
def test_ours_go_out_with_the_same_logits(network: Any, fields: dict[str, Any]) -> None:
    ours = random_gpt(GPTConfig(8, 2, 2, 8, **fields))
    config, weights = to_transformers(ours)
    theirs = network(network.config_class(**config)).eval()
    missing, unexpected = theirs.load_state_dict(
        {key: torch.from_numpy(value) for key, value in weights.items()}, strict=False
    )
    assert set(missing) <= {"lm_head.weight"}
    assert unexpected == []
    tokens = torch.arange(8)[None]
    with torch.no_grad():
        torch.testing.assert_close(theirs(tokens).logits, ours.network(tokens), atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"positions": "alibi"}, "positions alibi"),
        ({"n_kv_head": 1}, "n-kv-head 1"),
        ({"qk_norm": True}, "qk-norm True"),
        ({"local": 2}, "local 2"),
        ({"preset": "llama", "feed_forward": "gelu"}, "LlamaForCausalLM has no feed-forward gelu"),
        ({"norm_first": False, "n_hidden": 5}, "norm-first False"),
    ],
)
def test_a_shape_that_transformers_lacks_is_refused_by_name(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError) as raised:
        to_transformers(GPT.initialise(GPTConfig(8, 1, 2, 8, **fields), 11, 10, 0))
    assert named in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model_type": "bert"}, "model_type 'bert'; supported: GPT2LMHeadModel (gpt2), OpenAIGPT"),
        ({"model_type": None}, "model_type None"),
        ({"architectures": ["GPT2ForSequenceClassification"]}, "GPT2ForSequenceClassification"),
        (
            {"activation_function": "gelu"},
            "activation_function 'gelu', which is not supported (supported: 'gelu_new'",
        ),
        ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx True"),
        ({"n_embd": 32}, "wte.weight is (37, 24) where config.json says (37, 32)"),
        ({"n_layer": 4}, "lack h.3.ln_1.weight"),
        ({"n_layer": 2}, "have a h.2."),
        ({"n_head": 5}, "--n-head 5 does not divide --n-embd 24"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, Any], named: str) -> None:
    theirs = GPT2LMHeadModel(GPT2Config(**SMALL))
    with pytest.raises(UserError) as raised:
        from_transformers({**theirs.config.to_dict(), **change}, theirs.state_dict())
    assert named in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (
            {"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4}},
            "rotary positions of type 'llama3'",
        ),
        ({"head_dim": 8}, "6 heads of 8 in a width of 24"),
        ({"attention_bias": True}, "mlp_bias False, which is not supported (supported: True)"),
        ({"hidden_act": "gelu"}, "hidden_act 'gelu'"),
    ],
)
def test_settings_of_llama_that_we_lack(change: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError) as raised:
        from_transformers({**LlamaConfig(**LLAMA).to_dict(), **change}, {})
    assert named in str(raised.value)


def test_a_file_of_the_bare_body_will_do() -> None:
    """As the published gpt2 has it: no prefix, a mask stored beside the weights, settings left to their defaults."""
    theirs = random_weights(GPT2LMHeadModel(GPT2Config(**SMALL)))
    bare = {name.removeprefix("transformer."): weight for name, weight in theirs.state_dict().items()}
    bare["h.0.attn.bias"] = torch.ones(1, 1, 16, 16)
    del bare["lm_head.weight"]
    config = {"model_type": "gpt2", "vocab_size": 37, "n_ctx": 16, "n_embd": 24, "n_layer": 3, "n_head": 4}
    ours = from_transformers(config, bare)
    tokens = torch.arange(16)[None]
    with torch.no_grad():
        torch.testing.assert_close(ours.network(tokens), theirs(tokens).logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("ids", "mark"),
    [
        ({"eos_token_id": 5, "bos_token_id": 3}, 5),
        ({"eos_token_id": [7, 5]}, 7),
        ({"eos_token_id": None, "bos_token_id": 3}, 3),
        ({"eos_token_id": None, "bos_token_id": None}, 36),
        ({"eos_token_id": 50256}, 36),
    ],
)
def test_documents_end_with_their_end_of_text(ids: dict[str, Any], mark: int) -> None:
    theirs = GPT2LMHeadModel(GPT2Config(**SMALL))
    config = {**theirs.config.to_dict(), "bos_token_id": None, **ids}
    assert from_transformers(config, theirs.state_dict()).end == mark


@pytest.mark.parametrize(
    "network",
    [
        lambda ids: LlamaForCausalLM(LlamaConfig(**{**LLAMA, **ids})),
        lambda ids: LlamaForCausalLM(LlamaConfig(**{**LLAMA, **ids}, tie_word_embeddings=True)),
        lambda ids: GPT2LMHeadModel(GPT2Config(**{**SMALL, **ids})),
    ],
    ids=["llama", "llama tied", "gpt2 tied"],
)
@pytest.mark.parametrize(
    "ids", [{"bos_token_id": 1, "eos_token_id": 2}, {"bos_token_id": 36, "eos_token_id": [4, 7]}]
)
def test_documents_begin_with_bos_and_end_with_eos(network: Any, ids: dict[str, Any]) -> None:
    """As transformers scores bos, the text, eos; and so it does with what goes out again, of one mark."""
    theirs = random_weights(network(ids))
    begin, end = ids["bos_token_id"], np.ravel(ids["eos_token_id"])[0]
    ours = from_transformers(theirs.config.to_dict(), theirs.state_dict())
    assert ours.end == end
    text = np.array([5, 30, begin, 8, 5, 11])
    with torch.no_grad():
        log_probs = torch.log_softmax(theirs(torch.tensor([[begin, *text]])).logits[0], dim=-1).numpy()
    expected = log_probs[np.arange(7), [*text, end]]
    np.testing.assert_allclose(ours.score(np.append(text, end)), expected, atol=1e-5)
    after, _ = ours.advance(ours.start(), np.array([[end, *text]]))
    np.testing.assert_allclose(after[0], log_probs[-1], atol=1e-5)

    config, weights = to_transformers(ours)
    again = type(theirs)(type(theirs.config)(**config)).eval()
    again.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()}, strict=False)
    with torch.no_grad():
        out = torch.log_softmax(again(torch.tensor([[end, *text]])).logits[0], dim=-1)
    np.testing.assert_allclose(out.numpy(), log_probs, atol=1e-5)


@pytest.mark.parametrize(
    "rotary",
    [
        {"rope_theta": 500, "rope_parameters": {"rope_type": "default", "rope_theta": 500.0}},
        {"rope_theta": 500, "rope_parameters": None},
        {"rope_theta": 500.0, "rope_scaling": None, "rope_parameters": {}},
    ],
    ids=str,
)
def test_older_and_newer_files_say_how_fast_positions_turn(rotary: dict[str, Any]) -> None:
    turned = LlamaConfig(**LLAMA, rope_parameters={"rope_type": "default", "rope_theta": 500.0})
    theirs = random_weights(LlamaForCausalLM(turned))
    ours = from_transformers({**theirs.config.to_dict(), **rotary}, theirs.state_dict())
    tokens = torch.arange(16)[None]
    with torch.no_grad():
        torch.testing.assert_close(ours.network(tokens), theirs(tokens).logits, atol=1e-5, rtol=1e-5)


def test_settings_left_out_are_those_of_transformers() -> None:
    assert marks_of({"model_type": "llama"}) == (LlamaConfig().bos_token_id, LlamaConfig().eos_token_id)
    assert marks_of({"model_type": "gpt2"}) == (GPT2Config().bos_token_id, GPT2Config().eos_token_id)
    for kind, config in (("llama", LlamaConfig()), ("gpt2", GPT2Config()), ("openai-gpt", OpenAIGPTConfig())):
        assert vocab_size_of({"model_type": kind}) == config.vocab_size


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_weight_that_is_no_number_is_named(value: float) -> None:
    theirs = random_weights(LlamaForCausalLM(LlamaConfig(**LLAMA)))
    weights = theirs.state_dict()
    weights["model.layers.1.self_attn.k_proj.weight"][3, 4] = value
    with pytest.raises(
        UserError, match=r"weight layers\.1\.self_attn\.k_proj\.weight has values that are no finite"
    ):
        from_transformers(theirs.config.to_dict(), weights)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"vocab_size": "many"}, "'many' for vocab_size, which should be a whole number above 0"),
        ({"vocab_size": 37.5}, "37.5 for vocab_size"),
        ({"num_hidden_layers": True}, "True for num_hidden_layers"),
        ({"num_hidden_layers": 10**9}, "has 1,000,000,000 layers, and there are"),
        ({"num_key_value_heads": "6"}, "'6' for num_key_value_heads"),
        ({"hidden_size": -24}, "-24 for hidden_size"),
        ({"hidden_size": 6 * 10**12, "head_dim": 10**12}, "that no machine can hold"),
        ({"rms_norm_eps": "1e-5"}, "'1e-5' for rms_norm_eps, which should be a number from 0 on"),
        ({"rope_parameters": [1]}, "[1] for rope_parameters, which should be an object"),
        ({"rope_parameters": {"rope_theta": "big"}}, "'big' for rope_theta"),
        ({"tie_word_embeddings": "no"}, "'no' for tie_word_embeddings, which should be true or false"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
    ],
)
def test_a_setting_of_the_wrong_kind_is_named(change: dict[str, Any], named: str) -> None:
    theirs = LlamaForCausalLM(LlamaConfig(**LLAMA))
    with pytest.raises(UserError) as raised:
        from_transformers({**theirs.config.to_dict(), **change}, theirs.state_dict())
    assert named in str(raised.value)


def test_quantised_weights_are_refused() -> None:
    theirs = LlamaForCausalLM(LlamaConfig(**LLAMA))
    weights = {name: weight.to(torch.int8) for name, weight in theirs.state_dict().items()}
    with pytest.raises(UserError, match=r"is of type torch\.int8; only weights that are not quantised"):
        from_transformers(theirs.config.to_dict(), weights)
