"""ProsQA: generated graphs have the released statistics, texts and graphs agree, files are read strictly."""

import json
import math
import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest
from pydantic import ValidationError

from unspoken.errors import DataError
from unspoken.records import Example, Graph, Ledger, Score
from unspoken.tasks.graph import classify_path, distances, frontiers, reachable, shortest_paths, successors
from unspoken.tasks.prosqa import CONCEPTS, ENTITIES, ProsQA
from unspoken.tasks.prosqa_graphs import ProsQAGraphs

RELEASED = Path(__file__).parents[3] / "../shared/data/prosqa"
needs_released = pytest.mark.skipif(not RELEASED.is_dir(), reason="the released ProsQA files are not on this machine")

SMALL = ProsQA(train_rows=60, validation_rows=20, test_rows=20)
SYMBOLS = SMALL.model_copy(update={"rendering": "symbols"})
RELABELLED = SYMBOLS.model_copy(update={"relabel": True})

PINNED = (
    "9 4 | 2 7 | 2 4 | 3 11 | 0 11 | 3 10 | 2 5 | 1 0 | 9 5 | 0 3 | 3 8 | 9 2 | 0 8 | 3 6 | 4 7 | 1 8 | "
    "[Q] 5 10 [R] 1 0 3 10 [A] 10"
)

# Tom -> bompus -> dumpus -> fompus, the target; Tom -> gerpus -> hilpus -> bompus is a detour; Rex -> impus is apart
ROW = {
    "question": "Rex is a impus. Every bompus is a dumpus. Tom is a bompus. Every gerpus is a hilpus. Tom is a gerpus. "
    "Every dumpus is a fompus. Every hilpus is a bompus. Is Tom a impus or fompus?",
    "answer": "Tom is a fompus.",
    "steps": ["Tom is a bompus.", "Every bompus is a dumpus.", "Every dumpus is a fompus."],
    "idx_to_symbol": ["Tom", "Rex", "gerpus", "hilpus", "bompus", "dumpus", "fompus", "impus"],
    "edges": [[0, 4], [4, 5], [0, 2], [2, 3], [3, 4], [5, 6], [1, 7]],
    "root": 0,
    "target": 6,
    "neg_target": 7,
}
GRAPH_KEYS = ("idx_to_symbol", "edges", "root", "target", "neg_target")


def graph_of(example: Example) -> Graph:
    assert example.graph is not None
    return example.graph


def question_of(task: ProsQA, example: Example) -> str:
    return task.text.premise_separator.join((*example.premises, example.question))


def written(task: ProsQA, example: Example) -> str:
    form = task.text
    steps = "".join(step + form.step_end for step in example.steps)
    return question_of(task, example) + form.question_end + steps + form.answer_start + example.answer


def every_example(task: ProsQA) -> list[Example]:
    return [example for split in ("train", "validation", "test") for example in task.examples(split)[0]]


