"""`unspoken train`: each method is trained by its own loop."""

from contextlib import nullcontext
from pathlib import Path

from unspoken.methods import Contrastive, Reinforcement
from unspoken.pretrained import run_to_write
from unspoken.progress import without_library_bars
from unspoken.recipe import Recipe
from unspoken.training.failures import explained


def train(recipe: Recipe, out: Path | str, *, resume: bool = False) -> Path:
    """Train a recipe into a run directory.

    Args:
        recipe: What to train.
        out: The run directory; see `unspoken.run_directory` for what it will hold.
        resume: Continue from the newest valid checkpoint in `out`, to the same bits as an uninterrupted run.

    Returns:
        `out`.

    Raises:
        UnspokenError: The recipe, the data or a checkpoint cannot be used.
        NonFiniteError: The loss diverged; nothing was updated by it.
        OSError: A file could not be written.
        Stopped: A signal came; the run was saved and can be resumed.
    """
    run_to_write(Path(out).resolve())
    with explained(recipe, Path(out)), nullcontext() if _may_download(recipe) else without_library_bars():
        return _train(recipe, out, resume)


def _may_download(recipe: Recipe) -> bool:
    """Whether the model comes from elsewhere: the bar of a download is worth seeing."""
    return recipe.model.path is not None and not Path(recipe.model.path).is_dir()


def _train(recipe: Recipe, out: Path | str, resume: bool) -> Path:
    if isinstance(recipe.method, Reinforcement):
        from unspoken.training import reinforce

        return reinforce.train(recipe, out, resume=resume)
    if isinstance(recipe.method, Contrastive):
        from unspoken.training import contrastive

        return contrastive.train(recipe, out, resume=resume)
    if recipe.adversary is not None:
        from unspoken.training import adversarial

        return adversarial.train(recipe, out, resume=resume)
    from unspoken.training import supervised

    return supervised.train(recipe, out, resume=resume)
