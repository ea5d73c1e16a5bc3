"""Where a training step spends its time on a CPU, and what `torch.compile` makes of it: `make profile`.

Batches of the last stage of `prosqa/small`, made, learned from and stepped on as training does, in one process:

phases    seconds of making a batch, of the forward and the backward pass, and of the optimizer; medians
shares    of the time of all steps, by what was computed; what is in no operation of PyTorch is Python and its calls
unread    steps beside those in which the last block finishes the states that nobody reads, too, on the same batches
compile   steps with the decoder compiled beside eager ones on the same batches in turn, and the ratio of their times

What transformers' loop does around a step (logs, callbacks, its learning rate) is not in it. Set OMP_NUM_THREADS=1: a
model this small gains nothing from a second thread. `python results/profile_step.py --help` lists what can be changed.
"""

import argparse
import shlex
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch._inductor.config
from torch.profiler import ProfilerActivity, profile, record_function
from transformers import Trainer

from unspoken import load_recipe
from unspoken.bench.clock import alternate, ratio
from unspoken.bench.compiled import CompiledDecoder
from unspoken.data.collate import collate
from unspoken.data.loader import Batches, StagedDataset
from unspoken.data.tokenizer import thought_tokens
from unspoken.device import environment, seed_everything
from unspoken.files import write_json
from unspoken.model import LatentForCausalLM
from unspoken.prepare import build_model, build_tokenizer, longest, read_examples, tokenize_rows
from unspoken.recipe import Recipe
from unspoken.recipe.batching import split_batch
from unspoken.records import Batch
from unspoken.training.supervised import arguments

PHASES = ("data", "forward", "backward", "optimizer")
GROUPS = {
    "matrix products of linear layers": ("aten::mm", "aten::addmm", "aten::bmm", "aten::linear", "aten::matmul"),
    "attention": ("scaled_dot_product", "aten::_softmax", "aten::softmax"),
    "layer norm": ("layer_norm",),
    "activation": ("gelu", "aten::tanh", "aten::silu"),
    "embedding, head and loss": ("embedding", "log_softmax", "nll_loss", "cross_entropy", "aten::index"),
}
"""Parts of the names of operations; the first group that has one takes it."""
ELSE = "sums, copies and other operations"
PYTHON = "Python and its calls"
MEMORY = ("zero_", "zeros", "zeros_like", "new_zeros", "clone", "contiguous", "reshape", "to", "_to_copy")
"""Operations that only stand between another one and the copy or the zeros it asks for."""
ENGINE = "autograd::engine::evaluate_function: "
LARGEST = 16


class Steps:
    """Training steps of a recipe at its last stage.

    Args:
        recipe: What is trained.
        num_batches: Different batches that are made.
    """

    def __init__(self, recipe: Recipe, num_batches: int) -> None:
        examples, ledger = read_examples(recipe.task, "train")
        self.tokenizer = build_tokenizer(recipe, examples)
        seed_everything(recipe.train.seed)
        self.model: LatentForCausalLM = build_model(recipe, self.tokenizer).train()
        rows = tokenize_rows(recipe, examples, ledger, self.tokenizer, self.model).tokenized
        tokens, stage = thought_tokens(self.tokenizer), recipe.method.final_stage
        seed = recipe.train.seed
        self.dataset = StagedDataset(rows, lambda row, _, rng: recipe.method.layout(row, stage, tokens, rng), seed)
        order = Batches(self.dataset, [longest(row) for row in rows], recipe.train.batch_size, 1, seed)
        whole = [indices for indices in order if len(indices) == recipe.train.batch_size]
        self.indices = whole[:num_batches]
        with tempfile.TemporaryDirectory() as folder:
            settings = arguments(recipe, Path(folder), split_batch(recipe.train, 1))
        kind, chosen = Trainer.get_optimizer_cls_and_kwargs(settings)
        self.optimizer = kind(self.model.parameters(), **chosen, weight_decay=recipe.train.weight_decay)

    def data(self, number: int) -> Batch:
        """Lay the rows of a batch out and put them together."""
        return collate([self.dataset[index] for index in self.indices[number]], pad_id=self.tokenizer.pad_token_id)

    def forward(self, batch: Batch) -> Any:
        """The loss."""
        return self.model(**batch).loss

    def update(self) -> None:
        """Look whether the gradient is finite, as training does, step, and forget it."""
        gradients = [each.grad for each in self.model.parameters() if each.grad is not None]
        assert torch.isfinite(torch.stack(torch._foreach_norm(gradients))).all()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def __call__(self, number: int, phase: Callable[[str], Any]) -> None:
        """A step on one batch, each phase in a context."""
        with phase("data"):
            batch = self.data(number)
        with phase("forward"):
            loss = self.forward(batch)
        with phase("backward"):
            loss.backward()
        with phase("optimizer"):
            self.update()


