import json

import pytest
from tests.conftest import tiny_model

from unspoken.config import LoraSettings, ModelSettings
from unspoken.model.scratch import new_decoder
from unspoken.plan.shape import adapter_parameters, checkpoint_shape, new_shape, num_parameters
from unspoken.training.begin import with_adapters

SHAPES = [{"layers": 1, "heads": 2, "width": 8}, {"layers": 3, "heads": 3, "width": 18}]


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("arch", ["gpt2", "llama", "qwen2", "qwen3", "mistral", "gemma2", "smollm3"])
@pytest.mark.parametrize("shape", SHAPES)
def test_parameters_are_counted_exactly_from_the_shape_alone(arch, shape):
    settings = ModelSettings(arch=arch, max_positions=32, **shape)
    model = new_decoder(arch, vocab_size=41, max_positions=32, **shape)
    assert num_parameters(new_shape(settings, 41)) == count(model)


@pytest.mark.filterwarnings("ignore:fan_in_fan_out")
@pytest.mark.parametrize("arch", ["gpt2", "llama", "qwen2", "qwen3", "gemma2"])
def test_adapters_are_counted_exactly_from_the_shape_alone(arch, tmp_path):
    model = tiny_model(arch)
    model.config.text_config.save_pretrained(tmp_path)
    adapted = with_adapters(model, LoraSettings(rank=3))
    trained = sum(parameter.numel() for parameter in adapted.parameters() if parameter.requires_grad)
    assert adapter_parameters(checkpoint_shape(str(tmp_path)), 3) == trained


@pytest.mark.parametrize("arch", ["gpt2", "llama", "qwen2", "gemma2"])
def test_the_shape_of_a_checkpoint_is_read_from_its_configuration(arch, tmp_path):
    model = new_decoder(arch, layers=2, heads=2, width=12, vocab_size=41, max_positions=32)
    model.config.save_pretrained(tmp_path)
    model.resize_token_embeddings(41 + 3, mean_resizing=False)  # the thought tokens are added to it
    assert num_parameters(checkpoint_shape(str(tmp_path))) == count(model)


def test_fewer_key_value_heads_are_counted(tmp_path):
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(
        "llama", num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, hidden_size=16,
        intermediate_size=20, vocab_size=41, tie_word_embeddings=True,
    )  # fmt: skip
    config.save_pretrained(tmp_path)
    model = AutoModelForCausalLM.from_config(config)
    model.resize_token_embeddings(44, mean_resizing=False)
    assert num_parameters(checkpoint_shape(str(tmp_path))) == count(model)


def test_gpt2_needs_no_file():
    # 124,439,808 in the release, and three new tokens of width 768
    assert num_parameters(checkpoint_shape("openai-community/gpt2")) == 124_439_808 + 3 * 768


@pytest.mark.parametrize(
    ("config", "sees", "new"),
    [
        ({}, False, 3),
        ({}, True, 4),
        ({"text_config": {}}, False, 0),
        ({"text_config": {}, "image_token_id": None}, True, 1),
        ({"text_config": {}, "image_token_id": 6}, True, 0),
    ],
)
def test_tokens_are_added_that_a_checkpoint_does_not_have(config, sees, new, tmp_path):
    decoder = new_decoder("gpt2", layers=1, heads=2, width=8, vocab_size=41, max_positions=16).config.to_dict()
    config = {**config, "text_config": decoder} if config else decoder
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert checkpoint_shape(str(tmp_path), sees=sees).vocabulary == 41 + new
    assert checkpoint_shape("gpt2", sees=True).vocabulary == 50_261


@pytest.mark.parametrize("config", [{}, {"model_type": "mamba"}, {"model_type": "gpt2"}, {"model_type": "llama"}])
def test_what_says_no_shape_has_none(config, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert checkpoint_shape(str(tmp_path)) is None
    assert checkpoint_shape("someone/something") is None


def test_llama_needs_no_file():
    # 8,030,261,248 in the release, and three new tokens in two tables of width 4,096
    assert num_parameters(checkpoint_shape("meta-llama/Meta-Llama-3-8B")) == 8_030_261_248 + 2 * 3 * 4096
