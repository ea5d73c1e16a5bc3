"""New decoders from four numbers: architecture, layers, heads, width."""

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

ARCHITECTURES = ("gpt2", "llama", "qwen2", "qwen3", "mistral", "gemma2", "smollm3")
"""Shapes that the tests cover; a pretrained model may be another that `check_decoder` lets pass."""


def new_decoder(
    arch: str,
    *,
    layers: int,
    heads: int,
    width: int,
    vocab_size: int,
    max_positions: int = 1024,
    dropout: float = 0.0,
    init_std: float = 0.02,
    eos_token_id: int | None = None,
    pad_token_id: int | None = None,
    seed: int = 0,
) -> PreTrainedModel:
    """A randomly initialised causal language model of the given shape.

    Args:
        arch: One of `ARCHITECTURES`.
        layers: Number of blocks.
        heads: Attention heads; as many key-value heads.
        width: Width of the residual stream, a multiple of `heads`; the inner width is 4 times that.
        vocab_size: Number of tokens, special ones included.
        max_positions: Longest sequence.
        dropout: Of embeddings, residuals and attention (GPT-2); of attention (others).
        init_std: Standard deviation of the weights.
        eos_token_id: End of sequence.
        pad_token_id: Padding.
        seed: Seed of the weights; the process's random state is left as it was.
    """
    common: dict[str, Any] = {"vocab_size": vocab_size, "initializer_range": init_std}
    common |= {"bos_token_id": eos_token_id, "eos_token_id": eos_token_id, "pad_token_id": pad_token_id}
    if arch == "gpt2":
        config = AutoConfig.for_model(
            "gpt2",
            n_layer=layers,
            n_head=heads,
            n_embd=width,
            n_positions=max_positions,
            resid_pdrop=dropout,
            embd_pdrop=dropout,
            attn_pdrop=dropout,
            activation_function="gelu_pytorch_tanh",  # the function of GPT-2 in one kernel
            **common,
        )
    else:
        config = AutoConfig.for_model(
            arch,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=heads,
            head_dim=width // heads,
            hidden_size=width,
            intermediate_size=4 * width,
            max_position_embeddings=max_positions,
            attention_dropout=dropout,
            **common,
        )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # not torch.manual_seed, which would reseed accelerators too
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    return model
