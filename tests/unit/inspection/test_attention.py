"""Attention against its definition, its groups against graphs drawn by hand, and the edges that facts state."""

import itertools
import math

import numpy as np
import pytest
import torch
from tests.conftest import TOKENS, tiny_model
from tests.unit.data.build import tokenized

from unspoken.data.tokenize import tokenize
from unspoken.data.tokenizer import word_tokenizer
from unspoken.evaluation.recorded import record
from unspoken.inspection.attention import (
    attention_by_group,
    attention_weights,
    edge_class,
    edge_of,
    plain_attention,
    premise_spans,
)
from unspoken.inspection.filled import filled
from unspoken.methods.coconut import Coconut
from unspoken.methods.superposition import Superposition
from unspoken.recipe import resolve_task
from unspoken.records import Example, Graph
from unspoken.tasks.graph import reachable, shortest_paths
from unspoken.tasks.hops import Hops
from unspoken.tasks.prosqa import ProsQA

SMALL = {"max_nodes": 12, "min_hops": 2, "max_hops": 3, "train_rows": 1, "validation_rows": 1, "test_rows": 6}
TASK = ProsQA(rendering="symbols", **SMALL)
EXAMPLES = TASK.examples("test")[0]
METHODS = {
    "markers": Coconut(max_stage=3),
    "no markers": Coconut(max_stage=3, markers=False),
    "forced": Superposition(max_stage=3),
}


class Setup:
    def __init__(self, arch, method):
        self.model = tiny_model(arch)
        self.rows = tokenize(EXAMPLES, TASK.text, word_tokenizer(TASK.words()))
        self.prompts = [METHODS[method].prompt(row, 3, TOKENS) for row in self.rows]
        self.thoughts = record(self.model, self.prompts, [""] * len(self.rows), batch_size=4).thoughts

    def weights(self, row):
        with plain_attention(self.model):
            return attention_weights(self.model, self.prompts[row], self.thoughts[row])


@pytest.fixture(params=["gpt2", "llama"], scope="module")
def setup(request):
    return Setup(request.param, "markers")


# ---- the weights


def test_each_position_looks_at_itself_and_those_before_it_with_sum_1(setup):
    for row, prompt in enumerate(setup.prompts):
        length = len(prompt.input_ids)
        found = setup.weights(row)
        assert [each.shape for each in found] == [(length, length)] * 2
        for weights in found:
            torch.testing.assert_close(weights.sum(dim=-1), torch.ones(length), atol=1e-5, rtol=0)
            assert torch.equal(weights.triu(1), torch.zeros(length, length))
            assert float(weights.min()) >= 0
        assert not torch.allclose(*found, atol=1e-2), "layers differ"


@torch.no_grad()
def test_the_first_layer_is_the_softmax_of_queries_and_keys():
    """Of GPT-2, whose first block can be computed in a few lines."""
    setup = Setup("gpt2", "markers")
    decoder = setup.model.model.language_model
    embeds = filled(setup.model, setup.prompts[0], setup.thoughts[0])[0]
    length = len(embeds)
    states = decoder.h[0].ln_1(embeds + decoder.wpe.weight[:length])
    queries, keys, _ = decoder.h[0].attn.c_attn(states).split(16, dim=-1)
    heads = []
    for part in (slice(0, 8), slice(8, 16)):
        scores = queries[:, part] @ keys[:, part].t() / math.sqrt(8)
        future = torch.ones(length, length, dtype=torch.bool).triu(1)
        heads.append(scores.masked_fill(future, -torch.inf).softmax(dim=-1))
    torch.testing.assert_close(setup.weights(0)[0], sum(heads) / 2)
    assert not torch.allclose(*heads, atol=1e-2), "a mean over heads that are alike shows nothing"


@torch.no_grad()
def test_the_former_way_of_attention_is_put_back(setup):
    model, prompt, thoughts = setup.model, setup.prompts[0], setup.thoughts[0]
    settings = model.model.language_model.config
    usual, before = settings._attn_implementation, model(inputs_embeds=filled(model, prompt, thoughts)).logits
    assert usual != "eager", "else this test could not fail"
    with plain_attention(model):
        assert settings._attn_implementation == "eager"
    assert settings._attn_implementation == usual
    with pytest.raises(ZeroDivisionError), plain_attention(model):
        raise ZeroDivisionError
    assert settings._attn_implementation == usual
    assert torch.equal(model(inputs_embeds=filled(model, prompt, thoughts)).logits, before)


# ---- the groups


@pytest.mark.parametrize("method", METHODS)
def test_the_places_account_for_everything_up_to_the_thought_itself(method):
    setup = Setup("llama", method)
    for row, (tokens, prompt) in enumerate(zip(setup.rows, setup.prompts, strict=True)):
        sums, marks = {}, {}
        for layer, thought, group, share in attention_by_group(setup.weights(row), prompt, tokens, EXAMPLES[row], 1):
            if group in ("question", "all facts", "other thoughts", "itself", "markers"):
                sums[layer, thought] = sums.get((layer, thought), 0.0) + share
            if group == "markers":
                marks[layer, thought] = share
        assert sorted(sums) == list(itertools.product((1, 2), range(1, prompt.num_thoughts + 1)))
        assert list(sums.values()) == pytest.approx([1.0] * len(sums), abs=1e-5)
        assert all((share > 0) is (method == "markers") for share in marks.values())


