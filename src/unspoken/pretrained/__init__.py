"""Trained models that come with Unspoken: small, real, and enough to ask, audit and inspect at once.

Each is the directory of a finished run, without what only training needs, and a model card, `README.md`. It is read
where it lies; what writes into a run wants a copy of it (`copy_pretrained`, or `unspoken demo --pretrained`).
"""

from difflib import get_close_matches
from importlib import resources
from pathlib import Path

from unspoken import files
from unspoken.errors import CheckpointError

CARD = "README.md"
"""The model card: what it is, how it was trained, its figures and its limits."""
LAST = "run.json"
"""What makes a run count, so it is copied last."""


def pretrained_models() -> dict[str, Path]:
    """The directory of every shipped model by its name, in alphabetical order."""
    root = Path(str(resources.files("unspoken"))) / "pretrained"
    return {path.parent.name: path.parent for path in sorted(root.glob(f"*/{LAST}"))}


def copy_pretrained(name: str, out: Path | str) -> Path:
    """Copy a shipped model into a directory of its own: an ordinary finished run, which may be written into.

    Args:
        name: One of `pretrained_models`.
        out: The run directory to make.

    Returns:
        `out`.

    Raises:
        CheckpointError: There is no such model, or `out` holds something.
    """
    models, out = pretrained_models(), Path(out)
    if name not in models:
        close = get_close_matches(name, models, n=1)
        advice = f"did you mean {close[0]}?" if close else f"there are {', '.join(models)}"
        raise CheckpointError(f"no model that comes with Unspoken is called {name!r}; {advice}")
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise CheckpointError(f"{out} is there already; choose another directory, or remove it")
    found = [path for path in models[name].iterdir() if path.is_file()]
    for path in sorted(found, key=lambda each: (each.name == LAST, each.name)):
        files.write_bytes(out / path.name, path.read_bytes())
    return out


def run_to_read(run: Path | str) -> Path:
    """The directory of a run that is only read: a directory that exists comes first, then a shipped model's name."""
    path = Path(run)
    return path if path.exists() else pretrained_models().get(str(run), path)


def run_to_write(run: Path | str) -> Path:
    """The directory of a run that is written into.

    Raises:
        CheckpointError: It is a shipped model, by its name or by its place.
    """
    path = Path(run)
    for name, model in pretrained_models().items():
        if path.resolve() == model.resolve() or (str(run) == name and not path.exists()):
            raise CheckpointError(
                f"{run} comes with Unspoken, and nothing is written into it; copy it with `unspoken demo --pretrained` "
                f"or unspoken.pretrained.copy_pretrained({name!r}, DIR), and give the copy"
            )
    return path