def write(folder: Path, *rows: Any, name: str = "rows.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(list(rows)))
    return path


def read_one(folder: Path, row: dict[str, Any], **settings: Any) -> Example:
    (example,), _ = ProsQA(validation=write(folder, row), **settings).examples("validation")
    return example


# ---- statistics ------------------------------------------------------------------------------------------------------

DRAWS = 1_600
NUM_RELEASED = 800
"""Graphs of the released validation and test files, which the figures below describe."""


@lru_cache
def drawn(settings: ProsQAGraphs) -> tuple[Graph, ...]:
    rng = random.Random("statistics")
    return tuple(graph for _ in range(DRAWS) if (graph := settings.draw(rng)) is not None)


def deviation(numerators: Sequence[float], released: float, denominators: Sequence[float] | None = None) -> float:
    """How many standard errors our ratio of means lies from the released one, sampled with the same spread from 800."""
    denominators = denominators or [1.0] * len(numerators)
    ours = sum(numerators) / sum(denominators)
    spread = stdev(a - ours * b for a, b in zip(numerators, denominators, strict=True)) / mean(denominators)
    return (ours - released) / (spread * math.sqrt(1 / len(numerators) + 1 / NUM_RELEASED))


def deviations(graphs: Sequence[Graph]) -> dict[str, float]:
    """Deviation of every published statistic. One sigma is, for 1,490 graphs against 800:

    nodes 0.09, edges 0.25, shares of hops 0.021 (0.007 for six), shortest paths 0.042, root 0.021, children of the root
    0.06, shares of parentless 0.022 (0.013 for four), of in-degrees 0.002 to 0.006, of families 0.003 to 0.012.
    """
    incoming = [Counter(end for _, end in graph.edges) for graph in graphs]
    hops = [distances(graph)[graph.target] for graph in graphs]
    parentless = [len(graph.names) - len(ends) for graph, ends in zip(graphs, incoming, strict=True)]
    # in-degrees and families are published without the two founders, whose values are given
    others = [len(graph.names) - 2 for graph in graphs]
    degrees = [
        Counter(ends[node] for node in range(2, len(graph.names))) for graph, ends in zip(graphs, incoming, strict=True)
    ]
    families = [family_counts(graph) for graph in graphs]
    found = {
        "nodes": deviation([len(graph.names) for graph in graphs], 22.81),
        "edges": deviation([len(graph.edges) for graph in graphs], 36.0),
        "shortest paths": deviation([len(shortest_paths(graph)) for graph in graphs], 1.586),
        "root is node 1": deviation([graph.root for graph in graphs], 0.636),
        "children of the root": deviation([len(successors(graph)[graph.root]) for graph in graphs], 2.94),
    }
    for length, share in {3: 0.4075, 4: 0.4375, 5: 0.131, 6: 0.024}.items():
        found[f"{length} hops"] = deviation([length == each for each in hops], share)
    for number, share in {2: 0.576, 3: 0.316, 4: 0.085}.items():
        found[f"{number} parentless"] = deviation([number == each for each in parentless], share)
    for degree, share in {0: 0.027, 1: 0.479, 2: 0.304, 3: 0.133, 4: 0.042, 5: 0.011}.items():
        found[f"in-degree {degree}"] = deviation([each[degree] for each in degrees], share, others)
    for family, share in {"neither": 0.034, "first": 0.390, "second": 0.517, "both": 0.060}.items():
        found[f"{family} family"] = deviation([each[family] for each in families], share, others)
    return found


def family_counts(graph: Graph) -> Counter[str]:
    first, second = (reachable(replace(graph, root=founder)) for founder in (0, 1))
    names = {(True, False): "first", (False, True): "second", (True, True): "both", (False, False): "neither"}
    return Counter(names[node in first, node in second] for node in range(2, len(graph.names)))


def test_generated_graphs_have_the_statistics_of_the_released_ones() -> None:
    # of 22 comparisons one beyond 3.5 sigma has probability 0.01 when the distributions are equal
    beyond = {name: round(value, 1) for name, value in deviations(drawn(ProsQAGraphs())).items() if abs(value) > 3.5}
    assert beyond == {}


def test_the_threshold_printed_in_the_paper_does_not_have_them() -> None:
    printed = deviations(drawn(ProsQAGraphs(pool_thresholds=(0.35, 0.70))))
    assert printed["neither family"] > 5
    assert printed["second family"] < -5


def test_the_yield_of_draws_is_that_of_the_released_data() -> None:
    # released: 18,686 rows, presumably of 20,000 draws, 0.934; sigma of 1,600 draws 0.0063. Six hops at most take 0.4%
    unlimited = drawn(ProsQAGraphs(max_hops=100))
    assert len(unlimited) / DRAWS == pytest.approx(0.934, abs=3 * 0.0063)
    assert 0 < len(unlimited) - len(drawn(ProsQAGraphs())) < 0.012 * DRAWS


def test_no_graph_has_more_hops_than_the_largest_or_fewer_than_the_smallest_allowed() -> None:
    assert {distances(graph)[graph.target] for graph in drawn(ProsQAGraphs())} == {3, 4, 5, 6}
    assert {distances(graph)[graph.target] for graph in drawn(ProsQAGraphs(min_hops=4, max_hops=5))} == {4, 5}


def test_every_graph_keeps_the_rules_of_the_released_ones() -> None:
    distractor_is_deepest = 0
    for graph in drawn(ProsQAGraphs()):
        depth = distances(graph)
        other = distances(replace(graph, root=1 - graph.root))
        parents = {start for start, _ in graph.edges}
        leaves = [node for node in range(len(graph.names)) if node not in parents]
        own = [leaf for leaf in leaves if depth[leaf] is not None and other[leaf] is None]
        others = [leaf for leaf in leaves if depth[leaf] is None and other[leaf] is not None]
        assert all(start < end for start, end in graph.edges)
        assert len(set(graph.edges)) == len(graph.edges)
        assert {node for edge in graph.edges for node in edge} == set(range(len(graph.names)))
        assert graph.target in own
        assert depth[graph.target] == max(depth[leaf] or 0 for leaf in own)
        assert graph.distractor in others
        deepest_other = max(other[leaf] or 0 for leaf in others)
        assert deepest_other <= (depth[graph.target] or 0)
        distractor_is_deepest += other[graph.distractor or 0] == deepest_other
    # released 0.69; sigma 0.020 for 1,490 graphs against 800
    assert distractor_is_deepest / len(drawn(ProsQAGraphs())) == pytest.approx(0.69, abs=0.06)


# ---- generated rows --------------------------------------------------------------------------------------------------


def test_every_text_says_what_its_graph_says() -> None:
    for example in every_example(SMALL):
        graph = graph_of(example)
        names = graph.names
        children = {end for _, end in graph.edges}
        sentences = {
            f"{names[start]} is a {names[end]}."
            if start not in children
            else f"Every {names[start]} is a {names[end]}."
            for start, end in graph.edges
        }
        root, target, distractor = names[graph.root], names[graph.target], names[graph.distractor or 0]
        assert set(example.premises) == sentences
        assert len(example.premises) == len(graph.edges)
        assert {example.question, *example.rewordings} == {
            f"Is {root} a {target} or {distractor}?",
            f"Is {root} a {distractor} or {target}?",
        }
        assert example.answer == f"{root} is a {target}."
        assert {name for node, name in enumerate(names) if node in children} <= set(CONCEPTS)
        assert {name for node, name in enumerate(names) if node not in children} <= set(ENTITIES)
        assert len(set(names)) == len(names)


@pytest.mark.parametrize("task", [SMALL, SYMBOLS, RELABELLED])
def test_the_steps_are_a_shortest_path_and_the_frontiers_its_alternatives(task: ProsQA) -> None:
    for example in every_example(task):
        graph = graph_of(example)
        assert task.classify(example, written(task, example).removeprefix(question_of(task, example))) == "correct path"
        expected = [tuple(graph.names[node] for node in nodes) for nodes in frontiers(graph)]
        assert (graph.names[graph.root],) == expected[0]
        assert list(example.frontiers) == expected[1:]
        assert len(example.steps) == len(example.frontiers)
        ends = [step.rstrip(".").split()[-1] for step in example.steps]
        assert all(end in frontier for end, frontier in zip(ends, example.frontiers, strict=True))


def test_symbols_read_like_the_superposition_data() -> None:
    for example in every_example(SYMBOLS):
        graph = graph_of(example)
        assert graph.names == tuple(map(str, range(len(graph.names))))
        assert set(example.premises) == {f"{start} {end} |" for start, end in graph.edges}
        assert {example.question, *example.rewordings} == {
            f"[Q] {graph.target} {graph.distractor} [R] {graph.root}",
            f"[Q] {graph.distractor} {graph.target} [R] {graph.root}",
        }
        assert example.answer == example.steps[-1] == str(graph.target)


def test_all_renderings_of_a_seed_hold_the_same_graphs() -> None:
    words, symbols, relabelled = (every_example(task) for task in (SMALL, SYMBOLS, RELABELLED))
    for one, two, three in zip(words, symbols, relabelled, strict=True):
        nameless = replace(graph_of(one), names=())
        assert nameless == replace(graph_of(two), names=()) == replace(graph_of(three), names=())
        assert sorted(graph_of(two).names) == sorted(graph_of(three).names)
    roots = Counter(graph_of(example).names[graph_of(example).root] for example in relabelled)
    assert len(roots) > 10


def test_options_premises_and_paths_come_in_random_order() -> None:
    examples = SMALL.model_copy(update={"train_rows": 400}).examples("train")[0]
    last = sum(
        example.question.endswith(f" {graph_of(example).names[graph_of(example).target]}?") for example in examples
    )
    assert 160 < last < 240  # half of 400, four sigma
    several = [example for example in examples if len(shortest_paths(graph_of(example))) == 2]
    first = [
        example.steps[-2].rstrip(".").split()[-1] == graph_of(example).names[shortest_paths(graph_of(example))[0][-2]]
        for example in several
    ]
    assert 0.3 < mean(first) < 0.95  # two paths may share their last but one node
    # where the sentence of the first edge stands among its n: uniform, mean 1/2, sigma 0.29 / sqrt(400) = 0.015
    places = [example.premises.index(first_sentence(example)) / (len(example.premises) - 1) for example in examples]
    assert mean(places) == pytest.approx(0.5, abs=0.06)


def first_sentence(example: Example) -> str:
    (start, end), names = graph_of(example).edges[0], graph_of(example).names
    return f"{names[start]} is a {names[end]}."  # it begins at a founder, which is an entity


def test_no_graph_occurs_twice_in_any_splits_even_where_few_exist() -> None:
    task = ProsQA(max_nodes=7, min_hops=1, max_hops=3, train_rows=300, validation_rows=100, test_rows=100)
    keys = [(frozenset(graph_of(example).edges), *question_nodes(example)) for example in every_example(task)]
    assert len(set(keys)) == len(keys) == 500
    rng = random.Random(0)
    free = [graph for _ in range(500) if (graph := task.draw(rng)) is not None]
    assert len({(frozenset(g.edges), g.root, g.target, g.distractor) for g in free}) < 0.9 * len(free)


def question_nodes(example: Example) -> tuple[int, int, int | None]:
    return graph_of(example).root, graph_of(example).target, graph_of(example).distractor


def test_settings_that_hold_too_few_graphs_are_an_error_that_says_what_to_change() -> None:
    # four nodes: the founders 0 and 1, with one child each
    task = ProsQA(max_nodes=4, min_hops=1, max_hops=1, train_rows=5, validation_rows=2, test_rows=2)
    with pytest.raises(DataError, match=r"no new graph for row \d of (test|validation|train) .* raise max_nodes"):
        task.examples("train")


def test_graphs_with_more_entities_than_names_are_drawn_anew_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    assert max(map(num_parentless, every_example(SMALL))) > 2
    monkeypatch.setattr("unspoken.tasks.prosqa.ENTITIES", ("Tom", "Rex"))
    examples = every_example(SMALL)
    assert set(map(num_parentless, examples)) == {2}
    assert {graph_of(example).names[graph_of(example).root] for example in examples} == {"Tom", "Rex"}


def num_parentless(example: Example) -> int:
    return len(graph_of(example).names) - len({end for _, end in graph_of(example).edges})


def test_the_same_seed_gives_the_same_rows_and_another_seed_others() -> None:
    assert SMALL.examples("train") == ProsQA(train_rows=60, validation_rows=20, test_rows=20).examples("train")
    other = SMALL.model_copy(update={"seed": 1}).examples("train")[0]
    assert not {frozenset(example.premises) for example in other} & {
        frozenset(example.premises) for example in SMALL.examples("train")[0]
    }


def test_a_row_does_not_depend_on_how_many_rows_are_asked_for() -> None:
    more = ProsQA(train_rows=70, validation_rows=30, test_rows=25)
    assert more.examples("train")[0][:60] == SMALL.examples("train")[0]
    assert more.examples("validation")[0][:20] == SMALL.examples("validation")[0]
    assert more.examples("test")[0][:20] == SMALL.examples("test")[0]


def test_a_row_is_the_same_on_every_machine_and_version_of_python() -> None:
    task = RELABELLED.model_copy(update={"max_nodes": 14})
    assert written(task, task.examples("test")[0][0]) == PINNED


def test_every_generated_row_is_kept_in_the_ledger() -> None:
    examples, ledger = SMALL.examples("train")
    assert len(examples) == 60
    assert ledger == Ledger(rows_in=60, rows_kept=60)


def test_the_vocabulary_holds_every_word_of_the_text() -> None:
    words, used = SMALL.words(), set()
    for example in every_example(SMALL):
        used |= set(re.findall(r"\n|\w+|[^\w\s]+", written(SMALL, example)))
    assert words is not None
    assert used == set(words)
    assert len(words) == len(used)


def test_symbols_are_words_between_single_spaces() -> None:
    words, used = RELABELLED.words(), set()
    for example in every_example(RELABELLED):
        text = written(RELABELLED, example)
        assert text == " ".join(text.split())
        used |= set(text.split())
    assert words == ("|", "[Q]", "[R]", "[A]", *map(str, range(28)))
    assert used <= set(words)
    assert len(used) > 24  # few of 100 graphs keep all of their 28 nodes


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValidationError, match="words name at most 40 nodes; set rendering: symbols"):
        ProsQA(max_nodes=41)
    with pytest.raises(ValidationError, match="relabel shuffles numbers"):
        ProsQA(relabel=True)
    with pytest.raises(ValidationError, match="min_hops is 5, more than max_hops, 4"):
        ProsQA(min_hops=5, max_hops=4)
    with pytest.raises(ValidationError, match="give the smaller one first"):
        ProsQA(pool_thresholds=(0.8, 0.35))
    assert ProsQA(max_nodes=41, rendering="symbols", relabel=True).max_nodes == 41


