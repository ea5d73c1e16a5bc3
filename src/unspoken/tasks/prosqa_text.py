"""How a ProsQA graph reads, in words and in symbols, and how such a text is read back."""

import random
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from unspoken.records import Example, Graph, TextFormat
from unspoken.tasks.chance import shuffled
from unspoken.tasks.graph import distances, frontiers

NOWHERE = -1
"""Node id of a word that names no node."""

Step = tuple[int, int]


class QuestionText(NamedTuple):
    """A question as the model reads it.

    Attributes:
        premises: The sentences before it, in the order of the text.
        question: The question itself.
        rewording: The same with its two options the other way round.
    """

    premises: tuple[str, ...]
    question: str
    rewording: str


class Rendering(ABC):
    """A way to write graphs."""

    text: ClassVar[TextFormat]
    _premise: ClassVar[re.Pattern[str]]
    _question: ClassVar[re.Pattern[str]]

    @abstractmethod
    def premise(self, graph: Graph, edge: Step) -> str:
        """An edge as a fact."""

    @abstractmethod
    def question(self, root: str, first: str, second: str) -> str:
        """Which of two options can the root reach?"""

    @abstractmethod
    def step(self, graph: Graph, edge: Step) -> str:
        """An edge as a step of the reasoning."""

    @abstractmethod
    def answer(self, graph: Graph) -> str:
        """The right answer."""

    @abstractmethod
    def steps_in(self, text: str) -> tuple[str, ...]:
        """Cut a generated reasoning into its steps."""

    @abstractmethod
    def read_steps(self, graph: Graph, steps: Sequence[str]) -> tuple[Step, ...]:
        """The edges that written steps stand for; `NOWHERE` for what is no node."""

    def example(self, id: str, graph: Graph, path: Sequence[Step], rng: random.Random) -> Example:
        """Write the question of a graph, its facts and options in random order, with a path as its reasoning."""
        assert graph.distractor is not None, "a ProsQA question offers two options"
        root = graph.names[graph.root]
        first, second = shuffled((graph.names[graph.target], graph.names[graph.distractor]), rng)
        return Example(
            id=id,
            question=self.question(root, first, second),
            steps=tuple(self.step(graph, edge) for edge in path),
            answer=self.answer(graph),
            premises=tuple(self.premise(graph, edge) for edge in shuffled(graph.edges, rng)),
            rewordings=(self.question(root, second, first),),
            frontiers=named_frontiers(graph),
            graph=graph,
        )

    def split(self, text: str) -> QuestionText | None:
        """Cut a text into its premises and its question; None when it is not written this way.

        Joined again by single spaces, premises and question are the text, character by character.
        """
        *premises, question = re.split(r"(?<=[.|]) ", text)
        found = self._question.fullmatch(question)
        if found is None or not all(self._premise.fullmatch(premise) for premise in premises):
            return None
        return QuestionText(tuple(premises), question, self.question(found["root"], found["second"], found["first"]))


class Words(Rendering):
    """The sentences of the released data. Entities have capitals; every other name is a concept."""

    text = TextFormat()
    _premise = re.compile(r"(Every )?\S+ is a [^\s.]+\.")
    _question = re.compile(r"Is (?P<root>\S+) a (?P<first>\S+) or (?P<second>[^\s?]+)\?")

    def premise(self, graph: Graph, edge: Step) -> str:
        """`Tom is a lempus.` or `Every lempus is a scrompus.`"""
        start, end = graph.names[edge[0]], graph.names[edge[1]]
        return f"{start} is a {end}." if start[0].isupper() else f"Every {start} is a {end}."

    def question(self, root: str, first: str, second: str) -> str:
        """`Is Tom a lempus or scrompus?`"""
        return f"Is {root} a {first} or {second}?"

    def step(self, graph: Graph, edge: Step) -> str:
        """As the premise."""
        return self.premise(graph, edge)

    def answer(self, graph: Graph) -> str:
        """`Tom is a lempus.`"""
        return f"{graph.names[graph.root]} is a {graph.names[graph.target]}."

    def steps_in(self, text: str) -> tuple[str, ...]:
        """Sentences; a last one that has no full stop counts as one."""
        return tuple(f"{' '.join(sentence.split())}." for sentence in text.split(".") if sentence.strip())

    def read_steps(self, graph: Graph, steps: Sequence[str]) -> tuple[Step, ...]:
        """Each sentence is looked up among those of the graph."""
        edges = {self.premise(graph, edge): edge for edge in graph.edges}
        return tuple(edges.get(step, (NOWHERE, NOWHERE)) for step in steps)


class Symbols(Rendering):
    """The tokens of arXiv:2505.12514: a vertical bar after each edge, markers for the options, root and answer."""

    text = TextFormat(question_end=" ", step_end=" ", answer_start="[A] ")
    _premise = re.compile(r"\S+ \S+ \|")
    _question = re.compile(r"\[Q\] (?P<first>\S+) (?P<second>\S+) \[R\] (?P<root>\S+)")

    def premise(self, graph: Graph, edge: Step) -> str:
        """`3 14 |`"""
        return f"{graph.names[edge[0]]} {graph.names[edge[1]]} |"

    def question(self, root: str, first: str, second: str) -> str:
        """`[Q] 16 13 [R] 1`"""
        return f"[Q] {first} {second} [R] {root}"

    def step(self, graph: Graph, edge: Step) -> str:
        """The node that the edge leads to."""
        return graph.names[edge[1]]

    def answer(self, graph: Graph) -> str:
        """The target."""
        return graph.names[graph.target]

    def steps_in(self, text: str) -> tuple[str, ...]:
        """Words."""
        return tuple(text.split())

    def read_steps(self, graph: Graph, steps: Sequence[str]) -> tuple[Step, ...]:
        """Each node is the end of a step that began at the one before it, the first at the nearest node it can."""
        ids = {name: node for node, name in enumerate(graph.names)}
        nodes = [ids.get(step, NOWHERE) for step in steps]
        if not nodes:
            return ()
        depth = distances(graph)
        before = [(depth[start], start) for start, end in graph.edges if end == nodes[0]]
        _, begin = min(((near, start) for near, start in before if near is not None), default=(None, NOWHERE))
        return tuple(zip((begin, *nodes[:-1]), nodes, strict=True))


def named_frontiers(graph: Graph) -> tuple[tuple[str, ...], ...]:
    """The frontiers after each step, as an `Example` holds them: names, without the root."""
    return tuple(tuple(graph.names[node] for node in nodes) for nodes in frontiers(graph)[1:])
