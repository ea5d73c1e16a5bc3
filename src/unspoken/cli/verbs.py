"""The verbs of the command line. Each calls one function of the package, which it imports when it runs."""

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unspoken.cli.terminal import complain, say
from unspoken.progress import is_first_process, progress_bar

if TYPE_CHECKING:
    from unspoken.legacy import Translation
    from unspoken.recipe import Recipe
    from unspoken.tasks import Task

DONE, FAILED = 0, 1


@dataclass(frozen=True, slots=True)
class Verb:
    """One verb of the command line.

    Attributes:
        help: What it does, in a line.
        configure: Adds its arguments.
        run: Does it, and returns the exit code.
    """

    help: str
    configure: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


class Once(argparse.Action):
    """An option that may be given once: of two values one would be lost."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        """See `argparse.Action`."""
        seen = namespace.__dict__.setdefault("_seen", set())
        if option_string in seen:
            parser.error(f"argument {option_string} is given twice; give it once")
        seen.add(option_string)
        setattr(namespace, self.dest, values)


def _run_to_read(text: str) -> Path:
    from unspoken.pretrained import run_to_read

    return run_to_read(text)


def _run_to_write(text: str) -> Path:
    from unspoken.errors import CheckpointError
    from unspoken.pretrained import run_to_write

    try:
        return run_to_write(text)
    except CheckpointError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _recipe_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", metavar="RECIPE", help="a YAML file, or the name of a shipped recipe (hops/coconut)")
    parser.add_argument("overrides", metavar="section.key=value", nargs="*", help="change settings of the recipe")


def _tell(legacy: "Translation | None") -> None:
    """Say what became of a released file."""
    if legacy is not None and is_first_process():
        complain("this is a file of the released Coconut; it is read as")
        for line in legacy.said:
            complain(f"  {line}")


def _hide_loading_bars() -> None:
    """Leave out the library's bars for files of this machine; those of a download are worth seeing."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def _plan(arguments: argparse.Namespace) -> int:
    from unspoken.plan import plan, render
    from unspoken.recipe import open_recipe

    source = open_recipe(arguments.recipe, arguments.overrides)
    _tell(source.legacy)
    say(render(plan(source.recipe)))
    return DONE


def _configure_train(parser: argparse.ArgumentParser) -> None:
    _recipe_arguments(parser)
    parser.add_argument("--out", type=Path, metavar="DIR", action=Once, help="run directory; default: runs/TASK-METHOD")
    parser.add_argument("--resume", action="store_true", help="continue the run in that directory")


def _train(arguments: argparse.Namespace) -> int:
    from unspoken.recipe import open_recipe

    source = open_recipe(arguments.recipe, arguments.overrides)
    recipe, legacy = source.recipe, source.legacy
    _tell(legacy)
    if legacy is not None and legacy.only_eval:
        return _evaluate_released(legacy, recipe)
    names = f"{recipe.task.describe()['name']}-{recipe.method.model_dump()['name']}"
    out = arguments.out or (legacy.run if legacy is not None else Path("runs") / names)
    if is_first_process():  # the others may come when the first has begun to write
        _check_run_directory(out, resume=arguments.resume)
    if recipe.model.path is None or Path(recipe.model.path).is_dir():
        _hide_loading_bars()
    from unspoken.training.train import train

    run = train(recipe, out, resume=arguments.resume)
    if is_first_process():
        say(str(run))
    return DONE


def _check_run_directory(out: Path, *, resume: bool) -> None:
    from unspoken.errors import CheckpointError

    if out.exists() and not out.is_dir():
        raise CheckpointError(f"{out} is a file; choose a directory with --out")
    # a lock or an unfinished file is no run
    holds = out.is_dir() and any(not path.name.startswith(".") for path in out.iterdir())
    if holds and not resume:
        raise CheckpointError(
            f"{out} is not empty; continue its run with --resume, or choose another directory with --out"
        )
    if resume and not holds:
        raise CheckpointError(f"{out} holds no run to resume; start it without --resume, or correct --out")