# ---- files -----------------------------------------------------------------------------------------------------------


def test_a_released_row_is_split_into_premises_and_question(tmp_path: Path) -> None:
    example = read_one(tmp_path, ROW)
    assert example == Example(
        id="prosqa/validation/1",
        question="Is Tom a impus or fompus?",
        steps=tuple(ROW["steps"]),
        answer="Tom is a fompus.",
        premises=(
            "Rex is a impus.",
            "Every bompus is a dumpus.",
            "Tom is a bompus.",
            "Every gerpus is a hilpus.",
            "Tom is a gerpus.",
            "Every dumpus is a fompus.",
            "Every hilpus is a bompus.",
        ),
        rewordings=("Is Tom a fompus or impus?",),
        frontiers=(("bompus",), ("dumpus",), ("fompus",)),
        graph=Graph(
            names=tuple(ROW["idx_to_symbol"]),
            edges=tuple((start, end) for start, end in ROW["edges"]),
            root=0,
            target=6,
            distractor=7,
        ),
    )
    assert " ".join((*example.premises, example.question)) == ROW["question"]


def test_a_released_row_can_be_written_in_symbols(tmp_path: Path) -> None:
    example = read_one(tmp_path, ROW, rendering="symbols")
    assert set(example.premises) == {"0 4 |", "4 5 |", "0 2 |", "2 3 |", "3 4 |", "5 6 |", "1 7 |"}
    assert {example.question, *example.rewordings} == {"[Q] 6 7 [R] 0", "[Q] 7 6 [R] 0"}
    assert (example.steps, example.answer) == (("4", "5", "6"), "6")
    assert example.frontiers == (("4",), ("5",), ("6",))


