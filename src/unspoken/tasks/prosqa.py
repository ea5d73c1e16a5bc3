"""ProsQA: which of two concepts does a search through a graph of "is a" sentences reach? (arXiv:2412.06769)

    premises  Every jompus is a bompus. | Sam is a lorpus. | Every lorpus is a jompus. | Rex is a impus. | ...
    question  Is Sam a bompus or impus?
    steps     Sam is a lorpus. | Every lorpus is a jompus. | Every jompus is a bompus.
    answer    Sam is a bompus.

The same in symbols, as arXiv:2505.12514 trains on it (a bar ends each edge; here premises are set apart by commas):

    premises  7 9 |, 1 4 |, 4 7 |, 0 5 |, ...
    question  [Q] 9 5 [R] 1
    steps     4, 7, 9
    answer    9
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, model_validator

from unspoken.config import Count, DataPaths
from unspoken.errors import DataError
from unspoken.records import Example, Graph, Ledger, Rejection, Split, TextFormat
from unspoken.tasks.base import Task
from unspoken.tasks.chance import choose, shuffled
from unspoken.tasks.counterfactual import exchanging_redirections, redirected
from unspoken.tasks.graph import PathClass, classify_path, distances, reachable, shortest_paths
from unspoken.tasks.prosqa_graphs import ProsQAGraphs
from unspoken.tasks.prosqa_text import Rendering, Step, Symbols, Words, named_frontiers
from unspoken.tasks.read_rows import Row
from unspoken.tasks.rows import Fields, examples_from, path_of, question_steps_answer

Outcome: TypeAlias = PathClass | Literal["correct label", "incorrect label"]
"""What became of a generated text: of its path when it holds steps, else of its answer (arXiv:2412.06769)."""

ENTITIES = (
    "Alex", "Bob", "Carol", "Davis", "Eva", "Fae", "Gabriel", "Jack", "Max", "Oliver", "Polly", "Rex", "Sally",
    "Sam", "Stella", "Tom", "Wren",
)  # fmt: skip
CONCEPTS = (
    "bompus", "boompus", "brimpus", "chorpus", "dumpus", "felpus", "fompus", "gerpus", "gorpus", "grimpus",
    "gwompus", "hilpus", "impus", "jelpus", "jompus", "kerpus", "lempus", "lorpus", "numpus", "quimpus", "rempus",
    "rompus", "rorpus", "scrompus", "shumpus", "sterpus", "storpus", "terpus", "timpus", "tumpus", "vumpus",
    "worpus", "wumpus", "yerpus", "yimpus", "yumpus", "zhorpus", "zumpus",
)  # fmt: skip

_ORDER: tuple[Split, ...] = ("test", "validation", "train")
"""Splits are drawn in this order, so that asking for more training rows never changes what is tested."""
SHIFTED_ROWS = 300
"""Test rows of each shifted variant."""
_MAX_DRAWS = 10_000
"""Draws for one row before the settings are given up on; the defaults need 1.1 on average."""
_RENDERINGS: Mapping[str, Rendering] = {"words": Words(), "symbols": Symbols()}


class ProsQA(Task, ProsQAGraphs, DataPaths):
    """Questions about graphs, drawn from the distribution of the released data or read from files in its format.

    A split whose path (`train`, `validation`, `test`) is set is read from that file; the others are generated. No
    generated question has the graph of another question in any split, files included, whatever its nodes are called.
    """

    name: Literal["prosqa"] = "prosqa"
    rendering: Literal["words", "symbols"] = "words"
    """English sentences, or one token for each node."""
    relabel: bool = False
    """Shuffle the numbers of the nodes, in symbols. Without it, as in the papers, every edge leads from a smaller to a
    larger number and the root is 0 or 1, which a model can use without searching."""
    train_rows: PositiveInt = 17_886
    validation_rows: PositiveInt = 300
    test_rows: PositiveInt = 500
    seed: Count = 0
    """Seed of the generated rows; a file's rows are read as they are."""
    max_bad_rows: Count = 0
    """Rows of a file that may be unusable and are then left out; one more is an error."""

    @model_validator(mode="after")
    def _settings_fit_the_rendering(self) -> Self:
        most = len(CONCEPTS) + 2
        if self.rendering == "words" and self.max_nodes > most:
            raise ValueError(
                f"max_nodes is {self.max_nodes}, but words name at most {most} nodes; set rendering: symbols"
            )
        if self.rendering == "words" and self.relabel:
            raise ValueError(
                "relabel shuffles numbers, but in words nodes have names; remove it or set rendering: symbols"
            )
        return self

    @property
    def has_frontiers(self) -> bool:
        """See `Task.has_frontiers`."""
        return True

    @property
    def text(self) -> TextFormat:
        """Words as the released Coconut; in symbols single spaces and `[A]` before the answer."""
        return _RENDERINGS[self.rendering].text

    def words(self) -> Sequence[str] | None:
        """Every word, punctuation and line breaks apart; None when training rows come from a file, with any words."""
        if self.rendering == "symbols":
            return ("|", "[Q]", "[R]", "[A]", *self._numbers)
        if self.train is not None:
            return None
        return ("\n", ".", "?", "###", "Every", "Is", "is", "a", "or", *ENTITIES, *CONCEPTS)

    def normalise(self, answer: str) -> str:
        """As every task, and a full stop closes up to its word, as word-level tokenizers write it apart."""
        return super().normalise(answer).replace(" .", ".")

    def examples(self, split: Split) -> tuple[Sequence[Example], Ledger]:
        """The rows of a split. A generated row depends on the seed and its number; on others only in repeating none.

        Rows of a file whose shortest path is not `min_hops` to `max_hops` long are left out and named in the ledger.

        Raises:
            DataError: A row of a file cannot be used (every such row is named), no row is left, or the settings hold
                fewer different graphs than rows.
        """
        path = path_of(self, split)
        if path is not None:
            return self._read(path, split)
        taken: set[tuple[object, ...]] = set()
        for other in _ORDER:
            path = path_of(self, other)
            if path is not None:
                taken.update(_key(each.graph) for each in self._read(path, other)[0] if each.graph is not None)
        for drawn in (other for other in _ORDER if path_of(self, other) is None):
            generated = tuple(self._generate(drawn, taken))
            if drawn == split:
                break
        return generated, Ledger(rows_in=len(generated), rows_kept=len(generated))

    def counterfactual(self, example: Example, rng: random.Random) -> Example | None:
        """One fact leads elsewhere, so that the root reaches the other option; order and options stay.

        None where no single fact does it, e.g. when two ways lead to the target.
        """
        graph = example.graph
        if graph is None or not example.premises:
            return None
        changes = list(exchanging_redirections(graph))
        if not changes:
            return None
        change = choose(changes, rng)
        changed = redirected(graph, change)
        assert graph.distractor is not None, "a ProsQA question offers two options"
        changed = replace(changed, target=graph.distractor, distractor=graph.target)
        rendering = _RENDERINGS[self.rendering]
        edge = change[0]
        old, new = rendering.premise(graph, graph.edges[edge]), rendering.premise(changed, changed.edges[edge])
        path = choose(shortest_paths(changed), rng)
        return replace(
            example,
            id=f"{example.id}/changed",
            steps=tuple(rendering.step(changed, step) for step in pairwise(path)),
            answer=rendering.answer(changed),
            premises=tuple(new if premise == old else premise for premise in example.premises),
            frontiers=named_frontiers(changed),
            graph=changed,
        )

    def next_node(self, example: Example, num_steps: int) -> tuple[str, int] | None:
        """In words a step begins with the node it leaves (after `Every`), in symbols it is the node it leads to."""
        if example.graph is None:
            return None
        if self.rendering == "symbols":
            return "", num_steps + 1
        return ("Every", num_steps) if num_steps else (f"{example.graph.names[example.graph.root]} is a", 1)

    def shifts(self) -> Mapping[str, Task]:
        """Generated rows unlike those of the defaults: harder to guess, longer, denser, with many ways."""
        here = {**self.model_dump(), "test": None, "test_rows": SHIFTED_ROWS}
        changes: dict[str, dict[str, Any]] = {
            "target and distractor equally deep": {"equal_depth": True},
            "more hops": {"min_hops": self.max_hops + 1, "max_hops": self.max_hops + 2, "depth_weight": 8.0},
            "denser graphs": {"mean_parents": self.mean_parents * 5 / 3},
            "many shortest paths": {"min_shortest_paths": 4},
        }
        return {name: ProsQA(**{**here, **change}) for name, change in changes.items()}

    def to_row(self, example: Example) -> dict[str, Any]:
        """The example as a row of the released JSON files; reading the rows in order gives the examples back."""
        row: dict[str, Any] = {
            "question": self.text.premise_separator.join((*example.premises, example.question)),
            "answer": example.answer,
            "steps": list(example.steps),
        }
        graph = example.graph
        if graph is not None:
            row |= {"idx_to_symbol": list(graph.names), "edges": [list(edge) for edge in graph.edges]}
            row |= {"root": graph.root, "target": graph.target, "neg_target": graph.distractor}
        return row

    def classify(self, example: Example, text: str, *, hidden_steps: int = 0) -> Outcome:
        """Say what became of a generated text.

        Args:
            example: The question, with its graph.
            text: New tokens only: the steps that are written, and the answer.
            hidden_steps: How many first steps the model may have taken in thoughts; see `graph.classify_path`.

        Returns:
            The class of the path when the text holds steps, whatever answer follows; else that of the answer, where no
            answer is an incorrect label.

        Raises:
            DataError: The example has no graph.
        """
        if example.graph is None:
            raise DataError(f"{example.id} has no graph to check a path in; use rows that have edges, root and target")
        rendering = _RENDERINGS[self.rendering]
        before, marker, after = text.rpartition(self.text.answer_start.strip())
        steps = rendering.steps_in(before if marker else after)
        if steps:
            return classify_path(example.graph, rendering.read_steps(example.graph, steps), hidden_steps)
        return "correct label" if self.score(example, text).verdict == "right" else "incorrect label"

    @property
    def _numbers(self) -> tuple[str, ...]:
        return tuple(map(str, range(self.max_nodes)))

    def _generate(self, split: Split, taken: set[tuple[object, ...]]) -> Iterator[Example]:
        """The rows of a generated split; their keys are added to `taken`."""
        rows = {"train": self.train_rows, "validation": self.validation_rows, "test": self.test_rows}[split]
        # a row has the number that it gets when it is written to a file and read again
        for number in range(1, rows + 1):
            id = f"prosqa/{split}/{number}"
            rng = self._rng(id)
            for _ in range(_MAX_DRAWS):
                graph = self.draw(rng)
                if graph is not None and self._has_names_for(graph) and _key(graph) not in taken:
                    break
            else:
                raise DataError(
                    f"prosqa found no new graph for row {number} of {split} in {_MAX_DRAWS:,} draws, after "
                    f"{len(taken):,} rows; raise max_nodes, widen min_hops and max_hops, or ask for fewer rows"
                )
            taken.add(_key(graph))
            path = choose(shortest_paths(graph), rng)
            yield _RENDERINGS[self.rendering].example(id, self._named(graph, rng), tuple(pairwise(path)), rng)

    def _rng(self, id: str) -> random.Random:
        return random.Random(f"{self.seed}/{id}")

    def _named(self, graph: Graph, rng: random.Random) -> Graph:
        """The graph with names for its nodes: entities for those without parents, concepts; or numbers."""
        if self.rendering == "symbols":
            numbers = self._numbers[: len(graph.names)]
            return replace(graph, names=shuffled(numbers, rng) if self.relabel else numbers)
        entities, concepts = iter(shuffled(ENTITIES, rng)), iter(shuffled(CONCEPTS, rng))
        children = {child for _, child in graph.edges}
        names = [next(concepts if node in children else entities) for node in range(len(graph.names))]
        return replace(graph, names=tuple(names))

    def _has_names_for(self, graph: Graph) -> bool:
        """Whether the entities suffice; with the default settings they always do."""
        num_children = len({child for _, child in graph.edges})
        return self.rendering == "symbols" or len(graph.names) - num_children <= len(ENTITIES)

    def _read(self, path: Path, split: Split) -> tuple[Sequence[Example], Ledger]:
        """The rows of the file of a split, those of another length left out."""
        found, ledger = examples_from(
            path, self._parse, prefix=f"prosqa/{split}", max_bad_rows=self.max_bad_rows, keys=_KEYS
        )
        kept: list[Example] = []
        rejected = list(ledger.rejected)
        for example in found:
            hops = None if example.graph is None else distances(example.graph)[example.graph.target]
            if hops is None or self.min_hops <= hops <= self.max_hops:
                kept.append(example)
            else:
                reason = f"its shortest path has {hops} hops; kept are {self.min_hops} to {self.max_hops}"
                rejected.append(Rejection(str(path), int(example.id.rpartition("/")[2]), reason))
        if not kept:
            raise DataError(
                f"{path} has no row with {self.min_hops} to {self.max_hops} hops among {ledger.rows_in:,}; "
                "change min_hops and max_hops or give other rows"
            )
        rejected.sort(key=lambda rejection: rejection.row)
        return tuple(kept), replace(ledger, rows_kept=len(kept), rejected=tuple(rejected))

    def _parse(self, row: Row, id: str) -> Example:
        """One row of a file.

        Raises:
            DataError: Says what is wrong with the row, but not where it is.
        """
        fields = question_steps_answer(row)
        graph = _graph(row)
        rendering = _RENDERINGS[self.rendering]
        other = _RENDERINGS["words" if self.rendering == "symbols" else "symbols"]
        parts = rendering.split(fields.question)
        if parts is None and other.split(fields.question) is not None:
            return self._translate(fields, graph, other, id)
        if parts is None and self.rendering == "symbols":
            raise DataError("the question is not that of a graph; set rendering: words to train on any text")
        if parts is not None and graph is not None:
            _check(fields, graph, rendering)
            if self.rendering == "symbols" and not set(graph.names) <= set(self._numbers):
                raise DataError(
                    f"its nodes are not all called 0 to {self.max_nodes - 1}; raise max_nodes or rename them"
                )
        return Example(
            id=id,
            question=fields.question if parts is None else parts.question,
            steps=fields.steps,
            answer=fields.answer,
            premises=() if parts is None else parts.premises,
            rewordings=() if parts is None else (parts.rewording,),
            frontiers=() if graph is None else named_frontiers(graph),
            graph=graph,
        )

    def _translate(self, fields: Fields, graph: Graph | None, rendering: Rendering, id: str) -> Example:
        """A row that is written in the other rendering: from words to symbols only, which need no names."""
        if self.rendering == "words":
            raise DataError("the question is written in symbols; set rendering: symbols")
        if graph is None:
            raise DataError(f"symbols are written from the graph; add {', '.join(_GraphKeys.model_fields)}")
        if len(graph.names) > self.max_nodes:
            raise DataError(f"the graph has {len(graph.names)} nodes, max_nodes is {self.max_nodes}; raise it")
        path = _check(fields, graph, rendering)
        rng = self._rng(id)
        return _RENDERINGS[self.rendering].example(id, self._named(graph, rng), path, rng)