def _evaluate_released(legacy: "Translation", recipe: "Recipe") -> int:
    """`only_eval: True`: evaluate the run or the released weights at `load_model_path` on the validation file."""
    from unspoken.errors import CheckpointError

    run, data = legacy.load_model_path, Path(str(legacy.recipe["task"]["validation"]))
    if run is None:
        raise CheckpointError(
            "only_eval: True evaluates load_model_path; set it to a checkpoint_N file or a run directory"
        )
    if not run.is_dir():
        from unspoken.run_directory import import_released

        _check_run_directory(legacy.run, resume=False)
        import_released(recipe, legacy.run, min(legacy.stage, recipe.method.final_stage))
        run = legacy.run
    return _evaluate_and_print(run, data=data, split="test", overrides=())


def _configure_eval(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=_run_to_write, metavar="RUN", help="directory of a finished run")
    parser.add_argument(
        "overrides", metavar="key=value", nargs="*", help="settings of evaluate, e.g. controls=[zero,mean]"
    )
    parser.add_argument("--data", type=Path, metavar="FILE", action=Once, help="rows to evaluate on instead of a split")
    parser.add_argument(
        "--split",
        choices=("train", "validation", "test"),
        default="validation",
        action=Once,
        help="choose settings on validation (the default), measure on test once",
    )
    _trajectory_arguments(parser)
    parser.add_argument("--temperature", type=float, metavar="T", action=Once, help="of their thoughts; default: 1")
    parser.add_argument("--seed", type=int, metavar="N", action=Once, help="of their chance; default: 0")


def _eval(arguments: argparse.Namespace) -> int:
    if arguments.trajectories is not None:
        return _evaluate_many(arguments)
    _refuse_without_trajectories(arguments, "temperature", "token_temperature", "spread", "seed")
    return _evaluate_and_print(arguments.run, data=arguments.data, split=arguments.split, overrides=arguments.overrides)


def _evaluate_and_print(run: Path, *, data: Path | None, split: Any, overrides: Sequence[str]) -> int:
    _hide_loading_bars()
    from unspoken.evaluation.evaluate import evaluate, table

    with progress_bar("rows") as progress:
        results = evaluate(run, data=data, split=split, overrides=overrides, progress=progress)
    if is_first_process():
        say(table(results))
    return DONE


def _trajectory_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--trajectories", type=int, metavar="N", action=Once, help="think N times about each question, 1 to 64"
    )
    parser.add_argument(
        "--token-temperature", type=float, metavar="T", action=Once, help="of their words; default: 0, the likeliest"
    )
    parser.add_argument(
        "--spread", type=float, metavar="S", action=Once, help="how much warmer the last is than the first; default: 0"
    )


def _refuse_without_trajectories(arguments: argparse.Namespace, *names: str) -> None:
    from unspoken.errors import RecipeError

    given = [name for name in names if getattr(arguments, name) is not None]
    if given:
        problems = [f"{name}: it is about several trajectories; add --trajectories, or leave it out" for name in given]
        raise RecipeError("unspoken", problems)


def _chance(arguments: argparse.Namespace) -> dict[str, float]:
    """The degrees of chance that were given."""
    names = ("temperature", "token_temperature", "spread")
    return {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}


def _evaluate_many(arguments: argparse.Namespace) -> int:
    _hide_loading_bars()
    from unspoken.evaluation.many import evaluate_many, table
    from unspoken.trajectories import Chance

    with progress_bar("rows") as progress:
        results = evaluate_many(
            arguments.run,
            trajectories=arguments.trajectories,
            chance=Chance(**_chance(arguments)),
            data=arguments.data,
            split=arguments.split,
            overrides=arguments.overrides,
            seed=arguments.seed or 0,
            progress=progress,
        )
    if is_first_process():
        say(table(results))
    return DONE


