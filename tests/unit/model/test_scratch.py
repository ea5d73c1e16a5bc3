"""New decoders from four numbers: how many parameters they have, and that their seed is all their chance."""

from math import pi, sqrt

import pytest
import torch

from unspoken.model.scratch import ARCHITECTURES, new_decoder

SHAPES = [
    {"layers": 1, "heads": 1, "width": 8, "vocab_size": 11, "max_positions": 16},
    {"layers": 2, "heads": 4, "width": 32, "vocab_size": 50, "max_positions": 64},
    {"layers": 3, "heads": 2, "width": 48, "vocab_size": 17, "max_positions": 128},
]


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("shape", SHAPES)
def test_gpt2_has_12_d2_and_13_d_parameters_a_layer_and_a_tied_head(shape):
    d, layers = shape["width"], shape["layers"]
    expected = (shape["vocab_size"] + shape["max_positions"]) * d + layers * (12 * d * d + 13 * d) + 2 * d
    model = new_decoder("gpt2", **shape)
    assert count(model) == expected
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_the_published_model_of_superposition_has_14_2_million_parameters_in_its_blocks():
    model = new_decoder("gpt2", layers=2, heads=8, width=768, vocab_size=40)
    blocks = sum(parameter.numel() for parameter in model.transformer.h.parameters())
    assert round(blocks / 1e6, 1) == 14.2
    assert model.transformer.wpe.weight.numel() == 1024 * 768


@pytest.mark.parametrize("arch", ["llama", "mistral"])
@pytest.mark.parametrize("shape", SHAPES)
def test_llama_has_16_d2_and_2_d_parameters_a_layer_and_a_head_of_its_own(arch, shape):
    d, layers = shape["width"], shape["layers"]
    expected = 2 * shape["vocab_size"] * d + layers * (4 * d * d + 3 * d * 4 * d + 2 * d) + d
    assert count(new_decoder(arch, **shape)) == expected


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_the_shape_is_the_one_asked_for(arch):
    config = new_decoder(
        arch, layers=3, heads=2, width=16, vocab_size=13, max_positions=40, eos_token_id=1, pad_token_id=0
    ).config
    assert (config.num_hidden_layers, config.num_attention_heads, config.hidden_size) == (3, 2, 16)
    assert (config.vocab_size, config.max_position_embeddings) == (13, 40)
    assert (config.eos_token_id, config.pad_token_id) == (1, 0)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_the_same_seed_gives_the_same_weights_and_another_gives_others(arch):
    shape = {"layers": 1, "heads": 2, "width": 16, "vocab_size": 13}
    first, again, other = (new_decoder(arch, **shape, seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(tensor, again[name]) for name, tensor in first.items())
    matrices = [name for name, tensor in first.items() if tensor.dim() > 1]
    assert matrices
    assert all(not torch.equal(first[name], other[name]) for name in matrices)


@pytest.mark.parametrize("arch", ["gpt2", "llama"])
def test_the_random_state_of_the_process_is_left_as_it_was(arch):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    new_decoder(arch, layers=1, heads=2, width=16, vocab_size=13, seed=9)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_weights_do_not_depend_on_the_random_state_of_the_process():
    shape = {"layers": 1, "heads": 2, "width": 16, "vocab_size": 13}
    torch.manual_seed(1)
    first = new_decoder("gpt2", **shape, seed=9).state_dict()
    torch.manual_seed(2)
    second = new_decoder("gpt2", **shape, seed=9).state_dict()
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


@pytest.mark.parametrize("arch", ["gpt2", "llama"])
@pytest.mark.parametrize("std", [0.02, 0.1])
def test_weights_have_the_standard_deviation_asked_for(arch, std):
    model = new_decoder(arch, layers=1, heads=2, width=64, vocab_size=200, init_std=std)
    table = model.get_input_embeddings().weight
    assert table.std().item() == pytest.approx(std, rel=0.05)  # 12,800 draws: 0.6% standard error
    assert new_decoder(arch, layers=1, heads=2, width=64, vocab_size=200).config.initializer_range == 0.02


def test_the_activation_of_gpt2_is_the_one_of_gpt2():
    """gelu_new: 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))."""
    model = new_decoder("gpt2", layers=1, heads=1, width=8, vocab_size=5)
    x = torch.linspace(-8, 8, 4001)
    expected = 0.5 * x * (1 + torch.tanh(sqrt(2 / pi) * (x + 0.044715 * x**3)))
    torch.testing.assert_close(model.transformer.h[0].mlp.act(x), expected, atol=1e-6, rtol=1e-6)


def dropouts(model):
    return {module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)}


def test_dropout_of_gpt2_is_everywhere_or_nowhere():
    shape = {"layers": 1, "heads": 2, "width": 16, "vocab_size": 13}
    assert dropouts(new_decoder("gpt2", **shape, dropout=0.3)) == {0.3}
    assert dropouts(new_decoder("gpt2", **shape)) == {0.0}
    assert new_decoder("llama", **shape, dropout=0.3).config.attention_dropout == 0.3