class Stopwatch:
    """Seconds of each phase, each time."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {name: [] for name in PHASES}
        self.name, self.start = "", 0.0

    def __call__(self, name: str) -> "Stopwatch":
        """The watch, set to a phase."""
        self.name = name
        return self

    def __enter__(self) -> None:
        """The phase begins."""
        self.start = time.perf_counter()

    def __exit__(self, *error: object) -> None:
        """The phase ends."""
        self.seconds[self.name].append(time.perf_counter() - self.start)


def phases(steps: Steps) -> dict[str, float]:
    """Median seconds of each phase, and of a step."""
    watch = Stopwatch()
    for number in range(len(steps.indices)):
        steps(number, watch)
    found = {name: statistics.median(seconds) for name, seconds in watch.seconds.items()}
    return {**found, "step": statistics.median(map(sum, zip(*watch.seconds.values(), strict=True)))}


def shares(steps: Steps) -> dict[str, Any]:
    """The share of each group of operations in the time of all steps, and the largest operations."""
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        for number in range(len(steps.indices)):
            steps(number, record_function)
    found: Counter[str] = Counter()
    operations: Counter[str] = Counter()
    total = 0.0
    for event in recorded.events():
        if event.name in PHASES and event.cpu_parent is None:
            total += event.cpu_time_total
        phase = phase_of(event)
        if phase is None:
            continue
        found[group_of(event.name, phase)] += event.self_cpu_time_total
        if event.name not in PHASES and phase not in ("data", "optimizer"):
            operations[f"{event.name} in {caller_of(event)}"] += event.self_cpu_time_total
    return {
        "steps": len(steps.indices),
        "seconds_per_step": total / 1e6 / len(steps.indices),
        "shares": {name: each / total for name, each in found.most_common()},
        "largest_operations": {name: each / total for name, each in operations.most_common(LARGEST)},
    }


def phase_of(event: Any) -> str | None:
    """The phase that an event belongs to."""
    while event is not None:
        if event.name in PHASES:
            return str(event.name)
        event = event.cpu_parent
    return None


def caller_of(event: Any) -> str:
    """What asked for an operation: another one, or a phase."""
    caller = event.cpu_parent
    while caller.name.removeprefix("aten::") in MEMORY:
        caller = caller.cpu_parent
    return str(caller.name.removeprefix(ENGINE))


def group_of(name: str, phase: str) -> str:
    """The group that an event's own time belongs to."""
    if phase in ("data", "optimizer"):
        return {"data": "making the batch", "optimizer": "optimizer"}[phase]
    for group, parts in GROUPS.items():
        if any(part in name for part in parts):
            return group
    return ELSE if name.startswith("aten::") else PYTHON


def unread(steps: Steps, rounds: int) -> dict[str, Any]:
    """Forward and backward as they are, beside those in which a thought might be made of any state."""
    source = steps.model.model.thought_source
    samples: dict[str, list[float]] = {"as it is": [], "all states finished": []}

    def step(batch: Batch, reads_window: bool) -> None:
        source.reads_window = reads_window
        steps.model.zero_grad()
        steps.forward(batch).backward()

    for number in range(len(steps.indices)):
        batch = steps.data(number)
        actions = {name: partial(step, batch, name == "all states finished") for name in samples}
        for name, seconds in alternate(actions, rounds).items():
            samples[name] += seconds
    source.reads_window = type(source).reads_window
    return {
        "ratio": ratio(samples["as it is"], samples["all states finished"]),
        "seconds": {name: statistics.median(each) for name, each in samples.items()},
        "rounds": len(samples["as it is"]),
        "samples": samples,
    }


