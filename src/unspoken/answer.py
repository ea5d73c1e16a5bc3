"""`unspoken run`: one question to a trained model, and what it thought."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeGuard

import torch
from torch import Tensor

from unspoken.data.collate import collate, inputs_of
from unspoken.data.tokenizer import thought_tokens
from unspoken.errors import DataError, RecipeError
from unspoken.records import Example, StagedExample
from unspoken.run_directory import Run
from unspoken.seeing import tokenize_with_images
from unspoken.tasks import Task
from unspoken.tasks.stories_text import captions_told
from unspoken.tasks.story_task import StoryTask
from unspoken.trajectories.halting import halted
from unspoken.vision.image_files import locate
from unspoken.vision.images import inspect_image

logger = logging.getLogger(__name__)

LENS_WORDS = 5
"""Words shown for each thought."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model wrote.

    Attributes:
        text: All it wrote.
        answer: The part that the task reads as the answer; None when there is none.
        thoughts: For each thought, in order, the words it is closest to through the language model's head, with their
            probabilities.
        num_passes: Forward passes, thoughts and tokens.
    """

    text: str
    answer: str | None
    thoughts: tuple[tuple[tuple[str, float], ...], ...]
    num_passes: int


@torch.no_grad()
def ask(
    run: Run,
    question: str | None = None,
    *,
    images: Sequence[Path | str] = (),
    captions: Sequence[str] = (),
    num_thoughts: int | None = None,
    max_new_tokens: int | None = None,
    sample: bool = False,
    temperature: float = 1.0,
    seed: int = 0,
) -> Answer:
    """Ask an opened run one question, premises and all, as its task writes it.

    Args:
        run: The model and how it was trained.
        question: The text of the question; left out where frames of a story make it.
        images: Image files that it is about, for a model that sees.
        captions: Of each image, for a model that tells stories.
        num_thoughts: How often to think; default: as often as in training.
        max_new_tokens: Longest answer in tokens; default: the task's.
        sample: Draw the words instead of taking the likeliest.
        temperature: Of the drawing.
        seed: Of the drawing.

    Raises:
        RecipeError: The method has no thoughts, a number is out of range, or an image or caption cannot be used.
        DataError: A word is not in the vocabulary, or the question is too long for the model.
    """
    problems = mistakes(run, question, images, captions, num_thoughts, max_new_tokens)
    if sample and not temperature > 0:
        problems.append(f"temperature: {temperature} is not positive; give e.g. 1.0")
    if problems:
        raise RecipeError("unspoken run", problems)
    prompt = prompt_of(run, example_of(run, question, images, captions), num_thoughts)
    if num_thoughts is None:
        (prompt,) = halted(run.model, [prompt], batch_size=1)
    room = room_behind(run, prompt)
    batch = collate([prompt], pad_id=run.model.config.pad_token_id or 0, align=False)
    inputs = inputs_of(batch, run.model.device)
    inputs.pop("position_ids")  # counted from the mask, also behind the prompt
    torch.manual_seed(seed)
    output = run.model.generate(
        **inputs,
        max_new_tokens=min(max_new_tokens or run.recipe.task.max_new_tokens, room),
        do_sample=sample,
        temperature=temperature if sample else None,
        pad_token_id=run.model.config.pad_token_id,
    )
    new = output[0, inputs["input_ids"].size(1) :].tolist()
    forced = prompt.input_ids[len(prompt.input_ids) - prompt.num_forced :].tolist()
    text = run.tokenizer.decode([*forced, *new], skip_special_tokens=True)
    thoughts = run.model.model(**inputs).thoughts
    return Answer(
        text=text,
        answer=run.recipe.task.read_answer(text),
        thoughts=() if thoughts is None else tuple(lens(run, thought) for thought in thoughts[0]),
        num_passes=run.model.model.schedule.extra_passes(prompt.num_thoughts) + len(new),
    )


def mistakes(
    run: Run,
    question: str | None,
    images: Sequence[Path | str],
    captions: Sequence[str],
    num_thoughts: int | None,
    max_new_tokens: int | None,
) -> list[str]:
    """What is wrong with a question, and with how it is to be answered."""
    found = _mistakes_of_words(run, question, images, captions)
    if num_thoughts is not None and num_thoughts < 0:
        found.append(f"thoughts: {num_thoughts} is negative; give 0 or more")
    if max_new_tokens is not None and max_new_tokens < 1:
        found.append(f"max_new_tokens: {max_new_tokens} leaves no room for an answer; give 1 or more")
    if run.model.model.image_slots is not None:
        found += _mistakes_of_images(run, question, images, captions)
    elif images:
        found.append(f"images: this model sees none of the {len(images)} images; train one with model.vision")
    return found


def _mistakes_of_words(
    run: Run, question: str | None, images: Sequence[Path | str], captions: Sequence[str]
) -> list[str]:
    task = run.recipe.task
    if question is not None and not question.strip():
        return ["question: it is empty; write one"]
    if question is not None:
        return ["captions: they make the question themselves; leave them out, or the question"] if captions else []
    if not _tells_stories(task):
        name = task.model_dump()["name"]
        return [f"question: {f'{name} makes none of captions' if captions else 'there is none'}; write one"]
    if task.context == "images":
        found = ["captions: this model was trained without any; leave them out"] if captions else []
        return found if images else [*found, "images: there are no frames of a story; give some"]
    if not captions:
        return ["captions: there are none, and no question; give one for each frame, or write the question"]
    return [
        f"captions: number {place} is empty; say what frame {place} shows"
        for place, caption in enumerate(captions, 1)
        if not caption.strip()
    ]


def _mistakes_of_images(
    run: Run, question: str | None, images: Sequence[Path | str], captions: Sequence[str]
) -> list[str]:
    """What is wrong with the images of a model that sees."""
    vision, found = run.recipe.model.vision, []
    assert vision is not None, "a model has image slots by these settings"
    if question is None and captions and len(captions) != len(images):
        found.append(f"captions: {len(captions)} for {len(images)} images; give one for each")
    if question is not None and vision.features == "joint" and len(captions_told(question) or ()) != len(images):
        found.append("question: it does not say what each image shows, which this model needs; give captions instead")
    if vision.fusion is not None and len(images) > vision.fusion.most_images:
        found.append(f"images: {len(images)}, and this model has places for {vision.fusion.most_images}; give fewer")
    for image in images:
        try:
            inspect_image(locate(image, None))
        except DataError as error:
            found.append(f"images: {str(image)!r}: {error}")
    return found


def example_of(run: Run, question: str | None, images: Sequence[Path | str], captions: Sequence[str]) -> Example:
    """The row that is asked; without a question that of a story with these frames so far."""
    task, names = run.recipe.task, tuple(map(str, images))
    if run.model.model.image_slots is not None and not images:
        logger.warning("this model sees, and no image is given: it answers from the words alone")
    if question is not None or not _tells_stories(task):
        told = captions_told(question or "") if _tells_stories(task) else None
        return Example("question", question or "", (), "", images=names, captions=told or ())
    row = task.so_far(names, [" ".join(caption.split()) for caption in captions])
    if len(row.captions) != task.frames:
        logger.warning("trained on stories of %d frames, and these are %d", task.frames, len(row.captions))
    return replace(row, id="question")


def _tells_stories(task: Task) -> TypeGuard[StoryTask]:
    return isinstance(task, StoryTask) and task.is_caption


def prompt_of(run: Run, example: Example, num_thoughts: int | None) -> StagedExample:
    """What the model reads, with so many slots, or as many as in training."""
    # nobody knows how many steps the question takes: it gets the thoughts of a row with as many as the stage replaces
    asked = replace(example, steps=("",) * run.stage)
    (row,), _ = tokenize_with_images(run.recipe, [asked], run.tokenizer, run.model)
    return run.recipe.method.prompt(row, run.stage, thought_tokens(run.tokenizer), num_thoughts)


def room_behind(run: Run, prompt: StagedExample) -> int:
    """Tokens that the model can write behind a prompt.

    Raises:
        DataError: None.
    """
    room = run.model.num_positions - len(prompt.input_ids)
    if room < 1:
        fits = room + prompt.num_thoughts >= 1
        raise DataError(
            f"the question takes {len(prompt.input_ids)} positions with its {prompt.num_thoughts} thoughts, the model "
            f"has {run.model.num_positions}; {'let it think less often' if fits else 'shorten it'}"
        )
    return room


def lens(run: Run, thought: Tensor, count: int = LENS_WORDS) -> tuple[tuple[str, float], ...]:
    """The words a thought (D,) is closest to, read by the language model's head as if it were a state."""
    probabilities, ids = run.model.read(thought).topk(count)
    words = [run.tokenizer.decode([token]) for token in ids.tolist()]
    return tuple(zip(words, probabilities.tolist(), strict=True))


def render(answer: Answer, *, show_thoughts: bool, num_thoughts: int | None = None) -> str:
    """The answer as lines of text.

    Args:
        answer: What the model wrote.
        show_thoughts: Say what words its thoughts are close to.
        num_thoughts: How many were asked for; None: as many as trained.
    """
    lines = []
    if show_thoughts:
        for number, words in enumerate(answer.thoughts, 1):
            shown = "  ".join(f"{word!r} {probability:.2f}" for word, probability in words)
            lines.append(f"thought {number}: {shown}")
        if not answer.thoughts:
            asked_for_none = num_thoughts == 0
            reason = "none were asked for" if asked_for_none else "this model answers in words alone"
            lines.append(f"no thoughts: {reason}")
    return "\n".join([*lines, answer.text if answer.text.strip() else "(no words: it ended its answer at once)"])