def test_steps_of_a_file_keep_their_path_in_symbols(tmp_path: Path) -> None:
    steps = ["Tom is a gerpus.", "Every gerpus is a hilpus.", "Every hilpus is a bompus.", *ROW["steps"][1:]]
    example = read_one(tmp_path, ROW | {"steps": steps}, rendering="symbols")
    assert example.steps == ("2", "3", "4", "5", "6")


def test_a_row_without_a_graph_is_plain_text(tmp_path: Path) -> None:
    plain = {key: value for key, value in ROW.items() if key not in GRAPH_KEYS}
    example = read_one(tmp_path, plain)
    assert (example.graph, example.frontiers) == (None, ())
    assert example.question == "Is Tom a impus or fompus?"
    assert " ".join((*example.premises, example.question)) == ROW["question"]


@pytest.mark.parametrize(
    "question",
    [
        "Every bompus is a dumpus. Is Tom a fompus or a impus?",
        "Every bompus is a dumpus.  Is Tom a fompus or impus?",
        "All bompuses are dumpuses. Is Tom a fompus or impus?",
        "Is Tom a fompus or impus? Every bompus is a dumpus.",
    ],
)
def test_a_question_that_is_not_written_like_prosqa_stays_one_text(tmp_path: Path, question: str) -> None:
    example = read_one(tmp_path, ROW | {"question": question})
    assert (example.premises, example.question, example.rewordings) == ((), question, ())
    assert graph_of(example).names == tuple(ROW["idx_to_symbol"])


