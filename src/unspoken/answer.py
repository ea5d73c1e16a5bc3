"""`unspoken run`: one question to a trained model, and what it thought."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from unspoken.data.collate import collate, inputs_of
from unspoken.data.tokenizer import thought_tokens
from unspoken.errors import DataError, RecipeError
from unspoken.records import Example, StagedExample
from unspoken.run_directory import Run
from unspoken.seeing import tokenize_with_images
from unspoken.trajectories.halting import halted

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
    question: str,
    *,
    images: Sequence[Path | str] = (),
    num_thoughts: int | None = None,
    max_new_tokens: int | None = None,
    sample: bool = False,
    temperature: float = 1.0,
    seed: int = 0,
) -> Answer:
    """Ask an opened run one question, premises and all, as its task writes it.

    Args:
        run: The model and how it was trained.
        question: The text of the question.
        images: Image files that it is about, for a model that sees.
        num_thoughts: How often to think; default: as often as in training.
        max_new_tokens: Longest answer in tokens; default: the task's.
        sample: Draw the words instead of taking the likeliest.
        temperature: Of the drawing.
        seed: Of the drawing.

    Raises:
        RecipeError: The method has no thoughts, or a number is out of range.
        DataError: A word is not in the vocabulary, or the question is too long for the model.
    """
    problems = mistakes(run, question, images, num_thoughts, max_new_tokens)
    if sample and not temperature > 0:
        problems.append(f"temperature: {temperature} is not positive; give e.g. 1.0")
    if problems:
        raise RecipeError("unspoken run", problems)
    prompt = prompt_of(run, question, images, num_thoughts)
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
    run: Run, question: str, images: Sequence[Path | str], num_thoughts: int | None, max_new_tokens: int | None
) -> list[str]:
    """What is wrong with a question, and with how it is to be answered."""
    found = []
    if not question.strip():
        found.append("question: it is empty; write one")
    if num_thoughts is not None and num_thoughts < 0:
        found.append(f"thoughts: {num_thoughts} is negative; give 0 or more")
    if max_new_tokens is not None and max_new_tokens < 1:
        found.append(f"max_new_tokens: {max_new_tokens} leaves no room for an answer; give 1 or more")
    if images and run.model.model.image_slots is None:
        found.append(f"image: this model sees none of the {len(images)} images; train one with model.vision")
    return found


def prompt_of(run: Run, question: str, images: Sequence[Path | str], num_thoughts: int | None) -> StagedExample:
    """What the model reads, with so many slots, or as many as in training."""
    # nobody knows how many steps the question takes: it gets the thoughts of a row with as many as the stage replaces
    example = Example("question", question, ("",) * run.stage, "", images=tuple(map(str, images)))
    (row,), _ = tokenize_with_images(run.recipe, [example], run.tokenizer, run.model)
    return run.recipe.method.prompt(row, run.stage, thought_tokens(run.tokenizer), num_thoughts)


def room_behind(run: Run, prompt: StagedExample) -> int:
    """Tokens that the model can write behind a prompt.

    Raises:
        DataError: None.
    """
    room = run.model.num_positions - len(prompt.input_ids)
    if room < 1:
        raise DataError(
            f"the question takes {len(prompt.input_ids)} positions with its thoughts, the model has "
            f"{run.model.num_positions}; shorten it"
        )
    return room


def lens(run: Run, thought: Tensor, count: int = LENS_WORDS) -> tuple[tuple[str, float], ...]:
    """The words a thought (D,) is closest to, read by the language model's head as if it were a state."""
    probabilities, ids = run.model.read(thought).topk(count)
    words = [run.tokenizer.decode([token]) for token in ids.tolist()]
    return tuple(zip(words, probabilities.tolist(), strict=True))


def render(answer: Answer, *, show_thoughts: bool) -> str:
    """The answer as lines of text."""
    lines = []
    if show_thoughts:
        for number, words in enumerate(answer.thoughts, 1):
            shown = "  ".join(f"{word!r} {probability:.2f}" for word, probability in words)
            lines.append(f"thought {number}: {shown}")
        if not answer.thoughts:
            lines.append("no thoughts: this model answers in words alone")
    return "\n".join([*lines, answer.text])