def _configure_audit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "runs",
        type=_run_to_write,
        metavar="RUN",
        nargs="+",
        help="directory of a finished run; several: seeds of one recipe",
    )
    parser.add_argument(
        "--against",
        type=_run_to_read,
        metavar="RUN",
        nargs="+",
        default=[],
        help="runs to compare with on the same rows",
    )
    _rows_arguments(parser)
    parser.add_argument(
        "--margin", type=float, default=0.02, action=Once, help="largest cost in accuracy that counts as none"
    )
    parser.add_argument("--seed", type=int, default=0, action=Once, help="of noise, pairings and orders")
    parser.add_argument("--json", type=Path, metavar="FILE", action=Once, help="write the figures here, too")


def _audit(arguments: argparse.Namespace) -> int:
    _hide_loading_bars()
    from unspoken.audit import audit
    from unspoken.audit.seeds import check_same_but_seeds, over_seeds
    from unspoken.audit.table import table, table_over_seeds
    from unspoken.files import write_json

    if len(arguments.runs) > 1:
        check_same_but_seeds(arguments.runs)
    audits = []
    for run in arguments.runs:
        with progress_bar("rows") as progress:
            found = audit(
                run,
                against=arguments.against,
                data=arguments.data,
                split=arguments.split,
                rows=arguments.rows,
                margin=arguments.margin,
                seed=arguments.seed,
                progress=progress,
            )
        audits.append(found)
        say(table(found) if len(arguments.runs) == 1 else f"{run}\n{table(found)}\n")
    together = over_seeds(audits) if len(audits) > 1 else None
    if together:
        say(table_over_seeds(together))
    if arguments.json:
        write_json(arguments.json, {"runs": audits, "over_seeds": together} if together else audits[0])
    return DONE


def _configure_inspect(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=_run_to_write, metavar="RUN", help="directory of a finished run")
    parser.add_argument("--example", type=int, metavar="N", action=Once, help="show row N; default: the first few")
    _rows_arguments(parser)
    parser.add_argument("--seed", type=int, default=0, action=Once, help="of controls and pairings")
    parser.add_argument("--json", type=Path, metavar="FILE", action=Once, help="write the figures here, too")


def _inspect(arguments: argparse.Namespace) -> int:
    _hide_loading_bars()
    from unspoken.files import write_json
    from unspoken.inspection import inspect
    from unspoken.inspection.table import table

    with progress_bar("rows") as progress:
        results = inspect(
            arguments.run,
            example=arguments.example,
            data=arguments.data,
            split=arguments.split,
            rows=arguments.rows,
            seed=arguments.seed,
            progress=progress,
        )
    if arguments.json:
        write_json(arguments.json, results)
    say(table(results))
    return DONE


def _rows_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, metavar="FILE", action=Once, help="rows to use instead of a split")
    parser.add_argument("--split", choices=("train", "validation", "test"), default="test", action=Once)
    parser.add_argument("--rows", type=int, metavar="N", action=Once, help="only the first N rows")


def _configure_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "run", type=_run_to_read, metavar="RUN", help="directory of a finished run, or a shipped model (prosqa-small)"
    )
    parser.add_argument(
        "question",
        metavar="QUESTION",
        nargs="?",
        help="premises and question, as the task writes them; left out where captions make it",
    )
    parser.add_argument(
        "--images",
        "--image",
        type=Path,
        metavar="FILE",
        nargs="+",
        action="extend",
        default=[],
        help="images it is about, for a model that sees",
    )
    parser.add_argument(
        "--captions",
        "--caption",
        metavar="TEXT",
        nargs="+",
        action="extend",
        default=[],
        help="of each image, in the same order: the story so far, for a model that tells stories",
    )
    parser.add_argument("--thoughts", type=int, metavar="N", action=Once, help="think N times; default: as trained")
    parser.add_argument("--show-thoughts", action="store_true", help="the words each thought is closest to")
    parser.add_argument("--max-new-tokens", type=int, metavar="N", action=Once, help="longest answer")
    parser.add_argument("--sample", action="store_true", help="draw words instead of taking the likeliest")
    parser.add_argument(
        "--temperature", type=float, action=Once, help="of the drawing; with --trajectories, of thoughts; default: 1"
    )
    parser.add_argument("--seed", type=int, default=0, action=Once, help="of the drawing")
    _trajectory_arguments(parser)
    parser.add_argument(
        "--fuse", choices=("vote", "likelihood", "value", "weighted"), action=Once, help="how their answers become one"
    )


