"""What a decoder must be for a pass to begin where the one before it ended: keys, values and embeddings are all it has.

A state that is carried from column to column besides them would be lost between passes, silently or not.
"""

from typing import Any

from transformers import PreTrainedModel

from unspoken.errors import RecipeError

ATTENTION = frozenset({"full_attention", "sliding_attention", "chunked_attention"})
"""Kinds of layers, as configurations name them, that keep keys and values and nothing else."""


def check_decoder(decoder: PreTrainedModel) -> None:
    """Refuse a decoder that passes would not be exact for.

    Raises:
        RecipeError: It keeps more than keys and values, or reads ids beside embeddings.
    """
    config: Any = decoder.config
    others = sorted(set(getattr(config, "layer_types", None) or ()) - ATTENTION)
    remedy = "use a decoder of attention alone, e.g. llama or qwen3"
    if others:
        what = f"has layers of {', '.join(others)}, which keep a state besides keys and values"
    elif getattr(decoder, "_is_stateful", False):
        what = "keeps a state besides keys and values"
    elif getattr(config, "hidden_size_per_layer_input", None):
        what, remedy = "looks words up again in every layer, and a thought is no word", "use another decoder"
    else:
        return
    raise RecipeError("model", [f"{config.model_type} {what}; {remedy}"])