# 0 and 1 lead from the root 4 to the target 3; 2 is a dead end, nothing leads to 5
DIAMOND = Graph(
    names=("a", "b", "c", "d", "r", "x"),
    edges=((4, 0), (4, 1), (4, 2), (0, 3), (1, 3), (2, 1), (5, 3)),
    root=4,
    target=3,
)
PREMISES = ("r a", "x d", "a d", "r c", "c b", "b d", "r b")


def diamond(num_thoughts):
    """Premises of two tokens, the first with one token less; three tokens of a question, a marker, thoughts."""
    row = tokenized(
        premises=[(7, 1, 2)] * len(PREMISES),
        openings=[(1, 2)] * len(PREMISES),
        questions=[(8, 9, 10)],
    )
    example = Example("row", "?", (), "d", PREMISES, graph=DIAMOND)
    return example, row, Coconut().prompt(row, 0, TOKENS, num_thoughts)


@pytest.mark.parametrize("per_step", [1, 2])
def test_facts_are_averaged_over_their_group_and_places_are_summed(per_step):
    example, row, prompt = diamond(2 * per_step)
    length = len(prompt.input_ids)
    rng = np.random.default_rng(0)
    layers = [torch.from_numpy(rng.random((length, length))) for _ in range(2)]
    found = {
        (layer, thought, group): share
        for layer, thought, group, share in attention_by_group(layers, prompt, row, example, per_step)
    }
    # positions of the facts, counted by hand: 2, then 3 each
    facts = {premise: range(max(3 * place - 1, 0), 3 * place + 2) for place, premise in enumerate(PREMISES)}
    groups = {
        1: {"optimal": ["r a", "r b"], "frontier": ["r c"], "unreachable": ["x d", "a d", "c b", "b d"]},
        2: {"optimal": ["a d", "b d"], "frontier": ["c b"], "reachable": ["r a", "r b", "r c"], "unreachable": ["x d"]},
    }
    expected = {}
    for layer, thought in itertools.product((1, 2), range(1, 2 * per_step + 1)):
        weights = layers[layer - 1][23 + 1 + thought - 1].tolist()
        for group, premises in groups[1 + (thought - 1) // per_step].items():
            shares = [sum(weights[position] for position in facts[premise]) for premise in premises]
            expected[layer, thought, group] = sum(shares) / len(shares)
        expected[layer, thought, "all facts"] = sum(weights[:20])
        expected[layer, thought, "question"] = sum(weights[20:23])
        expected[layer, thought, "markers"] = weights[23]
        expected[layer, thought, "other thoughts"] = sum(weights[24 : 24 + thought - 1])
        expected[layer, thought, "itself"] = weights[24 + thought - 1]
    assert found == pytest.approx(expected)


def test_without_a_graph_there_are_places_alone():
    _, row, prompt = diamond(1)
    weights = [torch.ones(len(prompt.input_ids), len(prompt.input_ids))]
    found = attention_by_group(weights, prompt, row, Example("row", "?", (), "d", PREMISES), 1)
    assert [(group, share) for _, _, group, share in found] == [
        ("all facts", 20.0),
        ("question", 3.0),
        ("markers", 1.0),
        ("other thoughts", 0.0),
        ("itself", 1.0),
    ]


@pytest.mark.parametrize("premises", [(), ((7, 1, 2), (7, 3, 4))])
def test_what_begins_a_sequence_is_neither_a_fact_nor_the_question(premises):
    """Much attention rests on the first position, whatever stands there."""
    row = tokenized(start=(36,), premises=premises, questions=[(8, 9, 10)])
    prompt = Coconut().prompt(row, 0, TOKENS, 2)
    weights = torch.zeros(len(prompt.input_ids), len(prompt.input_ids))
    weights[:, 0], weights[:, 1] = 0.75, 0.25
    example = Example("row", "?", (), "d", ("r a", "r b")[: len(premises)])
    found = {
        (thought, group): share for _, thought, group, share in attention_by_group([weights], prompt, row, example, 1)
    }
    for thought in (1, 2):
        assert found[thought, "start"] == 0.75
        assert found[thought, "all facts"] == (0.25 if premises else 0.0)
        assert found[thought, "question"] == (0.0 if premises else 0.25)


def test_a_thought_itself_is_no_other_thought():
    _, row, prompt = diamond(3)
    weights = torch.eye(len(prompt.input_ids))
    found = attention_by_group([weights], prompt, row, Example("row", "?", (), "d", PREMISES), 1)
    shares = {(thought, group): share for _, thought, group, share in found if share}
    assert shares == {(1, "itself"): 1.0, (2, "itself"): 1.0, (3, "itself"): 1.0}


def test_without_premises_all_before_the_marker_is_question():
    row = tokenized(questions=[(8, 9, 10)])
    prompt = Coconut().prompt(row, 0, TOKENS, 1)
    weights = [torch.ones(len(prompt.input_ids), len(prompt.input_ids))]
    shares = {group: share for _, _, group, share in attention_by_group(weights, prompt, row, EXAMPLES[0], 1)}
    assert (shares["all facts"], shares["question"]) == (0.0, 3.0)


# ---- what an edge means


@pytest.mark.parametrize(
    ("edge", "by_step"),
    {
        (4, 0): ["optimal", "reachable", "reachable"],
        (4, 2): ["frontier", "reachable", "reachable"],
        (0, 3): ["unreachable", "optimal", "reachable"],
        (2, 1): ["unreachable", "frontier", "reachable"],
        (5, 3): ["unreachable", "unreachable", "unreachable"],
    }.items(),
)
def test_an_edge_changes_its_class_with_the_step(edge, by_step):
    assert [edge_class(DIAMOND, edge, step) for step in (1, 2, 3)] == by_step


def test_beyond_the_target_an_edge_is_never_optimal():
    line = Graph(("a", "b", "c"), ((0, 1), (1, 2)), root=0, target=1)
    assert [edge_class(line, (1, 2), step) for step in (1, 2, 3)] == ["unreachable", "frontier", "reachable"]


def test_optimal_edges_are_those_that_shortest_paths_take_at_this_step():
    for example in EXAMPLES:
        graph = example.graph
        paths, reached = shortest_paths(graph), reachable(graph)
        for step in range(1, 6):
            taken = {path[step - 1 : step + 1] for path in paths if len(path) > step}
            for edge in graph.edges:
                kind = edge_class(graph, edge, step)
                assert (kind == "optimal") is (edge in taken)
                assert edge[0] in reached or kind == "unreachable"


# ---- where and what facts are


@pytest.mark.parametrize("start", [(), (36,)])
@pytest.mark.parametrize("openings", [None, ((1,), (2,), (3,))])
def test_the_spans_are_those_of_the_premises_in_the_prompt(start, openings):
    premises = ((20, 1), (20, 2, 5), (20, 3))
    row = tokenized(start=start, premises=premises, openings=openings, questions=[(8, 9), (9, 8, 7)])
    prompt = Coconut().prompt(row, 0, TOKENS, 2)
    spans, end = premise_spans(row)
    written = [tuple(prompt.input_ids[span].tolist()) for span in spans]
    assert written == [premises[0] if openings is None else openings[0], *premises[1:]]
    assert spans[0].start == len(start)
    assert [span.stop for span in spans[:-1]] == [span.start for span in spans[1:]]
    assert prompt.input_ids[spans[-1].stop : end].tolist() == [8, 9]
    assert prompt.input_ids[end] == TOKENS.start


def test_the_spans_of_a_real_question_hold_the_words_of_its_facts():
    tokenizer = word_tokenizer(TASK.words())
    for example, row in zip(EXAMPLES, tokenize(EXAMPLES, TASK.text, tokenizer), strict=True):
        ids = METHODS["markers"].prompt(row, 3, TOKENS).input_ids
        spans, end = premise_spans(row)
        assert [tokenizer.decode(ids[span]) for span in spans] == list(example.premises)
        assert tokenizer.decode(ids[spans[-1].stop : end]) == example.question


def test_a_fact_states_its_two_names_in_their_order():
    graph = Graph(("Sam", "lempus", "scrompus", "12", "1"), ((0, 1), (2, 1), (3, 4), (4, 3)), root=0, target=1)
    for premise, edge in {
        "Sam is a lempus.": (0, 1),
        "Every scrompus is a lempus.": (2, 1),
        "12 1 |": (3, 4),
        "1 12 |": (4, 3),
        "Sam is a wumpus.": None,
        "Every lempus is a scrompus.": None,  # no edge of the graph
        "nothing": None,
    }.items():
        assert edge_of(premise, graph) == edge


@pytest.mark.parametrize(
    "task",
    [
        TASK,
        ProsQA(**SMALL),
        ProsQA(rendering="symbols", relabel=True, **SMALL),
        Hops(symbols=6, hops=3, train_rows=1, validation_rows=1, test_rows=9),
    ],
    ids=["symbols", "words", "relabelled", "hops"],
)
def test_the_facts_of_a_task_state_the_edges_of_its_graph(task):
    for example in task.examples("test")[0]:
        assert sorted(edge_of(premise, example.graph) for premise in example.premises) == sorted(example.graph.edges)


@pytest.mark.parametrize("name", ["prosqa", "prontoqa"])
def test_every_edge_of_generated_rows_is_stated_by_a_fact_and_nothing_else_is_read(name):
    task = resolve_task(name, ["train_rows=2", "validation_rows=2", "test_rows=20"])
    for example in task.examples("test")[0]:
        read = [edge_of(premise, example.graph) for premise in example.premises]
        stated = [edge for edge in read if edge is not None]
        assert sorted(stated) == sorted(example.graph.edges)
