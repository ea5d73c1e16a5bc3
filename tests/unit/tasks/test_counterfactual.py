"""A changed question differs in one fact, is answered by a search of its own graph, and has another answer."""

from random import Random

import pytest

from unspoken.records import Graph
from unspoken.tasks.counterfactual import exchanging_redirections, redirected
from unspoken.tasks.graph import distances, reachable, shortest_paths
from unspoken.tasks.hops import Hops
from unspoken.tasks.multiplication import Multiplication
from unspoken.tasks.prosqa import ProsQA

TASKS = {
    "hops": Hops(test_rows=60, validation_rows=1, train_rows=1),
    "words": ProsQA(test_rows=60, validation_rows=1, train_rows=1),
    "symbols": ProsQA(rendering="symbols", relabel=True, test_rows=60, validation_rows=1, train_rows=1),
}


@pytest.mark.parametrize("name", TASKS)
def test_one_fact_differs_and_the_new_answer_is_that_of_the_new_graph(name):
    task = TASKS[name]
    examples, _ = task.examples("test")
    changed = [task.counterfactual(example, Random(0)) for example in examples]
    pairs = [(old, new) for old, new in zip(examples, changed, strict=True) if new is not None]
    assert len(pairs) >= 40
    for old, new in pairs:
        differing = [(a, b) for a, b in zip(old.premises, new.premises, strict=True) if a != b]
        assert len(differing) == 1
        assert old.question == new.question
        assert new.answer != old.answer
        assert new.id != old.id
        assert task.score(new, f"{task.text.answer_start}{new.answer}").verdict == "right"
        assert task.score(new, f"{task.text.answer_start}{old.answer}").verdict == "wrong"
        assert len(new.steps) == len(new.frontiers)


@pytest.mark.parametrize("name", ["words", "symbols"])
def test_the_root_reaches_the_other_option(name):
    task = TASKS[name]
    for example in task.examples("test")[0]:
        new = task.counterfactual(example, Random(1))
        if new is None:
            continue
        assert (new.graph.target, new.graph.distractor) == (example.graph.distractor, example.graph.target)
        assert new.graph.target in reachable(new.graph)
        assert new.graph.distractor not in reachable(new.graph)
        assert len(new.steps) == distances(new.graph)[new.graph.target]
        assert all(start < end for start, end in new.graph.edges)
        row = task.to_row(new)
        assert task._parse(row, new.id).answer == new.answer, "reading the row again checks text against graph"


def test_the_walk_of_hops_follows_the_changed_pointer():
    for example in TASKS["hops"].examples("test")[0]:
        new = TASKS["hops"].counterfactual(example, Random(2))
        pointers = dict(premise.split() for premise in new.premises)
        node, walk = new.question.split()[1], []
        for _ in range(4):
            node = pointers[node]
            walk.append(node)
        assert tuple(walk) == new.steps
        assert new.answer == walk[-1]
        assert dict(new.graph.edges)[new.graph.names.index(new.question.split()[1])] == new.graph.names.index(walk[0])


def test_the_same_generator_gives_the_same_change():
    task = TASKS["words"]
    example = task.examples("test")[0][1]
    assert task.counterfactual(example, Random(5)) == task.counterfactual(example, Random(5))


def test_no_redirection_where_two_ways_lead_to_the_target():
    #        1 -> 3 -> 5,  1 -> 4 -> 5,  0 -> 2 -> 6
    graph = Graph(tuple("0123456"), ((1, 3), (1, 4), (3, 5), (4, 5), (0, 2), (2, 6)), root=1, target=5, distractor=6)
    assert list(exchanging_redirections(graph)) == []
    single = Graph(graph.names, ((1, 3), (3, 5), (0, 2), (2, 6)), root=1, target=5, distractor=6)
    found = list(exchanging_redirections(single))
    # the first edge may lead to 6 itself (2 is smaller than 3's end, but larger than 1), or to its parent
    assert found == [(0, 2), (0, 6), (1, 6)]
    assert redirected(single, (1, 6)).edges == ((1, 3), (3, 6), (0, 2), (2, 6))


def test_a_task_without_an_oracle_has_no_counterfactuals():
    task = Multiplication(test_rows=2, validation_rows=1, train_rows=1)
    assert task.counterfactual(task.examples("test")[0][0], Random(0)) is None
    assert task.shifts() == {}


def test_shifted_hops_are_shorter_and_longer():
    shifts = Hops(test_rows=20, validation_rows=1, train_rows=1).shifts()
    assert {name: {len(row.steps) for row in task.examples("test")[0]} for name, task in shifts.items()} == {
        "3 hops": {3},
        "5 hops": {5},
        "6 hops": {6},
    }
    assert list(Hops(symbols=4, hops=3).shifts()) == ["2 hops"]


def test_shifted_prosqa_has_the_property_of_its_name():
    usual = ProsQA(test_rows=30, validation_rows=1, train_rows=1)
    rows = {name: task.examples("test")[0][:30] for name, task in usual.shifts().items()}
    for row in rows["target and distractor equally deep"]:
        founder = 1 - row.graph.root
        from_founder = distances(Graph(row.graph.names, row.graph.edges, founder, row.graph.distractor))
        assert from_founder[row.graph.distractor] == distances(row.graph)[row.graph.target]
    assert {len(row.steps) for row in rows["more hops"]} <= {7, 8}
    assert all(len(shortest_paths(row.graph)) >= 4 for row in rows["many shortest paths"])

    def mean_edges(examples):
        return sum(len(row.graph.edges) for row in examples) / len(examples)

    assert mean_edges(rows["denser graphs"]) > 1.3 * mean_edges(usual.examples("test")[0])
