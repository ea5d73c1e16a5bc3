"""What is done to the thoughts: one class for each place where it can be done, one object for each intervention.

    the prompt      the slots are taken out, or there are fewer or more of them
    given thoughts  thoughts made elsewhere are put into the slots
    at fill time    a thought is changed as soon as it is made, and later ones are made from what follows
    the cache       the keys and values that other positions read at the slots

Shapes: B rows of a batch, N all rows, K thoughts of a row, D width.
"""

from abc import ABC
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor
from transformers import Cache

from unspoken.audit.cache import cache_reading, positions_behind, read_slots
from unspoken.evaluation.controls import without_slots
from unspoken.evaluation.recorded import Recorded, means_of_others
from unspoken.evaluation.subject import Change
from unspoken.model import LatentForCausalLM
from unspoken.records import StagedExample
from unspoken.thoughts import ThoughtSource
from unspoken.thoughts.controls import Edited, Given, Noise, Placeholder, Zero, noise_of_rows

Kind: TypeAlias = Literal["content", "words", "order", "noise", "single", "direction", "cache"]

NOISE = (0.25, 0.5, 1.0, 2.0)
"""Strengths of the noise: its length over that of the thought."""


class Intervention(Change, ABC):
    """A change with a name.

    Attributes:
        name: Unique among the interventions of an audit.
        kind: What it asks.
        what: What is done, as the end of a sentence that begins with "with".
        aloud: Whether answers may be longer than those of the model as trained. Otherwise it could think in words.
    """

    name: str
    kind: Kind
    what: str
    aloud: bool = False


@dataclass(frozen=True, slots=True)
class Removed(Intervention):
    """The slots are taken out of the prompt; markers stay.

    Attributes:
        latent_id: Id of `<|latent|>`.
        rows: Those that it applies to.
    """

    latent_id: int
    rows: Collection[int]
    name: str = "removed"
    kind: Kind = "content"
    what: str = "the slots taken out"
    aloud: bool = False

    def applies(self, row: int) -> bool:
        """See `Change.applies`."""
        return row in self.rows

    def prompt(self, prompt: StagedExample) -> StagedExample:
        """See `Change.prompt`."""
        return without_slots(prompt, self.latent_id)


@dataclass(frozen=True, slots=True, eq=False)
class FromSource(Intervention):
    """The slots are filled from another source.

    Attributes:
        rows: Those that it applies to.
        make: (trained source, rows of a batch) -> the other source.
    """

    name: str
    kind: Kind
    what: str
    rows: Collection[int]
    make: Callable[[ThoughtSource, Sequence[int]], ThoughtSource]

    def applies(self, row: int) -> bool:
        """See `Change.applies`."""
        return row in self.rows

    @contextmanager
    def thinking(self, model: LatentForCausalLM, rows: Sequence[int]) -> Iterator[None]:
        """See `Change.thinking`."""
        with model.model.thinking_with(self.make(model.model.thought_source, rows)):
            yield


@dataclass(frozen=True, slots=True, eq=False)
class GivenThoughts(Intervention):
    """The slots are filled with thoughts made elsewhere.

    Attributes:
        thoughts: For each row that it applies to, (K, D).
    """

    name: str
    kind: Kind
    what: str
    thoughts: Mapping[int, Tensor]

    def applies(self, row: int) -> bool:
        """See `Change.applies`."""
        return row in self.thoughts

    @contextmanager
    def thinking(self, model: LatentForCausalLM, rows: Sequence[int]) -> Iterator[None]:
        """See `Change.thinking`."""
        given = torch.stack([self.thoughts[row] for row in rows]).to(model.device)
        with model.model.thinking_with(Given(given)):
            yield


@dataclass(frozen=True, slots=True, eq=False)
class SwappedCache(Intervention):
    """Each row keeps its thoughts, but what other positions read of them are the keys and values of another row.

    The thoughts are given as they were recorded and everything is run in one pass, so that nothing else changes.

    Attributes:
        recorded: All rows.
        donors: For each row that it applies to, the row that it reads.
    """

    name: str
    what: str
    recorded: Recorded
    donors: Mapping[int, int]
    kind: Kind = "cache"

    def applies(self, row: int) -> bool:
        """See `Change.applies`."""
        return row in self.donors

    @contextmanager
    def thinking(self, model: LatentForCausalLM, rows: Sequence[int]) -> Iterator[None]:
        """See `Change.thinking`."""
        given = torch.stack([self.recorded.thoughts[row] for row in rows]).to(model.device)
        with model.model.thinking_with(Given(given), in_one_pass=True):
            yield

    def cache(self, model: LatentForCausalLM, rows: Sequence[int]) -> Cache | None:
        """See `Change.cache`."""
        donors = [self.donors[row] for row in rows]
        with self.thinking(model, donors):
            return cache_reading(read_slots(model, [self.recorded.prompts[donor] for donor in donors]))


