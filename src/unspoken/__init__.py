"""Unspoken: language models that reason in a continuous latent space.

    from unspoken import LatentForCausalLM, LatentConfig, load_recipe, train, evaluate, load, ask, reason

Importing this package makes Hugging Face's Auto classes open latent models, and imports neither them nor torch until
they are used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from unspoken import auto_classes

if TYPE_CHECKING:
    from unspoken.answer import ask
    from unspoken.evaluation.evaluate import evaluate
    from unspoken.model import LatentConfig, LatentForCausalLM
    from unspoken.reasoning import reason
    from unspoken.recipe import load_recipe
    from unspoken.run_directory import open_run as load
    from unspoken.training.train import train

__version__ = "0.1.0"
__all__ = ["LatentConfig", "LatentForCausalLM", "ask", "evaluate", "load", "load_recipe", "reason", "train"]

_HOMES = {
    "LatentConfig": ("unspoken.model", "LatentConfig"),
    "LatentForCausalLM": ("unspoken.model", "LatentForCausalLM"),
    "ask": ("unspoken.answer", "ask"),
    "evaluate": ("unspoken.evaluation.evaluate", "evaluate"),
    "load": ("unspoken.run_directory", "open_run"),
    "load_recipe": ("unspoken.recipe", "load_recipe"),
    "reason": ("unspoken.reasoning", "reason"),
    "train": ("unspoken.training.train", "train"),
}

auto_classes.register_when_imported()


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'unspoken' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)
