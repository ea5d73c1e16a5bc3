"""ProntoQA: is a sentence true of somebody, by a chain of rules about concepts that do not exist? (arXiv:2210.01240)

    premises  Tumpuses are gorpuses. | Every lorpus is not happy. | Gorpuses are wumpuses. | Tumpuses are floral. | ...
              Alex is a tumpus. | Alex is a jompus.
    question  True or false: Alex is happy.
    steps     Alex is a tumpus. Tumpuses are gorpuses.
              Alex is a gorpus. Gorpuses are wumpuses.
              ...
              Alex is a brimpus. Brimpuses are happy.
              Alex is happy.
    answer    True

A file has the format of the released Coconut: `question` holds the premises too, before "True or false:".

The generator makes what the official one makes for five hops (fictional ontology, relevant distractors, random order):
every row of the released validation file has its shape. Of each concept of the chain a property is known and a concept
aside, which has a property too; the last concept has two aside. Somebody is also of a concept that leads nowhere, and
one more concept has the opposite of the property in question. No two properties are of one family.
"""

import random
import re
from collections.abc import Sequence
from itertools import chain, pairwise, zip_longest
from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from unspoken.config import Count, DataPaths
from unspoken.errors import DataError
from unspoken.records import Example, Graph, Ledger, Split
from unspoken.tasks.base import Task
from unspoken.tasks.chance import choose, shuffled
from unspoken.tasks.read_rows import Row, shown
from unspoken.tasks.rows import examples_from, path_of, question_steps_answer

NAMES = ("Fae", "Rex", "Sally", "Max", "Alex", "Sam", "Polly", "Stella", "Wren")
_CONCEPTS = (
    "wumpus yumpus zumpus dumpus rompus numpus tumpus vumpus impus jompus gorpus shumpus lempus sterpus grimpus lorpus "
    "brimpus"
)
_MORE_CONCEPTS = (
    "timpus yimpus rempus fompus worpus terpus gerpus kerpus scrompus zhorpus bompus jelpus felpus chorpus hilpus "
    "storpus yerpus boompus gwompus rorpus quimpus"
)
CONCEPTS = tuple(_CONCEPTS.split())
MORE_CONCEPTS = tuple(_MORE_CONCEPTS.split())
"""Used beyond six hops only, which need more concepts than there are in `CONCEPTS`."""
FAMILIES = (
    ("blue", "red", "brown", "orange"),
    ("small", "large"),
    ("metallic", "wooden", "luminous", "liquid"),
    ("transparent", "opaque"),
    ("nervous", "happy", "feisty", "shy"),
    ("bright", "dull"),
    ("sweet", "sour", "spicy", "bitter"),
    ("floral", "fruity", "earthy"),
    ("hot", "cold", "temperate"),
    ("kind", "mean", "angry", "amenable", "aggressive"),
    ("melodic", "muffled", "discordant", "loud"),
    ("slow", "moderate", "fast"),
    ("windy", "sunny", "overcast", "rainy", "snowy"),
)

# a third of all properties is negated; the official walk along the chain stops at one, to ask for it, with odds of
# 3 to 10 where it is affirmed and 7 to 10 where it is negated: fewer negations are passed, more are asked for
_NEGATED = 1 / 3
_NEGATED_WHERE_PASSED = 13 / 47
_NEGATED_WHERE_ASKED = 91 / 193

_QUERY = "True or false: "
_SENTENCE = re.compile(r"[^. ][^.]*\.")


class ProntoQA(Task, DataPaths):
    """True or false, by a chain of rules; a split with a file is read from it, any other is generated. In generated
    rows a shortcut answers without the chain: two rules are about the asked property, and only the subject of the true
    one is named by another premise.

    The rows of a split do not depend on how many it has. There are so many questions (more than 10^20 with one hop,
    which makes the fewest) that no two generated rows are the same.
    """

    name: Literal["prontoqa"] = "prontoqa"
    hops: Annotated[int, Field(ge=1, le=17)] = 5
    """Rules to apply, the last one to a property; a row has a step for each, and the conclusion."""
    train_rows: PositiveInt = 9_000
    validation_rows: PositiveInt = 200
    test_rows: PositiveInt = 800
    seed: Count = 0
    """Seed of the generated questions."""
    max_bad_rows: Count = 0
    """Rows of a file that may be left out because something is wrong with them; each one is in the ledger."""

    @property
    def max_new_tokens(self) -> int:
        """128 with five hops, as the release; the longest released row takes 103 tokens of GPT-2."""
        return 20 * (self.hops + 1) + 8

    def words(self) -> Sequence[str] | None:
        """Everything the generator can write with any number of hops; None when training rows come from a file."""
        if self.train is not None:
            return None
        concepts = (*CONCEPTS, *MORE_CONCEPTS)
        plurals = tuple(_plural(concept) for concept in concepts)
        return (
            *("\n", "###", ".", ":", "True", "False", "or", "false", "Each", "Every", "is", "are", "a", "an", "not"),
            *NAMES,
            *concepts,
            *plurals,
            *(plural.capitalize() for plural in plurals),
            *chain(*FAMILIES),
        )

    def examples(self, split: Split) -> tuple[Sequence[Example], Ledger]:
        """The rows of the split's file, or as many generated ones as set: one of each two is true.

        Raises:
            DataError: More than `max_bad_rows` rows of a file are rejected.
        """
        path = path_of(self, split)
        if path is not None:
            return examples_from(
                path,
                parse_row,
                prefix=f"{self.name}/{split}",
                max_bad_rows=self.max_bad_rows,
                keys=("question", "steps", "answer"),
            )
        count = {"train": self.train_rows, "validation": self.validation_rows, "test": self.test_rows}[split]
        examples = []
        for index in range(count):
            seed = f"prontoqa/{self.seed}/{split}"
            first_is_true = random.Random(f"{seed}/pair {index // 2}").random() < 0.5
            is_true = first_is_true == (index % 2 == 0)
            example = generate(f"prontoqa/{split}/{index}", self.hops, is_true, random.Random(f"{seed}/{index}"))
            examples.append(example)
        return tuple(examples), Ledger(rows_in=count, rows_kept=count)


