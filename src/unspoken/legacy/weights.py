"""Checkpoints of the released Coconut: files `checkpoint_N` of weights under the names of its classes.

base_causallm.transformer.h.0.ln_1.weight  ->  model.language_model.h.0.ln_1.weight
base_causallm.lm_head.weight               ->  lm_head.weight
embedding.weight                               the table a second time

The released code adds its tokens in the order start, end, latent; here, as in MultiCoCo, it is start, latent, end.
"""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING

from unspoken.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor


def import_checkpoint(path: Path) -> "dict[str, Tensor]":
    """The weights in a released `checkpoint_N` file, under the names of `LatentForCausalLM`.

    Nothing in the file is executed. Every key is accounted for: moved, or known to hold nothing of its own. Rows of the
    thought tokens, which only checkpoints of the class Coconut have, stand in the order of `data.tokenizer`.

    Raises:
        CheckpointError: The file cannot be read, holds other things than finite weights, or keys that no rule covers.
    """
    import torch

    if not path.is_file():
        raise CheckpointError(f"{path} is not a file; give a checkpoint_N file of the released code")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError, OSError, ValueError, zipfile.BadZipFile) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"{path} cannot be read as weights ({reason[:200]}); it is damaged, or holds more than weights"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise CheckpointError(f"{path} holds no dictionary of weights; give a checkpoint_N file of the released code")
    moved: dict[str, Tensor] = {}
    unknown = []
    names = {key: key.removeprefix("module.") for key in state}
    for key, value in state.items():
        inner = names[key].removeprefix("base_causallm.")
        new = _new_name(inner)
        if new is not None:
            moved[new] = value
        elif not _holds_nothing(inner):
            unknown.append(key)
    if unknown or not moved:
        listed = ", ".join(unknown[:20]) + (f" and {len(unknown) - 20} more" if len(unknown) > 20 else "")
        raise CheckpointError(f"{path} holds weights of no Coconut model: {listed or 'none at all'}; give another file")
    _check_weights(path, moved, state)
    if any(name.startswith("base_causallm.") for name in names.values()) and not any(map(_is_blind, names.values())):
        moved |= {name: _reordered(moved[name]) for name in (*_TABLES, "lm_head.weight") if name in moved}
    return moved


def _is_blind(key: str) -> bool:
    return key.startswith(("vision_encoder.", "vision_projector."))


_TABLES = ("model.language_model.wte.weight", "model.language_model.embed_tokens.weight")


def _reordered(table: "Tensor") -> "Tensor":
    """A table whose last rows are start, end, latent as one where they are start, latent, end."""
    import torch

    return torch.cat([table[:-2], table[-1:], table[-2:-1]])


def _new_name(key: str) -> str | None:
    """The name in `LatentForCausalLM` of a weight of a Hugging Face GPT-2 or Llama-like model."""
    if key.startswith("transformer.") and not _holds_nothing(key):
        return f"model.language_model.{key.removeprefix('transformer.')}"
    if key.startswith("model."):
        return f"model.language_model.{key.removeprefix('model.')}"
    return key if key == "lm_head.weight" else None


def _holds_nothing(key: str) -> bool:
    """The embedding table a second time, and the causal masks that old releases of transformers saved.

    And the eyes of MultiCoCo: to the version that has these names no image was ever shown, so they learned nothing.
    """
    return key == "embedding.weight" or key.endswith((".attn.bias", ".attn.masked_bias")) or _is_blind(key)


def _check_weights(path: Path, moved: "Mapping[str, Tensor]", state: "Mapping[str, Tensor]") -> None:
    import torch

    damaged = [name for name, value in moved.items() if not torch.isfinite(value).all()]
    if damaged:
        raise CheckpointError(f"{path} holds NaN or infinity in {', '.join(damaged[:5])}; use another checkpoint")
    copy = next((value for key, value in state.items() if key.endswith("embedding.weight")), None)
    table = next((moved[name] for name in _TABLES if name in moved), None)
    if copy is not None and (table is None or not torch.equal(copy, table)):
        raise CheckpointError(f"{path} holds an embedding.weight that is not its model's; use another checkpoint")
