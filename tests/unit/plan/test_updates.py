"""What a plan says of learning from rewards is what the loop does."""

import pytest

from unspoken.errors import RecipeError
from unspoken.plan import plan, render
from unspoken.plan.shape import adapter_parameters, checkpoint_shape, num_parameters
from unspoken.recipe import resolve
from unspoken.training import learner as learning
from unspoken.training.train import train

TRAINED = "tests/models/hops-coconut"


def recipe_of(method=None, thoughts=None, **sections):
    return resolve(
        {
            "task": {"name": "hops", "symbols": 8, "hops": 4, "train_rows": 22, "validation_rows": 5},
            "model": {"path": TRAINED},
            "method": {"name": "grpo", "num_thoughts": 4, "markers": False, "trajectories": 4, **(method or {})},
            "thoughts": {"name": "gaussian", **(thoughts or {})},
            "train": {"epochs": 2, "batch_size": 6, "save": "end", **sections.pop("train", {})},
            "evaluate": {"controls": [], "max_new_tokens": 3},
            **sections,
        },
        "test",
    )


def test_it_counts_what_is_drawn_and_learned(tmp_path, monkeypatch):
    recipe = recipe_of(
        {"name": "rloo", "passes": 2, "minibatches": 3}, {"halt_after": 1}, train={"micro_batch_size": 9}
    )
    planned = plan(recipe)
    drawn, taken, at_once = [], [], []
    rollout, replay, step = learning.rollout, learning.replay, learning.Learner._step
    monkeypatch.setattr(learning, "rollout", lambda *args, **more: drawn.append(rollout(*args, **more)) or drawn[-1])
    monkeypatch.setattr(learning, "replay", lambda model, old: at_once.append(len(old)) or replay(model, old))
    monkeypatch.setattr(learning.Learner, "_step", lambda *args: taken.append(0) or step(*args))
    train(recipe, tmp_path / "run")
    updates = planned.updates
    assert planned.total_steps == len(drawn) == 8
    assert [len(each) for each in drawn] == 2 * [24, 24, 24, 16]
    assert updates.drawn == 24
    assert len(taken) == updates.steps * len(drawn) == 48
    assert max(at_once) == updates.at_once == 8, "two questions of four trajectories each are nine at most"
    assert max(each.scores.is_decision.sum(dim=1).max().item() for each in drawn) <= updates.decisions == 7
    assert min(each.num_thoughts.min().item() for each in drawn) >= updates.fewest == 1


def test_it_is_shown_in_words():
    recipe = recipe_of(
        {"temperature": 1.5, "final_temperature": 0.5, "token_temperature": 0, "minibatches": 2}, {"halt_after": 2}
    )
    lines = render(plan(recipe)).splitlines()
    assert "Updates     4 an epoch (22 rows) x 2 epochs = 8" in lines
    assert (
        "Drawn       6 questions x 4 = 24 trajectories an update, at most 192 in all; temperature 1.5 to 0.5" in lines
    )
    assert (
        "Decisions   of a trajectory at most 4: 2 to 4 thoughts (gaussian), its own stop, up to 3 tokens (no decisions)"
        in lines
    )
    assert "Learned     2 optimizer steps an update, at most 12 trajectories in a backward pass" in lines
    assert "Time        not counted: it depends on how much will be thought and written" in lines
    assert not any(line.startswith("Batch") for line in lines)
    assert lines[lines.index("Stages") + 2].endswith("new"), "the optimizer is never reset"


def test_what_is_not_known_is_said():
    lines = render(plan(recipe_of(model={"path": "runs/not-there-yet"}))).splitlines()
    assert "Memory      not counted: rows or the shape of the model are not known here; nor is time" in lines
    assert "Parameters  known when the model is loaded: its shape is in no file here" in lines


def test_a_checkpoint_holds_what_is_trained():
    def checkpoint(**settings):
        return plan(recipe_of(**settings)).estimate.checkpoint

    shape = checkpoint_shape(TRAINED)
    decoder = num_parameters(shape)
    of_policy = 129  # the halting head: one number for each of the 128 of a state, and one
    assert checkpoint() == 12 * decoder
    assert checkpoint(model={"path": TRAINED, "lora": {"rank": 2}}) == 12 * adapter_parameters(shape, 2)
    frozen = {"language_model": "freeze"}
    assert checkpoint(method=frozen, thoughts={"halt_after": 1}) == 12 * of_policy


def test_memory_grows_with_what_is_drawn_and_with_what_is_in_a_backward_pass():
    def memory(**settings):
        return plan(recipe_of(**settings)).estimate.memory

    assert memory(method={"trajectories": 8}, train={"micro_batch_size": 8}) > memory(train={"micro_batch_size": 8})
    assert memory() > memory(train={"micro_batch_size": 4})


def test_processes_share_the_questions():
    updates = plan(recipe_of({"minibatches": 4}), processes=2).updates
    assert (updates.drawn, updates.at_once, updates.steps) == (24, 4, 3), "three questions are three steps at most"


def test_a_micro_batch_of_trajectories_need_not_divide_the_questions():
    assert plan(recipe_of(train={"micro_batch_size": 5})).updates.at_once == 4
    with pytest.raises(RecipeError, match="not a multiple"):
        resolve({"task": {"name": "hops"}, "method": {"name": "cot"}, "train": {"micro_batch_size": 5}}, "test")


def test_what_a_checkpoint_may_be_wide_enough_for_is_no_mistake_of_a_recipe():
    wide = {"name": "navigator", "rank": 256}
    assert plan(recipe_of(thoughts=wide, model={"path": "runs/not-there-yet"})).num_parameters is None
    with pytest.raises(RecipeError, match="rank is 256"):
        plan(recipe_of(thoughts=wide))
