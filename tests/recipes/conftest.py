import pytest
import torch
from tests.conftest import SHARED_DATA
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel


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
