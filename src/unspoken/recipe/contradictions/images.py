"""Models that see: their eyes, their guesses of the next image, and controls of what they see."""

from collections.abc import Iterator

from unspoken.config import EvaluateSettings, ModelSettings, TrainSettings, VisionSettings
from unspoken.controls import IMAGE_CONTROLS
from unspoken.recipe.problems import Problem
from unspoken.tasks import Task
from unspoken.tasks.story_task import StoryTask


def image_problems(task: Task | None, model: ModelSettings, evaluate: EvaluateSettings | None) -> Iterator[Problem]:
    """What does not fit where a model sees, or is measured as if it did; a section that is None is not judged."""
    if model.vision is None:
        if task and evaluate:
            yield from _unseen(task, model, evaluate)
        return
    if task and not task.has_images:
        yield Problem("model.vision", f"the rows of task {task.model_dump()['name']} name no images; take it out")
    yield from _eyes(task, model, model.vision)


def embedding_head_problems(task: Task | None, model: ModelSettings, train: TrainSettings | None) -> Iterator[Problem]:
    """What does not fit with guesses of the next image; a section that is None is not judged."""
    if task and not task.is_caption:
        name = task.model_dump()["name"]
        text = f"they guess the next image of a story, and rows of {name} have none"
        yield Problem("model.embedding_heads", f"{text}; take them out, or choose toy_stories or stories")
    heads = model.embedding_heads
    if heads and heads.image_weight == heads.text_weight == 0:
        yield Problem("model.embedding_heads", "with both weights 0 nothing trains them; take them out or raise one")
    if heads and heads.compares_rows and train and train.micro_batch_size not in (None, train.batch_size):
        text = "info_nce compares all rows of a step, which cannot be cut into parts"
        yield Problem("train.micro_batch_size", f"{text}; remove it and lower train.batch_size, or choose cosine")


def _unseen(task: Task, model: ModelSettings, evaluate: EvaluateSettings) -> Iterator[Problem]:
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


def _eyes(task: Task | None, model: ModelSettings, vision: VisionSettings) -> Iterator[Problem]:
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


def _joint(task: Task | None, vision: VisionSettings) -> Iterator[Problem]:
    if vision.path is None or vision.train_encoder:
        text = "joint takes images and captions into the space of a CLIP that stays as it is"
        yield Problem("model.vision.features", f"{text}; set model.vision.path to one, and train_encoder: false")
    if task and not task.is_caption:
        name = task.model_dump()["name"]
        text = f"joint is for images of which something is said, and rows of {name} say nothing of each"
        yield Problem("model.vision.features", f"{text}; set patches or pooled")
