"""Runs whose thoughts are drawn, made from the trained model of the tests without further training."""

from pathlib import Path

import torch

from unspoken import files
from unspoken.prepare import build_model, build_tokenizer
from unspoken.recipe import dump, resolve
from unspoken.run_directory import Run, open_run, save_model

TRAINED = Path(__file__).parents[2] / "models" / "hops-coconut"
TASK = {"name": "hops", "train_rows": 20, "validation_rows": 24, "test_rows": 24}


def policy_run(path: Path, *, method: str = "grpo", **thoughts: object) -> Run:
    """The trained Coconut, thinking four times with noise; heads are random."""
    thoughts = {"name": "gaussian", "scale": 0.8, **thoughts}
    recipe = resolve(
        {
            "task": TASK,
            "model": {"path": str(TRAINED)},
            "method": {"name": method, "num_thoughts": 4, "markers": False},
            "thoughts": thoughts,
        },
        "test",
    )
    tokenizer = build_tokenizer(recipe, [])
    model = build_model(recipe, tokenizer)
    source, generator = model.model.thought_source, torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in source.named_parameters():
            if name == "halting.bias":
                parameter.fill_(-1.0)
            else:
                parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    files.write_json(path / "resolved.json", {"recipe": dump(recipe)})
    save_model(path, model, tokenizer, {"stage": 0, "step": None, "num_parameters": 0})
    return open_run(path)


def question(run: Run, index: int = 0) -> str:
    """One of its task."""
    example = run.recipe.task.examples("validation")[0][index]
    return " ".join([*example.premises, example.question])