@pytest.mark.parametrize("task", [SMALL, SYMBOLS, RELABELLED])
def test_what_is_written_as_a_row_is_read_back_unchanged(tmp_path: Path, task: ProsQA) -> None:
    examples = task.examples("test")[0]
    path = write(tmp_path, *map(task.to_row, examples))
    back, ledger = task.model_copy(update={"test": path}).examples("test")
    assert back == examples
    assert (ledger.rows_in, ledger.rows_kept) == (20, 20)


def test_a_row_has_the_keys_of_the_released_files(tmp_path: Path) -> None:
    assert ProsQA().to_row(read_one(tmp_path, ROW)) == ROW
    plain = {key: value for key, value in ROW.items() if key not in GRAPH_KEYS}
    assert ProsQA().to_row(read_one(tmp_path, plain)) == plain


def test_generated_rows_never_repeat_a_graph_of_a_file(tmp_path: Path) -> None:
    path = write(tmp_path, *map(SMALL.to_row, SMALL.examples("train")[0][:10]))
    around = SMALL.model_copy(update={"validation": path}).examples("train")[0]
    edges = {graph_of(example).edges for example in around}
    assert not edges & {graph_of(example).edges for example in SMALL.examples("train")[0][:10]}
    assert around[10:] == SMALL.examples("train")[0][10:]


