"""Which questions are paired, and what comes back when one place is made clean, block by block without a hook."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.conftest import TOKENS, tiny_model

from unspoken.data.stage import stage
from unspoken.evaluation.recorded import record
from unspoken.inspection.filled import filled
from unspoken.inspection.tracing import pairs, trace
from unspoken.records import TokenizedExample


def row(rng, length, answer, count, given=0, markers=True):
    """A random question with an answer, and its prompt, which already holds the first `given` tokens of the answer."""
    question, answer = rng.integers(1, 37, size=length).astype(np.int32), np.array(answer, dtype=np.int32)
    example = TokenizedExample(str(rng.integers(1 << 30)), question[:0], (), (question,), (), answer)
    return example, stage(example, question, count, [], TOKENS, markers=markers, given=answer[:given])


class Setup:
    def __init__(self, arch="gpt2", rows=(), seed=0, **kwargs):
        rng = np.random.default_rng(seed)
        self.model = tiny_model(arch)
        self.rows, self.prompts = zip(*(row(rng, *each, **kwargs) for each in rows), strict=True)
        self.thoughts = record(self.model, self.prompts, [""] * len(rows), batch_size=8).thoughts

    def pairs(self, most=100, seed=0):
        return pairs(self.model, self.prompts, self.thoughts, self.rows, most, seed)

    def origin(self, embeds):
        """The row whose prompt, thoughts in place, the embeddings begin with."""
        (found,) = [
            index
            for index, (prompt, own) in enumerate(zip(self.prompts, self.thoughts, strict=True))
            if len(prompt.input_ids) <= embeds.size(1)
            and torch.equal(filled(self.model, prompt, own), embeds[:, : len(prompt.input_ids)])
        ]
        return found


def many_rows(count=40, seed=0):
    """Questions of two lengths, with two or three thoughts and answers that part at the first or the second token."""
    rng = np.random.default_rng(seed)
    answers = ([5, 6, 0], [5, 7, 0], [8, 6, 0])
    return [(int(rng.integers(4, 6)), answers[rng.integers(3)], 3 if number % 4 == 0 else 2) for number in range(count)]


# ---- pairs


@pytest.fixture(scope="module")
def paired():
    return Setup(rows=many_rows())


def test_pairs_have_equal_forms_and_different_answers(paired):
    found = paired.pairs()
    assert len(found) > 5
    for pair in found:
        one, two = (paired.origin(embeds) for embeds in (pair.clean, pair.corrupt))
        first, second = paired.prompts[one], paired.prompts[two]
        assert (len(first.input_ids), first.first_thought) == (len(second.input_ids), second.first_thought)
        assert first.num_thoughts == second.num_thoughts == 2, "the number that most prompts have"
        answers = [paired.rows[index].answer.tolist() for index in (one, two)]
        assert answers[0] != answers[1]
        parts = next(place for place in range(3) if answers[0][place] != answers[1][place])
        assert pair.clean_answer == answers[0][parts]
        # the words up to where they part are read, those behind are not
        assert pair.clean.size(1) == pair.corrupt.size(1) == len(first.input_ids) + parts
        written = np.array(answers[0][:parts], dtype=np.int32)
        assert torch.equal(pair.clean, filled(paired.model, first, paired.thoughts[one], written))
        assert torch.equal(pair.corrupt, filled(paired.model, second, paired.thoughts[two], written))
    assert {pair.clean.size(1) - len(paired.prompts[paired.origin(pair.clean)].input_ids) for pair in found} == {0, 1}


def test_no_row_is_in_two_pairs(paired):
    used = [paired.origin(embeds) for pair in paired.pairs() for embeds in (pair.clean, pair.corrupt)]
    assert len(used) == len(set(used))


def test_no_more_pairs_than_asked_for(paired):
    assert [len(paired.pairs(most)) for most in (0, 1, 4)] == [0, 1, 4]


def test_the_seed_chooses_the_partners(paired):
    def partners(seed):
        return [(paired.origin(pair.clean), paired.origin(pair.corrupt)) for pair in paired.pairs(seed=seed)]

    assert partners(0) == partners(0)
    assert partners(0) != partners(1)


def test_rows_with_one_answer_make_no_pairs():
    assert Setup(rows=[(4, [5, 6, 0], 2)] * 6).pairs() == []


def test_rows_of_different_forms_make_no_pairs():
    assert Setup(rows=[(4, [5, 0], 2), (5, [6, 0], 2)]).pairs() == []
    # as long as each other, but the slots stand elsewhere
    shifted = Setup(rows=[(5, [9, 5, 0], 2), (4, [9, 6, 0], 2, 1)])
    assert len({len(prompt.input_ids) for prompt in shifted.prompts}) == 1
    assert shifted.pairs() == []
    # one prompt already holds a word of the answer
    assert Setup(rows=[(4, [9, 5, 0], 2, 1), (4, [9, 6, 0], 2)]).pairs() == []
    # as many thoughts are wanted, not only slots that begin in one column
    assert Setup(rows=[(4, [5, 0], 2), (4, [6, 0], 1)]).pairs() == []


def test_an_answer_start_in_the_prompt_is_not_written_again():
    setup = Setup(rows=[(4, [9, 5, 0], 2, 1), (4, [9, 6, 0], 2, 1)], markers=False)
    (pair,) = setup.pairs()
    assert pair.clean.size(1) == len(setup.prompts[0].input_ids) == 4 + 2 + 1
    assert pair.clean_answer == setup.rows[setup.origin(pair.clean)].answer[1]


def test_the_places_are_the_whole_sequence_each_position_once(paired):
    for pair in paired.pairs():
        assert list(pair.places) == ["question", "thought 1", "thought 2", "behind them"]
        covered = [position for place in pair.places.values() for position in range(place.start, place.stop)]
        assert covered == list(range(pair.clean.size(1)))
        first = paired.prompts[paired.origin(pair.clean)].first_thought
        assert pair.places["thought 1"] == slice(first, first + 1)


# ---- the grid


def probabilities(model, embeds):
    with torch.no_grad():
        return model(inputs_embeds=embeds).logits[0, -1].softmax(dim=-1)


def telling(model, found):
    """The pairs with the word that the clean question makes most likelier: random weights need not know an answer."""
    return [
        replace(
            pair,
            clean_answer=int((probabilities(model, pair.clean) - probabilities(model, pair.corrupt)).argmax()),
        )
        for pair in found
    ]


@pytest.fixture(params=["gpt2", "llama", "qwen2"])
def setup(request):
    return Setup(request.param, rows=[(4, [5, answer, 0], 2) for answer in (6, 7, 8, 9)])


def test_at_the_last_layer_the_place_that_is_read_brings_everything_back_and_no_other_anything(setup):
    found = trace(setup.model, telling(setup.model, setup.pairs()))
    assert found.n == 2
    assert found.layers == ("embeddings", "layer 1", "layer 2")
    assert found.positions == ("question", "thought 1", "thought 2", "behind them")
    assert found.effect[-1] == pytest.approx((0.0, 0.0, 0.0, 1.0), abs=1e-5)
    # before it, what is read depends on other places too
    assert all(any(abs(share) > 1e-3 for share in effects[:3]) for effects in found.effect[:-1])


LAST = "thought 2, which writes the answer"


def test_where_nothing_stands_behind_them_the_last_thought_is_read_and_named_so():
    """A position from which the answer is read brings it back even where all questions have the same thoughts."""
    setup = Setup(rows=[(4, [5, 0], 2), (4, [6, 0], 2)], markers=False)
    found = trace(setup.model, telling(setup.model, setup.pairs()))
    assert found.positions == ("question", "thought 1", LAST)
    assert found.effect[-1] == pytest.approx((0.0, 0.0, 1.0), abs=1e-5)
    words = [replace(pair, clean=pair.clean.clone(), corrupt=pair.corrupt.clone()) for pair in setup.pairs()]
    for pair in words:
        pair.clean[:, 4:6] = pair.corrupt[:, 4:6] = torch.zeros(16)
    constant = trace(setup.model, telling(setup.model, words))
    assert constant.effect[0][2] == pytest.approx(0.0, abs=1e-6), "the thought itself carries nothing"
    assert constant.effect[-1][2] == pytest.approx(1.0, abs=1e-5), "but there the answer is read"


def test_a_last_thought_with_words_behind_it_writes_nothing():
    """The answers share their first word, which is read behind the thoughts."""
    setup = Setup(rows=[(4, [5, 6, 0], 2), (4, [5, 7, 0], 2)], markers=False)
    (pair,) = setup.pairs()
    assert list(pair.places) == ["question", "thought 1", "thought 2", "behind them"]


def test_a_place_that_both_questions_share_brings_nothing_back_where_it_is_read(setup):
    """The marker and the words behind the thoughts are the same tokens: their embeddings carry no difference."""
    found = trace(setup.model, telling(setup.model, setup.pairs()))
    assert found.effect[0][3] == pytest.approx(0.0, abs=1e-6)


@torch.no_grad()
def test_the_grid_is_that_of_blocks_run_one_after_the_other():
    """GPT-2 without its own forward pass: embeddings, blocks, norm and head by hand."""
    setup = Setup(rows=[(4, [5, answer, 0], 2) for answer in (6, 7, 8, 9)])
    model, decoder = setup.model, setup.model.model.language_model
    chosen = telling(model, setup.pairs())

    def states_of(embeds, patch=None):
        """States before and after each block; `patch`: after how many blocks, which columns, from which states."""
        states, found = embeds, []
        for depth in range(3):
            if depth:
                output = decoder.h[depth - 1](states)
                states = output if isinstance(output, torch.Tensor) else output[0]
            if patch is not None and patch[0] == depth:
                states = states.clone()
                states[:, patch[1]] = patch[2][depth][:, patch[1]]
            found.append(states)
            if depth == 0:
                states = states + decoder.wpe.weight[: embeds.size(1)]
        return found

    def answer(pair, embeds, patch=None):
        logits = model.lm_head(decoder.ln_f(states_of(embeds, patch)[-1][:, -1]))
        return float(logits.softmax(dim=-1)[0, pair.clean_answer])

    whole = sum(answer(pair, pair.clean) - answer(pair, pair.corrupt) for pair in chosen)
    expected = []
    for depth in range(3):
        gains = [0.0] * 4
        for pair in chosen:
            clean = states_of(pair.clean)
            for place, columns in enumerate(pair.places.values()):
                gains[place] += answer(pair, pair.corrupt, (depth, columns, clean)) - answer(pair, pair.corrupt)
        expected.append([gain / whole for gain in gains])
    found = trace(model, chosen).effect
    torch.testing.assert_close(torch.tensor(found), torch.tensor(expected), atol=1e-4, rtol=1e-4)


def test_without_pairs_or_without_a_difference_there_is_no_grid(setup):
    assert trace(setup.model, []) is None
    same = [replace(pair, corrupt=pair.clean) for pair in setup.pairs()]
    assert trace(setup.model, same) is None


def hooks(model):
    return sum(len(module._forward_hooks) for module in model.modules())


def test_the_model_is_left_as_it_was(setup):
    chosen = telling(setup.model, setup.pairs())
    before = probabilities(setup.model, chosen[0].corrupt)
    count = hooks(setup.model)
    first, second = trace(setup.model, chosen), trace(setup.model, chosen)
    assert first == second
    assert hooks(setup.model) == count
    assert torch.equal(probabilities(setup.model, chosen[0].corrupt), before)
    assert not torch.equal(probabilities(setup.model, chosen[0].clean), before)


@pytest.mark.parametrize("passes", [1, 4, 9, 15])
def test_after_an_error_no_hook_is_left(setup, passes):
    chosen = telling(setup.model, setup.pairs())
    decoder, done = setup.model.model.language_model, []

    def fail(module, inputs):
        done.append(1)
        if len(done) == passes:
            raise ZeroDivisionError

    count = hooks(setup.model)
    handle = decoder.register_forward_pre_hook(fail)
    with pytest.raises(ZeroDivisionError):
        trace(setup.model, chosen)
    handle.remove()
    assert hooks(setup.model) == count


def test_all_pairs_have_the_same_places_also_where_nothing_stands_behind_the_thoughts_of_some():
    rng = np.random.default_rng(0)
    ends = [row(rng, 3, answer, 2, markers=False) for answer in ([5, 6, 0], [5, 7, 0])]
    bare = [row(rng, 2, answer, 2, markers=False) for answer in ([8, 6, 0], [5, 7, 0])]
    more = [row(rng, 4, answer, 2, markers=False) for answer in ([9, 6, 0], [5, 7, 0])]
    rows, prompts = zip(*(ends + bare + more), strict=True)
    model = tiny_model()
    thoughts = record(model, prompts, ["a"] * len(prompts), batch_size=2).thoughts
    found = pairs(model, prompts, thoughts, rows, most=9, seed=0)
    assert len(found) == 2
    assert {tuple(pair.places) for pair in found} == {("question", "thought 1", LAST)}
    assert trace(model, found) is None or trace(model, found).n == 2
