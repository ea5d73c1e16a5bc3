"""The recipes that come with Unspoken, by short name: `hops/coconut`."""

from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path

from unspoken.errors import RecipeError


def recipe_directory() -> Path:
    """Where the shipped recipes lie: in the installed package, or beside `src` in a checkout."""
    package = Path(str(files("unspoken")))
    installed = package / "recipes"
    return installed if installed.is_dir() else package.parents[1] / "recipes"


def shipped_recipes() -> dict[str, Path]:
    """Every shipped recipe by its short name, in alphabetical order."""
    root = recipe_directory()
    return {path.relative_to(root).with_suffix("").as_posix(): path for path in sorted(root.rglob("*.yaml"))}


def run_name(file: Path) -> str:
    """What a run of the recipe in a file is called: `hops-coconut` after a shipped one, else the file's own name."""
    root = recipe_directory().resolve()
    inside = file.resolve().is_relative_to(root)
    return "-".join(file.resolve().relative_to(root).with_suffix("").parts) if inside else file.stem


def find_recipe(name: str | Path) -> Path:
    """The file of a recipe: a path, or the short name of a shipped one. A file that exists comes first.

    Raises:
        RecipeError: There is neither.
    """
    path = Path(name).expanduser() if str(name).startswith("~") else Path(name)
    if path.is_file():
        return path
    recipes = shipped_recipes()
    short = str(name).removesuffix(".yaml")
    if short in recipes:
        return recipes[short]
    if path.exists():
        return path  # a folder, pipe or device: reading it says so
    family = [known for known in recipes if known.startswith(f"{short.rstrip('/')}/")]
    if family:
        raise RecipeError(str(name), [f"it is several recipes; choose one of {', '.join(family)}"])
    close = get_close_matches(short, recipes, n=1)
    advice = f"did you mean {close[0]}?" if close else "`unspoken list recipes` names those that come with Unspoken"
    raise RecipeError(str(name), [f"there is no such file and no shipped recipe of this name; {advice}"])