def test_the_vocabulary_of_training_rows_in_a_file_is_left_to_the_rows(tmp_path: Path) -> None:
    path = write(tmp_path, ROW)
    assert ProsQA(train=path).words() is None
    assert ProsQA(validation=path).words() == SMALL.words()
    assert ProsQA(train=path, rendering="symbols").words() == SYMBOLS.words()


def test_rows_of_another_length_are_left_out_and_named_in_the_ledger(tmp_path: Path) -> None:
    short = ROW | {"target": 4, "answer": "Tom is a bompus.", "steps": ["Tom is a bompus."]}
    short["question"] = ROW["question"].replace("fompus?", "bompus?")
    path = write(tmp_path, short, ROW)
    examples, ledger = ProsQA(validation=path).examples("validation")
    assert [example.id for example in examples] == ["prosqa/validation/2"]
    assert (ledger.rows_in, ledger.rows_kept, len(ledger.rejected)) == (2, 1, 1)
    assert ledger.rejected[0].row == 1
    assert ledger.rejected[0].reason == "its shortest path has 1 hops; kept are 3 to 6"
    assert len(ProsQA(validation=path, min_hops=1).examples("validation")[0]) == 2
    with pytest.raises(DataError, match=r"has no row with 4 to 6 hops among 2; change min_hops"):
        ProsQA(validation=path, min_hops=4).examples("validation")
    with_bad = write(tmp_path, short, {}, ROW, name="bad.json")
    ledger = ProsQA(validation=with_bad, max_bad_rows=1).examples("validation")[1]
    assert [rejection.row for rejection in ledger.rejected] == [1, 2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"edges": None}, "edges: Input should be a valid list"),
        ({"edges": [[0, 1, 2]]}, r"edges\.0: List should have at most 2 items"),
        ({"edges": [[0, True]]}, r"edges\.0\.1: Input should be a valid integer"),
        ({"edges": [[0, -1]]}, r"edges\.0\.1: Input should be greater than or equal to 0"),
        ({"root": "0"}, "root: Input should be a valid integer"),
        ({"target": 8}, "node 8 has no name: idx_to_symbol has 8"),
        ({"idx_to_symbol": [*ROW["idx_to_symbol"][:-1], "Tom"]}, "two nodes have the same name"),
        ({"idx_to_symbol": [*ROW["idx_to_symbol"][:-1], "im pus"]}, r"idx_to_symbol\.7: String should match pattern"),
        ({"edges": ROW["edges"][:5]}, "target 'fompus' cannot be reached from root 'Tom'"),
        ({"neg_target": 3}, "neg_target 'hilpus' can be reached from root 'Tom'"),
        ({"edges": [*ROW["edges"], [5, 3]]}, "the sentences of the question are not those of the edges"),
        ({"target": 5}, "'Is Tom a impus or fompus.' does not ask about root, target and neg_target"),
        ({"answer": "Tom is a impus."}, "the answer is 'Tom is a impus.', by the graph it is 'Tom is a fompus.'"),
        ({"steps": ROW["steps"][1:]}, "the steps are no path from root to target"),
        ({"steps": ROW["steps"][:2]}, "the steps are no path from root to target"),
    ],
)
def test_a_row_that_contradicts_itself_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = write(tmp_path, ROW, ROW | change)
    with pytest.raises(DataError, match=rf"(?s)1 of 2 rows rejected.*row 2: .*{message}"):
        ProsQA(validation=path).examples("validation")


