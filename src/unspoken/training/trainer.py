"""`transformers.Trainer` with our order of rows, our validation and sealed checkpoints; and the supervised loop."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerControl
from transformers.trainer import TRAINER_STATE_NAME

from unspoken import files
from unspoken.data.loader import Batches, data_loader
from unspoken.device import barrier, summed
from unspoken.errors import CheckpointError
from unspoken.model.loss import rows_with_words
from unspoken.progress import without_library_bars
from unspoken.records import Batch, StagedExample
from unspoken.run_directory import CHECKPOINTS
from unspoken.training.callbacks import Guard
from unspoken.training.checkpoint import PREFIX, rotate
from unspoken.training.health import Fillings, health, watched

LOSS_PARTS = ("loss_words", "loss_image", "loss_text")
"""What a model with heads says of its loss, see `LatentCausalLMOutput`."""
FORESEEN = "foreseen"
"""In a batch: what the heads of a model are to guess."""


class SealingTrainer(Trainer):
    """Trains on staged rows. Everything that is not overridden here is Hugging Face's: accumulation, precision, ranks.

    Args:
        run: The run directory.
        batches: Order of the rows.
        collator: Rows to a batch.
        validate: Answers the validation rows and returns numbers.
        keep_checkpoints: Valid checkpoints to keep; None keeps all.
        guard: Is told every loss; one of the callbacks, too.
        **kwargs: Of `transformers.Trainer`.
    """

    def __init__(
        self,
        *,
        run: Path,
        batches: Batches,
        collator: Callable[[list[StagedExample]], Batch | dict[str, Any]],
        validate: Callable[[], dict[str, float]],
        keep_checkpoints: int | None,
        guard: Guard,
        **kwargs: Any,
    ) -> None:
        super().__init__(train_dataset=batches.dataset, data_collator=collator, **kwargs)
        self.control: TrainerControl
        self.guard = guard
        self.run, self.batches, self.validate, self.keep_checkpoints = run, batches, validate, keep_checkpoints

    def get_train_dataloader(self) -> DataLoader[StagedExample]:
        """Micro-batches of `batches`, which ranks take in turn."""
        workers, pinned = self.args.dataloader_num_workers, torch.cuda.is_available()
        loader = data_loader(self.batches, self.data_collator, workers=workers, pin_memory=pinned)
        prepared: DataLoader[StagedExample] = self.accelerator.prepare(loader)
        return prepared

    def training_step(
        self, model: nn.Module, inputs: dict[str, Tensor | Any], num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """One micro-batch; a loss that is not finite stops the run before its step."""
        loss: Tensor = super().training_step(model, inputs, num_items_in_batch)
        self.guard.watch(loss)
        return loss

    def evaluate(self, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any) -> dict[str, float]:
        """Validate by what the model is for instead of by loss."""
        metrics = {f"{metric_key_prefix}_{key}": value for key, value in self.validate().items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """The library loads the weights that fit and warns of the others; here all must fit.

        Raises:
            CheckpointError: Weights are missing or left over; a tied head has none of its own.
        """
        # only models with a head know the setting
        tied = self.model._tied_weights_keys if getattr(self.model.config, "tie_word_embeddings", False) else ()
        missing = sorted(set(load_result.missing_keys) - set(tied))
        if missing or load_result.unexpected_keys:
            raise CheckpointError(
                f"the checkpoint does not fit the model: missing {missing}, unexpected "
                f"{sorted(load_result.unexpected_keys)}; it is of another recipe"
            )

    def _get_output_dir(self, trial: Any) -> str:
        """Where the library writes a checkpoint: a folder that does not count yet."""
        return str(self.run / CHECKPOINTS / ".partial")

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Let the library write all its files, then seal them and give the folder its name."""
        partial, name = Path(self._get_output_dir(trial)), f"{PREFIX}{self.state.global_step}"
        if self.is_world_process_zero():
            files.remove(partial)
        barrier()
        with without_library_bars():
            super()._save_checkpoint(model, trial)
        barrier()
        if self.is_world_process_zero():
            files.remove(partial / name / "training_args.bin")  # a pickle that nobody reads; resolved.json has it all
            # it named the unfinished folder, which a resumed run would miss; `best_global_step` says the same
            self.state.best_model_checkpoint = None
            self.state.save_to_json(str(partial / name / TRAINER_STATE_NAME))
            for weights in (partial / name).glob("*.safetensors"):
                files.share(weights)
            files.seal(partial / name)
            files.publish(partial / name, self.run / CHECKPOINTS / name)
            files.remove(partial)
            if self.keep_checkpoints is not None:
                rotate(self.run, self.keep_checkpoints, self.state.best_global_step)
        barrier()


class SupervisedTrainer(SealingTrainer):
    """Watches the health of thoughts while they are learned, and the parts of the loss."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.fillings: Fillings = {}
        self.parts: dict[str, Tensor] = {}
        self.parts_since = 0
        self.num_rows: Tensor | None = None

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Tensor | int | None]:
        """The library's: the micro-batches of a step and its words; and its rows, by which heads are weighted."""
        batches, num_items = super().get_batch_samples(epoch_iterator, num_batches, device)
        if any(FORESEEN in batch for batch in batches):
            counts = [rows_with_words(batch["labels"]).to(device) for batch in batches]
            self.num_rows = summed(torch.stack(counts).sum())
        return batches, num_items

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor | Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The library's; the parts of the loss are added up until they are logged."""
        if FORESEEN in inputs:
            inputs = {**inputs, "num_rows_in_batch": self.num_rows}
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        if not self.parts:
            self.parts_since = self.state.global_step
        for name in LOSS_PARTS:
            if outputs.get(name) is not None:
                self.parts[name] = self.parts.get(name, 0) + outputs[name].detach()
        return (loss, outputs) if return_outputs else loss

    def training_step(
        self, model: nn.Module, inputs: dict[str, Tensor | Any], num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """As before; the thoughts of a step that is logged are looked at."""
        if (self.state.global_step + 1) % self.args.logging_steps:
            return super().training_step(model, inputs, num_items_in_batch)
        with watched(model) as self.fillings:
            return super().training_step(model, inputs, num_items_in_batch)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """The library's figures of a step, and those of the thoughts in its last micro-batch."""
        if "loss" in logs:
            logs |= health(self.model, self.fillings)
            steps = self.state.global_step - self.parts_since  # fewer than usual behind a resumption
            if self.parts:
                # each process has its share of every part
                of_all = summed(torch.stack([*self.parts.values()])).tolist()
                logs |= {name: part / steps for name, part in zip(self.parts, of_all, strict=True)}
            self.fillings, self.parts = {}, {}
        super().log(logs, start_time)
