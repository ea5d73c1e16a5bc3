"""One question to a trained model, thought about several times: `unspoken run --trajectories`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from unspoken.answer import example_of, lens, mistakes, prompt_of, room_behind
from unspoken.errors import RecipeError
from unspoken.run_directory import Run
from unspoken.thoughts import Policy
from unspoken.trajectories import Chance, rollout
from unspoken.trajectories.candidates import candidates
from unspoken.trajectories.candidates import mistakes as mistakes_of_drawing
from unspoken.trajectories.fusion import FUSIONS


@dataclass(frozen=True, slots=True)
class Trajectory:
    """One train of thought.

    Attributes:
        text: All it wrote.
        answer: The part that the task reads as the answer; None when there is none.
        log_likelihood: Log-probability of the text in nats after what it thought, without a temperature.
        value: The return that the critic expected at the last decision taken by chance; None without a critic or such a
            decision.
        num_thoughts: How many it had.
        stopped: Whether it stopped of its own will, before its slots ran out.
        thoughts: For each thought, in order, the words it is closest to, with their probabilities; see `answer.lens`.
    """

    text: str
    answer: str | None
    log_likelihood: float
    value: float | None
    num_thoughts: int
    stopped: bool
    thoughts: tuple[tuple[tuple[str, float], ...], ...]


@dataclass(frozen=True, slots=True)
class Reasoning:
    """What several trajectories came to.

    Attributes:
        answer: The one that won; None when no trajectory has any.
        confidence: Share of the weight of all trajectories that lies with it, see `unspoken.trajectories.fusion`.
        trajectories: The one that the answer is taken from; all of them, in order, where they were asked for.
    """

    answer: str | None
    confidence: float
    trajectories: tuple[Trajectory, ...]


@torch.no_grad()
def reason(
    run: Run,
    question: str | None = None,
    *,
    num_trajectories: int = 1,
    images: Sequence[Path | str] = (),
    captions: Sequence[str] = (),
    fuse: str = "vote",
    temperature: float = 1.0,
    token_temperature: float = 0.0,
    spread: float = 0.0,
    num_thoughts: int | None = None,
    max_new_tokens: int | None = None,
    seed: int = 0,
    return_all_trajectories: bool = False,
) -> Reasoning:
    """Ask an opened run one question, premises and all, and let it think about it several times.

    Args:
        run: The model and how it was trained.
        question: The text of the question; left out where frames of a story make it.
        num_trajectories: How often, 1 to 64.
        images: Image files that it is about, for a model that sees.
        captions: Of each image, for a model that tells stories.
        fuse: How the answers are brought together: vote, likelihood, value or weighted.
        temperature: Of thoughts and of stopping; 0 takes the likeliest.
        token_temperature: Of the words; 0 takes the likeliest.
        spread: How much warmer the last trajectory is than the first, see `Chance`.
        num_thoughts: How often each thinks at most; default: as often as in training.
        max_new_tokens: Longest answer in tokens; default: the task's.
        seed: Of all that is left to chance.
        return_all_trajectories: Give all of them, instead of the one that the answer is taken from.

    Raises:
        RecipeError: A number is out of range, nothing is left to chance, the method has no thoughts, or an image or
            caption cannot be used.
        DataError: A word is not in the vocabulary, or the question is too long for the model.
    """
    chance = Chance(temperature, spread, token_temperature)
    most = run.recipe.method.most_thoughts(run.stage) if num_thoughts is None else num_thoughts
    problems = mistakes(run, question, images, captions, num_thoughts, max_new_tokens)
    problems += mistakes_of_drawing(run.model, num_trajectories, chance, thinks=most > 0)
    problems += _mistakes_of_fusion(run, fuse, chance, thinks=most > 0)
    if problems:
        raise RecipeError("unspoken run", problems)
    prompt = prompt_of(run, example_of(run, question, images, captions), num_thoughts)
    room = room_behind(run, prompt)
    drawn = rollout(
        run.model,
        [prompt],
        siblings=num_trajectories,
        chance=chance,
        generator=torch.Generator(run.model.device).manual_seed(seed),
        max_new_tokens=min(max_new_tokens or run.recipe.task.max_new_tokens, room),
    )
    (found,) = candidates(run.model, run.tokenizer, run.recipe.task, drawn)
    fused = FUSIONS[fuse](found)
    return Reasoning(
        answer=fused.answer,
        confidence=fused.confidence,
        trajectories=tuple(
            Trajectory(
                text=each.text,
                answer=each.answer,
                log_likelihood=each.log_likelihood,
                value=each.value,
                num_thoughts=each.num_thoughts,
                stopped=each.stopped,
                thoughts=tuple(lens(run, thought) for thought in drawn.thoughts[index, : each.num_thoughts]),
            )
            for index, each in enumerate(found)
            if return_all_trajectories or index == fused.trajectory
        ),
    )


def _mistakes_of_fusion(run: Run, fuse: str, chance: Chance, *, thinks: bool) -> list[str]:
    if fuse not in FUSIONS:
        return [f"fuse: {fuse!r} is unknown; choose one of {', '.join(FUSIONS)}"]
    source = run.model.model.thought_source
    if fuse != "value":
        return []
    if not isinstance(source, Policy) or source.critic is None:
        return ["fuse: value needs a critic, and this model has none; train one with ppo, or fuse by vote"]
    if not chance.token_temperature and not (chance.temperature and thinks):
        return ["fuse: value is the critic's at the last decision taken by chance, and there is none; fuse by vote"]
    return []


def render(reasoning: Reasoning, *, show_thoughts: bool) -> str:
    """All trajectories and the answer as lines of text."""
    lines = []
    for number, each in enumerate(reasoning.trajectories, 1):
        value = "" if each.value is None else f", value {each.value:.2f}"
        stop = ", stopped by itself" if each.stopped else ""
        lines.append(
            f"trajectory {number}: {each.text.strip()!r}, log-likelihood {each.log_likelihood:.2f}{value}, "
            f"{each.num_thoughts} thoughts{stop}"
        )
        for place, words in enumerate(each.thoughts if show_thoughts else (), 1):
            shown = "  ".join(f"{word!r} {probability:.2f}" for word, probability in words)
            lines.append(f"  thought {place}: {shown}")
    answer = "none could be read" if reasoning.answer is None else reasoning.answer
    return "\n".join([*lines, f"answer: {answer}", f"confidence: {reasoning.confidence:.2f}"])
