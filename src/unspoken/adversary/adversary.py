"""An adversary: draws captions, shows them to a discriminator, and says what that means for the model.

    step -> captions that are drawn or guessed -> the discriminator learns -> its judgement, with a gradient

Shapes: B rows of a step, L columns, D width, N captions, E width of the joint space.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor

from unspoken.adversary import chance
from unspoken.adversary.cache import CaptionCache
from unspoken.adversary.drawing import draw, log_probs, written
from unspoken.adversary.guesses import Guess, Guesser
from unspoken.adversary.hinge import discriminator_loss, feature_distance, generator_loss, told_apart
from unspoken.adversary.material import Material
from unspoken.adversary.opponent import Kind, Opponent, Shown, shares
from unspoken.adversary.reach import Parts, before_words, check_reach
from unspoken.adversary.rewards import Compare, Judge, surrogate
from unspoken.adversary.views import VectorView, WordView
from unspoken.adversary.writing import Writing
from unspoken.config import AdversarySettings
from unspoken.model import LatentForCausalLM
from unspoken.records import StagedExample
from unspoken.trajectories import Trajectories


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """What the model is doing.

    Attributes:
        number: Steps before this one.
        epoch: Of it.
        material: The rows of its split.
        rows: Which of them.
        prompts: What the model reads of each before it writes.
        states: Of the model where it reads the rows with their answers, (B, L, D).
        labels: What it learns to write there, (B, L).
    """

    number: int
    epoch: int
    material: Material
    rows: Sequence[int]
    prompts: Sequence[StagedExample]
    states: Tensor
    labels: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """What an adversary says.

    Attributes:
        loss: How ill captions are judged, with a gradient for the model.
        features: How far true and made captions are apart in the discriminator; None where nobody asks.
        figures: For the log.
    """

    loss: Tensor
    features: Tensor | None = None
    figures: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Writer:
    """Who writes captions, and how.

    Attributes:
        model: It.
        writing: How captions are written.
        settings: The `adversary` section.
        seed: Of all chance.
        max_new_tokens: Longest answer.
        batch_size: Rows that are written together.
    """

    model: LatentForCausalLM
    writing: Writing
    settings: AdversarySettings
    seed: int
    max_new_tokens: int
    batch_size: int

    def draw(self, prompts: Sequence[StagedExample], number: int, purpose: str, samples: int = 1) -> Trajectories:
        """Draw after prompts; chance is that of a step and a purpose."""
        return draw(
            self.model,
            prompts,
            samples=samples,
            temperature=self.settings.temperature,
            generator=chance.drawing(self.seed, number, purpose, self.model.device),
            max_new_tokens=self.max_new_tokens,
        )

    def captions(self, prompts: Sequence[StagedExample], number: int, purpose: str) -> list[str]:
        """A caption for each prompt, however many there are."""
        found: list[str] = []
        for start in range(0, len(prompts), self.batch_size):
            few = prompts[start : start + self.batch_size]
            found += self.writing.captions(written(self.draw(few, number, f"{purpose}/{start}")))
        return found


Prompts: TypeAlias = Callable[[int, int], StagedExample]
"""From a training row and an epoch to what the model reads of it before it writes."""


class Adversary(ABC):
    """Base of both kinds.

    Args:
        writer: The model that writes.
        opponent: The discriminator; None where nothing learns to judge.
        view: What the discriminator sees.
    """

    def __init__(self, writer: Writer, opponent: Opponent | None, view: VectorView | WordView) -> None:
        self.writer, self.opponent, self.view = writer, opponent, view
        self.settings = writer.settings

    def step(self, step: Step) -> Judged:
        """Let the discriminator learn if it is time, and judge."""
        with chance.apart(self.writer.seed, step.number, "dropout", self.writer.model.device):
            return self._step(step)

    def check_reach(self, step: Step) -> None:
        """See `unspoken.adversary.reach.check_reach`; nothing is changed by it."""
        with chance.apart(self.writer.seed, step.number, "reach", self.writer.model.device):
            check_reach(self._judgement(step), self._learners())

    @torch.no_grad()
    def held_out(self, steps: Iterable[Step]) -> dict[str, float]:
        """How well the discriminator tells captions apart that nobody has learned from.

        Returns:
            adversary_loss: Its own loss.
            adversary_accuracy: Share of the captions drawn that score lower than the true ones beside them.
            adversary_KIND_accuracy: Likewise for other kinds of false captions.
            adversary_n: Rows.
        """
        if self.opponent is None:
            return {}
        scores: dict[Kind, list[tuple[Tensor, Tensor]]] = {}
        for step in steps:
            for kind, shown in self._shown_held_out(step).items():
                scores.setdefault(kind, []).append(self.opponent.scores(shown))
        joined = {kind: tuple(map(torch.cat, zip(*each, strict=True))) for kind, each in scores.items()}
        share = shares(joined)
        figures = {"adversary_loss": sum(share[kind] * float(discriminator_loss(*joined[kind])) for kind in joined)}
        for kind, (real_N, fake_N) in joined.items():
            name = "adversary_accuracy" if kind == "generated" else f"adversary_{kind}_accuracy"
            figures[name] = told_apart(real_N.cpu(), fake_N.cpu()) / len(real_N)
        return {**figures, "adversary_n": len(joined["generated"][0])}

    def state(self) -> dict[str, Any]:
        """Everything that a resumed run needs, as tensors and plain values."""
        return {} if self.opponent is None else self.opponent.state()

    def put_back(self, state: Mapping[str, Any]) -> None:
        """Take what `state` gave."""
        if self.opponent is not None:
            self.opponent.put_back(state)

    @abstractmethod
    def _step(self, step: Step) -> Judged:
        """See `step`."""

    @abstractmethod
    def _judgement(self, step: Step) -> Tensor:
        """The adversarial loss alone, as `check_reach` asks for it."""

    @abstractmethod
    def _learners(self) -> Parts:
        """The parts of the model that are to hear of it."""

    def _shown_held_out(self, step: Step) -> dict[Kind, Shown]:
        """What the discriminator is asked about rows that nobody learns from."""
        captions = self.writer.captions(step.prompts, step.number, f"held out/{step.rows[0]}")
        return {"generated": self._beside(step, step.rows, captions), **self._hard(step)}

    def _beside(self, step: Step, rows: Sequence[int], captions: Sequence[str]) -> Shown:
        """Captions beside the true ones of their rows."""
        real, fake = self.view([step.material.captions[row] for row in rows], captions)
        return Shown(step.material.images_of(rows, self.writer.model.device), real, fake)

    def _hard(self, step: Step) -> dict[Kind, Shown]:
        """Hard negatives of the rows of a step; nothing where there are none."""
        if not step.material.hard:
            return {}
        rng = chance.choosing(self.writer.seed, step.number, f"hard/{step.rows[0]}")
        chosen = {row: step.material.hard[row].choose(rng) for row in step.rows}
        found = {row: caption for row, caption in chosen.items() if caption is not None}
        return {"hard": self._beside(step, list(found), list(found.values()))} if found else {}


class GradientAdversary(Adversary):
    """Judges what the model makes with a gradient, which the judgement follows back.

    Args:
        writer: The model that writes.
        opponent: The discriminator.
        view: What it sees of captions that are drawn.
        guesser: What the model makes.
        captions: The right ones of all training rows.
        prompts: What the model reads of them, for captions that are kept.
    """

    def __init__(
        self,
        writer: Writer,
        opponent: Opponent,
        view: VectorView | WordView,
        guesser: Guesser,
        captions: Sequence[str],
        prompts: Prompts,
    ) -> None:
        super().__init__(writer, opponent, view)
        self.opponent: Opponent = opponent
        self.guesser, self.captions, self.prompts = guesser, captions, prompts
        self.cache = CaptionCache() if self.settings.fakes == "cached" else None

    def state(self) -> dict[str, Any]:
        """See `Adversary.state`."""
        return {**super().state(), "cache": self.cache.state() if self.cache else None}

    def put_back(self, state: Mapping[str, Any]) -> None:
        """See `Adversary.put_back`."""
        super().put_back(state)
        if self.cache:
            self.cache.put_back(state["cache"])
            self._read_cache()

    def _step(self, step: Step) -> Judged:
        guess, figures = self._guess(step), {}
        if step.number % self.settings.every == 0:
            rows, captions = self._fakes(step)
            shown = {"generated": self._beside(step, rows, captions), **self._guessed(step, guess), **self._hard(step)}
            figures = self.opponent.learn(shown)
        loss, features = self._judge(step, guess)
        return Judged(loss, features, figures)

    def _judgement(self, step: Step) -> Tensor:
        return self._judge(step, self._guess(step))[0]

    def _learners(self) -> Parts:
        return self.guesser.learners(self.writer.model)

    def _shown_held_out(self, step: Step) -> dict[Kind, Shown]:
        return {**super()._shown_held_out(step), **self._guessed(step, self._guess(step))}

    def _judge(self, step: Step, guess: Guess) -> tuple[Tensor, Tensor | None]:
        """How ill a guess is judged, and how far its features are from true ones."""
        images_BE = step.material.images_of(step.rows, self.writer.model.device)
        with self.opponent.fixed() as discriminator:
            made = discriminator(images_BE, guess.made)
            features = None
            if self.settings.feature_matching:
                features = feature_distance(discriminator(images_BE, guess.real).features, made.features)
        return generator_loss(made.scores), features

    def _guess(self, step: Step) -> Guess:
        generator = chance.drawing(self.writer.seed, step.number, f"guess/{step.rows[0]}", self.writer.model.device)
        rows = [step.material.tokenized[row] for row in step.rows]
        return self.guesser(self.writer.model, step.states, step.labels, rows, generator)

    def _guessed(self, step: Step, guess: Guess) -> dict[Kind, Shown]:
        """The same as something false."""
        images_BE, detached = step.material.images_of(step.rows, self.writer.model.device), guess.detached()
        return {"guessed": Shown(images_BE, detached.real, detached.made)}

    def _fakes(self, step: Step) -> tuple[Sequence[int], Sequence[str]]:
        """Captions that are drawn, for the rows of the step, or kept, for as many others."""
        if self.cache is None:
            return step.rows, self.writer.captions(step.prompts, step.number, "fresh")
        rng = chance.choosing(self.writer.seed, step.number, "cached")
        if step.epoch != self.cache.epoch:
            self._fill_cache(self.cache, step.epoch)
        return self.cache.some(len(step.rows), rng)

    def _fill_cache(self, cache: CaptionCache, epoch: int) -> None:
        """Draw a caption for some rows, chosen anew."""
        num_rows, rng = len(self.captions), chance.choosing(self.writer.seed, epoch, "rows to cache")
        rows = sorted(rng.sample(range(num_rows), min(self.settings.cached_rows, num_rows)))
        prompts = [self.prompts(row, epoch) for row in rows]
        cache.fill(epoch, rows, self.writer.captions(prompts, epoch, "to cache"))
        self._read_cache()

    def _read_cache(self) -> None:
        """Let the view keep what it makes of the captions: all at once, so that a resumed run makes the same bits."""
        if self.cache:
            self.view.keep([self.captions[row] for row in self.cache.rows], self.cache.captions)


class RewardAdversary(Adversary):
    """Judges captions that are drawn; those that are judged better than others of their row become likelier.

    Args:
        writer: The model that writes.
        opponent: The discriminator; None where the judge learns nothing.
        view: What it sees.
        judge: Pays captions.
        compare: Makes advantages of what siblings earned.
    """

    def __init__(
        self, writer: Writer, opponent: Opponent | None, view: WordView | VectorView, judge: Judge, compare: Compare
    ) -> None:
        super().__init__(writer, opponent, view)
        self.judge, self.compare = judge, compare

    def _step(self, step: Step) -> Judged:
        drawn = self.writer.draw(step.prompts, step.number, "fresh", self.settings.samples)
        captions = self.writer.writing.captions(written(drawn))
        rows = [row for row in step.rows for _ in range(drawn.siblings)]
        figures: dict[str, Tensor] = {}
        if self.opponent is not None and step.number % self.settings.every == 0:
            figures = self.opponent.learn({"generated": self._beside(step, rows, captions), **self._hard(step)})
        real = [step.material.captions[row] for row in rows]
        images_TE = step.material.images_of(rows, self.writer.model.device)
        rewards_T = self.judge(rows, images_TE, real, captions)
        loss = surrogate(*log_probs(self.writer.model, drawn), self.compare(rewards_T, drawn.siblings))
        return Judged(loss, None, {**figures, "adversary_reward": rewards_T.mean()})

    def _judgement(self, step: Step) -> Tensor:
        # siblings that are judged alike teach nothing; whether the way is open does not depend on that
        drawn = self.writer.draw(step.prompts, step.number, "reach")
        return surrogate(*log_probs(self.writer.model, drawn), torch.ones(len(drawn), device=drawn.tokens.device))

    def _learners(self) -> Parts:
        return before_words(self.writer.model)