@pytest.mark.parametrize("key", GRAPH_KEYS)
def test_half_a_graph_is_refused(tmp_path: Path, key: str) -> None:
    row = {name: value for name, value in ROW.items() if name != key}
    with pytest.raises(DataError, match=f"its graph is malformed .{key}: Field required"):
        read_one(tmp_path, row)


def test_every_unusable_row_is_named_and_may_be_left_out_on_request(tmp_path: Path) -> None:
    path = write(tmp_path, ROW | {"root": None}, ROW, ROW | {"neg_target": 99})
    with pytest.raises(DataError, match=r"(?s)row 1: its graph is malformed.*row 3: node 99 has no name"):
        ProsQA(validation=path).examples("validation")
    examples, ledger = ProsQA(validation=path, max_bad_rows=2).examples("validation")
    assert len(examples) == ledger.rows_kept == 1
    assert [rejection.row for rejection in ledger.rejected] == [1, 3]


def test_a_file_in_the_other_rendering_says_which_setting_reads_it(tmp_path: Path) -> None:
    row = SYMBOLS.to_row(SYMBOLS.examples("test")[0][0])
    with pytest.raises(DataError, match="the question is written in symbols; set rendering: symbols"):
        read_one(tmp_path, row)


def test_symbols_need_a_graph_that_fits(tmp_path: Path) -> None:
    plain = {key: value for key, value in ROW.items() if key not in GRAPH_KEYS}
    with pytest.raises(DataError, match="symbols are written from the graph; add idx_to_symbol, edges, root, target"):
        read_one(tmp_path, plain, rendering="symbols")
    with pytest.raises(DataError, match="the graph has 8 nodes, max_nodes is 7; raise it"):
        read_one(tmp_path, ROW, rendering="symbols", max_nodes=7)
    with pytest.raises(DataError, match="the question is not that of a graph; set rendering: words"):
        read_one(tmp_path, plain | {"question": "Who is Tom?"}, rendering="symbols")
    big = SYMBOLS.to_row(SYMBOLS.examples("test")[0][0])
    with pytest.raises(DataError, match="its nodes are not all called 0 to 9; raise max_nodes"):
        read_one(tmp_path, big, rendering="symbols", max_nodes=10)


# ---- judging texts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        (
            "Tom is a bompus.\nEvery bompus is a dumpus.\nEvery dumpus is a fompus.\n### Tom is a fompus.",
            "correct path",
        ),
        ("Tom is a bompus. Every bompus is a dumpus. Every dumpus is a fompus.", "correct path"),
        ("Tom is a bompus .\n Every bompus is a dumpus . Every dumpus is a fompus . ### Tom is", "correct path"),
        (
            "Tom is a gerpus.\nEvery gerpus is a hilpus.\nEvery hilpus is a bompus.\nEvery bompus is a dumpus.\n"
            "Every dumpus is a fompus.\n### Tom is a fompus.",
            "longer path",
        ),
        ("Tom is a bompus.\nEvery bompus is a dumpus.\n### Tom is a fompus.", "wrong target"),
        ("Tom is a bompus.\nEvery bompus is a fompus.\n### Tom is a fompus.", "hallucination"),
        ("Every bompus is a dumpus.\nEvery dumpus is a fompus.\n### Tom is a fompus.", "hallucination"),
        ("Rex is a impus.\n### Tom is a impus.", "hallucination"),
        ("Tom is a bompus.\nEvery bompus is", "hallucination"),
        ("Every Tom is a bompus.\n### Tom is a fompus.", "hallucination"),
        ("### Tom is a fompus.", "correct label"),
        ("### Tom is a fompus .", "correct label"),
        ("### Tom is a impus.", "incorrect label"),
        ("### Tom is a fompus", "incorrect label"),
        ("", "incorrect label"),
    ],
)
def test_generated_texts_fall_into_the_six_classes(tmp_path: Path, text: str, outcome: str) -> None:
    assert ProsQA().classify(read_one(tmp_path, ROW), text) == outcome


def test_steps_taken_in_thoughts_need_not_be_written(tmp_path: Path) -> None:
    task, example = ProsQA(), read_one(tmp_path, ROW)
    rest = "Every dumpus is a fompus.\n### Tom is a fompus."
    assert task.classify(example, rest, hidden_steps=2) == "correct path"
    assert task.classify(example, rest, hidden_steps=1) == "hallucination"


