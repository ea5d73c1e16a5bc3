"""Fields of transformers.TrainingArguments in `train.trainer`: which are ours, which are refused, which there are."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any

from unspoken.recipe.problems import Problem

OWNED = {
    "output_dir": "--out",
    "seed": "train.seed",
    "data_seed": "train.seed",
    "learning_rate": "train.learning_rate",
    "lr_scheduler_type": "train.lr_schedule",
    "lr_scheduler_kwargs": "train.lr_schedule",
    "warmup_steps": "train.warmup_steps",
    "warmup_ratio": "train.warmup_steps",
    "weight_decay": "train.weight_decay",
    "adam_beta1": "train.betas",
    "adam_beta2": "train.betas",
    "max_grad_norm": "train.max_grad_norm",
    "num_train_epochs": "train.epochs",
    "max_steps": "train.epochs",
    "per_device_train_batch_size": "train.micro_batch_size",
    "gradient_accumulation_steps": "train.batch_size and train.micro_batch_size",
    "auto_find_batch_size": "train.micro_batch_size",
    "per_device_eval_batch_size": "evaluate.batch_size",
    "bf16": "train.precision",
    "fp16": "train.precision",
    "save_strategy": "train.save",
    "save_steps": "train.save",
    "save_total_limit": "train.keep_checkpoints",
    "load_best_model_at_end": "train.save",
    "metric_for_best_model": "train.save",
    "greater_is_better": "train.save",
    "eval_strategy": "train.validate_every",
    "eval_steps": "train.validate_every",
    "logging_strategy": "train.log_every",
    "logging_steps": "train.log_every",
    "dataloader_num_workers": "train.workers",
    "report_to": "train.report_to",
    "resume_from_checkpoint": "--resume",
}
"""Fields of transformers.TrainingArguments that a setting of ours decides."""

REFUSED = {
    "dataloader_persistent_workers": "workers are started once and told of every epoch; remove it",
    "gradient_checkpointing": "it drops the key-value cache and changes the loss without a word; "
    "set model.checkpoint_passes: true instead",
    "gradient_checkpointing_kwargs": "model.checkpoint_passes: true recomputes whole passes and needs no settings; "
    "use it instead",
    "activation_checkpointing": "it drops the key-value cache and changes the loss without a word; "
    "set model.checkpoint_passes: true instead",
    "activation_checkpointing_kwargs": "model.checkpoint_passes: true recomputes whole passes and needs no settings; "
    "use it instead",
    "dataloader_drop_last": "every row is trained exactly once an epoch; remove it",
    "train_sampling_strategy": "batches are drawn by unspoken.data.loader, by length and seed; remove it",
    "group_by_length": "batches are drawn by unspoken.data.loader, by length and seed; remove it",
    "remove_unused_columns": "rows are laid out anew at each stage and have no columns to remove; remove it",
    "label_smoothing_factor": "the library smooths labels that stand beside the wrong logits, one place too early; "
    "remove it",
    "ignore_data_skip": "a resumed run would see rows again that it has seen in this epoch; remove it",
    "save_only_model": "a run resumes to the same bits only with the optimizer's state in its checkpoints; remove it",
    "enable_jit_checkpoint": "it swallows the signal, and a run that was cut short would count as finished; "
    "signals are answered with a checkpoint anyway: remove it",
    "logging_nan_inf_filter": "a loss that is not finite stops the run, and none is to be hidden before; remove it",
    "disable_tqdm": "training shows a bar of its own and none of the library's; remove it",
}
"""Fields that would break what a run promises."""


def trainer_problems(trainer: Mapping[str, Any]) -> Iterator[Problem]:
    """What `train.trainer` may not hold."""
    for field in trainer:
        key = f"train.trainer.{field}"
        if field in REFUSED:
            if trainer[field] not in (False, None):
                yield Problem(key, REFUSED[field])
        elif field in OWNED:
            yield Problem(key, f"{OWNED[field]} decides this; use that")
        elif field not in training_arguments():
            close = get_close_matches(field, training_arguments(), n=1)
            hint = f"did you mean {close[0]}?" if close else "see its documentation, or remove it"
            yield Problem(key, f"transformers.TrainingArguments has no such field; {hint}")


@cache
def training_arguments() -> frozenset[str]:
    """Names of the fields of transformers.TrainingArguments, read from its source: importing it takes seconds."""
    import ast
    from importlib.util import find_spec
    from pathlib import Path

    spec = find_spec("transformers")
    assert spec is not None, "transformers is a dependency"
    assert spec.submodule_search_locations, "transformers is a package"
    path = Path(spec.submodule_search_locations[0]) / "training_args.py"
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name == "TrainingArguments":
            fields = [item.target for item in node.body if isinstance(item, ast.AnnAssign)]
            return frozenset(target.id for target in fields if isinstance(target, ast.Name))
    raise AssertionError("transformers has no TrainingArguments any more")
