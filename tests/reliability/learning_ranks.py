"""Run by `test_two_processes` on one process and on two: updates that learn from rewards, and what each rank has then.

    python -m tests.reliability.learning_ranks OUT RECIPE ...

First every rank draws the trajectories of all questions from the same chance and keeps those of its share: so any
number of processes learns from the same ones, and must find the same gradient. Then each draws for its own questions,
as in training.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from unspoken.data.tokenizer import thought_tokens
from unspoken.device import join_processes, rank, world_size
from unspoken.prepare import build_model, build_tokenizer, read_examples, tokenize_rows
from unspoken.recipe import load_recipe
from unspoken.training import learner as learning
from unspoken.training.learner import Learner

# of five questions one process of two has three, the other two
QUESTIONS = 5


def main(out: Path, path: Path) -> None:
    """Learn, and leave gradients, parameters and figures of this rank in `out`."""
    recipe = load_recipe(path)
    examples, ledger = read_examples(recipe.task, "train")
    tokenizer = build_tokenizer(recipe, examples)
    model = build_model(recipe, tokenizer).eval()
    rows = tokenize_rows(recipe, examples, ledger, tokenizer, model)
    prompts = [recipe.method.prompt(row, 0, thought_tokens(tokenizer)) for row in rows.tokenized[:QUESTIONS]]
    share = list(range(QUESTIONS))[rank() :: world_size()]
    learner = Learner(recipe, model, updates=3)
    rollout = learning.rollout

    def of_all(model, _, *, generator, **settings):
        generator = torch.Generator().manual_seed(0)
        return rollout(model, prompts, generator=generator, **settings).of_questions(share)

    def update(number):
        return learner.update(number, rows, [prompts[index] for index in share], share, tokenizer)

    learning.rollout = of_all
    try:
        figures = [update(0)]
    finally:
        learning.rollout = rollout
    gradients = {name: each.grad.clone() for name, each in learner.trained.items()}
    figures += [update(1), update(2)]
    save_file(gradients, out / f"{path.stem}.{rank()}.gradients")
    save_file(learner.tensors(), out / f"{path.stem}.{rank()}.tensors")
    (out / f"{path.stem}.{rank()}.json").write_text(json.dumps(figures))


if __name__ == "__main__":
    join_processes()
    for recipe_path in sys.argv[2:]:
        main(Path(sys.argv[1]), Path(recipe_path))