def _run(arguments: argparse.Namespace) -> int:
    _hide_loading_bars()
    if arguments.trajectories is not None:
        return _reason(arguments)
    _refuse_without_trajectories(arguments, "token_temperature", "spread", "fuse")
    from unspoken.answer import ask, render
    from unspoken.run_directory import open_run

    answer = ask(
        open_run(arguments.run),
        arguments.question,
        images=arguments.images,
        captions=arguments.captions,
        num_thoughts=arguments.thoughts,
        max_new_tokens=arguments.max_new_tokens,
        sample=arguments.sample,
        temperature=1.0 if arguments.temperature is None else arguments.temperature,
        seed=arguments.seed,
    )
    say(render(answer, show_thoughts=arguments.show_thoughts))
    return DONE


def _reason(arguments: argparse.Namespace) -> int:
    from unspoken.errors import RecipeError
    from unspoken.reasoning import reason, render
    from unspoken.run_directory import open_run

    if arguments.sample:
        raise RecipeError("unspoken run", ["sample: trajectories have a temperature of words; use --token-temperature"])
    reasoning = reason(
        open_run(arguments.run),
        arguments.question,
        num_trajectories=arguments.trajectories,
        images=arguments.images,
        captions=arguments.captions,
        fuse=arguments.fuse or "vote",
        num_thoughts=arguments.thoughts,
        max_new_tokens=arguments.max_new_tokens,
        seed=arguments.seed,
        return_all_trajectories=True,
        **_chance(arguments),
    )
    say(render(reasoning, show_thoughts=arguments.show_thoughts))
    return DONE


