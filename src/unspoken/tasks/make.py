"""Data files: generated, converted, checked; every row is accounted for.

make      a task's examples of a split       ->  a file that the task reads back
convert   a file in a published format       ->  question, steps, answer
check     files                              ->  what is in them, what is wrong, which questions they share
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import mean
from typing import Any, TypeAlias

from unspoken.config import DataPaths
from unspoken.errors import DataError, RecipeError
from unspoken.files import MAX_JSON_BYTES, read_json, write_json, write_json_lines, write_text
from unspoken.records import Example, Ledger, Rejection, Split
from unspoken.tasks.base import Task
from unspoken.tasks.custom import Custom
from unspoken.tasks.gsm8k import GSM8K
from unspoken.tasks.multiplication import Multiplication, line_of
from unspoken.tasks.prontoqa import ProntoQA
from unspoken.tasks.prosqa import ProsQA
from unspoken.tasks.read_rows import shown
from unspoken.tasks.shared import Shared, number_of, shared

CheckImages: TypeAlias = Callable[[Sequence[tuple[str, str]], Path | None], object]
"""Looks at the images that rows name, by pairs of row and image, in a data folder."""

ALL_BAD = 10**9
"""Rows that may be rejected where each one is listed instead of raised."""
MAX_LISTED = 20

FORMATS: dict[str, Task] = {
    "gsm8k": GSM8K(max_bad_rows=ALL_BAD),
    "gsm8k_sentences": GSM8K(steps="sentences", max_bad_rows=ALL_BAD),
    "multiplication": Multiplication(first_digits=20, second_digits=20, max_bad_rows=ALL_BAD),
    "prosqa": ProsQA(max_bad_rows=ALL_BAD),
    "prosqa_symbols": ProsQA(rendering="symbols", max_bad_rows=ALL_BAD),
    "custom": Custom(max_bad_rows=ALL_BAD),
}
"""Formats that a task reads. `prontoqa`, the output of the official generator, is read here."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What `check` found.

    Attributes:
        report: All of it, for people.
        is_clean: No row is rejected, no question stands in two files, and every image can be used.
    """

    report: str
    is_clean: bool


def make(task: Task, split: Split, out: Path) -> Ledger:
    """Write the examples of a split to a file: a JSON list, JSON lines (`.jsonl`), or lines of text (`.txt`).

    Raises:
        DataError: The task has no such rows, or the file exists or has the wrong ending.
    """
    _check_name(out, task)
    examples, ledger = task.examples(split)
    _write(out, examples, task)
    return ledger


def convert(source: Path, out: Path, format: str) -> Ledger:
    """Write the rows of a published format as question, steps and answer.

    Args:
        source: The published file.
        out: A JSON list, or JSON lines (`.jsonl`).
        format: One of `FORMATS`, or `prontoqa`.

    Raises:
        RecipeError: The format is unknown.
        DataError: The source cannot be read or no row of it can be used, or `out` exists.
    """
    if format != "prontoqa" and format not in FORMATS:
        raise RecipeError("--format", [f"unknown format {format!r}; known are {', '.join([*FORMATS, 'prontoqa'])}"])
    task = FORMATS.get(format, ProntoQA())
    # what comes out is question, steps and answer, also where the task itself reads lines of text
    written_by = Custom() if isinstance(task, Multiplication) else task
    _check_name(out, written_by)
    if format == "prontoqa":
        examples, ledger = _official_prontoqa(source)
    else:
        examples, ledger = task.model_copy(update={"train": source}).examples("train")
    _write(out, examples, written_by)
    return ledger


def check(
    paths: Sequence[Path],
    task: Task,
    count_tokens: Callable[[str], int] | None = None,
    check_images: CheckImages = lambda rows, root: None,
) -> Checked:
    """Read files as a task does, and say what is in them.

    Args:
        paths: The files; a question in two of them is reported as leakage.
        task: How rows are read; its own paths do not matter.
        count_tokens: Length of a text in tokens, to report how long rows are.
        check_images: Raises DataError where images of rows cannot be used; default: they are not looked at.

    Raises:
        RecipeError: The task reads no files.
        DataError: A file cannot be read, or none of its rows can be used.
    """
    if not isinstance(task, DataPaths):
        raise RecipeError("--task", [_without_files(task)])
    lines: list[str] = []
    found: list[tuple[Path, Sequence[Example]]] = []
    is_clean = True
    for path in paths:
        examples, ledger = task.model_copy(update={"train": path, "max_bad_rows": ALL_BAD}).examples("train")
        lines += [account(ledger, path), *_contents(examples, task, count_tokens)]
        is_clean = is_clean and not ledger.rejected
        try:
            check_images([(number_of(row), image) for row in examples for image in row.images], task.image_root)
        except DataError as error:
            is_clean = False
            lines += [f"  {line.strip()}" for line in str(error).splitlines()]
        found.append((path, examples))
    for (first, left), (second, right) in combinations(found, 2):
        leaked = shared(left, right)
        is_clean = is_clean and not leaked
        if leaked:
            lines.append(f"leakage: {len(leaked):,} rows of {second} ask what a row of {first} asks")
            lines += [f"  {_same(each)} of {first}{_how(each)}" for each in leaked[:MAX_LISTED]]
            if len(leaked) > MAX_LISTED:
                lines.append(f"  and {len(leaked) - MAX_LISTED:,} more")
        else:
            lines.append(f"no question of {second} stands in {first}")
    return Checked("\n".join(lines), is_clean)


def _without_files(task: Task) -> str:
    settings = task.describe()
    if "test_rows" in settings:
        return f"{settings['name']} is generated and reads no files; choose another task"
    return f"{settings['name']} divides one data set itself and reads no files of rows; choose another task"


def account(ledger: Ledger, path: Path) -> str:
    """The account of a file's rows: the sum, then every rejected row, then remarks."""
    total = f"{path}: {ledger.rows_in:,} rows in = {ledger.rows_kept:,} kept + {len(ledger.rejected):,} rejected"
    rejected = [f"  row {rejection.row}: {rejection.reason}" for rejection in ledger.rejected]
    return "\n".join([total, *rejected, *(f"  {note}" for note in ledger.notes)])