def compiled(steps: Steps, rounds: int) -> dict[str, Any]:
    """Forward and backward with the decoder compiled beside eager ones; why not, where it cannot be compiled."""
    batches = [steps.data(number) for number in range(len(steps.indices))]
    losses: dict[str, list[float]] = {"eager": [], "compiled": []}

    def step(name: str, batch: Batch) -> None:
        steps.model.zero_grad()
        loss = steps.forward(batch)
        loss.backward()
        losses[name].append(loss.item())

    torch._inductor.config.force_disable_caches = True  # what an earlier call compiled must not shorten this one
    start = time.perf_counter()
    try:
        decoder = CompiledDecoder(steps.model)

        def step_compiled(batch: Batch) -> None:
            with decoder.in_use():
                step("compiled", batch)

        for batch in batches:  # of every length, so that nothing is compiled later
            step_compiled(batch)
    except Exception as error:  # whatever the compiler lacks is the result
        return {"outcome": f"{type(error).__name__}: {str(error).strip().splitlines()[0]}", "ratio": None}
    seconds_to_compile = time.perf_counter() - start
    losses["compiled"].clear()
    samples: dict[str, list[float]] = {"eager": [], "compiled": []}
    for batch in batches:
        actions = {"eager": lambda b=batch: step("eager", b), "compiled": lambda b=batch: step_compiled(b)}
        for name, seconds in alternate(actions, rounds).items():
            samples[name] += seconds
    return {
        "outcome": "compiled, the cache outside of the graphs",
        "ratio": ratio(samples["compiled"], samples["eager"]),
        "seconds": {name: statistics.median(each) for name, each in samples.items()},
        "rounds": len(samples["eager"]),
        "seconds_until_all_is_compiled": seconds_to_compile,
        "largest_difference_of_losses": max(
            abs(one - other) for one, other in zip(losses["eager"], losses["compiled"], strict=True)
        ),
        "samples": samples,
    }


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    """All of it."""
    recipe = load_recipe(asked.recipe, asked.overrides)
    steps = Steps(recipe, asked.batches)
    for number in range(min(3, len(steps.indices))):
        steps(number, Stopwatch())  # memory and kernels are warm
    shapes = [steps.data(number)["input_ids"].shape for number in range(len(steps.indices))]
    return {
        "recipe": asked.recipe,
        "overrides": asked.overrides,
        "seed": recipe.train.seed,
        "stage": recipe.method.final_stage,
        "rows": recipe.train.batch_size,
        "columns": statistics.median(shape[1] for shape in shapes),
        "phases": phases(steps),
        "profile": shares(steps),
        "unread": unread(steps, asked.rounds),
        "compile": None if asked.without_compile else compiled(steps, asked.rounds),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, write, say."""
    words = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", metavar="section.key=value", nargs="*", help="change settings of the recipe")
    parser.add_argument("--recipe", default="prosqa/small")
    parser.add_argument("--batches", type=int, default=20, help="different batches of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="of each batch, in turn")
    parser.add_argument("--without-compile", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("results/profile-cpu.json"))
    asked = parser.parse_args(words)
    found = measure(asked)
    head = {
        "command": shlex.join(["python", "results/profile_step.py", *words]),
        "date": datetime.now(UTC).date().isoformat(),
    }
    write_json(asked.out, {**head, **found, "environment": environment()})
    for name, share in found["profile"]["shares"].items():
        sys.stdout.write(f"{share:6.1%}  {name}\n")
    sys.stdout.write(f"as it is over all states finished: {found['unread']['ratio']}\n")
    if found["compile"]:
        sys.stdout.write(f"compiled over eager: {found['compile']['ratio']} ({found['compile']['outcome']})\n")


if __name__ == "__main__":
    main()
