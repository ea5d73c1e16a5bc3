"""What training will take, before anything runs: arithmetic on the shape, and speeds that are stated with the result.

These are estimates, meant to be too high rather than too low; `unspoken bench` measures.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unspoken.plan.shape import Shape, num_parameters

CORE_FLOPS = 1.5e10
"""Useful operations a second of one CPU core in fp32."""
GPU_FLOPS = {False: 2.0e13, True: 8.0e13}
"""The same of one GPU, in fp32 (TF32) and in 16 bits."""
PASS_SECONDS = {False: 4.0e-3, True: 1.0e-3}
"""What a layer takes in one pass besides arithmetic, forward and backward, on a CPU and on a GPU."""

WEIGHT_BYTES = 4
"""Of each weight, in fp32."""
GRADIENT_BYTES = 4
"""Of each weight that is trained."""
MOMENT_BYTES = 8
"""Of each weight that is trained: two moments of Adam."""
STATES_PER_LAYER = 36
"""Numbers kept for the backward pass, in widths of the model, for each layer and position."""
RUNTIME_BYTES = 0.7e9
"""Python, PyTorch and their libraries."""


@dataclass(frozen=True, slots=True)
class Weights:
    """How many weights there are.

    Attributes:
        loaded: Of the model, adapters included.
        trained: Of them, those that learn.
        saved: Of them, those that a checkpoint holds.
    """

    loaded: int
    trained: int
    saved: int


@dataclass(frozen=True, slots=True)
class ImageCosts:
    """What images add to a run; nothing for a model that sees none.

    Attributes:
        beside: Parameters that are loaded and not trained.
        layers: Blocks of an encoder that run in each step.
        operations: For the images of a row, forward and backward.
        once: Operations that every process does once, before training.
        states: Numbers kept for the backward pass, for the images of a row.
        kept: Bytes of all images, as they are kept in memory.
    """

    beside: int = 0
    layers: int = 0
    operations: float = 0.0
    once: float = 0.0
    states: float = 0.0
    kept: float = 0.0


NO_IMAGES = ImageCosts()


@dataclass(frozen=True, slots=True)
class DrawnCosts:
    """What captions add that are drawn in training so that something judges them; nothing where none are.

    Attributes:
        captions: In an epoch.
        batches: In which they are drawn, in an epoch.
        words: Tokens of the longest; a batch is written until its longest ends.
        learned: Captions of each row of a step that are read once more, with a gradient.
    """

    captions: int = 0
    batches: int = 0
    words: int = 0
    learned: int = 0


NOTHING_DRAWN = DrawnCosts()


@dataclass(frozen=True, slots=True)
class Estimate:
    """What training will take.

    Attributes:
        memory: Bytes of a process at its peak.
        smaller: The same with a half, a quarter and an eighth of the rows in a forward pass: (rows, bytes).
        seconds: Time of training and of encoding images before it, validation not counted; None where it depends on
            what will be drawn.
        checkpoint: Bytes of one checkpoint with the optimizer's state.
        basis: The speeds it assumes.
    """

    memory: float
    smaller: tuple[tuple[int, float], ...]
    seconds: float | None
    checkpoint: float
    basis: str


def estimate(
    shape: Shape,
    *,
    rows: int,
    micro: int,
    processes: int,
    steps_per_epoch: int,
    stages: Sequence[tuple[int, float, float, int]],
    sequential: bool,
    half: bool,
    recomputed: bool,
    weights: Weights,
    images: ImageCosts = NO_IMAGES,
    drawn: DrawnCosts = NOTHING_DRAWN,
) -> Estimate:
    """Memory and time of a training run.

    Args:
        shape: Of the decoder.
        rows: Training rows.
        micro: Rows of a forward pass.
        processes: Processes of the run.
        steps_per_epoch: Forward passes over micro-batches of each process in an epoch.
        stages: For each stage its epochs, mean positions of a row, mean trained positions, and thoughts.
        sequential: Whether each thought takes a pass.
        half: Whether most numbers have 16 bits.
        recomputed: Whether passes are recomputed in the backward pass.
        weights: Of the whole model.
        images: What images add.
        drawn: What captions add that are drawn; their rows are never cut into micro-batches.
    """
    on_gpu = Path("/dev/nvidia0").exists()
    operations, overhead, again = 0.0, 0.0, 4 / 3 if recomputed else 1
    for epochs, length, trained, thoughts in stages:
        row = _operations(shape, length, trained) * again + images.operations
        caption = _operations(shape, length - trained + drawn.words, drawn.words) + images.operations
        # what is drawn has no backward pass, which takes two thirds, until it is learned from
        operations += epochs * (rows * (row + drawn.learned * caption * again) + drawn.captions * caption / 3)
        passes = thoughts + 1 if sequential else 1
        layers: float = steps_per_epoch * (passes * (1 + bool(drawn.learned)) * shape.layers + images.layers)
        layers += drawn.batches * ((passes + drawn.words) * shape.layers + images.layers) / 3
        overhead += epochs * layers * PASS_SECONDS[on_gpu]
    speed = GPU_FLOPS[half] if on_gpu else CORE_FLOPS * _cores() / processes
    fixed = RUNTIME_BYTES + WEIGHT_BYTES * (weights.loaded + images.beside) + images.kept
    fixed += (GRADIENT_BYTES + MOMENT_BYTES) * weights.trained
    a_row = max(_activations(shape, *stage[1:], half=half, recomputed=recomputed) for stage in stages)
    if drawn.learned:
        captions = [(length - trained + drawn.words, drawn.words, thoughts) for _, length, trained, thoughts in stages]
        a_row += drawn.learned * max(_activations(shape, *each, half=half, recomputed=recomputed) for each in captions)
    a_row += (3 if half else 4) * images.states * (1 + drawn.learned)
    return Estimate(
        memory=fixed + micro * a_row,
        smaller=tuple(
            (micro // part, fixed + micro // part * a_row)
            for part in (2, 4, 8)
            if micro % part == 0 and drawn == NOTHING_DRAWN
        ),
        seconds=(operations / processes + images.once) / speed + overhead,
        checkpoint=WEIGHT_BYTES * weights.saved + MOMENT_BYTES * weights.trained,
        basis=_basis(on_gpu, processes, half),
    )


def _operations(shape: Shape, length: float, words: float) -> float:
    """Operations of a row, forward and backward, of which so many positions are read as words."""
    per_token = num_parameters(shape) - shape.vocabulary * shape.width * (1 if shape.tied else 2)
    attention = 2 * shape.layers * shape.width * length
    return 6 * (length * (per_token + attention) + words * shape.vocabulary * shape.width)


def _activations(shape: Shape, length: float, trained: float, thoughts: int, *, half: bool, recomputed: bool) -> float:
    """Bytes that a row keeps for the backward pass, padded to the longest of its batch."""
    length, number = 1.3 * length, 3 if half else 4
    states = length * shape.layers * shape.width * STATES_PER_LAYER
    scores = 2 * shape.layers * shape.heads * length * length
    cache = 2 * shape.layers * shape.width * length * (thoughts if recomputed else 1)
    logits = 3 * 1.3 * trained * shape.vocabulary
    kept = (states + scores) / shape.layers if recomputed else states + scores
    return number * (kept + cache) + 4 * logits


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _basis(on_gpu: bool, processes: int, half: bool) -> str:
    if on_gpu:
        return f"{processes} GPU{'s' * (processes > 1)} at {GPU_FLOPS[half] / 1e12:.0f} TFLOP/s each"
    return f"{_cores()} CPU cores at {CORE_FLOPS / 1e9:.0f} GFLOP/s each"


def megabytes(count: float) -> str:
    """A number of bytes for people."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{max(count / 1e6, 1):.0f} MB"


def minutes(seconds: float) -> str:
    """A duration for people."""
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
