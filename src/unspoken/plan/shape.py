"""The shape of a decoder, and what follows from it alone: how many parameters it has."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unspoken.config import ModelSettings
from unspoken.files import read_json


@dataclass(frozen=True, slots=True)
class Shape:
    """A decoder's shape, in the words of `ModelSettings`.

    Attributes:
        arch: `gpt2` or one of the architectures with rotary positions.
        layers: Number of blocks.
        heads: Attention heads.
        kv_heads: Key-value heads.
        head_width: Width of a head.
        width: Width of the residual stream.
        inner: Width inside the feed-forward network.
        vocabulary: Number of token embeddings.
        positions: Longest sequence; only GPT-2 has parameters for it.
        tied: Whether the head is the embedding table.
    """

    arch: str
    layers: int
    heads: int
    kv_heads: int
    head_width: int
    width: int
    inner: int
    vocabulary: int
    positions: int
    tied: bool


NEW_TOKENS = 3
"""`<|start-latent|>`, `<|latent|>` and `<|end-latent|>`."""

TIED = frozenset({"gpt2", "gemma2", "smollm3"})
"""Architectures whose head is the embedding table unless told otherwise."""

_QUERY_KEY_VALUE_BIAS = frozenset({"qwen2"})
_QUERY_KEY_NORM = frozenset({"qwen3"})
_FOUR_NORMS = frozenset({"gemma2"})

_PUBLISHED = {
    "gpt2": (12, 12, 768),
    "gpt2-medium": (24, 16, 1024),
    "gpt2-large": (36, 20, 1280),
    "gpt2-xl": (48, 25, 1600),
}
"""Layers, heads and width of the checkpoints that the papers start from, so that a plan needs no download."""
_PUBLISHED_LLAMA = ("meta-llama/Meta-Llama-3-8B", "meta-llama/Meta-Llama-3-8B-Instruct")
_LLAMA_3_8B = Shape(
    "llama", layers=32, heads=32, kv_heads=8, head_width=128, width=4096, inner=14336, vocabulary=128_256,
    positions=8192, tied=False,
)  # fmt: skip


def num_parameters(shape: Shape) -> int:
    """Parameters of the decoder with its head, a shared table counted once."""
    width, inner = shape.width, shape.inner
    head = 0 if shape.tied else shape.vocabulary * width
    embeddings = shape.vocabulary * width + head
    if shape.arch == "gpt2":
        attention = width * 3 * width + 3 * width + width * width + width
        feed_forward = 2 * width * inner + inner + width
        return embeddings + shape.positions * width + shape.layers * (attention + feed_forward + 4 * width) + 2 * width
    queries, keys = shape.heads * shape.head_width, shape.kv_heads * shape.head_width
    attention = width * (2 * queries + 2 * keys)
    if shape.arch in _QUERY_KEY_VALUE_BIAS:
        attention += queries + 2 * keys
    if shape.arch in _QUERY_KEY_NORM:
        attention += 2 * shape.head_width
    norms = (4 if shape.arch in _FOUR_NORMS else 2) * width
    return embeddings + shape.layers * (attention + 3 * width * inner + norms) + width


def adapter_parameters(shape: Shape, rank: int) -> int:
    """Parameters of adapters of every linear layer of the blocks, and of the thought tokens, which learn with them."""
    width, inner = shape.width, shape.inner
    queries, keys = shape.heads * shape.head_width, shape.kv_heads * shape.head_width
    if shape.arch == "gpt2":
        layers = [(width, 3 * width), (width, width), (width, inner), (inner, width)]
    else:
        attention = [(width, queries), (width, keys), (width, keys), (queries, width)]
        layers = [*attention, (width, inner), (width, inner), (inner, width)]
    return shape.layers * rank * sum(entering + leaving for entering, leaving in layers) + NEW_TOKENS * width


def new_shape(model: ModelSettings, vocabulary: int) -> Shape:
    """The shape of a model from scratch, as `model.scratch.new_decoder` builds it."""
    return Shape(
        arch=model.arch,
        layers=model.layers,
        heads=model.heads,
        kv_heads=model.heads,
        head_width=model.width // model.heads,
        width=model.width,
        inner=4 * model.width,
        vocabulary=vocabulary,
        positions=model.max_positions,
        tied=model.arch in TIED,
    )


def checkpoint_shape(path: str, *, sees: bool = False) -> Shape | None:
    """The shape of a checkpoint, from its `config.json` or by its name; None when neither says it.

    Args:
        path: Of the checkpoint.
        sees: Whether the model is to see images, which takes a token.
    """
    file = Path(path) / "config.json"
    if file.is_file():
        config = read_json(file)
        return _shape_of(config, _new_tokens(config, sees))
    name = path.removeprefix("openai-community/")
    if path in _PUBLISHED_LLAMA:
        return replace(_LLAMA_3_8B, vocabulary=_LLAMA_3_8B.vocabulary + _new_tokens({}, sees))
    if name not in _PUBLISHED:
        return None
    layers, heads, width = _PUBLISHED[name]
    vocabulary = 50_257 + _new_tokens({}, sees)
    return Shape("gpt2", layers, heads, heads, width // heads, width, 4 * width, vocabulary, positions=1024, tied=True)


def _new_tokens(config: Mapping[str, Any], sees: bool) -> int:
    """Tokens that a checkpoint gets: a latent model has those of thoughts already, and one that sees that of images."""
    thoughts = 0 if "text_config" in config else NEW_TOKENS
    return thoughts + (sees and config.get("image_token_id") is None)


def _shape_of(config: Mapping[str, Any], new: int) -> Shape | None:
    """The shape that a Hugging Face configuration describes, with so many new tokens; None where it is not known."""
    config = config.get("text_config", config)
    arch = config.get("model_type")
    try:
        if arch == "gpt2":
            width, heads = config["n_embd"], config["n_head"]
            return Shape(
                arch=arch,
                layers=config["n_layer"],
                heads=heads,
                kv_heads=heads,
                head_width=width // heads,
                width=width,
                inner=config.get("n_inner") or 4 * width,
                vocabulary=config["vocab_size"] + new,
                positions=config.get("n_positions", 1024),
                tied=config.get("tie_word_embeddings", True),
            )
        if arch in ("llama", "qwen2", "qwen3", "mistral", "gemma2", "smollm3"):
            width, heads = config["hidden_size"], config["num_attention_heads"]
            return Shape(
                arch=arch,
                layers=config["num_hidden_layers"],
                heads=heads,
                kv_heads=config.get("num_key_value_heads") or heads,
                head_width=config.get("head_dim") or width // heads,
                width=width,
                inner=config["intermediate_size"],
                vocabulary=config["vocab_size"] + new,
                positions=config.get("max_position_embeddings", 2048),
                tied=config.get("tie_word_embeddings", arch in TIED),
            )
    except (KeyError, TypeError):
        return None
    return None