@pytest.mark.parametrize(
    ("text", "hidden", "outcome"),
    [
        ("4 5 6 [A] 6", 0, "correct path"),
        ("2 3 4 5 6 [A] 6", 0, "longer path"),
        ("4 5 [A] 6", 0, "wrong target"),
        ("5 6 [A] 6", 0, "hallucination"),
        ("5 6 [A] 6", 1, "correct path"),
        ("6 [A] 6", 2, "correct path"),
        ("4 6 [A] 6", 0, "hallucination"),
        ("4 5 9 [A] 6", 0, "hallucination"),
        ("0 4 5 6 [A] 6", 0, "hallucination"),
        ("[A] 6", 0, "correct label"),
        ("[A] 7", 0, "incorrect label"),
    ],
)
def test_texts_in_symbols_are_classified_alike(tmp_path: Path, text: str, hidden: int, outcome: str) -> None:
    example = read_one(tmp_path, ROW, rendering="symbols")
    assert ProsQA(rendering="symbols").classify(example, text, hidden_steps=hidden) == outcome


def test_a_text_cannot_be_classified_without_a_graph(tmp_path: Path) -> None:
    plain = {key: value for key, value in ROW.items() if key not in GRAPH_KEYS}
    with pytest.raises(DataError, match="prosqa/validation/1 has no graph to check a path in"):
        ProsQA().classify(read_one(tmp_path, plain), "### Tom is a fompus.")


def test_answers_are_read_after_the_marker(tmp_path: Path) -> None:
    words, symbols = read_one(tmp_path, ROW), read_one(tmp_path, ROW, rendering="symbols")
    assert ProsQA().score(words, "Tom is a bompus.\n### Tom is a fompus.") == Score("right", "Tom is a fompus.")
    assert ProsQA().score(words, "Tom is a bompus.\n### Tom is a impus.") == Score("wrong", "Tom is a impus.")
    assert ProsQA().score(words, "Tom is a fompus.") == Score("no answer", None)
    assert ProsQA(rendering="symbols").score(symbols, "4 5 6 [A] 6") == Score("right", "6")
    assert ProsQA(rendering="symbols").score(symbols, "4 5 6") == Score("no answer", None)


# ---- the released files ----------------------------------------------------------------------------------------------


@needs_released
def test_the_released_validation_file_is_read_whole_and_agrees_with_the_oracle() -> None:
    path = RELEASED / "valid.json"
    rows = json.loads(path.read_text())
    task = ProsQA(validation=path)
    examples, ledger = task.examples("validation")
    assert (ledger.rows_in, ledger.rows_kept, ledger.rejected) == (300, 300, ())
    for example, row in zip(examples, rows, strict=True):
        graph = graph_of(example)
        edges = dict(zip(sentences(row), row["edges"], strict=True))
        assert task.to_row(example) == row
        assert len(example.premises) == len(row["edges"])
        assert len(example.frontiers) == len(example.steps) == distances(graph)[graph.target]
        assert classify_path(graph, [tuple(edges[step]) for step in example.steps]) == "correct path"
        assert graph.target in reachable(graph)
        assert graph.distractor not in reachable(graph)


def sentences(row: dict[str, Any]) -> list[str]:
    names = row["idx_to_symbol"]
    return [f"{'' if names[a] in ENTITIES else 'Every '}{names[a]} is a {names[b]}." for a, b in row["edges"]]


@needs_released
def test_frontiers_are_the_neighbours_that_the_superposition_files_give() -> None:
    path = RELEASED / "superposition_valid.json"
    rows = json.loads(path.read_text())
    examples, ledger = ProsQA(validation=path, min_hops=3, max_hops=4).examples("validation")
    assert ledger.rows_kept == len(rows) == 257
    for example, row in zip(examples, rows, strict=True):
        given = [tuple(sorted(row["neighbor_k"][str(depth)])) for depth in range(len(row["neighbor_k"]))]
        assert list(frontiers(graph_of(example))) == given


@needs_released
def test_released_files_can_be_trained_on_in_symbols() -> None:
    task = ProsQA(validation=RELEASED / "superposition_valid.json", rendering="symbols", relabel=True)
    examples = task.examples("validation")[0]
    assert len(examples) == 257
    for example in examples:
        text = written(task, example)
        assert task.classify(example, text.removeprefix(question_of(task, example))) == "correct path"
        assert set(text.split()) <= set(task.words() or ())