def row_of(task: Task, example: Example) -> dict[str, Any]:
    """The example as a row of a JSON file; its images count from where the command was started."""
    if isinstance(task, ProsQA):
        return task.to_row(example)
    question = task.text.premise_separator.join((*example.premises, example.question))
    row = {"question": question, "steps": list(example.steps), "answer": example.answer}
    return {**row, "image": list(example.images)} if example.images else row


def _check_name(out: Path, task: Task) -> None:
    """Refuse a file before the work is done that would fill it."""
    if out.exists():
        raise DataError(f"{out} exists; remove it or choose another --out")
    if isinstance(task, Multiplication) and out.suffix != ".txt":
        raise DataError(f"{out}: rows of multiplication are lines of text; give a name that ends in .txt")
    if not isinstance(task, Multiplication) and out.suffix not in (".json", ".jsonl"):
        raise DataError(f"{out}: rows are written as JSON; give a name that ends in .json or .jsonl")


def _write(out: Path, examples: Sequence[Example], task: Task) -> None:
    if isinstance(task, Multiplication):
        write_text(out, "".join(line_of(example) + "\n" for example in examples))
    elif out.suffix == ".jsonl":
        write_json_lines(out, [row_of(task, example) for example in examples])
    else:
        write_json(out, [row_of(task, example) for example in examples])


def _official_prontoqa(source: Path) -> tuple[Sequence[Example], Ledger]:
    """Rows of the generator of arXiv:2210.01240, `{"example1": {"test_example": {...}}, ...}`; two sentences a step."""
    value = read_json(source, limit=MAX_JSON_BYTES)
    if not isinstance(value, dict):
        raise DataError(f"{source} is {shown(value)}; the official generator writes an object of examples")
    examples, rejected = [], []
    for number, (name, entry) in enumerate(value.items(), 1):
        try:
            examples.append(_official_example(entry, f"prontoqa/{number}"))
        except DataError as error:
            rejected.append(Rejection(str(source), number, f"{name}: {error}"))
    if not examples:
        raise DataError(f"{source} has no example of the official generator among {len(value)} entries")
    return tuple(examples), Ledger(len(value), len(examples), tuple(rejected))


def _official_example(entry: Any, id: str) -> Example:
    row = entry.get("test_example") if isinstance(entry, dict) else None
    if not isinstance(row, dict):
        raise DataError("it has no test_example; give the file as the generator wrote it")
    for key in ("question", "query", "answer"):
        if not isinstance(row.get(key), str) or not row[key].strip():
            raise DataError(f"{key} is {shown(row.get(key))}; it must be a text that is not empty")
    sentences = row.get("chain_of_thought")
    if not isinstance(sentences, list) or not all(isinstance(sentence, str) for sentence in sentences):
        raise DataError(f"chain_of_thought is {shown(sentences)}; it must be a list of sentences")
    steps = tuple(" ".join(sentences[start : start + 2]) for start in range(0, len(sentences), 2))
    return Example(id, f"{row['question']} {row['query']}", steps, row["answer"])


def _contents(examples: Sequence[Example], task: Task, count_tokens: Callable[[str], int] | None) -> list[str]:
    steps = [len(example.steps) for example in examples]
    lines = [f"  steps a row: {min(steps)} to {max(steps)}, {mean(steps):.1f} on average"]
    if count_tokens is not None:
        lengths = [count_tokens(_text_of(example, task)) for example in examples]
        lines.append(f"  tokens a row: {min(lengths)} to {max(lengths)}, {mean(lengths):.1f} on average")
    return lines


def _text_of(example: Example, task: Task) -> str:
    text = task.text
    question = text.premise_separator.join((*example.premises, example.question)) + text.question_end
    return question + "".join(step + text.step_end for step in example.steps) + text.answer_start + example.answer


def _same(each: Shared) -> str:
    return f"row {number_of(each.row)} = row {number_of(each.other)}"


def _how(each: Shared) -> str:
    return "" if each.is_exact else ", but for case, spaces or the order of premises"
