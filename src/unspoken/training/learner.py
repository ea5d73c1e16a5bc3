"""One update of learning from rewards: draw trajectories, pay them, make what was paid well likelier.

Whatever is left to chance follows from the seed, the number of the update and the process. The model is in evaluation
mode throughout: what was drawn without dropout is scored so.

Shapes: see `unspoken.trajectories.records`; C = K + M columns of decisions.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Generator, Tensor
from transformers import PreTrainedTokenizerBase, get_scheduler

from unspoken.device import gathered, rank, summed
from unspoken.errors import CheckpointError, NonFiniteError, RecipeError
from unspoken.methods.reinforcement import GRPO, PPO, Reinforcement
from unspoken.model import LatentForCausalLM
from unspoken.prepare import Rows
from unspoken.recipe import Recipe
from unspoken.records import StagedExample
from unspoken.training.advantages import at_last_decision, gae, group_relative, leave_one_out, normalised
from unspoken.training.begin import SCHEDULERS
from unspoken.training.objective import Objective, objective, repulsion
from unspoken.training.rewards import Rewards, rewards_of, score_answers, shuffled
from unspoken.training.verifier import Verifier
from unspoken.trajectories import Chance, Trajectories, replay, rollout
from unspoken.trajectories.replay import log_likelihood
from unspoken.trajectories.rollout import policy_of


class Learner:
    """What is trained, and how an update changes it.

    Args:
        recipe: How to learn.
        model: Changed in place.
        updates: Of the whole run, for the schedules.
    """

    def __init__(self, recipe: Recipe, model: LatentForCausalLM, updates: int) -> None:
        assert isinstance(recipe.method, Reinforcement), "other methods have other loops"
        self.recipe, self.method, self.model, self.updates = recipe, recipe.method, model, updates
        self.policy = policy_of(model)
        of_policy = {id(parameter) for parameter in self.policy.parameters()}
        for parameter in model.parameters():
            if id(parameter) in of_policy:
                parameter.requires_grad_(True)
            elif self.method.language_model == "freeze":
                parameter.requires_grad_(False)
        self.trained = {name: each for name, each in model.named_parameters() if each.requires_grad}
        if not self.trained:
            raise RecipeError("method.language_model", ["nothing is left to train: this policy has no parameters"])
        settings = recipe.train
        own = [each for each in self.trained.values() if id(each) in of_policy]
        other = [each for each in self.trained.values() if id(each) not in of_policy]
        groups = [
            {"params": other, "lr": settings.learning_rate},
            {"params": own, "lr": self.method.policy_learning_rate or settings.learning_rate},
        ]
        self.optimizer = torch.optim.AdamW(
            [group for group in groups if group["params"]], betas=settings.betas, weight_decay=settings.weight_decay
        )
        self.scheduler = get_scheduler(
            SCHEDULERS[settings.lr_schedule], self.optimizer, settings.warmup_steps, max(updates, 1)
        )
        self.verifier = Verifier() if self.method.rewards.math_verify else None
        self.reach_is_known = False

    def update(
        self,
        number: int,
        rows: Rows,
        prompts: list[StagedExample],
        chosen: list[int],
        tokenizer: PreTrainedTokenizerBase,
    ) -> dict[str, float]:
        """Draw trajectories, pay them, and learn from them.

        Args:
            number: Updates before this one.
            rows: The training rows.
            prompts: Those of this process's share of the update.
            chosen: Which rows these are.
            tokenizer: The model's.

        Returns:
            Figures for the log, the same on every process.

        Raises:
            NonFiniteError: A loss or gradient is not finite; nothing was changed by it.
        """
        generator = _generator(self.recipe.train.seed, number, self.model.device)
        with self._precision():
            drawn = rollout(
                self.model,
                prompts,
                siblings=self.method.trajectories,
                chance=Chance(self._temperature(number), self.method.spread, self.method.token_temperature),
                generator=generator,
                max_new_tokens=self.recipe.evaluate.max_new_tokens or self.recipe.task.max_new_tokens,
            )
            rewards = self._pay(drawn, rows, chosen, tokenizer)
        paid = shuffled(rewards, generator) if self.method.shuffle_rewards else rewards
        advantages_TC, returns_TC = self._advantages(drawn, paid)
        objectives = self._learn(drawn, advantages_TC, returns_TC, generator)
        if self.policy.memory is not None:
            returns_TK = paid.total[:, None].expand_as(drawn.is_thought)
            # every process learns what all have seen, so their memories stay the same
            states_ND, returns_N = (gathered(each[drawn.is_thought]) for each in (drawn.states, returns_TK))
            self.policy.memory.learn(states_ND, returns_N)
        self.scheduler.step()
        figures = {**_figures(drawn, rewards, objectives), "learning_rate": self.scheduler.get_last_lr()[0]}
        if self.verifier is not None:
            figures["verifier_failed"] = float(summed(torch.tensor(self.verifier.num_failed, device=self.model.device)))
        return figures

    def close(self) -> None:
        """End what runs beside the training: the process of math-verify, where one judges."""
        if self.verifier is not None:
            self.verifier.close()

    def tensors(self) -> dict[str, Tensor]:
        """All that training changes: parameters, and what a memory has learned."""
        memory = {f"memory.{name}": each for name, each in self._memory().items()}
        return {name: each.detach().cpu().contiguous() for name, each in {**self.trained, **memory}.items()}

    def put_back(self, path: Path) -> None:
        """Take the tensors of an earlier time.

        Raises:
            CheckpointError: They are not those of this recipe.
        """
        stored, current = load_file(path), {**self.trained}
        current |= {f"memory.{name}": each for name, each in self._memory().items()}
        if {name: each.shape for name, each in stored.items()} != {name: each.shape for name, each in current.items()}:
            raise CheckpointError(f"{path} does not fit the model: it is of another recipe; use another checkpoint")
        with torch.no_grad():
            for name, each in current.items():
                each.copy_(stored[name])

    def _memory(self) -> dict[str, Tensor]:
        return dict(self.policy.memory.named_buffers()) if self.policy.memory is not None else {}

    def _temperature(self, number: int) -> float:
        """From the first to the final one, which the last update has."""
        first, final = self.method.temperature, self.method.final_temperature or self.method.temperature
        return first + (final - first) * number / max(self.updates - 1, 1)

    def _pay(self, drawn: Trajectories, rows: Rows, chosen: list[int], tokenizer: PreTrainedTokenizerBase) -> Rewards:
        """What each trajectory earned."""
        texts = [tokenizer.decode(drawn.answer(index), skip_special_tokens=True) for index in range(len(drawn))]
        verdicts = score_answers(
            self.recipe.task, [rows.examples[index] for index in chosen], texts, drawn.siblings, self.verifier
        )
        gain_T = self._gold_gain(drawn, rows, chosen) if self.method.rewards.gold_gain else None
        return rewards_of(verdicts, drawn.num_thoughts, drawn.num_tokens, gain_T, self.method.rewards)

    @torch.no_grad()
    def _gold_gain(self, drawn: Trajectories, rows: Rows, chosen: list[int]) -> Tensor:
        """Nats by which the thoughts of each trajectory raise the likelihood of the gold answer, (T,)."""
        answers = [rows.tokenized[index].answer.tolist() for index in chosen for _ in range(drawn.siblings)]
        lengths = torch.tensor([len(answer) for answer in answers], device=self.model.device)
        tokens = torch.zeros(len(answers), int(lengths.max()), dtype=torch.long, device=self.model.device)
        for index, answer in enumerate(answers):
            tokens[index, : len(answer)] = torch.tensor(answer)
        gold = replace(drawn, tokens=tokens, num_tokens=lengths)
        without = replace(gold, num_thoughts=torch.zeros_like(drawn.num_thoughts))
        return log_likelihood(self.model, gold) - log_likelihood(self.model, without)

    def _advantages(self, drawn: Trajectories, paid: Rewards) -> tuple[Tensor, Tensor]:
        """How much better than expected each decision was, and what the critic should have expected, (T, C) each."""
        scores, method = drawn.scores, self.method
        if isinstance(method, PPO):
            # each thought costs where it is decided on, all else is earned at the end
            cost_T = paid.components["thought_cost"]
            rewards_TC = at_last_decision(paid.total - cost_T, scores.is_decision)
            num_T1 = drawn.num_thoughts.clamp(min=1)[:, None]
            rewards_TC[:, : drawn.thoughts.size(1)] += drawn.is_thought * cost_T[:, None] / num_T1
            advantages_TC, returns_TC = gae(
                rewards_TC, scores.values, scores.is_decision, gamma=method.discount, lam=method.trace
            )
            # over all processes: what is usual must not depend on how many there are
            of_all_N = gathered(advantages_TC[scores.is_decision])
            return normalised(advantages_TC, scores.is_decision, of_all_N), returns_TC
        compare = group_relative if isinstance(method, GRPO) else leave_one_out
        advantages_T = compare(paid.total, drawn.siblings)
        return advantages_T[:, None].expand_as(scores.values), torch.zeros_like(scores.values)

    def _learn(
        self, drawn: Trajectories, advantages_TC: Tensor, returns_TC: Tensor, generator: Generator
    ) -> list[Objective]:
        """The optimizer steps of an update; what was minimised in each."""
        found: list[Objective] = []
        questions = len(drawn.prompts)
        # as many steps on every process, even where one has fewer questions: they wait for each other in each
        fewest = int(gathered(torch.tensor([questions], device=self.model.device)).min())
        for _ in range(self.method.passes):
            order = torch.randperm(questions, generator=generator, device=generator.device).tolist()
            for part in np.array_split(order, min(self.method.minibatches, fewest)):
                found.append(self._step(drawn, advantages_TC, returns_TC, part.tolist()))
            kl = float(summed(found[-1].approx_kl.clone()))
            if self.method.max_kl is not None and kl > self.method.max_kl:
                break
        return found

    def _step(self, drawn: Trajectories, advantages_TC: Tensor, returns_TC: Tensor, questions: list[int]) -> Objective:
        """One optimizer step on the trajectories of some questions."""
        self.optimizer.zero_grad(set_to_none=True)
        num_decisions = summed(drawn.of_questions(questions).scores.is_decision.sum())
        num_questions = int(summed(torch.tensor(len(questions), device=self.model.device)))
        at_once = max((self.recipe.train.micro_batch_size or len(drawn)) // drawn.siblings, 1)
        parts: list[Objective] = []
        for start in range(0, len(questions), at_once):
            few = questions[start : start + at_once]
            old = drawn.of_questions(few)
            index = torch.tensor(few, device=self.model.device)[:, None] * drawn.siblings
            chosen_T = (index + torch.arange(drawn.siblings, device=self.model.device)).flatten()
            with self._precision():
                new = replay(self.model, old)
                loss = objective(
                    old.scores,
                    new,
                    advantages_TC[chosen_T],
                    returns_TC[chosen_T],
                    num_decisions=num_decisions,
                    clip=self.method.clip,
                    entropy_weight=self.method.entropy,
                    value_weight=self.method.value_weight if isinstance(self.method, PPO) else 0.0,
                )
                total = loss.loss
                if self.method.repulsion:
                    apart = repulsion(new.centres, old.is_thought, old.siblings)
                    total = total + len(few) / num_questions * self.method.repulsion * apart
            total.backward()  # type: ignore[no-untyped-call]
            parts.append(loss)
        self._check_reach()
        gradients = [each.grad for each in self.trained.values() if each.grad is not None]
        for gradient in gradients:
            summed(gradient)
        norm = torch.nn.utils.clip_grad_norm_(self.trained.values(), self.recipe.train.max_grad_norm or torch.inf)
        if not torch.isfinite(norm):
            raise NonFiniteError("a gradient is not finite; nothing was updated by it")
        self.optimizer.step()
        return _added(parts)

    def _check_reach(self) -> None:
        """Before the first step: everything that is trained must be reached by the loss, or it would never change."""
        if self.reach_is_known:
            return
        unreached = [name for name, each in self.trained.items() if each.grad is None]
        if unreached:
            raise RecipeError(
                "thoughts",
                [
                    f"{name}: no gradient reaches it from the loss of {self.method.name}; take it out of the recipe, "
                    "or choose a method that trains it"
                    for name in unreached
                ],
            )
        self.reach_is_known = True

    def _precision(self) -> AbstractContextManager[Any]:
        if self.recipe.train.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.model.device.type, dtype=torch.bfloat16)


def _generator(seed: int, update: int, device: torch.device) -> Generator:
    """Chance of an update on this process."""
    mixed = np.random.SeedSequence((seed, update, rank())).generate_state(1, dtype=np.uint64)[0]
    return Generator(device).manual_seed(int(mixed) % 2**63)


def _added(parts: list[Objective]) -> Objective:
    """The objective of a step from those of its parts, each of which is a share of the whole."""
    return Objective(*(sum(getattr(part, field.name).detach() for part in parts) for field in fields(Objective)))


def _figures(drawn: Trajectories, rewards: Rewards, steps: list[Objective]) -> dict[str, float]:
    """The figures of an update: sums over processes of what is a share of the whole, else means."""
    shares = {
        name: fmean(float(getattr(step, name)) for step in steps)
        for name in ("loss", "policy_loss", "value_loss", "entropy", "approx_kl", "clip_fraction")
    }
    # the first step is taken where the policy still is what drew: only the last one shows how far it went
    shares["approx_kl"] = float(steps[-1].approx_kl)
    means = {
        "reward": float(rewards.total.mean()),
        **{f"reward_{name}": mean for name, mean in rewards.means().items()},
        **{f"share_{name}": share for name, share in rewards.shares().items()},
        "thoughts": float(drawn.num_thoughts.float().mean()),
        "tokens": float(drawn.num_tokens.float().mean()),
    }
    device = drawn.num_thoughts.device
    # a process counts by what it drew, for the last update of an epoch may ask fewer questions on one than on another
    own = len(drawn) / int(summed(torch.tensor(len(drawn), device=device)))
    values = [*shares.values(), *(own * mean for mean in means.values())]
    found = dict(zip([*shares, *means], summed(torch.tensor(values, device=device)).tolist(), strict=True))
    return found | {"latent_share": found["thoughts"] / (found["thoughts"] + found.pop("tokens"))}
