"""Memories against loops over states and edges; what is written, kept, evicted and saved."""

import math

import pytest
import torch
from tests.conftest import tiny_model
from tests.unit.thoughts.policies import WIDTH, policy, without_gradient

from unspoken.errors import RecipeError
from unspoken.model import LatentForCausalLM
from unspoken.thoughts.memory import MEMORIES, build_memory

LOOPS = ["episodic", "bank", "graph"]


def memory(name, *, seed=0, filled=0, **settings):
    """A memory whose output is not zero, with some states in it."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = build_memory({"name": name, **settings}, WIDTH)
        with torch.no_grad():
            made.output.weight.normal_()
        if filled:
            made.learn(torch.randn(filled, WIDTH), torch.randn(filled))
    return made


def past(*, rows=6, steps=3, seed=1):
    """States at earlier decisions and now; some trajectories stop on the way."""
    generator = torch.Generator().manual_seed(seed)
    states = [torch.randn(rows, WIDTH, generator=generator) for _ in range(steps + 1)]
    stops = torch.randint(1, steps + 2, (rows,), generator=generator)
    return states[-1], states[:-1], [step < stops for step in range(steps)]


def test_an_episode_is_read_as_by_a_loop_over_its_states():
    made, (state, states, is_thinking) = memory("episodic", rank=4), past()
    read = made(state, states, is_thinking, siblings=3)
    for row in range(6):
        group = range(3 * (row // 3), 3 * (row // 3) + 3)
        seen = [states[k][j] for k in range(3) for j in group if is_thinking[k][j]]
        query = made.query.weight @ state[row]
        weights = torch.stack([query @ (made.key.weight @ each) / math.sqrt(4) for each in seen]).softmax(0)
        content = sum(weight * (made.content.weight @ each) for weight, each in zip(weights, seen, strict=True))
        torch.testing.assert_close(read[row], made.output.weight @ content)
    assert any(not each.all() for each in is_thinking)


def test_bank_reads_the_nearest_states_weighted_by_likeness_and_return():
    made, (state, states, is_thinking) = memory("bank", rank=4, capacity=9, filled=7, nearest=3), past()
    read = made(state, states, is_thinking, siblings=3)
    store = made.store
    assert int(store.num_filled) == 7
    for row in range(6):
        key = store.projection @ state[row]
        key = key / key.norm()
        scores = [float(10 * (key @ store.keys[i]) + store.values[i]) for i in range(7)]
        nearest = sorted(range(7), key=lambda i: -scores[i])[:3]
        total = sum(math.exp(scores[i]) for i in nearest)
        mean = sum(math.exp(scores[i]) / total * store.keys[i] for i in nearest)
        torch.testing.assert_close(read[row], state[row].norm() * (made.output.weight @ mean), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("filled", [0, 3, 7])
def test_graph_attention_is_that_of_a_loop_over_edges(heads, filled):
    made = memory("graph", rank=4, heads=heads, capacity=9, filled=filled, nearest=5)
    state, states, is_thinking = past()
    read = made(state, states, is_thinking, siblings=3)
    store, size = made.store, 4 // heads

    def key(given):
        projected = store.projection @ given
        return projected / projected.norm()

    for row in range(6):
        own = key(state[row])
        by_cosine = sorted(range(filled), key=lambda i: -float(own @ store.keys[i]))[:5]
        sources = [torch.cat([store.keys[i], store.values[i : i + 1]]) for i in by_cosine]
        group = range(3 * (row // 3), 3 * (row // 3) + 3)
        unknown = torch.zeros(1)
        sources += [torch.cat([key(states[k][j]), unknown]) for k in range(3) for j in group if is_thinking[k][j]]
        sources += [torch.cat([own, unknown])]
        heads_read = []
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            messages = [(made.source.weight @ source)[part] for source in sources]
            target = (made.target.weight @ own)[part]
            scores = [
                made.attention[head] @ torch.nn.functional.leaky_relu(message + target, 0.2) for message in messages
            ]
            weights = torch.stack(scores).softmax(0)
            heads_read.append(sum(weight * message for weight, message in zip(weights, messages, strict=True)))
        expected = state[row].norm() * (made.output.weight @ torch.cat(heads_read))
        torch.testing.assert_close(read[row], expected, rtol=1e-4, atol=1e-5)


def test_a_message_reaches_its_own_state_and_no_other():
    made, (state, states, _) = memory("graph", rank=4, heads=2), past()
    state.requires_grad_()
    leaves = [each.requires_grad_() for each in states]
    read = made(state, leaves, [torch.ones(6, dtype=torch.bool)] * 3, siblings=2)
    for row in range(6):
        gradients = torch.autograd.grad(read[row].sum(), [state, *leaves], retain_graph=True)
        assert gradients[0].abs().sum(-1).nonzero().flatten().tolist() == [row]
        question = row // 2
        for gradient in gradients[1:]:
            assert gradient.abs().sum(-1).nonzero().flatten().tolist() == [2 * question, 2 * question + 1]


@pytest.mark.parametrize("name", LOOPS)
def test_what_is_read_does_not_depend_on_the_order_of_states_or_siblings(name):
    made, (state, states, is_thinking) = memory(name, filled=5 if name != "episodic" else 0), past()
    read = made(state, states, is_thinking, siblings=3)
    torch.testing.assert_close(made(state, states[::-1], is_thinking[::-1], siblings=3), read)
    order = torch.tensor([2, 0, 1, 4, 3, 5])
    moved = made(state[order], [each[order] for each in states], [each[order] for each in is_thinking], siblings=3)
    torch.testing.assert_close(moved, read[order])


@pytest.mark.parametrize("name", ["episodic", "graph"])
def test_questions_do_not_reach_each_other_and_stopped_trajectories_nobody(name):
    made, (state, states, is_thinking) = memory(name), past()
    read = made(state, states, is_thinking, siblings=3)
    other = [each.clone() for each in states]
    for each in other:
        each[3:] += 5
    torch.testing.assert_close(made(state, other, is_thinking, siblings=3)[:3], read[:3], rtol=0, atol=0)
    stopped = [each.clone() for each in states]
    for each, going in zip(stopped, is_thinking, strict=True):
        each[~going] = 99.0
    assert torch.equal(made(state, stopped, is_thinking, siblings=3), read)


@pytest.mark.parametrize("name", LOOPS)
def test_where_there_is_nothing_to_read_zeros_are_read_with_sound_gradients(name):
    made, (state, states, is_thinking) = memory(name), past()
    nobody = [torch.zeros_like(each) for each in is_thinking]
    state.requires_grad_()
    for read in (made(state, [], [], siblings=3), made(state, states, nobody, siblings=3)):
        assert torch.equal(read, torch.zeros_like(state))
        if read.requires_grad:
            read.sum().backward()
    assert state.grad is None or state.grad.isfinite().all()
    assert all(each.grad is None or each.grad.isfinite().all() for each in made.parameters())


@pytest.mark.parametrize("name", LOOPS)
def test_a_new_memory_adds_nothing_and_every_parameter_has_a_gradient_after_a_step(name):
    source = policy("gaussian", scale=0.3, memory={"name": name, "rank": 4})
    source.memory.learn(torch.randn(5, WIDTH), torch.randn(5))
    state, states, is_thinking = past()
    assert torch.equal(source.memory(state, states, is_thinking, siblings=2), torch.zeros(6, WIDTH))
    assert "memory.output.weight" not in without_gradient(source)
    with torch.no_grad():
        source.memory.output.weight -= 0.1 * source.memory.output.weight.grad
    assert without_gradient(source) == []


def numbered(count, *, start=0):
    """States whose keys tell them apart, with their numbers as returns."""
    angles = torch.arange(start, start + count) * 0.1
    states = torch.zeros(count, WIDTH)
    states[:, 0], states[:, 1] = angles.cos(), angles.sin()
    return states, torch.arange(start, start + count, dtype=torch.float32)


@pytest.mark.parametrize("name", ["bank", "graph"])
def test_what_is_written_is_kept_up_to_the_capacity_and_the_oldest_goes(name):
    made = build_memory({"name": name, "capacity": 5, "rank": WIDTH}, WIDTH)
    for count, start, kept in ((3, 0, [0, 1, 2]), (3, 3, [1, 2, 3, 4, 5]), (9, 6, [10, 11, 12, 13, 14])):
        states, returns = numbered(count, start=start)
        made.learn(7 * states, returns)
        assert made.store.values[: len(kept)].tolist() == kept
        assert int(made.store.num_filled) == len(kept)
    expected = numbered(5, start=10)[0] @ made.store.projection.T
    torch.testing.assert_close(made.store.keys, expected)
    torch.testing.assert_close(made.store.keys.norm(dim=-1), torch.ones(5))


def test_the_worst_goes_where_that_is_wanted_and_of_equal_ones_the_oldest():
    made = build_memory({"name": "bank", "capacity": 3, "eviction": "worst", "rank": WIDTH}, WIDTH)
    states, _ = numbered(6)
    made.learn(states[:3], torch.tensor([5.0, 1.0, 3.0]))
    made.learn(states[3:5], torch.tensor([0.0, 4.0]))
    assert made.store.values.tolist() == [5.0, 3.0, 4.0]
    torch.testing.assert_close(made.store.keys, states[[0, 2, 4]] @ made.store.projection.T)
    made.learn(states[5:], torch.tensor([3.0]))
    assert made.store.values.tolist() == [5.0, 4.0, 3.0]
    torch.testing.assert_close(made.store.keys[2], made.store.projection @ states[5])


def test_states_of_several_columns_are_written_one_by_one():
    one, two = (build_memory({"name": "bank", "capacity": 9, "rank": 4}, WIDTH) for _ in range(2))
    two.load_state_dict(one.state_dict())
    states, returns = torch.randn(2, 3, WIDTH), torch.randn(2, 3)
    one.learn(states, returns)
    two.learn(states.view(6, WIDTH), returns.view(6))
    assert all(torch.equal(value, two.state_dict()[name]) for name, value in one.state_dict().items())


def test_writing_keeps_no_graph_and_changes_no_parameter():
    made = memory("bank")
    before = made.output.weight.clone()
    made.learn(torch.randn(4, WIDTH, requires_grad=True), torch.randn(4, requires_grad=True))
    assert not made.store.keys.requires_grad
    assert torch.equal(made.output.weight, before)
    assert [name for name, _ in made.named_parameters()] == ["output.weight"]


@pytest.mark.parametrize("name", ["bank", "graph"])
def test_a_checkpoint_keeps_what_was_learned(name, tmp_path):
    source = {"name": "gaussian", "memory": {"name": name, "capacity": 6}}
    model = tiny_model("llama", source=source)
    model.model.thought_source.memory.learn(torch.randn(4, 16), torch.randn(4))
    model.save_pretrained(tmp_path)
    again = LatentForCausalLM.from_pretrained(tmp_path)
    old, new = (each.model.thought_source.memory.state_dict() for each in (model, again))
    assert int(new["store.num_filled"]) == 4
    assert old.keys() == new.keys() >= {"store.keys", "store.values", "store.projection", "store.num_filled"}
    assert all(torch.equal(value, new[key]) for key, value in old.items())


def test_memories_can_be_built_without_storage():
    with torch.device("meta"):
        for name in MEMORIES:
            assert all(each.is_meta for each in build_memory({"name": name}, WIDTH).state_dict().values())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "bnk"}, "unknown memory 'bnk'; known: episodic, bank, graph"),
        ("bank", "memory: it must be a mapping; found 'bank'"),
        ({"name": "bank", "beta": 1}, "beta: unknown key of memory bank, which takes rank, capacity"),
        ({"name": "bank", "capacity": 0}, "capacity is 0"),
        ({"name": "bank", "eviction": "newest"}, "eviction: it must be 'oldest' or 'worst'; found 'newest'"),
        ({"name": "bank", "nearest": 0}, "nearest is 0"),
        ({"name": "bank", "worth": -1.0}, "worth -1.0"),
        ({"name": "episodic", "rank": 9}, "rank of the memory is 9; give 1 to 8"),
        ({"name": "graph", "rank": 4, "heads": 3}, "give heads that divide the rank"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(RecipeError, match=message):
        policy("gaussian", memory=settings)
