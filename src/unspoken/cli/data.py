"""`unspoken data make`, `convert` and `check`: files of rows."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from unspoken.cli.arguments import SPLITS, Once
from unspoken.cli.terminal import say
from unspoken.cli.verb import DONE, FAILED, Verb

if TYPE_CHECKING:
    from unspoken.tasks import Task


def _configure_make(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", metavar="TASK", help="a task that makes its rows: hops, prosqa, prontoqa ...")
    parser.add_argument(
        "overrides", metavar="key=value", nargs="*", default=[], help="settings of the task, e.g. train_rows=1000"
    )
    parser.add_argument("--split", choices=SPLITS, required=True, action=Once)
    _add_out(parser)


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
    _add_out(parser)


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

    from unspoken.vision.preflight import preflight

    checked = check(files, _task(arguments.task, overrides), count, preflight)
    say(checked.report)
    return DONE if checked.is_clean else FAILED


def _add_out(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, metavar="FILE", required=True, action=Once, help="a .json or .jsonl file")


def _task(name: str, overrides: Sequence[str]) -> "Task":
    from unspoken.recipe import resolve_task

    return resolve_task(name, overrides)


MAKE = Verb("write rows of a task that generates them", _configure_make, _make)
CONVERT = Verb("turn a published file into question, steps and answer", _configure_convert, _convert)
CHECK = Verb("account for every row, and find questions that files share", _configure_check, _check)
