import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import pytest
import torch

from unspoken.model import LatentConfig, LatentForCausalLM
from unspoken.model.scratch import new_decoder
from unspoken.records import ThoughtTokens

VOCABULARY = 40
TOKENS = ThoughtTokens(latent=37, start=38, end=39)
SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


def tiny_model(arch="gpt2", *, source=None, schedule=None, seed=0, width=16, layers=2, dropout=0.0, **kwargs):
    decoder = new_decoder(
        arch, layers=layers, heads=2, width=width, vocab_size=VOCABULARY, max_positions=128, dropout=dropout,
        eos_token_id=0, pad_token_id=0, seed=seed,
    )  # fmt: skip
    config = LatentConfig(
        text_config=decoder.config,
        latent_token_id=TOKENS.latent,
        start_latent_token_id=TOKENS.start,
        end_latent_token_id=TOKENS.end,
        thought_source=source,
        schedule=schedule,
        **kwargs,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed + 1)
        model = LatentForCausalLM.from_decoder(decoder, config)
    # random weights of the usual size make states nearly equal; larger ones let a mistake show
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(seed + 2)
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.2)
    return model.eval()


@pytest.fixture
def shared_data():
    if not SHARED_DATA.is_dir():
        pytest.skip("the released data files are not on this machine")
    return SHARED_DATA
