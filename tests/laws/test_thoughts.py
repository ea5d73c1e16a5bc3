"""What each source makes of the history, against plain loops over the definition."""

import pytest
import torch

from tests.conftest import tiny_model
from tests.laws.rows import batch_of, random_rows
from unspoken.errors import RecipeError
from unspoken.thoughts import History, build_source
from unspoken.thoughts.controls import Given, Mean, Noise, Zero, noise_of_rows


def history(*, rows=3, prefix=7, done=2, pads=(0, 2, 4), seed=0):
    """A prefix pass of `prefix` columns (marker last), then `done` thoughts one pass each; the next slot is open."""
    generator = torch.Generator().manual_seed(seed)
    chunks = [torch.randn(rows, columns, 6, generator=generator) for columns in [prefix] + [1] * done]
    length = prefix + done + 1
    is_real, is_thought = torch.ones(rows, length, dtype=torch.bool), torch.zeros(rows, length, dtype=torch.bool)
    is_marker = is_thought.clone()
    for row, pad in enumerate(pads):
        is_real[row, :pad] = False
    is_thought[:, prefix:], is_marker[:, prefix - 1] = True, True
    placeholders = torch.randn(rows, 1, 6, generator=generator)
    return History(chunks, [prefix + done], placeholders, is_real, is_thought, is_marker)


def window_by_definition(past, weights, scope, row):
    states, newest = torch.cat(list(past.chunks), dim=1)[row], past.columns[0] - 1
    total, sum_of_weights = torch.zeros(6), 0.0
    for distance, weight in enumerate(weights):
        column = newest - distance
        if column < 0 or not past.is_real[row, column]:
            continue
        thought, marker = past.is_thought[row, column], past.is_marker[row, column]
        in_scope = {"all": True, "thoughts": thought, "thoughts+marker": thought or marker}[scope]
        if distance == 0 or in_scope:
            total, sum_of_weights = total + weight * states[column], sum_of_weights + weight
    return total / sum_of_weights


@pytest.mark.parametrize("scope", ["thoughts", "thoughts+marker", "all"])
@pytest.mark.parametrize("done", [0, 1, 2, 3])
def test_a_window_is_the_weighted_mean_over_the_running_history(scope, done):
    past, weights = history(done=done), [0.5, 0.25, 0.125, 0.1, 0.05]
    source = build_source({"name": "window", "weights": weights, "scope": scope}, 6)
    for row in range(3):
        expected = window_by_definition(past, weights, scope, row)
        torch.testing.assert_close(source(past)[row, 0], expected)


def test_exponential_uniform_and_learned_weights():
    past = history()
    for settings, weights in [
        ({"weights": "exponential", "decay": 0.3, "size": 3}, [1, 0.3, 0.09]),
        ({"weights": "uniform", "size": 4}, [1, 1, 1, 1]),
        ({"weights": "learned", "size": 3}, [1, 1, 1]),
    ]:
        thought = build_source({"name": "window", **settings}, 6)(past)
        torch.testing.assert_close(thought[1, 0], window_by_definition(past, weights, "all", 1))
    learned = build_source({"name": "window", "weights": "learned", "size": 3}, 6)
    torch.nn.init.constant_(learned.logits[:1], 2.0)
    weights = learned.logits.softmax(0).tolist()
    torch.testing.assert_close(learned(past)[0, 0], window_by_definition(past, weights, "all", 0))


@pytest.mark.parametrize("weights", [[1.0], [0.3], "learned", "uniform"])
def test_a_window_of_one_is_coconut_bit_for_bit(weights):
    batch = batch_of(random_rows(1, 3, 3, 3))
    coconut = tiny_model("llama")(**batch, logits_to_keep=0)
    window = tiny_model("llama", source={"name": "window", "size": 1, "weights": weights})(**batch, logits_to_keep=0)
    assert torch.equal(window.logits, coconut.logits)
    assert torch.equal(window.thoughts, coconut.thoughts)


def test_matched_norm_keeps_the_direction_of_the_mean_and_the_length_of_the_newest_state():
    past = history()
    plain = build_source({"name": "window"}, 6)(past)
    matched = build_source({"name": "window", "match_norm": True}, 6)(past)
    torch.testing.assert_close(matched.norm(dim=-1), past.states_before().norm(dim=-1))
    torch.testing.assert_close(torch.cosine_similarity(matched, plain, dim=-1), torch.ones(3, 1))


def test_faithful_gives_the_first_thought_oldest_first_weights_and_all_later_ones_a_single_state():
    source = build_source({"name": "window", "weights": [0.6, 0.3, 0.1], "faithful": True}, 6)
    first = history(done=0, pads=(0, 0, 0))
    states = first.chunks[0]
    torch.testing.assert_close(source(first)[:, 0], 0.6 * states[:, 4] + 0.3 * states[:, 5] + 0.1 * states[:, 6])
    later = history(done=2)
    torch.testing.assert_close(source(later), later.states_before())


