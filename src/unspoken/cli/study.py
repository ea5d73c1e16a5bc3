"""`unspoken eval`, `audit`, `inspect` and `report`: what finished runs can do, and how."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from unspoken.cli.arguments import (
    Once,
    add_rows,
    add_trajectories,
    chance_of,
    refuse_without_trajectories,
    run_to_read,
    run_to_write,
    seed,
)
from unspoken.cli.terminal import hide_loading_bars, say
from unspoken.cli.verb import DONE, Verb
from unspoken.processes import is_first_process
from unspoken.progress import progress_bar


def _configure_eval(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=run_to_write, metavar="RUN", help="directory of a finished run")
    parser.add_argument(
        "overrides",
        metavar="key=value",
        nargs="*",
        default=[],
        help="settings of evaluate, e.g. controls=[zero,mean]",
    )
    advice = "choose settings on validation (the default), measure on test once"
    add_rows(parser, split="validation", about_split=advice)
    add_trajectories(parser)
    parser.add_argument("--temperature", type=float, metavar="T", action=Once, help="of their thoughts; default: 1")
    parser.add_argument("--seed", type=seed, metavar="N", action=Once, help="of their chance; default: 0")


def _eval(arguments: argparse.Namespace) -> int:
    if arguments.trajectories is not None:
        return _evaluate_many(arguments)
    refuse_without_trajectories(arguments, "temperature", "token_temperature", "spread", "seed")
    evaluate_and_tell(arguments.run, data=arguments.data, split=arguments.split, overrides=arguments.overrides)
    return DONE


def evaluate_and_tell(run: Path, *, data: Path | None, split: str, overrides: Sequence[str]) -> None:
    """Evaluate a run, and print the table.

    Args:
        run: Its directory.
        data: A file to evaluate on instead of a split.
        split: Which split.
        overrides: Settings of `evaluate`, as `key=value`.
    """
    hide_loading_bars()
    from unspoken.evaluation.evaluate import evaluate, table

    _found(evaluate, table, run, data=data, split=split, overrides=overrides)


def _evaluate_many(arguments: argparse.Namespace) -> int:
    hide_loading_bars()
    from unspoken.evaluation.many import evaluate_many, table
    from unspoken.trajectories import Chance

    _found(
        evaluate_many,
        table,
        arguments.run,
        trajectories=arguments.trajectories,
        chance=Chance(**chance_of(arguments)),
        data=arguments.data,
        split=arguments.split,
        overrides=arguments.overrides,
        seed=arguments.seed or 0,
    )
    return DONE


def _found(
    study: Callable[..., dict[str, Any]], table: Callable[[dict[str, Any]], str], run: Path, **settings: Any
) -> dict[str, Any]:
    """What a study of a run finds, which is printed also where it cannot be written; meanwhile there is a bar."""
    found: list[dict[str, Any]] = []
    try:
        with progress_bar("rows") as progress:
            return study(run, progress=progress, tell=found.append, **settings)
    finally:
        # behind the bar, which would take what is printed for a part of itself
        for results in found if is_first_process() else ():
            say(table(results))


def _configure_audit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "runs",
        type=run_to_write,
        metavar="RUN",
        nargs="+",
        help="directory of a finished run; several: seeds of one recipe",
    )
    parser.add_argument(
        "--against",
        type=run_to_read,
        metavar="RUN",
        nargs="+",
        default=[],
        help="runs to compare with on the same rows",
    )
    _add_first_rows(parser)
    parser.add_argument(
        "--margin", type=float, default=0.02, action=Once, help="largest cost in accuracy that counts as none"
    )
    parser.add_argument("--seed", type=seed, default=0, action=Once, help="of noise, pairings and orders")
    _add_json(parser)


def _audit(arguments: argparse.Namespace) -> int:
    _check_json(arguments.json)
    hide_loading_bars()
    from unspoken.audit import audit
    from unspoken.audit.seeds import check_same_but_seeds, over_seeds
    from unspoken.audit.table import table, table_over_seeds
    from unspoken.files import write_json

    def shown(found: dict[str, Any]) -> str:
        return table(found) if len(arguments.runs) == 1 else f"{found['run']}\n{table(found)}\n"

    if len(arguments.runs) > 1:
        check_same_but_seeds(arguments.runs)
    audits = [
        _found(audit, shown, run, against=arguments.against, margin=arguments.margin, **_rows_and_seed(arguments))
        for run in arguments.runs
    ]
    together = over_seeds(audits) if len(audits) > 1 else None
    if together:
        say(table_over_seeds(together))
    if arguments.json:
        write_json(arguments.json, {"runs": audits, "over_seeds": together} if together else audits[0])
    return DONE


def _configure_inspect(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=run_to_write, metavar="RUN", help="directory of a finished run")
    parser.add_argument("--example", type=int, metavar="N", action=Once, help="show row N; default: the first few")
    _add_first_rows(parser)
    parser.add_argument("--seed", type=seed, default=0, action=Once, help="of controls and pairings")
    _add_json(parser)


def _inspect(arguments: argparse.Namespace) -> int:
    _check_json(arguments.json)
    hide_loading_bars()
    from unspoken.files import write_json
    from unspoken.inspection import inspect
    from unspoken.inspection.table import table

    results = _found(inspect, table, arguments.run, example=arguments.example, **_rows_and_seed(arguments))
    if arguments.json:
        write_json(arguments.json, results)
    return DONE


def _add_first_rows(parser: argparse.ArgumentParser) -> None:
    """Which rows a run is asked about, of the test split unless said otherwise, and how many of them."""
    add_rows(parser, split="test")
    parser.add_argument("--rows", type=int, metavar="N", action=Once, help="only the first N rows")


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", type=Path, metavar="FILE", action=Once, help="write the figures here, too")


def _check_json(path: Path | None) -> None:
    """Refuse a place that no file can have, before the work is done that would fill it.

    Raises:
        RecipeError: It is a folder.
    """
    from unspoken.errors import RecipeError

    if path is not None and path.is_dir():
        raise RecipeError("--json", [f"{path} is a folder; give the name of a file, e.g. {path / 'figures.json'}"])


def _rows_and_seed(arguments: argparse.Namespace) -> dict[str, Any]:
    """What was said about the rows to study, and about chance."""
    return {name: getattr(arguments, name) for name in ("data", "split", "rows", "seed")}


def _configure_report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", type=run_to_write, metavar="RUN", nargs="+", help="directories of finished runs")
    parser.add_argument("--out", type=Path, metavar="FILE", action=Once, help="default: report.html in the first run")


def _report(arguments: argparse.Namespace) -> int:
    from unspoken.report import write_report

    say(str(write_report(arguments.runs, arguments.out or arguments.runs[0] / "report.html")))
    return DONE


EVAL = Verb("accuracy of a run, and the same with the thoughts taken away", _configure_eval, _eval, in_processes=True)
AUDIT = Verb("do the thoughts matter? interventions and controls, with paired statistics", _configure_audit, _audit)
INSPECT = Verb("what the thoughts hold: lens, search, geometry, probes, tracing", _configure_inspect, _inspect)
REPORT = Verb("one HTML file about one or more runs", _configure_report, _report)