class _GraphKeys(BaseModel):
    """The keys of a released row that hold its graph."""

    model_config = ConfigDict(strict=True, frozen=True)

    idx_to_symbol: list[Annotated[str, Field(pattern=r"^\S+$")]]
    edges: list[Annotated[list[Count], Field(min_length=2, max_length=2)]]
    root: Count
    target: Count
    neg_target: Count


_KEYS = frozenset({"question", "steps", "answer", *_GraphKeys.model_fields})


def _graph(row: Row) -> Graph | None:
    """The graph of a row; None when the row has none of its keys.

    Raises:
        DataError: Keys are missing or malformed, a node does not exist, or not exactly one option can be reached.
    """
    if isinstance(row, str) or not any(key in row for key in _GraphKeys.model_fields):
        return None
    try:
        keys = _GraphKeys.model_validate(row)
    except ValidationError as error:
        found = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
        raise DataError(
            f"its graph is malformed ({'; '.join(found)}); mend these keys or leave all of them out"
        ) from error
    names, root, target, distractor = tuple(keys.idx_to_symbol), keys.root, keys.target, keys.neg_target
    edges = tuple((start, end) for start, end in keys.edges)
    largest = max(root, target, distractor, *(node for edge in edges for node in edge))
    if largest >= len(names):
        raise DataError(f"node {largest} has no name: idx_to_symbol has {len(names)}; add names or mend the edges")
    if len(set(names)) < len(names):
        raise DataError("two nodes have the same name; make the names in idx_to_symbol different")
    graph = Graph(names, edges, root, target, distractor)
    reached = reachable(graph)
    if target not in reached:
        raise DataError(f"target {names[target]!r} cannot be reached from root {names[root]!r}; mend the edges")
    if distractor in reached:
        raise DataError(f"neg_target {names[distractor]!r} can be reached from root {names[root]!r}; choose another")
    return graph