def test_faithful_renormalises_the_tail_of_the_list_when_the_question_is_short():
    source = build_source({"name": "window", "weights": [0.6, 0.3, 0.1], "faithful": True}, 6)
    short = history(prefix=2, done=0, pads=(0, 0, 0))
    torch.testing.assert_close(source(short)[:, 0], 0.75 * short.chunks[0][:, 0] + 0.25 * short.chunks[0][:, 1])


@pytest.mark.parametrize("align", [True, False])
def test_faithful_thoughts_of_a_row_are_its_own_in_any_batch(align):
    """Slots of other rows end passes, too, and a window must not see where."""
    model = tiny_model("llama", source={"name": "window", "weights": [0.6, 0.3, 0.1], "faithful": True})
    rows = random_rows(7, 1, 4, 2, 3)
    batch = batch_of(rows, align=align)
    output = model.model(**{key: value for key, value in batch.items() if key != "labels"})
    for index, row in enumerate(rows):
        alone = model(**batch_of([row])).thoughts[0]
        found = output.thoughts[index, output.thought_mask[index]]
        torch.testing.assert_close(found, alone, atol=2e-5, rtol=1e-4)


def test_faithful_thoughts_do_not_depend_on_how_long_passes_are_cut(monkeypatch):
    model = tiny_model("gpt2", source={"name": "window", "weights": [0.6, 0.3, 0.1], "faithful": True}).train()
    batch = batch_of(random_rows(13, 3, 2, 1))
    expected = model(**batch)
    model._set_gradient_checkpointing(True)
    for columns in (1, 2, 3):
        monkeypatch.setattr("unspoken.model.passes.CHECKPOINT_COLUMNS", columns)
        output = model(**batch)
        torch.testing.assert_close(output.thoughts, expected.thoughts)
        torch.testing.assert_close(output.loss, expected.loss)


def test_controls_take_the_thought_away():
    past, source = history(), build_source({"name": "last_hidden"}, 6)
    thought = source(past)
    assert torch.equal(Zero()(past), torch.zeros_like(thought))
    assert torch.equal(Given(thought[[2, 0, 1]])(past), thought[[2, 0, 1]])
    drawn = noise_of_rows(range(3), 3, 6, seed=1)
    noise = Noise(source, drawn)(past)
    torch.testing.assert_close(noise.norm(dim=-1), thought.norm(dim=-1))
    assert torch.cosine_similarity(noise, thought, dim=-1).abs().max() < 0.99
    mild = Noise(source, drawn, strength=0.1)(past)
    torch.testing.assert_close(mild.norm(dim=-1), thought.norm(dim=-1))
    assert torch.cosine_similarity(mild, thought, dim=-1).min() > 0.98
    means = torch.arange(18.0).view(3, 6)
    torch.testing.assert_close(Mean(means)(past), means[2].expand(3, 1, 6))


def test_the_noise_of_a_row_is_the_same_in_any_batch_and_with_any_number_of_slots():
    together = noise_of_rows([4, 7], 3, 6, seed=1)
    assert torch.equal(noise_of_rows([7], 3, 6, seed=1), together[1:])
    assert torch.equal(noise_of_rows([7], 2, 6, seed=1), together[1:, :2])
    assert not torch.equal(noise_of_rows([7], 3, 6, seed=2), together[1:])
    assert not torch.equal(together[0], together[1])


def test_replaced_thoughts_change_the_answer_and_the_trained_source_comes_back():
    model = tiny_model()
    batch = batch_of(random_rows(2, 3, 3, 3))
    before = model(**batch, logits_to_keep=1).logits
    noise = noise_of_rows(range(3), 3, model.config.hidden_size, seed=0)
    for control in (Zero(), Noise(model.model.thought_source, noise), Given(noise)):
        with model.model.thinking_with(control):
            assert (model(**batch, logits_to_keep=1).logits - before).abs().max() > 1e-3
    assert torch.equal(model(**batch, logits_to_keep=1).logits, before)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "windw"}, "unknown source 'windw'"),
        ({"name": "window", "wieghts": [1]}, "wieghts: unknown key of window"),
        ({"name": "window", "size": 0}, "size must be at least 1"),
        ({"name": "window", "weights": [0.0, 1.0]}, "the newest > 0"),
        ({"name": "window", "weights": [1.0], "size": 2}, "as many weights"),
        ({"name": "window", "weights": "newest"}, "found 'newest'"),
        ({"name": "window", "scope": "words"}, "found 'words'"),
        ({"name": "window", "weights": "learned", "faithful": True}, "fixed weights and scope"),
        ({"name": "projection", "hidden": 0}, "hidden >= 1"),
        ({"name": "last_hidden", "size": 3}, "takes nothing"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(RecipeError, match=message):
        build_source(settings, 6)
