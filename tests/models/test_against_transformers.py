"""Logits of whole models against those of the transformers package, with the same weights."""

from typing import Any

import pytest
import torch

from lmlab.models.beam_search import beam_search
from lmlab.models.decoding import Decoding, Row
from lmlab.models.language_model import LanguageModel

pytest.importorskip("transformers", reason="what is compared with is in the transformers package")

V, CONTEXT, D, HEADS = 13, 24, 16, 4


def from_llama(model: Any) -> dict[str, torch.Tensor]:
    """The weights of a Llama, Mistral or Mixtral, by the names they have here."""
    found = {"embedding.weight": model.model.embed_tokens.weight, "norm.weight": model.model.norm.weight}
    found["head.linear.weight"] = model.lm_head.weight
    for at, layer in enumerate(model.model.layers):
        attention, mlp = layer.self_attn, layer.mlp
        projections = [attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight]
        found |= {
            f"blocks.{at}.mixer_norm.weight": layer.input_layernorm.weight,
            f"blocks.{at}.mixer.projection_in.weight": torch.cat(projections),
            f"blocks.{at}.mixer.projection_out.weight": attention.o_proj.weight,
            f"blocks.{at}.channel_norm.weight": layer.post_attention_layernorm.weight,
        }
        if hasattr(mlp, "experts"):
            found[f"blocks.{at}.channel.router.weight"] = mlp.gate.weight
            for e, (up, down) in enumerate(zip(mlp.experts.gate_up_proj, mlp.experts.down_proj, strict=True)):
                found |= {
                    f"blocks.{at}.channel.experts.{e}.{name}.weight": x for name, x in (("up", up), ("down", down))
                }
        else:
            found[f"blocks.{at}.channel.up.weight"] = torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight])
            found[f"blocks.{at}.channel.down.weight"] = mlp.down_proj.weight
    return found


def from_gpt2(model: Any) -> dict[str, torch.Tensor]:
    """The weights of a GPT-2, by the names they have here; its matrices are [in, out]."""
    body = model.transformer
    found = {
        "embedding.weight": body.wte.weight,
        "head.linear.weight": model.lm_head.weight,
        "position_embedding.weight": body.wpe.weight,
        "norm.weight": body.ln_f.weight,
        "norm.bias": body.ln_f.bias,
    }
    for at, layer in enumerate(body.h):
        for name, part in (("mixer_norm", layer.ln_1), ("channel_norm", layer.ln_2)):
            found |= {f"blocks.{at}.{name}.weight": part.weight, f"blocks.{at}.{name}.bias": part.bias}
        for name, part in (
            ("mixer.projection_in", layer.attn.c_attn),
            ("mixer.projection_out", layer.attn.c_proj),
            ("channel.up", layer.mlp.c_fc),
            ("channel.down", layer.mlp.c_proj),
        ):
            found |= {f"blocks.{at}.{name}.weight": part.weight.T, f"blocks.{at}.{name}.bias": part.bias}
    return found


def reference(family: str, **options: Any) -> Any:
    import transformers

    common = {"vocab_size": V, "bos_token_id": None, "eos_token_id": None, "attn_implementation": "eager"}
    if family == "GPT2":
        config = transformers.GPT2Config(
            n_embd=D, n_head=HEADS, n_layer=2, n_positions=CONTEXT, activation_function="gelu", **common
        )
        model = transformers.GPT2LMHeadModel(config)
    else:
        sizes = {"hidden_size": D, "num_hidden_layers": 2, "num_attention_heads": HEADS, "tie_word_embeddings": False}
        config = getattr(transformers, f"{family}Config")(
            **common, **sizes, rope_parameters={"rope_type": "default", "rope_theta": 10000.0}, **options
        )
        model = getattr(transformers, f"{family}ForCausalLM")(config)
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        torch.nn.init.normal_(parameter, mean=float("norm" in name or "ln_" in name), std=0.3)
    return model.eval()


