"""Hops: follow a chain of pointers, a small task with as many steps as one likes.

premises  c e | a f | e b | d a | f c | b d      "c e" reads: c points to e; any order
question  ? a                                    `? a 2` where rows differ in their number of hops (`min_hops`)
steps     f | c                                  with `hops: 2`
answer    c
"""

import math
import random
import string
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from unspoken.config import Count
from unspoken.errors import DataError
from unspoken.records import Example, Graph, Ledger, Split, TextFormat
from unspoken.tasks.base import Task
from unspoken.tasks.chance import choose, shuffled

_LETTERS = string.ascii_lowercase
_ORDER: tuple[Split, ...] = ("test", "validation", "train")
"""Splits are drawn in this order, so that asking for more training rows never changes what is tested."""


class Hops(Task):
    """Pointer chains: start at a symbol, follow `hops` pointers, name every symbol on the way.

    The pointers form one cycle through all symbols. A permutation drawn freely would often lead the walk back to its
    start early, and half the answers would then be read off a short cycle without making every hop.
    """

    name: Literal["hops"] = "hops"
    symbols: Annotated[int, Field(ge=2, le=len(_LETTERS))] = 8
    """Letters in the chain: n of them make n! distinct questions."""
    hops: PositiveInt = 4
    """Pointers to follow, fewer than `symbols`. Beyond half of them the way against the pointers is the shorter one."""
    min_hops: PositiveInt | None = None
    """Fewest pointers to follow: rows then have from this many up to `hops`, each number as often as the others, and
    the question says how many. Default: all rows have `hops`."""
    train_rows: PositiveInt = 10_000
    validation_rows: PositiveInt = 200
    test_rows: PositiveInt = 1_000
    seed: Count = 0
    """Seed of the questions; no question is in two splits."""

    @model_validator(mode="after")
    def _the_walk_stays_on_the_cycle(self) -> Self:
        if self.hops >= self.symbols:
            raise ValueError(
                f"{self.hops} hops on a cycle of {self.symbols} symbols pass the start again; "
                f"set hops to at most {self.symbols - 1} or raise symbols"
            )
        if self.min_hops is not None and self.min_hops > self.hops:
            raise ValueError(f"min_hops is {self.min_hops}, hops {self.hops}; exchange them")
        return self

    @property
    def has_frontiers(self) -> bool:
        """See `Task.has_frontiers`."""
        return True

    @property
    def text(self) -> TextFormat:
        """Single spaces between all words; the answer stands bare after the last step."""
        return TextFormat(question_end=" ", step_end=" ", answer_start="")

    def words(self) -> Sequence[str]:
        """The question mark, then the letters; and the numbers of hops where the question says them."""
        numbers = map(str, range(1, self.symbols)) if self.min_hops is not None else ()
        return ("?", *_LETTERS[: self.symbols], *numbers)

    def read_answer(self, text: str) -> str | None:
        """The last word: what stands before it are the steps."""
        words = self.normalise(text).split()
        return words[-1] if words else None

    def examples(self, split: Split) -> tuple[Sequence[Example], Ledger]:
        """The rows of a split. A row depends on the seed and its number; on others only in repeating none.

        Raises:
            DataError: The splits together ask for more rows than there are distinct questions.
        """
        rows: dict[Split, int] = {"train": self.train_rows, "validation": self.validation_rows, "test": self.test_rows}
        distinct = math.factorial(self.symbols)
        if sum(rows.values()) > distinct:
            raise DataError(
                f"hops with {self.symbols} symbols has {distinct:,} distinct questions, fewer than the "
                f"{sum(rows.values()):,} rows of its splits; raise symbols or ask for fewer rows"
            )
        taken: set[tuple[int, ...]] = set()
        for drawn in _ORDER:
            examples = tuple(self._example(drawn, number, taken) for number in range(1, rows[drawn] + 1))
            if drawn == split:
                break
        return examples, Ledger(rows_in=len(examples), rows_kept=len(examples))

    def counterfactual(self, example: Example, rng: random.Random) -> Example | None:
        """One pointer on the way leads to another symbol, so that the walk ends elsewhere.

        All other pointers stay, so two now lead to one symbol and none to another: with each symbol pointed at once, at
        least two pointers would have to change.
        """
        graph = example.graph
        assert graph is not None, "every row of hops has its graph"
        walk = [graph.root, *(graph.names.index(step) for step in example.steps)]
        changes = []
        for start, old in pairwise(walk):
            for new in range(len(graph.names)):
                edges = {**dict(graph.edges), start: new}
                steps = _walk(edges, graph.root, len(example.steps))
                if new not in (old, start) and steps[-1] != graph.target:
                    changes.append((start, old, new, edges, steps))
        if not changes:
            return None
        start, old, new, edges, steps = choose(changes, rng)
        names = graph.names
        premise, changed = f"{names[start]} {names[old]}", f"{names[start]} {names[new]}"
        return replace(
            example,
            id=f"{example.id}/changed",
            steps=tuple(names[node] for node in steps),
            answer=names[steps[-1]],
            premises=tuple(changed if each == premise else each for each in example.premises),
            frontiers=tuple((names[node],) for node in steps),
            graph=replace(graph, edges=tuple(edges.items()), target=steps[-1]),
        )

    def next_node(self, example: Example, num_steps: int) -> tuple[str, int] | None:
        """Every word that is written is a symbol on the way."""
        return "", num_steps + 1

    def shifts(self) -> Mapping[str, Task]:
        """Fewer and more hops than trained, on as many symbols."""
        if self.min_hops is not None:
            return {}
        hops = [count for count in (self.hops - 1, self.hops + 1, self.hops + 2) if 1 <= count < self.symbols]
        return {f"{count} hops": Hops(**{**self.model_dump(), "hops": count}) for count in hops}

    def _example(self, split: Split, number: int, taken: set[tuple[int, ...]]) -> Example:
        id, hops, said = f"hops/{split}/{number}", self.hops, ""
        if self.min_hops is not None:
            hops = self.min_hops + (number - 1) % (self.hops - self.min_hops + 1)
            said = f" {hops}"
        # of a random generator only random() gives the same numbers in every version of Python: all else is built on it
        rng = random.Random(f"{self.seed}/{id}")
        # the cycle, read from the start on, is the whole question whatever the order of its premises
        cycle = shuffled(range(self.symbols), rng)
        while cycle in taken:
            cycle = shuffled(range(self.symbols), rng)
        taken.add(cycle)

        edges = tuple(zip(cycle, (*cycle[1:], cycle[0]), strict=True))
        steps = tuple(_LETTERS[node] for node in cycle[1 : hops + 1])
        return Example(
            id=id,
            question=f"? {_LETTERS[cycle[0]]}{said}",
            steps=steps,
            answer=steps[-1],
            premises=tuple(f"{_LETTERS[start]} {_LETTERS[end]}" for start, end in shuffled(edges, rng)),
            frontiers=tuple((step,) for step in steps),
            graph=Graph(tuple(_LETTERS[: self.symbols]), edges, root=cycle[0], target=cycle[hops]),
        )


def _walk(pointers: Mapping[int, int], start: int, length: int) -> list[int]:
    """The symbols on a walk, without its start."""
    nodes = [start]
    for _ in range(length):
        nodes.append(pointers[nodes[-1]])
    return nodes[1:]