def interventions(recorded: Recorded, latent_id: int, seed: int) -> list[Intervention]:
    """Every intervention on the thoughts of a model, those that take their content away first.

    Args:
        recorded: The rows and what the model thinks about them.
        latent_id: Id of `<|latent|>`.
        seed: Seed of noise, pairings, orders and directions.
    """
    thoughts, means = recorded.thoughts, means_of_others(recorded.thoughts)
    other, same = partners(recorded, seed, same_answer=False), partners(recorded, seed, same_answer=True)
    thinking = {row for row, each in enumerate(thoughts) if len(each)}
    most = max(map(len, thoughts))
    found: list[Intervention] = [
        Removed(latent_id, thinking),
        Removed(latent_id, thinking, "aloud", "words", "the slots taken out and as many words as it likes", aloud=True),
        FromSource("zero", "content", "zeros in the slots", thinking, lambda source, rows: Zero()),
        GivenThoughts("mean", "content", "the mean thought over other questions in the slots", means),
        FromSource(
            "placeholder",
            "content",
            "the embedding of the slot token in the slots",
            thinking,
            lambda source, rows: Placeholder(),
        ),
        GivenThoughts(
            "swap_other",
            "content",
            "the thoughts of a question with another answer",
            {row: thoughts[donor] for row, donor in other.items()},
        ),
        GivenThoughts(
            "swap_same",
            "order",
            "the thoughts of another question with the same answer",
            {row: thoughts[donor] for row, donor in same.items()},
        ),
    ]
    if most > 1:
        rng = np.random.default_rng(seed)
        orders = {row: _another_order(len(each), rng) for row, each in enumerate(thoughts) if len(each) > 1}
        permuted = {row: thoughts[row][order] for row, order in orders.items()}
        found.append(GivenThoughts("permuted", "order", "its own thoughts in another order", permuted))
    for strength in NOISE:
        what = f"noise {strength:g} times as long as each thought added to it"
        noise = _noise(thoughts, strength, seed)
        found.append(FromSource(f"noise_{strength:g}", "noise", what, thinking, noise))
    for k in range(most):
        what = f"thought {k + 1} held at its mean, and those after it made from that"
        having = {row for row in means if len(thoughts[row]) > k}
        found.append(FromSource(f"frozen_{k + 1}", "single", what, having, _frozen(k, means)))
    found += _projections(recorded, thinking, seed)
    what = "the keys and values at the slots of a question with another answer"
    # where nothing stands behind the slots, nothing reads them before the answer is there
    read = {row: donor for row, donor in other.items() if positions_behind(recorded.prompts[row])}
    found.append(SwappedCache("cache_swap_other", what, recorded, read))
    return found


def partners(recorded: Recorded, seed: int, *, same_answer: bool) -> dict[int, int]:
    """For each row another one with as many thoughts, drawn at random among those with the same or another answer.

    Rows without thoughts or without such a partner are not in it.
    """
    rng = np.random.default_rng((seed, same_answer))
    by_answer: dict[tuple[int, str], list[int]] = {}
    by_count: dict[int, list[int]] = {}
    for row, (thoughts, answer) in enumerate(zip(recorded.thoughts, recorded.answers, strict=True)):
        by_answer.setdefault((len(thoughts), answer), []).append(row)
        by_count.setdefault(len(thoughts), []).append(row)
    found = {}
    for row, (thoughts, answer) in enumerate(zip(recorded.thoughts, recorded.answers, strict=True)):
        alike = by_answer[len(thoughts), answer]
        if same_answer:
            candidates = [other for other in alike if other != row]
        else:
            candidates = by_count[len(thoughts)] if len(alike) < len(by_count[len(thoughts)]) else []
        if not len(thoughts) or not candidates:
            continue
        while True:
            donor = candidates[int(rng.integers(len(candidates)))]
            if same_answer or recorded.answers[donor] != answer:
                break
        found[row] = donor
    return found


def _another_order(count: int, rng: np.random.Generator) -> list[int]:
    """A random order of 0..count-1 that is not the order itself."""
    while True:
        order: list[int] = rng.permutation(count).tolist()
        if order != list(range(count)):
            return order


def _noise(
    thoughts: Sequence[Tensor], strength: float, seed: int
) -> Callable[[ThoughtSource, Sequence[int]], ThoughtSource]:
    def make(source: ThoughtSource, rows: Sequence[int]) -> ThoughtSource:
        num_thoughts, width = thoughts[rows[0]].shape
        return Noise(source, noise_of_rows(rows, num_thoughts, width, seed), strength)

    return make


def _frozen(k: int, means: Mapping[int, Tensor]) -> Callable[[ThoughtSource, Sequence[int]], ThoughtSource]:
    def make(source: ThoughtSource, rows: Sequence[int]) -> ThoughtSource:
        mean_B1D = torch.stack([means[row][k] for row in rows]).unsqueeze(1)

        def edit(thoughts_BSD: Tensor, rank_BS: Tensor) -> Tensor:
            return torch.where((rank_BS == k).unsqueeze(-1), mean_B1D.to(thoughts_BSD), thoughts_BSD)

        return Edited(source, edit)

    return make


def _projections(recorded: Recorded, rows: Collection[int], seed: int) -> list[Intervention]:
    """The directions in which thoughts differ most, taken out; beside random directions, as many of them."""
    thoughts_ND = recorded.stacked()
    mean_D = thoughts_ND.mean(dim=0)
    _, _, directions_DD = torch.linalg.svd(thoughts_ND - mean_D, full_matrices=False)
    generator = torch.Generator().manual_seed(seed)
    found: list[Intervention] = []
    for rank in (1, 4):
        if rank > len(directions_DD):
            continue
        random_RD = torch.linalg.qr(torch.randn(thoughts_ND.size(1), rank, generator=generator)).Q.t()
        for name, what, basis_RD in (
            (
                f"principal_{rank}",
                f"the {rank} direction(s) in which thoughts differ most taken out",
                directions_DD[:rank],
            ),
            (f"random_{rank}", f"{rank} random direction(s) taken out", random_RD),
        ):
            found.append(FromSource(name, "direction", what, rows, _without(basis_RD, mean_D)))
    return found


def _without(basis_RD: Tensor, mean_D: Tensor) -> Callable[[ThoughtSource, Sequence[int]], ThoughtSource]:
    def edit(thoughts_BSD: Tensor, rank_BS: Tensor) -> Tensor:
        basis, mean = basis_RD.to(thoughts_BSD), mean_D.to(thoughts_BSD)
        return thoughts_BSD - (thoughts_BSD - mean) @ basis.t() @ basis

    return lambda source, rows: Edited(source, edit)
