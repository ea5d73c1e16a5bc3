"""`unspoken eval`: a run answers a data set, with its thoughts and with them taken away."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from unspoken import files
from unspoken.config import DataPaths, EvaluateSettings
from unspoken.controls import IMAGE_CONTROLS
from unspoken.data.tokenizer import image_token, thought_tokens
from unspoken.device import best_device, environment, join_processes, rank
from unspoken.errors import DataError, RecipeError
from unspoken.evaluation import foreseen
from unspoken.evaluation.captions.bleu import sacrebleu_bleu
from unspoken.evaluation.captions.evaluated import measured, weighed
from unspoken.evaluation.captions.measure import table as captions_table
from unspoken.evaluation.image_controls import Blank, image_controls
from unspoken.evaluation.predict import predict
from unspoken.evaluation.retrieval import evaluate_retrieval, retrieval_table
from unspoken.evaluation.statistics import aggregate, chance, majority
from unspoken.prepare import Rows, read_examples, tokenize_rows
from unspoken.pretrained import run_to_write
from unspoken.recipe import Recipe, override
from unspoken.records import Evaluation, Example, Prediction, Split
from unspoken.run_directory import PREDICTIONS, RESULTS, Run, is_contrastive, open_run, read_recipe
from unspoken.seeing import blank_image, space_of
from unspoken.tasks import Task
from unspoken.tasks.rows import path_of
from unspoken.tasks.shared import remark_on_shared, shared

logger = logging.getLogger(__name__)


def evaluate(
    run: Path | str,
    *,
    data: Path | str | None = None,
    split: Split = "validation",
    overrides: Sequence[str] = (),
    progress: Callable[[str, int, int], None] = lambda condition, done, total: None,
    tell: Callable[[dict[str, Any]], None] = lambda results: None,
) -> dict[str, Any]:
    """Evaluate a finished run, and write `results.json` and one file of predictions per condition into it.

    Args:
        run: The run directory.
        data: A file to evaluate on instead of a split of the run's own task.
        split: Which split; choose settings on `validation`, and measure on `test` once.
        overrides: `key=value` for the recipe's `evaluate` section, e.g. `controls=[zero,mean]`.
        progress: Called with the condition, the rows done and the rows there are.
        tell: Called with the results before they are written, so that a full disk does not take them away.

    Returns:
        What `results.json` holds.

    Raises:
        UnspokenError: The run or the data cannot be used.
    """
    run, data = run_to_write(run), Path(data) if data is not None else None
    join_processes()
    files.check_writable(run)
    if is_contrastive(run):
        if overrides:
            raise RecipeError("unspoken eval", [f"{overrides[0]}: what is retrieved has no settings; remove it"])
        _say_what_is_replaced(run, str(data or split))
        return evaluate_retrieval(run, *_source(read_recipe(run).task, data, split), str(data or split), progress, tell)
    opened = open_run(run)
    if opened.recipe.task.is_caption:
        sacrebleu_bleu()  # missing, it is better missed before the rows are answered
    opened.model.to(best_device())
    recipe = with_settings(opened.recipe, overrides)
    rows = rows_of(opened, recipe, data, split)
    _say_what_is_replaced(run, str(data or split))
    repeated = _shared_with_training(recipe.task, data, split, rows.examples)
    conditions = {"none": _predict(opened, recipe, rows, "none", progress)}
    thinks = any(prediction.num_thoughts for prediction in conditions["none"])
    sees = opened.model.model.image_slots is not None
    unseen = [] if sees else [control for control in recipe.evaluate.controls if control in IMAGE_CONTROLS]
    if unseen:
        logger.warning("this model reads the words alone, so these controls are left out: %s", ", ".join(unseen))
    _say_what_is_left_out(opened, recipe, thinks)
    for control in recipe.evaluate.controls:
        # what is not there cannot be taken away
        if control not in unseen and (thinks or control in IMAGE_CONTROLS):
            conditions[control] = _predict(opened, recipe, rows, control, progress)
    results = summarise(opened, recipe, rows, conditions, str(data) if data else split)
    if repeated is not None:
        results["shared_with_training"] = repeated
    tell(results)
    if rank() == 0:
        _write(run, results, conditions)
    return results


def _say_what_is_left_out(opened: Run, recipe: Recipe, thinks: bool) -> None:
    """Say which controls have nothing to take away, where the method would think at a later stage."""
    method = recipe.method
    missed = [control for control in recipe.evaluate.controls if control not in IMAGE_CONTROLS]
    if thinks or not missed or rank() > 0 or not method.most_thoughts(method.final_stage):
        return
    logger.warning(
        "trained to stage %d of %d, where it has no thoughts; controls left out: %s",
        opened.stage,
        method.final_stage,
        ", ".join(missed),
    )


def with_settings(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """The recipe with settings of its `evaluate` section changed, whose name may stand in front of them.

    Raises:
        RecipeError: One is of another section, or makes no sense.
    """
    others = [each for each in overrides if _section(each) in Recipe.model_fields.keys() - {"evaluate"}]
    if others:
        advice = "a trained run keeps it; change settings of evaluate alone, e.g. controls=[zero,mean]"
        raise RecipeError("unspoken eval", [f"{each}: it is of {_section(each)}, and {advice}" for each in others])
    return override(recipe, [f"evaluate.{each.strip().removeprefix('evaluate.')}" for each in overrides])


def _section(change: str) -> str:
    section, dot, _ = change.partition("=")[0].strip().partition(".")
    return section if dot else ""


def _say_what_is_replaced(run: Path, data: str) -> None:
    """Say which figures will go, where they are of other rows; results that cannot be read are no loss."""
    if rank() > 0 or not (run / RESULTS).is_file():
        return
    try:
        earlier = files.read_json(run / RESULTS)["data"]
    except (DataError, KeyError, TypeError):
        return
    if earlier != data:
        logger.warning(
            "%s is of %s and will be replaced by that of %s; keep a copy to have both", RESULTS, earlier, data
        )


def _shared_with_training(task: Task, data: Path | None, split: Split, examples: Sequence[Example]) -> int | None:
    """Rows of a file whose question a training row asks, too; None where either has no file, or it is gone."""
    if rank() > 0 or not isinstance(task, DataPaths) or task.train is None or not task.train.is_file():
        return None
    if (data or path_of(task, split)) in (None, task.train):
        return None
    try:
        training = task.examples("train")[0]
    except DataError:
        return None  # it is no longer what was trained on
    count = len(shared(training, examples))
    if count:
        logger.warning(remark_on_shared("evaluated", count))
    return count


def rows_of(opened: Run, recipe: Recipe, data: Path | None, split: Split) -> Rows:
    """The rows that a run is asked about: a file, or a split of its own task.

    Raises:
        DataError: The task reads no file, or the rows cannot be used.
    """
    _refuse_absent(recipe.task, data, split)
    examples, ledger = read_examples(*_source(recipe.task, data, split))
    return tokenize_rows(recipe, examples, ledger, opened.tokenizer, opened.model)


def _refuse_absent(task: Task, data: Path | None, split: Split) -> None:
    """Say where a file of the run was sought, which may have been trained elsewhere.

    Raises:
        DataError: It is not there.
    """
    file = path_of(task, split) if data is None and isinstance(task, DataPaths) else None
    if file is not None and not file.exists():
        raise DataError(
            f"the run names {file} as task.{split}, and there is no {file.absolute()}; relative paths begin where the "
            "command is started: start it where the run was trained, or name the file with --data"
        )


def _source(task: Task, data: Path | None, split: Split) -> tuple[Task, Split]:
    """The task and the split that hold the rows: a file is the test split of the task that reads it."""
    if data is None:
        return task, split
    if "test" not in type(task).model_fields:
        raise DataError(f"{task.name} makes its own rows and reads no file; leave --data out, or choose a --split")
    return task.model_copy(update={"test": data}), "test"


def _predict(
    opened: Run, recipe: Recipe, rows: Rows, control: str, progress: Callable[[str, int, int], None]
) -> list[Prediction]:
    done, name = 0, control

    def advance(count: int) -> None:
        nonlocal done
        done += count
        progress(name, done, len(rows.examples))

    tokens = thought_tokens(opened.tokenizer)
    settings: EvaluateSettings = recipe.evaluate
    prompts = [recipe.method.prompt(row, opened.stage, tokens) for row in rows.tokenized]
    examples, choices = rows.examples, [row.choices for row in rows.tokenized]
    if recipe.task.is_caption:
        examples, choices = weighed(examples), [(row.answer,) for row in rows.tokenized]
    if control in IMAGE_CONTROLS:
        shown = image_controls(image_token(opened.tokenizer), Blank(blank_image(recipe)))
        prompts, control = shown[control](prompts), "none"
    found = predict(
        opened.model,
        opened.tokenizer,
        recipe.task,
        examples,
        prompts,
        batch_size=settings.batch_size,
        max_new_tokens=settings.max_new_tokens,
        control=control,
        choices=choices if all(choices) else (),
        progress=advance,
    )
    # the likeliest of one says nothing
    return [replace(each, likeliest=None) for each in found] if recipe.task.is_caption else found


def _captions(opened: Run, recipe: Recipe, rows: Rows, conditions: dict[str, list[Prediction]]) -> dict[str, Any]:
    """What captions are measured by, under the key of `results.json`; nothing for other answers."""
    if not recipe.task.is_caption:
        return {}
    if len(rows.examples) < 2:
        logger.warning("a caption alone cannot be weighed against others; give more than one row for its measures")
        return {}
    tokens = thought_tokens(opened.tokenizer)
    forced = [recipe.method.prompt(row, opened.stage, tokens).num_forced for row in rows.tokenized]
    num_tokens = [len(row.answer) - count for row, count in zip(rows.tokenized, forced, strict=True)]
    return {"captions": measured(recipe.task, rows.examples, conditions, num_tokens)}


def _foreseen(opened: Run, recipe: Recipe, rows: Rows, conditions: dict[str, list[Prediction]]) -> dict[str, Any]:
    """What the embedding heads are measured by, under the key of `results.json`; nothing where there are none."""
    heads = recipe.model.embedding_heads
    if heads is None or len(rows.examples) < 2:
        return {}
    if missing := sum(row.foreseen is None for row in rows.tokenized):
        logger.warning("%d rows have no next image, so what the heads foresee is not measured", missing)
        return {}
    tokens = thought_tokens(opened.tokenizer)
    prompts = [recipe.method.prompt(row, opened.stage, tokens) for row in rows.tokenized]
    clip, batch_size = space_of(heads).clip, recipe.evaluate.batch_size
    found = foreseen.measured(opened.model, clip, recipe.task, rows.examples, prompts, conditions, batch_size)
    return {"foreseen": found}


def summarise(
    opened: Run, recipe: Recipe, rows: Rows, conditions: dict[str, list[Prediction]], data: str
) -> dict[str, Any]:
    """The figures of all conditions.

    `accuracy_without_thoughts` is that of the control `zero`, null where it was not measured. A method without thoughts
    loses nothing when they are taken away.
    """
    figures = {condition: plain(aggregate(predictions)) for condition, predictions in conditions.items()}
    thinks = figures["none"]["thoughts_per_answer"] > 0
    without = figures.get("zero") if thinks else figures["none"]
    guesses = {"chance": chance(rows.examples), "majority": majority(rows.examples)}
    return {
        **figures["none"],
        **{name: share for name, share in guesses.items() if share is not None},
        **_captions(opened, recipe, rows, conditions),
        **_foreseen(opened, recipe, rows, conditions),
        "accuracy_without_thoughts": without["accuracy"] if without else None,
        "interval_without_thoughts": without["interval"] if without else None,
        "controls": {condition: values for condition, values in figures.items() if condition != "none"},
        "method": recipe.method.name,
        "thoughts": recipe.thoughts["name"] if thinks else None,
        "task": recipe.task.name,
        "data": data,
        "data_sha256": rows.fingerprint,
        "stage": opened.stage,
        "seed": recipe.train.seed,
        "num_parameters": opened.summary["num_parameters"],
        "model_sha256": opened.summary["sha256"]["model.safetensors"],
        "settings": recipe.evaluate.model_dump(mode="json"),
        "date": datetime.now(UTC).date().isoformat(),
        "environment": environment(),
    }


def plain(record: Evaluation | Prediction) -> dict[str, Any]:
    """A record as plain values, without what does not apply to the task."""
    found = {field.name: getattr(record, field.name) for field in fields(record)}
    optional = {field.name for field in fields(record) if field.default is not MISSING}
    return {name: value for name, value in found.items() if value is not None or name not in optional}


def _write(run: Path, results: dict[str, Any], conditions: dict[str, list[Prediction]]) -> None:
    """Put results and predictions into the run, in place of those of an earlier evaluation."""
    texts = {
        PREDICTIONS if condition == "none" else f"predictions.{condition}.jsonl": files.json_lines_text(
            [plain(prediction) for prediction in predictions]
        )
        for condition, predictions in conditions.items()
    }
    # the results are last: where they are, everything is
    texts[RESULTS] = files.json_text(results)
    files.write_together(run, texts, instead_of=[*run.glob("predictions.*.jsonl")])


def table(results: dict[str, Any]) -> str:
    """The figures as lines of text: one for the model as trained, one for each control."""
    if results["method"] == "contrastive":
        return retrieval_table(results)
    kinds = {"accuracy": "", "by choice": "choice_", "soft": "soft_"}
    kinds = {title: prefix for title, prefix in kinds.items() if f"{prefix}accuracy" in results}
    titles = "  ".join(f"{title:>9}  {'95% interval':<14}" for title in kinds)
    lines = [f"{'condition':<15} {titles}  {'n':>6} {'words':>7} {'thoughts':>9} {'passes':>7}"]
    for name, figures in [("as trained", results), *sorted(results["controls"].items())]:
        shares = "  ".join(
            f"{figures[f'{prefix}accuracy']:>9.3f}  [{low:.3f}, {high:.3f}]"
            for prefix in kinds.values()
            for low, high in [figures[f"{prefix}interval"]]
        )
        lines.append(
            f"{name:<15} {shares}  {figures['n']:>6} {figures['tokens_per_answer']:>7.1f} "
            f"{figures['thoughts_per_answer']:>9.1f} {figures['passes_per_answer']:>7.1f}"
        )
    unanswered = results["num_unanswered"]
    lines.append(f"{unanswered} of {results['n']} rows gave no answer that could be read; they count as not right")
    if "chance" in results:
        lines.append(
            f"a guess among the choices {results['chance']:.3f}, the same answer always {results['majority']:.3f}"
        )
    if "captions" in results:
        captions = results["captions"]
        lines += ["", captions_table(captions["conditions"], captions["lost"])]
        finished = round(captions["conditions"]["none"]["finished"]["value"] * captions["n"])
        lines.append(f"{finished} of {captions['n']} captions are whole sentences that the model ended itself")
    if "foreseen" in results:
        lines += ["", foreseen.foreseen_table(results["foreseen"])]
    return "\n".join(lines)
