"""What the pass loop computes, for any weights: the definition, whatever the batch, the schedule or the cache."""

import numpy as np
import pytest
import torch

from tests.conftest import TOKENS, tiny_model
from tests.laws.rows import batch_of, columns_of, random_rows
from unspoken.errors import RecipeError
from unspoken.model.scratch import ARCHITECTURES

SOURCES = [
    {"name": "last_hidden"},
    {"name": "window", "weights": [0.6, 0.3, 0.1]},
    {"name": "window", "weights": "learned", "size": 4, "scope": "thoughts+marker", "match_norm": True},
    {"name": "pause"},
    {"name": "projection"},
]


def by_definition(model, input_ids):
    """Coconut as the paper writes it: no cache, no batch; each thought from a run over everything before it."""
    embeds = model.get_input_embeddings()(input_ids)[None]
    for index in (input_ids == TOKENS.latent).nonzero().flatten().tolist():
        state = model.model.language_model(inputs_embeds=embeds[:, :index], use_cache=False).last_hidden_state[:, -1:]
        embeds = torch.cat([embeds[:, :index], state, embeds[:, index + 1 :]], dim=1)
    return model.model.language_model(inputs_embeds=embeds, use_cache=False).last_hidden_state[0]


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("seed", range(3))
def test_cached_batched_passes_equal_the_definition(arch, seed):
    model = tiny_model(arch, seed=seed)
    rows = random_rows(seed, None, 4, 0, None, 1)
    batch = batch_of(rows)
    states = model.model(**{key: value for key, value in batch.items() if key != "labels"}).last_hidden_state
    for index, row in enumerate(rows):
        expected = by_definition(model, torch.tensor(row.input_ids, dtype=torch.long))
        torch.testing.assert_close(states[index, columns_of(batch, index)], expected, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source["name"] + str(source.get("scope", "")))
