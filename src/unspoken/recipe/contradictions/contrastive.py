"""What does not fit with method contrastive, which trains a new CLIP and no language model."""

from collections.abc import Iterator

from unspoken.config import EvaluateSettings, ModelSettings, TrainSettings
from unspoken.controls import IMAGE_CONTROLS
from unspoken.methods import Contrastive
from unspoken.recipe.problems import Problem
from unspoken.tasks import Task

NOT_OF_CLIP = frozenset(
    {"path", "weights", "revision", "arch", "dropout", "init_std", "lora", "marker_init", "checkpoint_passes"}
    | {"train_decoder", "embedding_heads"}
)
NOT_OF_CLIP_EYES = frozenset({"path", "revision", "features", "slots", "projector", "fusion", "cache"})
"""Settings of `model` and of `model.vision` that mean nothing where a CLIP is trained."""


def contrastive_problems(
    method: Contrastive,
    task: Task | None,
    model: ModelSettings | None,
    train: TrainSettings | None,
    evaluate: EvaluateSettings | None,
) -> Iterator[Problem]:
    """What does not fit; a section that could not be read is None and is not judged."""
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
