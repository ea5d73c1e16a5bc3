"""Supervised training with an adversary: the loop of `unspoken.training.supervised`, a judgement added to its loss.

    loss = words + heads + weight * judgement + feature_matching * distance of features

A run begins from a trained one. Whether the judgement reaches what is trained is asked before the first step.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor, nn

from unspoken import files
from unspoken.adversary import Adversary, Material, Step, build_adversary, material_of
from unspoken.adversary.drawing import without_dropout
from unspoken.data.collate import collate, inputs_of
from unspoken.data.tokenizer import thought_tokens
from unspoken.device import shares_parameters, world_size
from unspoken.errors import CheckpointError, RecipeError
from unspoken.model import LatentForCausalLM, LatentModel
from unspoken.recipe import Recipe
from unspoken.records import Batch, StagedExample
from unspoken.run_directory import read_recipe, read_summary
from unspoken.training import supervised
from unspoken.training.advantages import group_relative
from unspoken.training.supervised import Prepared
from unspoken.training.trainer import SupervisedTrainer

STATE = "adversary.pt"
"""In a checkpoint: the discriminator, its optimizer, captions that are kept."""
ROWS = "rows"
"""In a batch: which training rows it holds, (B,)."""
IN_A_CHECK = 4
"""Rows on which the reach of a judgement is checked."""


def train(recipe: Recipe, out: Path | str, *, resume: bool = False) -> Path:
    """See `unspoken.training.train.train`."""
    refuse_several_processes()
    refuse_cold_start(recipe)
    return supervised.train(recipe, out, resume=resume, make_trainer=make_trainer)


def refuse_several_processes() -> None:
    """A discriminator sees all rows of a step, and its parameters are whole.

    Raises:
        RecipeError: There are several processes, or they share parameters.
    """
    if world_size() > 1:
        text = f"its discriminator sees all rows of a step, and {world_size()} processes see a part each"
        raise RecipeError("adversary", [f"{text}; start one process"])
    if shares_parameters():
        raise RecipeError("ACCELERATE_USE_FSDP", ["an adversary needs whole parameters; start without FSDP"])


def refuse_cold_start(recipe: Recipe) -> None:
    """An adversary judges a model that writes captions and guesses vectors already.

    Raises:
        RecipeError: The recipe does not begin from a finished run with embedding heads of the same kind.
    """
    path, heads = Path(str(recipe.model.path)), recipe.model.embedding_heads
    assert heads is not None, "recipes without heads are refused"
    advice = "train the recipe without its adversary section first, and set model.path to that run"
    try:
        read_summary(path)
        earlier = read_recipe(path).model.embedding_heads
    except CheckpointError as error:
        raise RecipeError("model.path", [f"an adversary begins from a trained run: {error}; {advice}"]) from error
    if earlier is None:
        raise RecipeError("model.path", [f"the model of {path} has no embedding heads; {advice}"])
    changed = [key for key in ("hidden", "shared") if getattr(earlier, key) != getattr(heads, key)]
    if changed:
        text = f"they differ from those of {path} in {', '.join(changed)}, and would begin anew"
        raise RecipeError("model.embedding_heads", [f"{text}; set them as there"])


def refuse_another_space(path: Path, heads: Mapping[str, Any]) -> None:
    """Heads that were trained towards the vectors of one CLIP guess nothing in the space of another.

    Args:
        path: The run that training begins from.
        heads: Those of the model that is to be trained, with the fingerprint of their space.

    Raises:
        RecipeError: The space is another one than in the run.
    """
    earlier = files.read_json(path / "config.json")["embedding_heads"]["fingerprint"]
    if earlier != heads["fingerprint"]:
        text = f"{heads['space']} is another CLIP than that of {path}, in whose space its heads guess"
        raise RecipeError("model.embedding_heads.space", [f"{text}; set that one"])


def make_trainer(prepared: Prepared, **kwargs: Any) -> "AdversarialTrainer":
    """The trainer of a recipe with an adversary.

    Raises:
        DataError: No row has a hard negative.
        RecipeError: The heads are of another space, or the judgement does not reach what is trained.
    """
    recipe, method, tokens = prepared.recipe, prepared.recipe.method, thought_tokens(prepared.tokenizer)
    settings = recipe.adversary
    assert settings is not None, "other recipes have another trainer"
    refuse_another_space(Path(str(recipe.model.path)), prepared.model.config.embedding_heads or {})
    hard, alike = settings.negatives == "generated_and_hard", settings.judge == "clip_margin"
    material = material_of(recipe.task, prepared.rows, "training", hard=hard, alike=alike)
    held_out = material_of(recipe.task, prepared.validation, "validation", hard=hard, alike=False)

    def prompt(row: int, epoch: int) -> StagedExample:
        return method.prompt(material.tokenized[row], prepared.stage_of(epoch), tokens)

    adversary = build_adversary(recipe, prepared.model, prepared.tokenizer, material, prompt, group_relative)
    return AdversarialTrainer(
        prepared=prepared, adversary=adversary, material=material, held_out=held_out, prompt=prompt, **kwargs
    )


class AdversarialTrainer(SupervisedTrainer):
    """Adds to the loss what an adversary says of it.

    Args:
        prepared: What is known before the first step.
        adversary: It.
        material: The training rows.
        held_out: The validation rows.
        prompt: What the model reads of a training row in an epoch before it writes.
        **kwargs: Of `SupervisedTrainer`.

    Raises:
        RecipeError: The judgement does not reach what is trained.
    """

    def __init__(
        self,
        *,
        prepared: Prepared,
        adversary: Adversary,
        material: Material,
        held_out: Material,
        prompt: Callable[[int, int], StagedExample],
        **kwargs: Any,
    ) -> None:
        collator = partial(
            _with_rows, kwargs.pop("collator"), {row.id: at for at, row in enumerate(material.tokenized)}
        )
        answered = kwargs.pop("validate")
        super().__init__(collator=collator, validate=lambda: {**answered(), **self._held_out()}, **kwargs)
        self.prepared, self.adversary, self.material, self.held_out = prepared, adversary, material, held_out
        self.prompt = prompt
        self.said: dict[str, list[Tensor]] = {}
        with self.accelerator.autocast(), without_dropout(prepared.model):
            adversary.check_reach(self._example())

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor | Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """That of the words and heads, and the judgement, each by its weight."""
        settings, rows = self.adversary.settings, inputs.pop(ROWS).tolist()
        with _states(self.prepared.model) as seen:
            loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        number = self.state.global_step
        epoch = self.prepared.epoch_of(number + 1)
        prompts = [self.prompt(row, epoch) for row in rows]
        with self.accelerator.autocast():
            judged = self.adversary.step(Step(number, epoch, self.material, rows, prompts, seen[-1], inputs["labels"]))
        total = loss + settings.weight * judged.loss
        figures = {"loss_adversary": judged.loss, **judged.figures}
        if judged.features is not None:
            total = total + settings.feature_matching * judged.features
            figures["loss_features"] = judged.features
        for name, figure in figures.items():
            self.said.setdefault(name, []).append(figure.detach())
        return (total, outputs) if return_outputs else total

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """The figures of a step, and the mean of what the adversary said since the last."""
        if "loss" in logs:
            logs |= {name: float(torch.stack(figures).mean()) for name, figures in self.said.items()}
            self.said = {}
        super().log(logs, start_time)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        """The state of the adversary, too; the checkpoint is sealed afterwards."""
        super()._save_optimizer_and_scheduler(output_dir)
        buffer = BytesIO()
        torch.save(self.adversary.state(), buffer)
        files.write_bytes(Path(output_dir) / STATE, buffer.getvalue())

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """The state of the adversary, too."""
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            state = torch.load(Path(checkpoint) / STATE, map_location=self.args.device, weights_only=True)
            self.adversary.put_back(state)

    def _held_out(self) -> dict[str, float]:
        """Whether the discriminator tells captions of validation rows apart, from which nobody learned."""
        limit = self.prepared.recipe.train.validation_rows or len(self.held_out.captions)
        rows, size = range(min(limit, len(self.held_out.captions))), self.prepared.recipe.evaluate.batch_size
        with self.accelerator.autocast(), without_dropout(self.prepared.model):
            return self.adversary.held_out(
                self._step_of(self.held_out, list(rows[start : start + size])) for start in range(0, len(rows), size)
            )

    def _example(self) -> Step:
        """The first step that will be taken, of a few rows."""
        return self._step_of(self.material, list(range(min(IN_A_CHECK, len(self.material.captions)))))

    def _step_of(self, material: Material, rows: list[int]) -> Step:
        """Rows read with their answers, in their order."""
        recipe, model, tokenizer = self.prepared.recipe, self.prepared.model, self.prepared.tokenizer
        number = self.state.global_step
        epoch, tokens = self.prepared.epoch_of(max(number, 1)), thought_tokens(tokenizer)
        stage, method = self.prepared.stage_of(epoch), recipe.method
        some = [material.tokenized[row] for row in rows]
        staged = [method.layout(row, stage, tokens, Random(row.id)) for row in some]
        batch = collate(staged, pad_id=int(tokenizer.pad_token_id), latent_id=tokens.latent)
        states_BLD = model.model(**inputs_of(batch, model.device)).last_hidden_state
        prompts = [method.prompt(row, stage, tokens) for row in some]
        return Step(number, epoch, material, rows, prompts, states_BLD, batch["labels"].to(model.device))


@contextmanager
def _states(model: LatentForCausalLM) -> Iterator[list[Tensor]]:
    """The last states of every run of the model, with their gradients."""
    found: list[Tensor] = []

    def keep(module: LatentModel, arguments: Any, output: Any) -> None:
        found.append(output.last_hidden_state)

    handle = model.model.register_forward_hook(keep)
    try:
        yield found
    finally:
        handle.remove()


def _with_rows(
    collator: Callable[[list[StagedExample]], Batch], places: Mapping[str, int], rows: list[StagedExample]
) -> dict[str, Any]:
    """A batch that knows which rows it holds."""
    return {**collator(rows), ROWS: torch.tensor([places[row.id] for row in rows])}
