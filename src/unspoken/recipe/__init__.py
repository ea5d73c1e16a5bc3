"""Recipes: one YAML file decides everything that a run computes."""

from unspoken.recipe.recipe import (
    Recipe,
    Source,
    dump,
    load_recipe,
    open_recipe,
    override,
    resolve,
    resolve_task,
    sparse,
)

__all__ = ["Recipe", "Source", "dump", "load_recipe", "open_recipe", "override", "resolve", "resolve_task", "sparse"]
