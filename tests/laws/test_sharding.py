"""What FSDP shards: the blocks of the decoder and of an encoder that learns, by the names that accelerate finds."""

import pytest
from accelerate.utils import FullyShardedDataParallelPlugin
from accelerate.utils.dataclasses import get_module_class_from_name
from accelerate.utils.fsdp_utils import fsdp2_prepare_auto_wrap_policy
from transformers import CLIPVisionConfig, Dinov2Config, SiglipVisionConfig

from tests.conftest import tiny_model

SMALL = {"hidden_size": 6, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 8, "patch_size": 4}
ENCODERS = {
    "clip": (
        CLIPVisionConfig(intermediate_size=8, **SMALL),
        {"CLIPEncoderLayer": 3, "CLIPVisionEmbeddings": 1},
    ),
    "siglip": (
        SiglipVisionConfig(intermediate_size=8, **SMALL),
        {"SiglipEncoderLayer": 3, "SiglipVisionEmbeddings": 1, "SiglipMultiheadAttentionPoolingHead": 1},
    ),
    "dinov2": (Dinov2Config(**SMALL), {"Dinov2Layer": 3, "Dinov2Embeddings": 1}),
}
BLOCKS = {"gpt2": "GPT2Block", "llama": "LlamaDecoderLayer", "qwen2": "Qwen2DecoderLayer"}


def seeing_model(arch, config):
    encoder = None if config is None else {"model_type": config.model_type, **config.to_diff_dict()}
    projector = {"name": "queries", "heads": 2}
    vision = {"slots": 2, "num_patches": 4, "feature_size": 6, "projector": projector, "encoder": encoder}
    return tiny_model(arch, image_token_id=36, vision=vision)


def wrapped(model):
    """How many modules of each class accelerate's policy for blocks shards on their own."""
    plugin = FullyShardedDataParallelPlugin(fsdp_version=2, auto_wrap_policy="transformer_based_wrap")
    policy = fsdp2_prepare_auto_wrap_policy(plugin, model)
    names = [type(module).__name__ for module in model.modules() if policy(module)]
    return {name: names.count(name) for name in names}


@pytest.mark.parametrize("arch", BLOCKS)
@pytest.mark.parametrize("kind", ENCODERS)
def test_the_blocks_of_decoder_and_encoder_are_sharded(arch, kind):
    config, expected = ENCODERS[kind]
    model = seeing_model(arch, config)
    assert model._no_split_modules == model.model._no_split_modules == {BLOCKS[arch], *expected}
    assert all(get_module_class_from_name(model, name).__name__ == name for name in model._no_split_modules)
    assert wrapped(model) == {BLOCKS[arch]: 2, **expected}


@pytest.mark.parametrize("arch", BLOCKS)
def test_without_an_encoder_the_decoder_alone_is(arch):
    assert seeing_model(arch, None)._no_split_modules == tiny_model(arch)._no_split_modules == {BLOCKS[arch]}
    assert wrapped(seeing_model(arch, None)) == {BLOCKS[arch]: 2}