def _check(fields: Fields, graph: Graph, rendering: Rendering) -> tuple[Step, ...]:
    """Compare a row's text with its graph and give the path that its steps take.

    Raises:
        DataError: The text says something else than the graph.
    """
    parts = rendering.split(fields.question)
    assert parts is not None, "only texts that can be split are checked"
    assert graph.distractor is not None, "rows without a distractor have no graph"
    root, target, distractor = graph.names[graph.root], graph.names[graph.target], graph.names[graph.distractor]
    if sorted(parts.premises) != sorted(rendering.premise(graph, edge) for edge in graph.edges):
        raise DataError("the sentences of the question are not those of the edges; mend the one or the other")
    if rendering.question(root, target, distractor) not in (parts.question, parts.rewording):
        raise DataError(f"the question {parts.question!r} does not ask about root, target and neg_target; mend it")
    if fields.answer != rendering.answer(graph):
        raise DataError(f"the answer is {fields.answer!r}, by the graph it is {rendering.answer(graph)!r}; mend it")
    path = rendering.read_steps(graph, fields.steps)
    if path and classify_path(graph, path) not in ("correct path", "longer path"):
        raise DataError("the steps are no path from root to target; mend them")
    return path


def _key(graph: Graph) -> tuple[object, ...]:
    """What two questions share when they differ only in the names of nodes and the order of premises and options."""
    return graph.root, graph.target, graph.distractor, *sorted(graph.edges)
