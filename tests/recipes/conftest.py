import pytest
import torch
from tests.conftest import SHARED_DATA
from transformers import (
    AutoTokenizer,
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)


@pytest.fixture(scope="session")
def tiny_gpt2(tmp_path_factory):
    """Folder of a GPT-2 with random weights, 16 wide, and with the real tokenizer."""
    tokenizer = SHARED_DATA / "gpt2-tokenizer"
    if not tokenizer.is_dir():
        pytest.skip("the tokenizer of GPT-2 is not on this machine")
    folder = tmp_path_factory.mktemp("gpt2") / "model"
    AutoTokenizer.from_pretrained(tokenizer).save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        GPT2LMHeadModel(GPT2Config(n_layer=1, n_head=2, n_embd=16, n_positions=512)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_llama(tiny_gpt2, tmp_path_factory):
    """Folder of a Llama with random weights, 16 wide, and with the tokenizer of GPT-2."""
    folder = tmp_path_factory.mktemp("llama") / "model"
    tokenizer = AutoTokenizer.from_pretrained(tiny_gpt2)
    tokenizer.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=512, bos_token_id=None, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory):
    """Folder of a CLIP with random weights, 16 wide, that sees 32 x 32 pixels."""
    folder = tmp_path_factory.mktemp("clip") / "model"
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**small, "vocab_size": 50, "bos_token_id": 0, "eos_token_id": 1}
    seen = {**small, "image_size": 32, "patch_size": 16}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        CLIPModel(CLIPConfig(text_config=text, vision_config=seen, projection_dim=8)).save_pretrained(folder)
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder
