"""Settings that are each fine and do not fit together: what is wrong, why, and what to set instead."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any

from unspoken.config import AdversarySettings, EvaluateSettings, ModelSettings, TrainSettings, VisionSettings
from unspoken.errors import RecipeError
from unspoken.methods import Contrastive, Method, Reinforcement
from unspoken.methods.reinforcement import PPO
from unspoken.recipe.adversary_contradictions import adversary_problems
from unspoken.recipe.problems import Problem, advice
from unspoken.tasks import Task
from unspoken.tasks.prosqa import ProsQA
from unspoken.tasks.story_task import StoryTask

DEFAULT_THOUGHTS: Mapping[str, Any] = {"name": "last_hidden"}
CONTROLS = ("zero", "mean", "noise", "another_row", "removed")
IMAGE_CONTROLS = ("no_image", "blank_image", "another_image", "shuffled_images")
WITHOUT_FRONTIERS = frozenset(
    {"prontoqa", "gsm8k", "multiplication", "shapes", "aokvqa", "scienceqa", "toy_stories", "stories", "custom"}
)

OWNED = {
    "output_dir": "--out",
    "seed": "train.seed",
    "data_seed": "train.seed",
    "learning_rate": "train.learning_rate",
    "lr_scheduler_type": "train.lr_schedule",
    "lr_scheduler_kwargs": "train.lr_schedule",
    "warmup_steps": "train.warmup_steps",
    "warmup_ratio": "train.warmup_steps",
    "weight_decay": "train.weight_decay",
    "adam_beta1": "train.betas",
    "adam_beta2": "train.betas",
    "max_grad_norm": "train.max_grad_norm",
    "num_train_epochs": "train.epochs",
    "max_steps": "train.epochs",
    "per_device_train_batch_size": "train.micro_batch_size",
    "gradient_accumulation_steps": "train.batch_size and train.micro_batch_size",
    "auto_find_batch_size": "train.micro_batch_size",
    "per_device_eval_batch_size": "evaluate.batch_size",
    "bf16": "train.precision",
    "fp16": "train.precision",
    "save_strategy": "train.save",
    "save_steps": "train.save",
    "save_total_limit": "train.keep_checkpoints",
    "load_best_model_at_end": "train.save",
    "eval_strategy": "train.validate_every",
    "eval_steps": "train.validate_every",
    "logging_strategy": "train.log_every",
    "logging_steps": "train.log_every",
    "dataloader_num_workers": "train.workers",
    "report_to": "train.report_to",
    "resume_from_checkpoint": "--resume",
}
"""Fields of transformers.TrainingArguments that a setting of ours decides."""

REFUSED = {
    "dataloader_persistent_workers": "such workers keep the dataset of the first epoch, which freezes the curriculum "
    "at its first stage; remove it",
    "gradient_checkpointing": "it drops the key-value cache and changes the loss without a word; "
    "set model.checkpoint_passes: true instead",
    "gradient_checkpointing_kwargs": "model.checkpoint_passes: true recomputes whole passes and needs no settings; "
    "use it instead",
    "activation_checkpointing": "it drops the key-value cache and changes the loss without a word; "
    "set model.checkpoint_passes: true instead",
    "activation_checkpointing_kwargs": "model.checkpoint_passes: true recomputes whole passes and needs no settings; "
    "use it instead",
    "dataloader_drop_last": "every row is trained exactly once an epoch; remove it",
    "train_sampling_strategy": "batches are drawn by unspoken.data.loader, by length and seed; remove it",
    "group_by_length": "batches are drawn by unspoken.data.loader, by length and seed; remove it",
    "remove_unused_columns": "rows are laid out anew at each stage and have no columns to remove; remove it",
}
"""Fields that would break what a run promises."""


def contradictions(
    *,
    task: Task | None,
    model: ModelSettings | None,
    method: Method | None,
    train: TrainSettings | None,
    evaluate: EvaluateSettings | None,
    thoughts: Mapping[str, Any],
    adversary: AdversarySettings | None = None,
) -> list[Problem]:
    """Everything that does not fit together; a section that could not be read is None and is not judged."""
    problems: list[Problem] = []
    if model:
        problems += _model(model)
        problems += _frozen_decoder(model, thoughts) if not model.train_decoder else []
    if train:
        problems += _train(train, method)
        problems += _trainer(train.trainer)
    if evaluate:
        problems += _evaluate(evaluate)
    if method:
        problems += _method(method, thoughts)
    if method and model:
        problems += _positions(method, model)
    if isinstance(method, Reinforcement):
        problems += _reinforcement(method, model, thoughts)
        problems += _without_effect(train) if train else []
    if method and task:
        problems += _frontiers(method, task)
    if task and model and evaluate:
        problems += _images(task, model, evaluate)
    if task and model and model.embedding_heads:
        problems += _embedding_heads(task, model)
    if isinstance(method, Contrastive):
        problems += _contrastive(method, task, model, train, evaluate)
    if adversary:
        problems += adversary_problems(adversary, task, model, method, train, thoughts)
    return problems


def default_schedule(thoughts: Mapping[str, Any]) -> dict[str, Any]:
    """Single where the thoughts read no state, else sequential."""
    return {"name": "sequential" if _reads_states(thoughts) else "single"}


def source_problems(thoughts: Mapping[str, Any], schedule: Mapping[str, Any] | None, width: int) -> list[Problem]:
    """What is wrong with the thought source and the schedule.

    The default of both is known to be right; any other is built to see, which needs torch.
    """
    reads = True
    if thoughts != DEFAULT_THOUGHTS:
        problem = _build(thoughts, width)
        if problem is not None:
            return problem
        reads = _reads_states(thoughts)
    if schedule is None or schedule == {"name": "sequential"}:
        return []
    if schedule == {"name": "single"}:
        if not reads:
            return []
        why = f"one pass needs thoughts that read no state, {thoughts.get('name')} reads them"
        return [Problem("schedule.name", f"{why}; set schedule.name: sequential, or thoughts: {{name: pause}}")]
    if schedule.get("name") == "jacobi" and thoughts.get("faithful"):
        why = "the released contextual thoughts know no jacobi order"
        return [Problem("schedule.name", f"{why}; set schedule.name: sequential, or thoughts.faithful: false")]
    return _build_schedule(schedule)


def _build(thoughts: Mapping[str, Any], width: int) -> list[Problem] | None:
    import torch

    from unspoken.thoughts import build_source

    try:
        with torch.device("meta"):
            build_source(thoughts, width)
    except RecipeError as error:
        return [_within("thoughts", problem) for problem in error.problems]
    return None


def _build_schedule(schedule: Mapping[str, Any]) -> list[Problem]:
    from dataclasses import fields

    from unspoken.model.passes import SCHEDULES, build_schedule
    from unspoken.thoughts.pause import Pause

    if schedule.get("name") in SCHEDULES:
        known = [field.name for field in fields(SCHEDULES[schedule["name"]])]
        unknown = schedule.keys() - {"name", *known}
        takes = ", ".join(known) or "nothing"
        if unknown:
            return [
                Problem(f"schedule.{key}", f"unknown key of {schedule['name']}, which takes {takes}") for key in unknown
            ]
    try:
        build_schedule(schedule, Pause(1))
    except RecipeError as error:
        return [_within("schedule", problem) for problem in error.problems]
    return []


def _within(section: str, problem: str) -> Problem:
    key, colon, message = problem.partition(": ")
    return Problem(f"{section}.{key}", message) if colon else Problem(section, problem)


def _reads_states(thoughts: Mapping[str, Any]) -> bool:
    if thoughts == DEFAULT_THOUGHTS:
        return True
    from unspoken.thoughts import SOURCES

    return SOURCES[thoughts["name"]].reads_states


def _model(model: ModelSettings) -> Iterator[Problem]:
    if model.path is not None:
        if not model.path.strip() or model.path != model.path.strip() or "\n" in model.path:
            yield Problem("model.path", f"{model.path!r} begins or ends with white space, or is empty; remove it")
        return
    if model.revision is not None:
        yield Problem(
            "model.revision", "it names a version of model.path, which is not set; remove it or set model.path"
        )
    if model.width % model.heads:
        yield Problem(
            "model.width",
            f"{model.width} is not a multiple of model.heads={model.heads}; "
            f"set it to {-(-model.width // model.heads) * model.heads}",
        )
    elif model.arch != "gpt2" and model.width // model.heads % 2:
        yield Problem(
            "model.heads",
            f"rotary positions turn pairs of numbers, but a head has {model.width // model.heads}; "
            "choose width and heads so that width / heads is even",
        )


def _train(train: TrainSettings, method: Method | None) -> Iterator[Problem]:
    # where rewards are learned from, the one counts questions and the other trajectories
    is_of_rows = not isinstance(method, Reinforcement)
    if is_of_rows and train.micro_batch_size is not None and train.batch_size % train.micro_batch_size:
        yield Problem(
            "train.batch_size",
            f"{train.batch_size} is not a multiple of train.micro_batch_size={train.micro_batch_size}, so that a step "
            f"could not be cut into equal parts; set it to {-(-train.batch_size // train.micro_batch_size)} x "
            f"{train.micro_batch_size} = {-(-train.batch_size // train.micro_batch_size) * train.micro_batch_size}",
        )
    if train.first_epoch >= train.epochs:
        yield Problem(
            "train.first_epoch",
            f"training begins at epoch {train.first_epoch} of {train.epochs}, so there is nothing to train; "
            "lower it or raise train.epochs",
        )


def _trainer(trainer: Mapping[str, Any]) -> Iterator[Problem]:
    for field in trainer:
        key = f"train.trainer.{field}"
        if field in REFUSED:
            if trainer[field] not in (False, None):
                yield Problem(key, REFUSED[field])
        elif field in OWNED:
            yield Problem(key, f"{OWNED[field]} decides this; use that")
        elif field not in _training_arguments():
            close = get_close_matches(field, _training_arguments(), n=1)
            hint = f"did you mean {close[0]}?" if close else "see its documentation, or remove it"
            yield Problem(key, f"transformers.TrainingArguments has no such field; {hint}")


@cache
def _training_arguments() -> frozenset[str]:
    """Names of the fields of transformers.TrainingArguments, read from its source: importing it takes seconds."""
    import ast
    from importlib.util import find_spec
    from pathlib import Path

    spec = find_spec("transformers")
    assert spec is not None, "transformers is a dependency"
    assert spec.submodule_search_locations, "transformers is a package"
    path = Path(spec.submodule_search_locations[0]) / "training_args.py"
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name == "TrainingArguments":
            fields = [item.target for item in node.body if isinstance(item, ast.AnnAssign)]
            return frozenset(target.id for target in fields if isinstance(target, ast.Name))
    raise AssertionError("transformers has no TrainingArguments any more")


def _evaluate(evaluate: EvaluateSettings) -> Iterator[Problem]:
    known = (*CONTROLS, *IMAGE_CONTROLS)
    for control in evaluate.controls:
        if control not in known:
            yield Problem("evaluate.controls", f"unknown control {control!r}; {advice(control, known)}")
    if "another_row" in evaluate.controls and evaluate.batch_size < 2:
        yield Problem("evaluate.batch_size", "another_row exchanges thoughts between rows; set it to 2 or more")


def _images(task: Task, model: ModelSettings, evaluate: EvaluateSettings) -> Iterator[Problem]:
    if model.vision is None:
        may_see = task.has_images or isinstance(task, StoryTask)
        # written out it is meant: the same recipe without its eyes, where these controls are left out
        if may_see and "vision" in model.model_fields_set:
            return
        for control in evaluate.controls:
            if control in IMAGE_CONTROLS:
                text = f"{control} takes away what a model sees, and this one sees nothing; set model.vision"
                if may_see:
                    text += ", or model.vision: null to read the words alone"
                yield Problem("evaluate.controls", text)
        return
    if not task.has_images:
        yield Problem("model.vision", f"the rows of task {task.model_dump()['name']} name no images; take it out")
    yield from _eyes(task, model, model.vision)


def _eyes(task: Task, model: ModelSettings, vision: VisionSettings) -> Iterator[Problem]:
    if vision.features == "joint":
        yield from _joint(task, vision)
    fusion = vision.fusion
    if fusion and model.path is None and model.width % fusion.heads:
        yield Problem("model.vision.fusion.heads", f"model.width={model.width} is not a multiple of {fusion.heads}")
    if vision.path is None:
        if vision.width % vision.heads:
            yield Problem("model.vision.width", f"it must be a multiple of heads ({vision.heads})")
        if vision.image_size % vision.patch_size:
            yield Problem("model.vision.image_size", f"it must be a multiple of patch_size ({vision.patch_size})")
        if not vision.train_encoder:
            text = "a new encoder that does not learn makes nothing of images; set it to true, or set path"
            yield Problem("model.vision.train_encoder", text)


def _joint(task: Task, vision: VisionSettings) -> Iterator[Problem]:
    if vision.path is None or vision.train_encoder:
        text = "joint takes images and captions into the space of a CLIP that stays as it is"
        yield Problem("model.vision.features", f"{text}; set model.vision.path to one, and train_encoder: false")
    if not task.is_caption:
        name = task.model_dump()["name"]
        text = f"joint is for images of which something is said, and rows of {name} say nothing of each"
        yield Problem("model.vision.features", f"{text}; set patches or pooled")


def _embedding_heads(task: Task, model: ModelSettings) -> Iterator[Problem]:
    if not task.is_caption:
        name = task.model_dump()["name"]
        text = f"they guess the next image of a story, and rows of {name} have none"
        yield Problem("model.embedding_heads", f"{text}; take them out, or choose toy_stories or stories")
    heads = model.embedding_heads
    if heads and heads.image_weight == heads.text_weight == 0:
        yield Problem("model.embedding_heads", "with both weights 0 nothing trains them; take them out or raise one")


def _frozen_decoder(model: ModelSettings, thoughts: Mapping[str, Any]) -> Iterator[Problem]:
    if model.lora:
        yield Problem("model.lora", "adapters of a language model that does not learn; set train_decoder: true")
    if model.path is None:
        yield Problem("model.train_decoder", "a language model from scratch has to learn; set it to true, or set path")
    if not (model.vision or model.embedding_heads) and thoughts == DEFAULT_THOUGHTS:
        yield Problem("model.train_decoder", "nothing is left to learn; set it to true")


def _method(method: Method, thoughts: Mapping[str, Any]) -> Iterator[Problem]:
    settings = method.model_dump()
    most = method.most_thoughts(method.final_stage)
    if thoughts != DEFAULT_THOUGHTS and most == 0:
        yield Problem(
            "thoughts",
            f"method {settings['name']} places no thought with these settings, so nothing would come of them; "
            "remove the section, or choose method.name: coconut with thoughts",
        )
    if settings.get("released_counts") and settings.get("pad_thoughts"):
        yield Problem(
            "method.released_counts",
            "it is about rows that get fewer thoughts, and pad_thoughts gives none fewer; "
            "remove it or set method.pad_thoughts: false",
        )


def _reinforcement(
    method: Reinforcement, model: ModelSettings | None, thoughts: Mapping[str, Any]
) -> Iterator[Problem]:
    name = thoughts.get("name")
    if not _is_policy(str(name)):
        yield Problem(
            "thoughts.name",
            f"{name} leaves nothing to chance, so nothing can be learned from rewards; "
            "choose a policy, e.g. thoughts: {name: gaussian}",
        )
    critic = bool(thoughts.get("critic"))
    if isinstance(method, PPO) and not critic:
        yield Problem(
            "thoughts.critic",
            "ppo compares rewards with what a critic expects; set it to true, or choose method.name: grpo",
        )
    if not isinstance(method, PPO) and critic:
        yield Problem(
            "thoughts.critic",
            f"nothing in {method.model_dump()['name']} trains a critic; take it out, or choose method.name: ppo",
        )
    if model and model.path is None:
        yield Problem("model.path", "rewards say little to a model that answers nothing right yet; give a trained run")
    if model and model.lora and method.language_model == "freeze":
        yield Problem("model.lora", "adapters of a language model that is frozen learn nothing; take it out")


def _without_effect(train: TrainSettings) -> Iterator[Problem]:
    """Settings of the supervised loop that the loop of rewards has no use for."""
    defaults = TrainSettings()
    for name in ("first_epoch", "reset_optimizer", "workers", "report_to", "trainer"):
        if getattr(train, name) != getattr(defaults, name):
            yield Problem(f"train.{name}", "it has no effect on learning from rewards; take it out")


def _is_policy(name: str) -> bool:
    from unspoken.thoughts import SOURCES, Policy

    return name in SOURCES and issubclass(SOURCES[name], Policy)


def _positions(method: Method, model: ModelSettings) -> Iterator[Problem]:
    most = method.most_thoughts(method.final_stage)
    if model.path is None and most + 2 >= model.max_positions:
        yield Problem(
            "model.max_positions",
            f"{most} thoughts + 2 markers = {most + 2} leave no place for words among {model.max_positions} positions; "
            "raise it, or lower the thoughts of the method",
        )


def _frontiers(method: Method, task: Task) -> Iterator[Problem]:
    if method.model_dump()["name"] != "superposition":
        return
    name = task.model_dump()["name"]
    if name in WITHOUT_FRONTIERS:
        yield Problem(
            "method.name",
            f"superposition needs a task whose search frontiers are known, word by word, and {name} has none; "
            "use task hops or prosqa, or method coconut",
        )
    elif isinstance(task, ProsQA) and task.rendering == "words":
        yield Problem(
            "task.rendering",
            "superposition learns answers of one token, and in words an answer is a sentence; "
            "set task.rendering: symbols",
        )
    hops = task.describe().get("max_hops", task.describe().get("hops", 0))
    rendered_in_words = isinstance(task, ProsQA) and task.rendering == "words"
    if name not in WITHOUT_FRONTIERS and not rendered_in_words and hops > method.final_stage:
        yield Problem(
            "method.max_stage",
            f"rows have up to {hops} hops, and those with more than max_stage={method.final_stage} would never train "
            f"their answer; raise it to {hops}, or lower the hops of the task",
        )


NOT_OF_CLIP = frozenset(
    {"path", "weights", "revision", "arch", "dropout", "init_std", "lora", "marker_init", "checkpoint_passes"}
    | {"train_decoder", "embedding_heads"}
)
NOT_OF_CLIP_EYES = frozenset({"path", "revision", "features", "slots", "projector", "fusion", "cache"})
"""Settings of `model` and of `model.vision` that mean nothing where a CLIP is trained."""


def _contrastive(
    method: Contrastive,
    task: Task | None,
    model: ModelSettings | None,
    train: TrainSettings | None,
    evaluate: EvaluateSettings | None,
) -> Iterator[Problem]:
    why = "method contrastive trains a new CLIP, where it has no effect; remove it"
    if task and not task.has_images:
        name = task.model_dump()["name"]
        text = f"contrastive needs images and texts that describe them, and the rows of {name} name no images"
        yield Problem("task.name", f"{text}; choose a task with images, such as shapes")
    if model and model.vision is None:
        text = "contrastive trains eyes, and there are none"
        yield Problem("model.vision", f"{text}; set layers, heads, width, image_size, patch_size, train_encoder: true")
    if model:
        given = [("model", model, NOT_OF_CLIP), ("model.vision", model.vision, NOT_OF_CLIP_EYES)]
        for section, settings, unused in given:
            values = {} if settings is None else settings.model_dump(exclude_defaults=True)
            yield from (Problem(f"{section}.{key}", why) for key in values if key in unused)
    if method.redraw:
        yield Problem("method.redraw", "a caption has one wording; remove it")
    if train and train.micro_batch_size is not None:
        text = "the loss compares all pairs of a step, which cannot be cut into parts; remove it"
        yield Problem("train.micro_batch_size", text)
    if train and train.batch_size < 2:
        yield Problem("train.batch_size", "the loss compares pairs with each other; set it to 2 or more, best to 100")
    for control in evaluate.controls if evaluate else ():
        if control in IMAGE_CONTROLS:
            yield Problem("evaluate.controls", f"{control} takes images away, and there is nothing else; remove it")
