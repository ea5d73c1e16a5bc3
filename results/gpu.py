"""What needs a GPU, in calls of a few minutes: `make gpu`, or `python results/gpu.py`, again until it says all is done.

superposition   Reasoning by Superposition at the paper's size, five seeds: seconds to the goal, accuracy, necessity
bench           training step and generation beside a plain step: time, memory, tokens a second, share of the peak
prosqa          the table of Coconut's paper in words, from scratch: six methods, two shapes, equal data and steps

Each call goes on where the last one stopped, in the middle of an epoch if need be: everything is kept in runs/gpu. What
is known so far is in results/gpu-superposition.json, gpu-bench.json and gpu-prosqa.json; `complete` says whether that
is all of it. With --rehearse the same is done on tiny shapes, with or without a GPU, in runs/gpu-rehearsal: figures of
a rehearsal mean nothing.
"""

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from gpu_jobs.call import Call, OutOfTimeError, say, stopping_after
from gpu_jobs.speed import speed
from gpu_jobs.superposition import superposition
from gpu_jobs.table import table

from unspoken.bench.cases import CASES, Case
from unspoken.bench.flops import peak_of
from unspoken.device import best_device
from unspoken.training.signals import Stopped

JOBS = ("superposition", "bench", "prosqa")
DONE, REFUSED = 0, 2


@dataclass(frozen=True, slots=True)
class Scale:
    """How large everything is.

    Attributes:
        superposition: What is changed in the recipe of that name.
        prosqa: What is changed in all recipes of the table.
        shapes: The models of the table: what is changed for each.
        cases: The shapes of the bench.
        rows: Rows of its batches.
        repeats: Its rounds.
        seeds: Of the models of superposition.
    """

    superposition: tuple[str, ...]
    prosqa: tuple[str, ...]
    shapes: dict[str, tuple[str, ...]]
    cases: tuple[Case, ...]
    rows: tuple[int, ...]
    repeats: int
    seeds: tuple[int, ...]


GPT2_SMALL = ("model.layers=12", "model.heads=12", "model.width=768")
LLAMA_1B = Case(
    "Llama 1B", layers=16, heads=32, width=2048, vocabulary=128_259, rows=32, generated_rows=32, arch="llama"
)
"""As many key-value heads as heads, unlike the released weights of this size."""
FULL = Scale(
    superposition=(),
    prosqa=(),
    shapes={"small": (), "gpt2-small": GPT2_SMALL},
    cases=(next(case for case in CASES if case.name == "GPT-2 small"), LLAMA_1B),
    rows=(32, 64, 128),
    repeats=10,
    seeds=(0, 1, 2, 3, 4),
)
TINY_MODEL = ("model.layers=1", "model.heads=2", "model.width=16")
TINY = (
    *("task.train_rows=48", "task.validation_rows=4", "task.test_rows=8", "train.batch_size=16"),
    *("train.log_every=1", "evaluate.max_new_tokens=4"),
)
REHEARSAL = Scale(
    superposition=(*TINY, "train.epochs=5", "method.epochs_per_stage=1", "train.validate_every=1", *TINY_MODEL),
    prosqa=(*TINY, "train.first_epoch=48", "train.validate_every=2", "task.max_nodes=12", "task.max_hops=3"),
    shapes={"tiny": TINY_MODEL},
    cases=tuple(
        Case(f"tiny {arch}", 1, 2, 16, 64, rows=2, generated_rows=2, question=6, thoughts=2, answer=3, arch=arch)
        for arch in ("gpt2", "llama")
    ),
    rows=(2, 3),
    repeats=1,
    seeds=(0, 1),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Work for one call.

    Returns:
        The exit code: 0 also when there is more to do, which is said.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    asked = _parser().parse_args(words)
    device = best_device()
    if device.type != "cuda" and not asked.rehearse:
        say("gpu: PyTorch finds no GPU here; run this where there is one, or try it out on tiny shapes with --rehearse")
        return REFUSED
    scale = REHEARSAL if asked.rehearse else FULL
    name = torch.cuda.get_device_name() if device.type == "cuda" else None
    rehearsed = Path("runs/gpu-rehearsal")
    call = Call(
        runs=asked.runs or (rehearsed if asked.rehearse else Path("runs/gpu")),
        out=asked.out or (rehearsed if asked.rehearse else Path("results")),
        device=device,
        precision=asked.precision,
        peak=_peak(name, asked.precision, asked.peak_tflops),
        command=shlex.join(["python", "results/gpu.py", *words]),
        ends=time.monotonic() + 60 * asked.minutes,
    )
    try:
        with stopping_after(60 * asked.minutes):
            if "superposition" in asked.jobs:
                seeds = scale.seeds if asked.seeds is None else asked.seeds
                superposition(call, seeds, scale.superposition, asked.released_symbols)
            if "bench" in asked.jobs:
                speed(call, scale.cases, scale.rows, scale.repeats)
            if "prosqa" in asked.jobs:
                table(call, scale.shapes, scale.prosqa, asked.released_words)
    except (OutOfTimeError, Stopped):
        say(f"gpu: the {asked.minutes:g} minutes of this call are over, all is kept; the same command goes on")
        return DONE
    say(f"gpu: all is done; the figures are in {call.out}")
    return DONE


def _peak(device_name: str | None, precision: str, tflops: float | None) -> float | None:
    """Operations a second of the device at its peak; what is known by name is known in 16 bits alone."""
    if tflops is not None:
        return tflops * 1e12
    return peak_of(device_name) if precision == "bf16" else None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=9.0, help="after which a call stops; default: 9")
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=JOBS)
    parser.add_argument("--seeds", nargs="+", type=int, help="of superposition; default: 0 to 4")
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--peak-tflops", type=float, metavar="T", help="of the device; default: by its name in bf16")
    parser.add_argument("--released-symbols", type=Path, metavar="FILE", help="released ProsQA rows in symbols")
    parser.add_argument("--released-words", type=Path, metavar="FILE", help="released ProsQA rows in words")
    parser.add_argument("--runs", type=Path, metavar="DIR", help="what is kept between calls; default: runs/gpu")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where files of results go; default: results")
    parser.add_argument("--rehearse", action="store_true", help="tiny shapes, with or without a GPU")
    return parser


if __name__ == "__main__":
    sys.exit(main())