def parse_row(row: Row, id: str) -> Example:
    """The example of a row of a file; its premises are the sentences before the query.

    Raises:
        DataError: A field is wrong, or the question is not sentences and then a query.
    """
    question, steps, answer = question_steps_answer(row)
    context, mark, claim = question.rpartition(f" {_QUERY}")
    premises = tuple(_SENTENCE.findall(context))
    if not mark or " ".join(premises) != context:
        raise DataError(
            f"question ends in {shown(question[-60:])}; it must be sentences with a full stop and a space after each, "
            f"then {_QUERY!r} and a sentence"
        )
    if answer not in ("True", "False"):
        raise DataError(f"answer is {shown(answer)}; it must be True or False")
    return Example(id, _QUERY + claim, steps, answer, premises)


def generate(id: str, hops: int, is_true: bool, rng: random.Random) -> Example:
    """A question of so many hops.

    The graph's nodes are the concepts, and the properties as they are said ("happy", "not happy"); it leads from the
    first concept of the chain to what holds, and the distractor is the opposite. Frontiers name the property without
    its negation, and once more for the conclusion.
    """
    name = choose(NAMES, rng)
    num_concepts = 2 * hops + 4
    pool = CONCEPTS if num_concepts <= len(CONCEPTS) else (*CONCEPTS, *MORE_CONCEPTS)
    concepts = shuffled(pool, rng)[:num_concepts]
    path, asides = concepts[:hops], concepts[hops : 2 * hops]
    second_aside, elsewhere, beyond, opposed = concepts[2 * hops :]

    properties = _properties(len(path) + len(asides) + 1, rng)
    odds = (*[_NEGATED_WHERE_PASSED] * (hops - 1), _NEGATED_WHERE_ASKED, *[_NEGATED] * (hops + 1))
    said = tuple(f"not {p}" if rng.random() < share else p for p, share in zip(properties, odds, strict=True))
    asked = said[hops - 1]
    opposite = asked.removeprefix("not ") if asked.startswith("not ") else f"not {asked}"

    chain_rules = (*pairwise(path), (path[-1], asked))
    rules = (
        *chain_rules,
        *zip(path, asides, strict=True),
        (path[-1], second_aside),
        (elsewhere, beyond),
        *zip(path[:-1], said[: hops - 1], strict=True),
        *zip((*asides, elsewhere), said[hops:], strict=True),
        (opposed, opposite),
    )
    sentences = {rule: _rule(*rule, rng) for rule in rules}
    nodes = {node: index for index, node in enumerate((*concepts, *said, opposite))}
    return Example(
        id=id,
        question=_QUERY + _fact(name, asked if is_true else opposite),
        steps=(*(f"{_fact(name, rule[0])} {sentences[rule]}" for rule in chain_rules), _fact(name, asked)),
        answer=str(is_true),
        premises=(
            *shuffled(tuple(sentences.values()), rng),
            *shuffled((_fact(name, path[0]), _fact(name, elsewhere)), rng),
        ),
        frontiers=tuple((word,) for word in (*path[1:], properties[hops - 1], properties[hops - 1])),
        graph=Graph(
            names=tuple(nodes),
            edges=tuple((nodes[subject], nodes[said_of_it]) for subject, said_of_it in rules),
            root=nodes[path[0]],
            target=nodes[asked],
            distractor=nodes[opposite],
        ),
    )


def _rule(subject: str, said: str, rng: random.Random) -> str:
    """A rule in one of its three forms: plural as often as both singular ones."""
    form = rng.random()
    if form < 0.5:
        return f"{_plural(subject).capitalize()} are {_plural(said) if _is_concept(said) else said}."
    return f"{'Each' if form < 0.75 else 'Every'} {_fact(subject, said)}"


def _fact(subject: str, said: str) -> str:
    article = ("an " if said[0] in "aeiou" else "a ") if _is_concept(said) else ""
    return f"{subject} is {article}{said}."


def _plural(concept: str) -> str:
    return f"{concept}es"


def _is_concept(said: str) -> bool:
    return said.endswith("pus")


def _properties(count: int, rng: random.Random) -> tuple[str, ...]:
    """Properties in random order, each of another family until there is none left; then second ones of each."""
    families = [shuffled(family, rng) for family in shuffled(FAMILIES, rng)]
    return tuple(word for row in zip_longest(*families) for word in row if word is not None)[:count]