CASES = {
    "model=llama": ("Llama", {"num_key_value_heads": 2, "intermediate_size": 40, "rms_norm_eps": 1e-5}),
    "model=gpt2 model.norm.bias=true model.mixer.bias=true model.channel.bias=true": ("GPT2", {}),
    "model=sliding_window model.mixer.window=5 model.tie_embeddings=false": (
        "Mistral",
        {"num_key_value_heads": 4, "intermediate_size": 40, "rms_norm_eps": 1e-6, "sliding_window": 5},
    ),
    "model=moe model.tie_embeddings=false": (
        "Mixtral",
        {"num_key_value_heads": 4, "intermediate_size": 24, "rms_norm_eps": 1e-6}
        | {"num_local_experts": 8, "num_experts_per_tok": 2},
    ),
}


def load(model: LanguageModel, weights: dict[str, torch.Tensor]) -> None:
    model.load_state_dict({name: weight.detach() for name, weight in weights.items()}, strict=True)


@pytest.mark.parametrize("overrides", CASES)
@torch.no_grad()
def test_logits_are_those_of_the_same_weights_elsewhere(make_model, overrides):
    family, options = CASES[overrides]
    other, model = reference(family, **options), make_model(overrides)
    load(model, from_gpt2(other) if family == "GPT2" else from_llama(other))
    tokens = torch.randint(V, (3, 20), generator=torch.Generator().manual_seed(1))
    expected = other(tokens).logits
    assert expected.std() > 0.5
    torch.testing.assert_close(model.head.linear(model(tokens)[0]), expected, rtol=0, atol=1e-4)
    state = model(tokens[:, :9]).state
    later, state, _ = model(tokens[:, 9:19], state)  # from a carried state, by more and by fewer tokens than a window
    last = model(tokens[:, 19:], state).hidden
    torch.testing.assert_close(model.head.linear(torch.cat([later, last], 1)), expected[:, 9:], rtol=0, atol=1e-4)


@pytest.mark.parametrize(("power", "theta"), [(0.0, 1.0), (1.0, 1.0), (0.6, 1.3)])
def test_beam_search_returns_the_same_texts_with_the_same_scores(make_model, power, theta):
    library = reference("GPT2").double()
    model = make_model("model=gpt2 model.norm.bias=true model.mixer.bias=true model.channel.bias=true").double()
    load(model, from_gpt2(library))
    prompt = [1, 0, 3]
    library.generation_config.update(eos_token_id=2, pad_token_id=2)
    options = {"num_beams": 4, "num_return_sequences": 4, "max_new_tokens": 8, "early_stopping": "never"}
    options |= {"length_penalty": power, "repetition_penalty": theta, "return_dict_in_generate": True}
    expected = library.generate(torch.tensor([prompt]), output_scores=True, do_sample=False, **options)
    decoding = Decoding(length=8, beams=4, best=4, length_penalty=power, repetition_penalty=theta)
    (results,) = beam_search(model, [Row(prompt, stop=[2])], decoding, CONTEXT)
    texts = [text[: text.index(2) + 1] if 2 in text else text for text in expected.sequences[:, 3:].tolist()]
    assert [result.tokens for result in results] == texts
    assert [result.score for result in results] == pytest.approx(expected.sequences_scores.tolist(), abs=1e-4)


@pytest.mark.parametrize("theta", [0.7, 1.0, 1.6])
def test_the_repetition_penalty_is_that_of_the_library_over_log_probabilities(theta):
    from transformers import RepetitionPenaltyLogitsProcessor

    random = torch.Generator().manual_seed(0)
    log_probs = torch.randn(4, V, generator=random, dtype=torch.float64).log_softmax(1)
    seen = torch.randint(V, (4, 6), generator=random)
    expected = RepetitionPenaltyLogitsProcessor(theta)(seen, log_probs.clone())
    penalised = Decoding(repetition_penalty=theta).penalise(log_probs, [set(row) for row in seen.tolist()])
    assert (torch.equal(penalised, expected) and not torch.equal(penalised, log_probs)) or theta == 1