@pytest.mark.parametrize("arch", ["gpt2", "llama", "qwen2"])
def test_a_row_alone_equals_the_row_in_any_batch(arch, source):
    model = tiny_model(arch, source=source)
    rows = random_rows(7, 0, 1, 4, 2, 4)
    batch = batch_of(rows)
    together = model(**batch, logits_to_keep=0)
    for index, row in enumerate(rows):
        alone = model(**batch_of([row]), logits_to_keep=0)
        kept = columns_of(batch, index)
        torch.testing.assert_close(together.logits[index, kept], alone.logits[0], atol=2e-5, rtol=1e-4)
        if row.num_thoughts:
            thoughts = together.thoughts[index, together.thought_mask[index]]
            torch.testing.assert_close(thoughts, alone.thoughts[0], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("arch", ["gpt2", "llama", "qwen2"])
def test_rows_whose_slots_share_no_column_are_still_exact(arch):
    model = tiny_model(arch)
    rows = random_rows(3, 2, 3, 1)
    batch = batch_of(rows, align=False)
    logits = model(**batch, logits_to_keep=0).logits
    for index, row in enumerate(rows):
        alone = model(**batch_of([row]), logits_to_keep=0).logits[0]
        torch.testing.assert_close(logits[index, columns_of(batch, index)], alone, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("arch", ["gpt2", "llama", "qwen2"])
def test_loss_and_gradients_of_a_batch_are_the_mean_of_its_rows(arch):
    model = tiny_model(arch)
    rows = random_rows(5, 3, 1, 0, 4, answer_length=4)
    model(**batch_of(rows)).loss.backward()
    together = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    for row in rows:
        (model(**batch_of([row])).loss / len(rows)).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(together[name], parameter.grad, atol=2e-5, rtol=1e-3, msg=name)


def test_the_loss_is_the_cross_entropy_of_the_next_token_at_labelled_positions():
    model, batch = tiny_model(), batch_of(random_rows(6, None, None, None, None))
    output = model(**batch, logits_to_keep=0)
    logits, labels = output.logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten()
    torch.testing.assert_close(output.loss, torch.nn.functional.cross_entropy(logits, labels))


@pytest.mark.parametrize("source", [SOURCES[0], SOURCES[1], SOURCES[4]], ids=["last", "window", "projection"])
@pytest.mark.parametrize("arch", ["gpt2", "llama", "qwen2"])
def test_jacobi_with_as_many_iterations_as_thoughts_is_sequential(arch, source):
    batch = batch_of(random_rows(8, 4, 2, 3))
    exact = tiny_model(arch, source=source)(**batch, logits_to_keep=0)
    distances = []
    for iterations in range(6):
        schedule = {"name": "jacobi", "iterations": iterations}
        output = tiny_model(arch, source=source, schedule=schedule)(**batch, logits_to_keep=0)
        assert output.num_passes == iterations + 2
        real = batch["attention_mask"].bool()
        distances.append((output.logits - exact.logits)[real].abs().max().item())
    assert distances[4] < 2e-5
    assert distances[5] < 2e-5
    assert min(distances[:3]) > 1e-3, "fewer iterations must not be exact, or this law tests nothing"


def test_jacobi_without_iterations_is_pause():
    batch = batch_of(random_rows(9, 3, 3, 3))
    jacobi = tiny_model(schedule={"name": "jacobi", "iterations": 0})(**batch, logits_to_keep=0).logits
    pause = tiny_model(source={"name": "pause"})(**batch, logits_to_keep=0).logits
    torch.testing.assert_close(jacobi, pause, atol=2e-5, rtol=1e-4)


def test_single_is_sequential_for_a_source_that_reads_no_state():
    batch = batch_of(random_rows(10, None, None, None, None))
    sequential = tiny_model(source={"name": "pause"})(**batch)
    single = tiny_model(source={"name": "pause"}, schedule={"name": "single"})(**batch)
    torch.testing.assert_close(single.loss, sequential.loss)
    assert single.num_passes == 1
    assert sequential.num_passes > 1


@pytest.mark.parametrize("arch", ["gpt2", "llama", "qwen2"])
def test_changing_the_answer_changes_no_thought_and_changing_the_question_does(arch):
    model, row = tiny_model(arch), random_rows(11, 3)[0]
    thoughts = model(**batch_of([row])).thoughts
    other_answer, other_question = row.input_ids.copy(), row.input_ids.copy()
    other_answer[-1] = (other_answer[-1] + 1) % 37
    other_question[0] = (other_question[0] + 1) % 37
    ids = torch.tensor(np.stack([other_answer, other_question]), dtype=torch.long)
    changed = model(input_ids=ids).thoughts
    torch.testing.assert_close(changed[0], thoughts[0], atol=1e-6, rtol=1e-5)
    assert (changed[1] - thoughts[0]).abs().max() > 1e-3


@pytest.mark.parametrize("arch", ["gpt2", "llama", "gemma2"])
@pytest.mark.parametrize("schedule", [None, {"name": "jacobi", "iterations": 2}], ids=["sequential", "jacobi"])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_recomputed_passes_have_the_same_loss_and_gradients(arch, schedule, dropout, monkeypatch):
    monkeypatch.setattr("unspoken.model.passes.CHECKPOINT_COLUMNS", 1000)
    model = tiny_model(arch, schedule=schedule, dropout=dropout).train()
    batch = batch_of(random_rows(12, None, 4, None, 2))
    results = []
    for enable in (False, True):
        model._set_gradient_checkpointing(enable)
        model.zero_grad()
        torch.manual_seed(0)
        loss = model(**batch).loss
        loss.backward()
        results.append((loss.item(), [parameter.grad.clone() for parameter in model.parameters()]))
    (kept_loss, kept), (recomputed_loss, recomputed) = results
    assert kept_loss == recomputed_loss
    for one, other in zip(kept, recomputed, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


def test_cutting_a_long_pass_into_recomputed_pieces_changes_nothing(monkeypatch):
    model, batch = tiny_model("llama").train(), batch_of(random_rows(13, None, None, None, None))
    expected = model(**batch).loss
    monkeypatch.setattr("unspoken.model.passes.CHECKPOINT_COLUMNS", 2)
    model._set_gradient_checkpointing(True)
    output = model(**batch)
    torch.testing.assert_close(output.loss, expected)
    assert output.num_passes > 6


def test_masked_slots_at_the_end_change_nothing_but_the_number_of_passes():
    model, rows = tiny_model(), random_rows(14, 2, 2, 2)
    plain, padded = model(**batch_of(rows)), model(**batch_of(rows, thought_columns=5))
    torch.testing.assert_close(padded.loss, plain.loss)
    assert padded.num_passes == 6
    assert plain.num_passes == 3


def test_no_position_is_computed_twice():
    model, seen = tiny_model(), []
    model.model.language_model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["inputs_embeds"].size(1)), with_kwargs=True
    )
    batch = batch_of(random_rows(15, 4, 4, 4))
    model(**batch)
    assert sum(seen) == batch["input_ids"].size(1)


def test_a_slot_without_a_state_before_it_is_refused():
    model = tiny_model()
    with pytest.raises(ValueError, match="row 0 has a thought slot at column 0"):
        model(input_ids=torch.tensor([[TOKENS.latent, 3]]))
    with pytest.raises(ValueError, match="row 1 has a thought slot at column 1"):
        model(
            input_ids=torch.tensor([[3, 4, 5], [0, TOKENS.latent, 5]]),
            attention_mask=torch.tensor([[1, 1, 1], [0, 1, 1]]),
        )


@pytest.mark.parametrize("memory", [None, {"name": "episodic"}])
def test_thoughts_that_are_drawn_one_after_the_other_are_not_refined_together(memory):
    """With memory each depends on the states at all earlier ones; a rollout knows no iterations."""
    with pytest.raises(RecipeError, match="jacobi refines all thoughts together, Gaussian draws one at a time; use"):
        tiny_model(source={"name": "gaussian", "memory": memory}, schedule={"name": "jacobi", "iterations": 3})


def test_packed_rows_are_refused():
    """Without a mask the second would attend to the first, and nothing would tell."""
    model, ids = tiny_model("llama"), torch.tensor([[1, 2, 3, 4, 5], [1, 2, 3, 4, 5]])
    positions = torch.tensor([[0, 1, 2, 3, 4], [0, 1, 2, 0, 1]])
    with pytest.raises(ValueError, match="positions of row 1 begin again: packed rows are not supported; give one row"):
        model(ids, position_ids=positions)
    assert torch.equal(model(ids, position_ids=torch.arange(5).expand(2, -1)).logits, model(ids).logits)
    model(ids, position_ids=positions, attention_mask=torch.ones_like(ids))


@pytest.mark.parametrize("thought_columns", [0, 5])
def test_the_mask_of_thoughts_is_true_at_the_slots_of_the_row_itself(thought_columns):
    """Batches may be filled up with masked slots, which belong to no row."""
    rows = random_rows(14, 2, 0, 3)
    output = tiny_model()(**batch_of(rows, thought_columns=thought_columns))
    assert output.thought_mask.sum(dim=1).tolist() == [row.num_thoughts for row in rows] == [2, 0, 3]
    assert output.thought_mask.shape == output.thoughts.shape[:2]
