"""Causal tracing: where in the pass does the answer come from?

Two questions of the same form and different answers are run, each with its own thoughts. Then the second is run again
with the state of one place, after one layer, taken from the first. How much of the first answer's probability comes
back shows what that place carries. Thoughts are inputs here: those of the second question stay, except where the place
is a thought, whose state is then that of the first. The place from which the answer is read brings everything back
after the last layer, whatever stands there.

Shapes: L positions, D width.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from unspoken.inspection.filled import decoder_layers, filled
from unspoken.model import LatentForCausalLM
from unspoken.records import StagedExample, TokenizedExample, Tokens

WRITES = "which writes the answer"
"""What is said of a thought that no word stands behind: after the last layer its state is the answer, like any state
that is read there, so what comes back there tells nothing about thoughts."""


@dataclass(frozen=True, slots=True)
class Trace:
    """A grid of effects.

    Attributes:
        layers: Rows of the grid: `embeddings`, then each block.
        positions: Columns: places of the sequence.
        effect: For each layer and place the share of the clean answer's probability that comes back: 0 nothing, 1 all.
        n: Pairs of questions.
    """

    layers: tuple[str, ...]
    positions: tuple[str, ...]
    effect: tuple[tuple[float, ...], ...]
    n: int


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """Two questions of one form.

    Attributes:
        clean: Embeddings of the first with its thoughts, (1, L, D).
        corrupt: Those of the second.
        clean_answer: The token with which the first answer goes on where the second differs.
        places: For each place its positions.
    """

    clean: Tensor
    corrupt: Tensor
    clean_answer: int
    places: Mapping[str, slice]


def pairs(
    model: LatentForCausalLM,
    prompts: Sequence[StagedExample],
    thoughts: Sequence[Tensor],
    rows: Sequence[TokenizedExample],
    most: int,
    seed: int,
) -> list[Pair]:
    """Up to `most` pairs of rows whose prompts are equally long with the slots in the same columns.

    All have the number of thoughts that most prompts have and the same kinds of places, so that they share one grid.
    """
    count = Counter(prompt.num_thoughts for prompt in prompts).most_common(1)[0][0]
    alike: dict[tuple[int, int | None, int], list[int]] = {}
    for index, prompt in enumerate(prompts):
        if prompt.num_thoughts == count > 0:
            key = (len(prompt.input_ids), prompt.first_thought, len(prompt.images))
            alike.setdefault(key, []).append(index)
    rng = np.random.default_rng(seed)
    found: list[Pair] = []
    for group in alike.values():
        order = rng.permutation(group).tolist()
        for one, two in zip(order[::2], order[1::2], strict=False):
            split = _where_they_part(rows[one].answer, rows[two].answer)
            if split is None:
                continue
            # an answer start that the prompt already holds is not written again
            shared = rows[one].answer[prompts[one].num_forced : split]
            found.append(
                Pair(
                    filled(model, prompts[one], thoughts[one], shared),
                    filled(model, prompts[two], thoughts[two], shared),
                    int(rows[one].answer[split]),
                    _places(prompts[one], len(shared), model.config.image_token_id),
                )
            )
    kinds = Counter(tuple(pair.places) for pair in found)
    commonest = max(kinds, key=lambda kind: kinds[kind], default=())
    return [pair for pair in found if tuple(pair.places) == commonest][:most]


def _where_they_part(one: Tokens, two: Tokens) -> int | None:
    """The first place where two answers differ; None when one is the beginning of the other."""
    for index, (a, b) in enumerate(zip(one, two, strict=False)):
        if a != b:
            return index
    return None


def _places(prompt: StagedExample, num_written: int, image_id: int | None) -> dict[str, slice]:
    first = prompt.first_thought
    assert first is not None, "only prompts with thoughts are paired"
    images = np.flatnonzero(np.isin(prompt.input_ids, () if image_id is None else image_id)).tolist()
    places = {"question": slice(0, first)}
    if images:  # they stand together, with at most the beginning of the sequence in front, equal in all
        places = {"images": slice(images[0], images[-1] + 1), "question": slice(images[-1] + 1, first)}
    *earlier, last = (f"thought {k}" for k in range(1, prompt.num_thoughts + 1))
    behind = slice(first + prompt.num_thoughts, len(prompt.input_ids) + num_written)
    if behind.start == behind.stop:  # then the answer is read where the last thought stands
        last = f"{last}, {WRITES}"
    places |= {name: slice(first + k, first + k + 1) for k, name in enumerate([*earlier, last])}
    return places | ({"behind them": behind} if behind.stop > behind.start else {})


@torch.no_grad()
def trace(model: LatentForCausalLM, chosen: Sequence[Pair]) -> Trace | None:
    """The grid over all pairs.

    None without pairs, where the decoder's blocks are not found, and where the clean answer is no likelier on the clean
    question than on the other: then there is nothing to bring back.
    """
    blocks = decoder_layers(model)
    if not chosen or blocks is None:
        return None
    positions = tuple(chosen[0].places)
    layers = ("embeddings", *(f"layer {number}" for number in range(1, len(blocks) + 1)))
    gains, whole = np.zeros((len(layers), len(positions))), 0.0
    for pair in chosen:
        states = [pair.clean, *_states(model, blocks, pair.clean)]
        clean = _probability(model, pair.clean, pair.clean_answer)
        corrupt = _probability(model, pair.corrupt, pair.clean_answer)
        whole += clean - corrupt
        for layer in range(len(layers)):
            for place, name in enumerate(positions):
                columns = pair.places[name]
                with _patched(blocks, layer, states[layer][:, columns], columns):
                    embeds = pair.corrupt
                    if layer == 0:
                        embeds = embeds.clone()
                        embeds[:, columns] = states[0][:, columns]
                    gains[layer, place] += _probability(model, embeds, pair.clean_answer) - corrupt
    if whole <= 0:
        return None
    return Trace(layers, positions, tuple(map(tuple, (gains / whole).tolist())), len(chosen))


def _probability(model: LatentForCausalLM, embeds: Tensor, token: int) -> float:
    states = model.model.language_model(inputs_embeds=embeds, use_cache=False).last_hidden_state
    return float(model.read(states[:, -1])[0, token])


def _states(model: LatentForCausalLM, blocks: nn.ModuleList, embeds: Tensor) -> list[Tensor]:
    """The state after each block, (1, L, D)."""
    found: list[Tensor] = []

    def keep(module: nn.Module, inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
        found.append((output if isinstance(output, Tensor) else output[0]).clone())

    handles = [block.register_forward_hook(keep) for block in blocks]
    try:
        model.model.language_model(inputs_embeds=embeds, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return found


@contextmanager
def _patched(blocks: nn.ModuleList, layer: int, states: Tensor, columns: slice) -> Iterator[None]:
    """While it is active, block `layer` (from 1) leaves these states in these columns; layer 0 patches nothing."""
    if layer == 0:
        yield
        return

    def put(module: nn.Module, inputs: object, output: Tensor | tuple[Tensor, ...]) -> Tensor | tuple[Tensor, ...]:
        whole = (output if isinstance(output, Tensor) else output[0]).clone()
        whole[:, columns] = states
        return whole if isinstance(output, Tensor) else (whole, *output[1:])

    handle = blocks[layer - 1].register_forward_hook(put)
    try:
        yield
    finally:
        handle.remove()