def _configure_make(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", metavar="TASK", help="a task that makes its rows: hops, prosqa, prontoqa ...")
    parser.add_argument("overrides", metavar="key=value", nargs="*", help="settings of the task, e.g. train_rows=1000")
    parser.add_argument("--split", choices=("train", "validation", "test"), required=True, action=Once)
    parser.add_argument("--out", type=Path, metavar="FILE", required=True, action=Once, help="a .json or .jsonl file")


def _make(arguments: argparse.Namespace) -> int:
    from unspoken.tasks.make import account, make

    ledger = make(_task(arguments.task, arguments.overrides), arguments.split, arguments.out)
    say(account(ledger, arguments.out))
    return DONE


def _configure_convert(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, metavar="SOURCE", help="the published file")
    parser.add_argument(
        "--format",
        required=True,
        action=Once,
        help="gsm8k (also lines of iCoT), gsm8k_sentences, multiplication, prosqa, prosqa_symbols, prontoqa, custom",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", required=True, action=Once, help="a .json or .jsonl file")


def _convert(arguments: argparse.Namespace) -> int:
    from unspoken.tasks.make import account, convert

    ledger = convert(arguments.source, arguments.out, arguments.format)
    say(account(ledger, arguments.source))
    return FAILED if ledger.rejected else DONE


def _configure_check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", metavar="FILE", nargs="+", help="data files; key=value are settings of the task")
    parser.add_argument("--task", default="custom", action=Once, help="how rows are read; default: custom")
    parser.add_argument("--tokenizer", metavar="PATH", action=Once, help="count the tokens of each row with it")


def _check(arguments: argparse.Namespace) -> int:
    from unspoken.errors import RecipeError
    from unspoken.tasks.make import check

    overrides = [name for name in arguments.files if "=" in name and not Path(name).exists()]
    files = [Path(name) for name in arguments.files if name not in overrides]
    if not files:
        raise RecipeError("unspoken data check", ["there is no file to check; name at least one"])
    count = None
    if arguments.tokenizer is not None:
        from unspoken.data.tokenizer import load_tokenizer

        tokenizer = load_tokenizer(arguments.tokenizer)

        def count(text: str) -> int:
            return len(tokenizer(text)["input_ids"])

    checked = check(files, _task(arguments.task, overrides), count)
    say(checked.report)
    return DONE if checked.is_clean else FAILED


def _task(name: str, overrides: Sequence[str]) -> "Task":
    from unspoken.recipe import resolve_task

    return resolve_task(name, overrides)


def _configure_bench(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, metavar="FILE", default=Path("results/bench-cpu.json"), action=Once)
    parser.add_argument("--reference", type=Path, metavar="DIR", action=Once, help="folder of the released coconut.py")


def _bench(arguments: argparse.Namespace) -> int:
    from unspoken.bench import bench

    say(bench(arguments.out, arguments.reference))
    return DONE


def _configure_report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", type=_run_to_write, metavar="RUN", nargs="+", help="directories of finished runs")
    parser.add_argument("--out", type=Path, metavar="FILE", action=Once, help="default: report.html in the first run")


def _write_report(arguments: argparse.Namespace) -> int:
    from unspoken.report import write_report

    say(str(write_report(arguments.runs, arguments.out or arguments.runs[0] / "report.html")))
    return DONE


def _configure_list(parser: argparse.ArgumentParser) -> None:
    from unspoken.catalogue import KINDS

    parser.add_argument("kind", choices=KINDS)


def _list(arguments: argparse.Namespace) -> int:
    from unspoken.catalogue import catalogue, render

    say(render(catalogue(arguments.kind)))
    return DONE


def _configure_demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pretrained", action="store_true", help="study a model that comes with Unspoken; no training")
    parser.add_argument("--rows", type=int, metavar="N", action=Once, help="of --pretrained: only the first N rows")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", action=Once, help="default: runs/demo, or runs/demo-pretrained"
    )


def _demo(arguments: argparse.Namespace) -> int:
    from unspoken.demo import demo, demo_pretrained, table
    from unspoken.errors import RecipeError
    from unspoken.files import read_json

    if arguments.rows is not None and not arguments.pretrained:
        raise RecipeError("unspoken demo", ["rows: it is about --pretrained; add that, or leave --rows out"])
    out = arguments.out or Path("runs/demo-pretrained" if arguments.pretrained else "runs/demo")
    report = demo_pretrained(out, arguments.rows) if arguments.pretrained else demo(out)
    say(table(read_json(out / "results.json")))
    say(str(report))
    return DONE


VERBS: dict[str, Verb] = {
    "plan": Verb("resolved settings, stages, batch, parameters, estimates; loads nothing", _recipe_arguments, _plan),
    "train": Verb("train a recipe into a run directory", _configure_train, _train),
    "eval": Verb("accuracy of a run, and the same with the thoughts taken away", _configure_eval, _eval),
    "audit": Verb(
        "do the thoughts matter? interventions and controls, with paired statistics", _configure_audit, _audit
    ),
    "inspect": Verb("what the thoughts hold: lens, search, geometry, probes, tracing", _configure_inspect, _inspect),
    "run": Verb("ask a trained model one question", _configure_run, _run),
    "data make": Verb("write rows of a task that generates them", _configure_make, _make),
    "data convert": Verb("turn a published file into question, steps and answer", _configure_convert, _convert),
    "data check": Verb("account for every row, and find questions that files share", _configure_check, _check),
    "bench": Verb("speed and memory, beside the plain definition", _configure_bench, _bench),
    "report": Verb("one HTML file about one or more runs", _configure_report, _write_report),
    "list": Verb("the methods, tasks, thoughts, recipes or pretrained models there are", _configure_list, _list),
    "demo": Verb("the main job, small: train, evaluate with controls, report", _configure_demo, _demo),
}
