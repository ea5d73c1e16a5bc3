"""What a run leaves behind, and how it is opened again.

recipe.yaml        the recipe as given, with its overrides
resolved.json      every setting, the fingerprints of data and tokenizer, versions, machine
metrics.jsonl      one line per logged step and per validation
checkpoints/       sealed: model, tokenizer, optimizer, random states, position; what `--resume` continues from
config.json, model.safetensors, tokenizer.json ...   the trained model, for `from_pretrained(RUN)`
run.json           the stage that the model was trained to, where it came from, sha256 of its files
results.json, predictions.jsonl                      written by `unspoken eval`
trajectories.json                                    written by `unspoken eval --trajectories`
audit.json, inspection.json, report.html             written by `unspoken audit`, `inspect` and `report`
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from unspoken import files
from unspoken.device import environment
from unspoken.errors import CheckpointError, DataError
from unspoken.methods import METHODS, Contrastive
from unspoken.model import LatentForCausalLM
from unspoken.prepare import build_model, build_tokenizer, load_model, write_chat_template
from unspoken.progress import without_library_bars
from unspoken.recipe import Recipe, dump, resolve
from unspoken.tasks import TASKS

RECIPE, RESOLVED, METRICS, RUN, RESULTS, PREDICTIONS = (
    "recipe.yaml",
    "resolved.json",
    "metrics.jsonl",
    "run.json",
    "results.json",
    "predictions.jsonl",
)
AUDIT, INSPECTION, TRAJECTORIES = "audit.json", "inspection.json", "trajectories.json"
CHECKPOINTS = "checkpoints"
MODEL_FILES = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
)


PREPROCESSING = "preprocessor_config.json"
"""Beside them, where a model takes images as they are."""


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """A finished run, opened.

    Attributes:
        path: Its directory.
        recipe: What it was trained with.
        model: The trained model, in evaluation mode.
        tokenizer: Its tokenizer.
        stage: The stage it was trained to: how many thoughts a prompt gets.
        summary: The rest of `run.json`.
    """

    path: Path
    recipe: Recipe
    model: LatentForCausalLM
    tokenizer: PreTrainedTokenizerBase
    stage: int
    summary: dict[str, Any]


def save_model(
    path: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    summary: dict[str, Any],
    processor: Any = None,
) -> None:
    """Put the trained model into a run directory; `run.json`, written last, makes it count.

    Args:
        path: The run directory.
        model: The trained model.
        tokenizer: Its tokenizer.
        summary: What `run.json` says besides the sha256 of the files.
        processor: Of its images, where it takes images as they are.
    """
    (path / RUN).unlink(missing_ok=True)
    with without_library_bars():
        model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    if processor is not None:
        processor.save_pretrained(path)
    present = [path / name for name in (*MODEL_FILES, PREPROCESSING) if (path / name).is_file()]
    for file in present:
        files.share(file)
        files.flush(file)
    files.write_json(path / RUN, {**summary, "sha256": {file.name: files.sha256(file) for file in present}})


def nothing_done(path: Path) -> bool:
    """Whether a directory holds no more than a start that failed leaves behind: settings, and no step of training."""
    left = {entry.name for entry in path.iterdir() if not entry.name.startswith(".")}
    return left <= {RECIPE, RESOLVED, CHECKPOINTS} and not any((path / CHECKPOINTS).glob("*"))


def import_released(recipe: Recipe, path: Path, stage: int) -> None:
    """Make a run directory of the released weights that `recipe.model.weights` names, so that they can be evaluated.

    Args:
        recipe: How they were trained; its `model.path` is the model they began from.
        path: The run directory to write.
        stage: The stage they were trained to.
    """
    tokenizer = build_tokenizer(recipe, [])
    write_chat_template(tokenizer, recipe, stage)
    model = build_model(recipe, tokenizer)
    files.write_json(path / RESOLVED, {"recipe": dump(recipe), "environment": environment()})
    files.write_text(path / RECIPE, recipe.source)
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    summary = {"stage": stage, "step": None, "num_parameters": num_parameters, "imported": _weights_sha256(recipe)}
    save_model(path, model, tokenizer, summary)


def is_import_of(path: Path, recipe: Recipe, stage: int) -> bool:
    """Whether a directory holds what `import_released` would make of these weights."""
    if not (path / RUN).is_file():
        return False
    summary, earlier = read_summary(path), read_recipe(path)
    is_same = (earlier.model, earlier.method, summary["stage"]) == (recipe.model, recipe.method, stage)
    return is_same and summary.get("imported") == _weights_sha256(recipe)


def _weights_sha256(recipe: Recipe) -> str | None:
    weights = recipe.model.weights
    return files.sha256(weights) if weights is not None and weights.is_file() else None


def read_summary(path: Path) -> dict[str, Any]:
    """`run.json`, after its model files have been checked against it.

    Raises:
        CheckpointError: It is no run, the run is not finished, or a file is damaged.
    """
    if not path.is_dir():
        raise CheckpointError(f"{path} is not a directory; give the directory of a run")
    if not (path / RUN).is_file():
        unfinished = (path / RESOLVED).is_file()
        advice = "finish it with `unspoken train --resume`" if unfinished else "give the directory of a finished run"
        raise CheckpointError(f"{path} has no {RUN}: {advice}")
    try:
        summary: dict[str, Any] = files.read_json(path / RUN)
        recorded = dict(summary["sha256"])
        int(summary["stage"])
    except (DataError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path / RUN} is damaged ({error}); resume the run to write it again") from error
    for name, expected in recorded.items():
        files.check(path, name, expected)
    return summary


def read_recipe(path: Path) -> Recipe:
    """The recipe that a run was trained with."""
    try:
        values = files.read_json(path / RESOLVED)["recipe"]
    except (DataError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path / RESOLVED} cannot be read ({error}); give the directory of a run") from error
    _refuse_strange(path, values)
    return resolve(values, str(path / RESOLVED))


def _refuse_strange(path: Path, values: Any) -> None:
    """Say what a run needs whose task or method is no part of the package.

    Raises:
        CheckpointError: It is such a run.
    """
    for section, known in (("task", TASKS), ("method", METHODS)):
        chosen = values.get(section) if isinstance(values, dict) else None
        name = chosen.get("name") if isinstance(chosen, dict) else None
        if isinstance(name, str) and name not in known:
            raise CheckpointError(
                f"{path} was trained with the {section} {name!r}, which is no part of Unspoken; in Python, import the "
                "module that registers it, and call unspoken.evaluate or unspoken.load there"
            )


def is_contrastive(path: Path) -> bool:
    """Whether a run trained encoders of images and texts, which answer nothing, instead of a model that answers."""
    return (path / RESOLVED).is_file() and isinstance(read_recipe(path).method, Contrastive)


def open_run(path: Path | str) -> Run:
    """Open a finished run.

    Raises:
        CheckpointError: See `read_summary`.
    """
    path = Path(path)
    summary = read_summary(path)
    recipe = read_recipe(path)
    if is_contrastive(path):
        raise CheckpointError(
            f"{path} holds encoders of images and texts, which answer no questions: `unspoken eval` measures what they "
            f"retrieve, and model.vision.path={path} makes them the eyes of a model that answers"
        )
    with without_library_bars():
        model = load_model(path).eval()
    return Run(
        path,
        recipe,
        model,
        AutoTokenizer.from_pretrained(path, trust_remote_code=False),
        int(summary["stage"]),
        summary,
    )
