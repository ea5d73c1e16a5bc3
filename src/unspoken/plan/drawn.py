"""Captions that an adversary has drawn, counted before any is."""

from unspoken.plan.estimate import NOTHING_DRAWN, DrawnCosts
from unspoken.recipe import Recipe


def drawn_costs(recipe: Recipe, rows: int) -> DrawnCosts:
    """What the captions add that the adversary of a recipe has drawn; nothing where there is none.

    Args:
        recipe: The recipe.
        rows: Training rows.
    """
    settings, together = recipe.adversary, recipe.evaluate.batch_size
    if settings is None:
        return NOTHING_DRAWN
    words = recipe.evaluate.max_new_tokens or recipe.task.max_new_tokens
    a_step = min(recipe.train.batch_size, rows)
    steps = -(-rows // recipe.train.batch_size)
    if settings.signal == "policy_gradient":
        return DrawnCosts(rows * settings.samples, steps, words, learned=settings.samples)
    if settings.fakes == "cached":
        captions = min(settings.cached_rows, rows)
        return DrawnCosts(captions, -(-captions // together), words)
    updates = -(-steps // settings.every)
    return DrawnCosts(min(updates * a_step, rows), updates * -(-a_step // together), words)
