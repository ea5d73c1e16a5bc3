"""Which decoders may be given thought slots: those of which keys and values are all that a pass leaves behind."""

import pytest
import torch
from tests.conftest import TOKENS
from tests.laws.test_passes import by_definition
from transformers import AutoConfig, AutoModelForCausalLM

from unspoken.errors import RecipeError
from unspoken.model import LatentConfig, LatentForCausalLM
from unspoken.model.last_block import last_feed_forward

SHAPE = {"vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
SHAPE |= {"num_key_value_heads": 4, "intermediate_size": 64, "pad_token_id": 0, "eos_token_id": 0, "bos_token_id": 0}
SMALL = {"vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 2, "eos_token_id": 0, "bos_token_id": 0}


def latent(arch, **shape):
    config = AutoConfig.for_model(arch, **shape)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        decoder = AutoModelForCausalLM.from_config(config)
        for parameter in decoder.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
    names = {"latent_token_id": TOKENS.latent, "start_latent_token_id": TOKENS.start, "end_latent_token_id": TOKENS.end}
    return LatentForCausalLM.from_decoder(decoder, LatentConfig(config, **names)).eval()


REFUSED = {
    "mamba2": ({**SMALL, "num_heads": 8, "head_dim": 8, "state_size": 8, "n_groups": 1}, "layers of linear_attention"),
    "recurrent_gemma": (
        {
            **SHAPE,
            "lru_width": 32,
            "attention_window_size": 8,
            "block_types": ["recurrent", "attention"],
            "head_dim": 8,
        },
        "layers of linear_attention",
    ),
    "lfm2": ({**SHAPE, "layer_types": ["conv", "full_attention"], "block_multiple_of": 8}, "layers of conv"),
    "rwkv": ({**SMALL, "attention_hidden_size": 32}, "rwkv keeps a state besides keys and values"),
    "gemma4_text": ({**SHAPE, "head_dim": 8}, "gemma4_text looks words up again in every layer"),
}


@pytest.mark.parametrize("arch", REFUSED)
def test_a_decoder_that_keeps_more_than_keys_and_values_is_refused(arch):
    shape, message = REFUSED[arch]
    with pytest.raises(RecipeError, match=message):
        latent(arch, **shape)


def test_a_refused_decoder_says_what_to_use():
    shape, _ = REFUSED["lfm2"]
    with pytest.raises(RecipeError) as error:
        latent("lfm2", **shape)
    assert error.value.problems == (
        "lfm2 has layers of conv, which keep a state besides keys and values; "
        "use a decoder of attention alone, e.g. llama or qwen3",
    )


@pytest.mark.parametrize(
    ("arch", "shape"),
    [
        ("bloom", {"vocab_size": 40, "hidden_size": 32, "n_layer": 2, "n_head": 4}),
        ("phi", SHAPE),
        ("gemma3_text", {**SHAPE, "head_dim": 8, "sliding_window": 4}),
        ("gpt_neox", SHAPE),
    ],
)
def test_others_than_those_from_scratch_are_exact(arch, shape):
    model = latent(arch, **shape)
    ids = torch.tensor([3, 4, 5, 6, TOKENS.start, TOKENS.latent, TOKENS.latent, TOKENS.latent, TOKENS.end, 7, 8])
    expected = by_definition(model, ids)
    torch.testing.assert_close(model.model(ids[None]).last_hidden_state[0], expected, atol=2e-5, rtol=1e-4)
    labels = torch.where(torch.arange(len(ids)) < 9, -100, ids)
    model(ids[None], labels=labels[None]).loss.backward()
    assert (last_feed_forward(model.model.language_model) is None) == (arch == "bloom")
