"""`unspoken plan` and `unspoken train`: what a recipe will do, and doing it."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from unspoken.cli.arguments import Once
from unspoken.cli.study import evaluate_and_tell
from unspoken.cli.terminal import complain, say
from unspoken.cli.verb import DONE, Verb
from unspoken.processes import is_first_process

if TYPE_CHECKING:
    from unspoken.legacy import Translation
    from unspoken.recipe import Recipe


def _configure_plan(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", metavar="RECIPE", help="a YAML file, or the name of a shipped recipe (hops/coconut)")
    parser.add_argument(
        "overrides", metavar="section.key=value", nargs="*", default=[], help="change settings of the recipe"
    )


def _plan(arguments: argparse.Namespace) -> int:
    from unspoken.plan import plan, render
    from unspoken.recipe import open_recipe

    source = open_recipe(arguments.recipe, arguments.overrides)
    _tell(source.legacy)
    if source.legacy is not None and source.legacy.only_eval:
        if is_first_process():
            data = source.recipe.task.describe()["validation"]
            say(f"Nothing is trained: `unspoken train` evaluates {source.legacy.load_model_path} on {data}")
        return DONE
    text = render(plan(source.recipe))
    if is_first_process():
        say(f"{text}\nRun         {source.run}, unless --out says otherwise")
    return DONE


def _configure_train(parser: argparse.ArgumentParser) -> None:
    _configure_plan(parser)
    parser.add_argument(
        "--out", type=Path, metavar="DIR", action=Once, help="run directory; default: runs/RECIPE, with - for /"
    )
    parser.add_argument("--resume", action="store_true", help="continue the run in that directory")


def _train(arguments: argparse.Namespace) -> int:
    from unspoken.recipe import open_recipe

    source = open_recipe(arguments.recipe, arguments.overrides)
    recipe, legacy = source.recipe, source.legacy
    _tell(legacy)
    if legacy is not None and legacy.only_eval:
        return _evaluate_released(legacy, recipe, arguments)
    out = arguments.out or source.run
    if is_first_process():  # the others may come when the first has begun to write
        _check_run_directory(out, resume=arguments.resume)
        _warn(recipe)
    from unspoken.training.train import train

    run = train(recipe, out, resume=arguments.resume)
    if is_first_process():
        say(str(run))
    return DONE


def _warn(recipe: "Recipe") -> None:
    """Say what `unspoken plan` would say may not be what was meant."""
    from unspoken.plan import plan

    for warning in plan(recipe).warnings:
        complain(f"! {warning}")


def _tell(legacy: "Translation | None") -> None:
    """Say what became of a released file."""
    if legacy is not None and is_first_process():
        complain("this is a file of the released Coconut; it is read as")
        for line in legacy.said:
            complain(f"  {line}")


def _check_run_directory(out: Path, *, resume: bool) -> None:
    from unspoken.errors import CheckpointError

    if out.exists() and not out.is_dir():
        raise CheckpointError(f"{out} is a file; choose a directory with --out")
    # a start that failed is no run
    holds = out.is_dir() and not _is_empty(out)
    if holds and not resume and not _nothing_done(out):
        raise CheckpointError(
            f"{out} is not empty; continue its run with --resume, or choose another directory with --out"
        )
    if resume and not holds:
        raise CheckpointError(f"{out} holds no run to resume; start it without --resume, or correct --out")


def _nothing_done(out: Path) -> bool:
    from unspoken.run_directory import nothing_done

    return nothing_done(out)


def _is_empty(directory: Path) -> bool:
    """Whether it holds no run: a lock or an unfinished file is none."""
    return all(path.name.startswith(".") for path in directory.iterdir())


def _evaluate_released(legacy: "Translation", recipe: "Recipe", arguments: argparse.Namespace) -> int:
    """`only_eval: True`: evaluate the run or the released weights at `load_model_path` on the validation file."""
    import json

    from unspoken.errors import RecipeError
    from unspoken.recipe import sparse

    run, problems = legacy.load_model_path, []
    if run is None:
        problems.append(
            "load_model_path: only_eval: True evaluates it; set it to a checkpoint_N file or a run directory"
        )
    elif run.is_dir() and arguments.out is not None:
        problems.append(f"out: the run {run} is evaluated where it is; leave --out away, or copy the run")
    if arguments.resume:
        problems.append("resume: only_eval: True trains nothing that could be resumed; leave --resume away")
    problems += [
        f"{override}: only_eval: True trains nothing; leave it away, or set only_eval: False"
        for override in arguments.overrides
        if override.strip().startswith("train.")
    ]
    if problems or run is None:
        raise RecipeError(arguments.recipe, problems)
    if not run.is_dir():
        run = _imported(legacy, recipe, arguments.out or legacy.run)
    settings = tuple(f"{key}={json.dumps(value)}" for key, value in sparse(recipe).get("evaluate", {}).items())
    evaluate_and_tell(run, data=Path(recipe.task.describe()["validation"]), split="test", overrides=settings)
    return DONE


def _imported(legacy: "Translation", recipe: "Recipe", out: Path) -> Path:
    """The run directory of released weights: made of them, unless it is there from an earlier evaluation."""
    from unspoken.errors import CheckpointError
    from unspoken.run_directory import import_released, is_import_of

    stage = min(legacy.stage, recipe.method.final_stage)
    if is_import_of(out, recipe, stage):
        return out
    if out.exists() and not (out.is_dir() and _is_empty(out)):
        raise CheckpointError(f"{out} holds something other than these weights; choose another directory with --out")
    import_released(recipe, out, stage)
    return out


PLAN = Verb(
    "resolved settings, stages, batch, parameters, estimates; loads nothing", _configure_plan, _plan, in_processes=True
)
TRAIN = Verb("train a recipe into a run directory", _configure_train, _train, in_processes=True)
