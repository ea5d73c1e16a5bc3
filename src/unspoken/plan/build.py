"""`unspoken plan`: everything a recipe decides, before anything is loaded.

    recipe -> rows of a sample, words for tokens -> every stage laid out -> table, batch, size, estimates, warnings

No weights are read and no model is built. The layouts are the method's own, so the table says what will be trained.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import mean

from unspoken.config import TrainSettings
from unspoken.methods import Contrastive, Reinforcement
from unspoken.plan.drawn import drawn_costs
from unspoken.plan.estimate import NO_IMAGES, Estimate, Weights, estimate, megabytes
from unspoken.plan.eyes import Eyes, read_eyes
from unspoken.plan.files import refuse_unusable_files, shared_questions
from unspoken.plan.heads import head_parameters
from unspoken.plan.sample import Data, num_special_words, read_data, tokens_per_word, words_in
from unspoken.plan.shape import Shape, adapter_parameters, checkpoint_shape, new_shape, num_parameters
from unspoken.plan.stage_table import Stage, is_final, layouts, positions, stage_table
from unspoken.plan.updates import Updates, batching_of, read_updates, with_drawing
from unspoken.processes import num_processes
from unspoken.recipe import Recipe, sparse
from unspoken.recipe.batching import Batching, split_batch


@dataclass(frozen=True, slots=True)
class Parts:
    """Parameters of a model, as far as they are known.

    Attributes:
        decoder: With its head.
        source: Of thoughts.
        seeing: What makes it see.
        heads: What guesses vectors.
    """

    decoder: int
    source: int
    seeing: int
    heads: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.decoder + self.source + self.seeing + self.heads


@dataclass(frozen=True, slots=True)
class Plan:
    """What a recipe will do.

    Attributes:
        recipe: The recipe.
        batching: How a step is cut.
        updates: What an update does, where rewards are learned from; else None.
        rows: Training rows; None where the data is not given yet.
        steps_per_epoch: Optimizer steps of an epoch, or updates; None likewise.
        stages: The stage table, in order.
        num_parameters: Exact from scratch, eyes and embedding heads included as far as they are known here; None
            where the shape of a checkpoint is not known.
        vocabulary: Token embeddings; None likewise.
        eyes: What makes the model see, which may be known in part; None where it sees nothing.
        num_images: Different images of the training rows; None where the data is not given yet.
        estimate: Memory and time; None where rows or shape are not known.
        warnings: What may not be what was meant.
    """

    recipe: Recipe
    batching: Batching
    updates: Updates | None
    rows: int | None
    steps_per_epoch: int | None
    stages: tuple[Stage, ...]
    num_parameters: int | None
    vocabulary: int | None
    eyes: Eyes | None
    num_images: int | None
    estimate: Estimate | None
    warnings: tuple[str, ...]

    @property
    def total_steps(self) -> int | None:
        """Optimizer steps of the whole run, or updates; None where the data is not given yet."""
        train = self.recipe.train
        return None if self.steps_per_epoch is None else self.steps_per_epoch * (train.epochs - train.first_epoch)


def plan(recipe: Recipe, processes: int | None = None) -> Plan:
    """What a recipe will do.

    Args:
        recipe: The recipe.
        processes: Processes of the run; default: those that `torchrun` announces, else 1.

    Raises:
        DataError: Data files that are given cannot be used, or one that training needs is missing.
        RecipeError: The batch cannot be cut into equal parts, or the projector cannot make the slots of an image.
    """
    processes = processes or num_processes()
    updates = None
    if isinstance(recipe.method, Reinforcement):
        updates = read_updates(recipe, recipe.method, processes)
    batching = batching_of(recipe, updates, processes) if updates else split_batch(recipe.train, processes)
    data = read_data(recipe.task)
    refuse_unusable_files(recipe, data)
    if isinstance(recipe.method, Contrastive):
        return _plan_of_pairs(recipe, recipe.method, batching, data)
    steps = None if data.rows is None else -(-data.rows // recipe.train.batch_size)
    shape = _shape(recipe, data.words)
    eyes = read_eyes(recipe.model.vision, None if shape is None else shape.width)
    per_word = tokens_per_word(recipe.model.tokenizer or recipe.model.path)
    stages = tuple(stage_table(recipe, data.sample, steps, _slots(eyes), per_word))
    parts = None if shape is None else _parts(recipe, shape, eyes)
    return Plan(
        recipe=recipe,
        batching=batching,
        updates=updates,
        rows=data.rows,
        steps_per_epoch=steps,
        stages=stages,
        num_parameters=None if parts is None else parts.total,
        vocabulary=None if shape is None else shape.vocabulary,
        eyes=eyes,
        num_images=data.num_images,
        estimate=_estimate(recipe, batching, updates, shape, parts, eyes, data, stages, per_word),
        warnings=(
            *shared_questions(data),
            *_precision_of_elsewhere(recipe.train),
            *_warnings(recipe, data, shape, eyes, stages, per_word),
        ),
    )


def _plan_of_pairs(recipe: Recipe, method: Contrastive, batching: Batching, data: Data) -> Plan:
    """The plan of a CLIP: images and captions, of which nothing is written."""
    # with steps as captions a row is as many pairs as it has images
    pairs = method.pairs(data.sample)
    rows = None if data.rows is None else data.rows * len(pairs) // max(len(data.sample), 1)
    steps = None if rows is None else -(-rows // recipe.train.batch_size)
    vocabulary = None if recipe.model.tokenizer or data.words is None else num_special_words() + data.words
    warnings = []
    if rows is None:
        warnings.append("the pairs are counted when they are loaded, not here")
    longest = max((len(words_in(pair.answer)) + 1 for pair in pairs), default=0)
    if vocabulary is not None and longest > recipe.model.max_positions:
        warnings.append(
            f"a caption of the sample takes {longest} positions, the model has {recipe.model.max_positions}: "
            "raise model.max_positions"
        )
    return Plan(
        recipe=recipe,
        batching=batching,
        updates=None,
        rows=rows,
        steps_per_epoch=steps,
        stages=tuple(stage_table(recipe, pairs, steps)),
        num_parameters=None if vocabulary is None else _clip_parameters(recipe, method, vocabulary),
        vocabulary=vocabulary,
        eyes=None,
        num_images=data.num_images,
        estimate=None,
        warnings=tuple(warnings),
    )


def _clip_parameters(recipe: Recipe, method: Contrastive, vocabulary: int) -> int:
    """Parameters of a new CLIP, counted without storage."""
    import torch
    from transformers import CLIPModel

    from unspoken.vision.clip import clip_config

    with torch.device("meta"):
        model = CLIPModel(clip_config(recipe.model, method, vocabulary))
    return sum(parameter.numel() for parameter in model.parameters())


def _slots(eyes: Eyes | None) -> int:
    """Positions that an image takes, as far as they are known."""
    return 0 if eyes is None else eyes.slots or 0


def _shape(recipe: Recipe, words: int | None) -> Shape | None:
    model, sees = recipe.model, recipe.model.vision is not None
    if model.path is not None:
        return checkpoint_shape(model.path, sees=sees)
    if model.tokenizer is not None or words is None:
        return None
    return new_shape(model, num_special_words() + sees + words)


def _source_parameters(recipe: Recipe, width: int) -> int:
    """Parameters of the thought source; only other sources than the default have any, and need torch to say so."""
    if recipe.thoughts == {"name": "last_hidden"}:
        return 0
    import torch

    from unspoken.thoughts import build_source

    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build_source(recipe.thoughts, width).parameters())


def _estimate(
    recipe: Recipe,
    batching: Batching,
    updates: Updates | None,
    shape: Shape | None,
    parts: Parts | None,
    eyes: Eyes | None,
    data: Data,
    stages: Sequence[Stage],
    per_word: float,
) -> Estimate | None:
    if shape is None or parts is None or data.rows is None or math.isnan(stages[0].length):
        return None
    sizes = [
        (stage.last_epoch - stage.first_epoch + 1, stage.length, stage.num_written * per_word, stage.thoughts[1])
        for stage in stages
    ]
    images = NO_IMAGES
    if eyes is not None and data.num_images is not None:
        images = eyes.costs(data.num_images, mean(len(example.images) for example in data.sample), shape.width)
    if updates is not None:
        # what will be written is not known: the longest answer is counted
        longest = mean(stage.length - stage.num_written * per_word for stage in stages) + updates.words
        sizes = [(1, longest, float(updates.words), updates.most)]
    found = estimate(
        shape,
        rows=data.rows,
        micro=batching.micro if updates is None else updates.at_once,
        processes=batching.processes,
        steps_per_epoch=-(-data.rows // recipe.train.batch_size) * batching.accumulation,
        stages=sizes,
        sequential=recipe.schedule["name"] == "sequential",
        half=recipe.train.precision != "fp32",
        recomputed=recipe.model.checkpoint_passes,
        weights=_weights(recipe, shape, parts),
        images=images,
        drawn=drawn_costs(recipe, data.rows),
    )
    heads = recipe.model.embedding_heads
    if heads is not None and heads.compares_rows:
        found = replace(found, smaller=())  # smaller micro-batches would change what is compared
    if updates is None:
        return found
    return with_drawing(found, updates, shape, sizes[0][1], batching.processes)


def _weights(recipe: Recipe, shape: Shape, parts: Parts) -> Weights:
    """What is loaded, trained and saved: all of a model, what stands around its decoder, or that with adapters.

    A checkpoint is a whole model; of one with adapters, and where rewards are learned from, it is what was trained.
    """
    method, lora = recipe.method, recipe.model.lora
    by_rewards = isinstance(method, Reinforcement)
    frozen = not recipe.model.train_decoder or (isinstance(method, Reinforcement) and method.language_model == "freeze")
    adapters = 0 if lora is None else adapter_parameters(shape, lora.rank)
    # rewards reach no more than the policy around a language model that stays, or has adapters
    around = parts.source if by_rewards else parts.source + parts.seeing + parts.heads
    trained = adapters + around if lora is not None or frozen else parts.total
    loaded = parts.total + adapters
    return Weights(loaded, trained, saved=trained if lora is not None or by_rewards else loaded)


def _parts(recipe: Recipe, shape: Shape, eyes: Eyes | None) -> Parts:
    return Parts(
        decoder=num_parameters(shape),
        source=_source_parameters(recipe, shape.width),
        seeing=0 if eyes is None else eyes.num_parameters or 0,
        heads=head_parameters(recipe.model.embedding_heads, shape.width) or 0,
    )


def _warnings(
    recipe: Recipe, data: Data, shape: Shape | None, eyes: Eyes | None, stages: Sequence[Stage], per_word: float
) -> list[str]:
    train, model, method = recipe.train, recipe.model, recipe.method
    sample, rows = data.sample, data.rows
    settings = method.model_dump()
    found = []
    task = recipe.task.describe()
    if rows is None and task.get("dataset") is not None:
        found.append(f"the rows of the data set {task['dataset']} are counted when they are loaded, not here")
    elif rows is None:
        found.append(f"task {task['name']} has no data yet: set task.train and task.validation to files")
    elif rows < train.batch_size:
        found.append(f"{rows} rows are fewer than train.batch_size={train.batch_size}: an epoch is one short step")
    if settings.get("pad_thoughts") is False:
        found.append("pad_thoughts: false lets the number of thoughts tell the model how many steps the solution has")
    if sample and not is_final(recipe, sample, stages[-1].stage):
        found.append(
            f"training ends at stage {stages[-1].stage} of {method.final_stage}: raise train.epochs "
            "or lower method.epochs_per_stage"
        )
    most_steps = max((len(example.steps) for example in sample), default=None)
    if most_steps is not None and settings.get("max_stage", 0) > most_steps:
        found.append(f"max_stage is {settings['max_stage']}, but no row of the sample has more than {most_steps} steps")
    if settings.get("mix"):
        found.append(f"mix: {settings['mix']:.0%} of the rows are laid out at another stage than the table says")
    if model.path is not None:
        changed = sparse(recipe).get("model", {})
        shape_keys = ("arch", "layers", "heads", "width", "dropout", "max_positions", "init_std")
        ignored = [key for key in shape_keys if key in changed]
        found += [f"model.{key} has no effect, as the shape comes from model.path" for key in ignored]
    if shape is not None and sample:
        slots = _slots(eyes)
        longest = max(
            positions(row, per_word) for stage in stages for row in layouts(recipe, sample, stage.stage, slots)
        )
        if round(longest) > shape.positions:
            found.append(f"a row of the sample takes about {round(longest)} positions, the model has {shape.positions}")
    if eyes is not None and eyes.settings.train_encoder and data.num_images:
        found += _too_many_pixels(data.num_images * eyes.bytes_per_image)
    return found


def _precision_of_elsewhere(settings: TrainSettings) -> list[str]:
    """A remark where training would be refused on this machine; it may be meant for another."""
    if settings.precision != "fp16":
        return []
    import torch

    if torch.accelerator.is_available():
        return []
    return ["train.precision: fp16 needs a GPU, and there is none here: training would be refused"]


def _too_many_pixels(size: int) -> list[str]:
    from unspoken.vision.pixel_inputs import MAX_BYTES

    if size <= MAX_BYTES:
        return []
    return [
        f"the pixels of all images take {megabytes(size)} of memory, {megabytes(MAX_BYTES)} are allowed: "
        "set model.vision.train_encoder=false"
    ]
