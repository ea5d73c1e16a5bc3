import pytest
from tests.unit.recipe.judged import COCONUT, accepted, problem, problems

from unspoken.controls import THOUGHT_CONTROLS


def test_one_pass_needs_thoughts_that_read_no_state():
    assert problem(schedule={"name": "single"}) == (
        "schedule.name: one pass needs thoughts that read no state, last_hidden reads them; "
        "set schedule.name: sequential, or thoughts: {name: pause}"
    )
    assert "window reads them" in problem(schedule={"name": "single"}, thoughts={"name": "window"})
    accepted(schedule={"name": "single"}, thoughts={"name": "pause"})


def test_the_released_window_has_no_jacobi_order():
    jacobi = {"name": "jacobi", "iterations": 2}
    assert "thoughts.faithful: false" in problem(schedule=jacobi, thoughts={"name": "window", "faithful": True})
    accepted(schedule=jacobi, thoughts={"name": "window"})


@pytest.mark.parametrize("name", ["gaussian", "navigator", "dropout", "tokens"])
@pytest.mark.parametrize("method", [COCONUT, {"name": "grpo"}], ids=["coconut", "grpo"])
def test_thoughts_that_are_drawn_have_no_jacobi_order(name, method):
    sections = {"method": method, "thoughts": {"name": name}, "model": {"path": "run"}}
    assert problem(schedule={"name": "jacobi", "iterations": 3}, **sections) == (
        f"schedule.name: jacobi refines all thoughts together, {name} draws one after the other; "
        "set schedule.name: sequential, or thoughts: {name: last_hidden}"
    )
    accepted(schedule={"name": "sequential"}, **sections)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ({"name": "jacobbi"}, "schedule.name: unknown schedule 'jacobbi'"),
        ({"name": "jacobi", "iteratons": 2}, "schedule.iteratons: unknown key of jacobi, which takes iterations"),
        ({"name": "jacobi", "iterations": -1}, "iterations >= 0"),
        ({"name": "jacobi"}, "schedule.iterations: it is missing; jacobi needs it"),
        ({"name": "jacobi", "iterations": 2.5}, "schedule.iterations: it must be a whole number; found 2.5"),
        ({"name": "jacobi", "iterations": True}, "schedule.iterations: it must be a whole number; found True"),
        (
            {"name": "sequential", "iterations": 1},
            "schedule.iterations: unknown key of sequential, which takes nothing",
        ),
    ],
)
def test_schedules_are_checked(schedule, expected):
    assert expected in problem(schedule=schedule)


@pytest.mark.parametrize(
    ("thoughts", "expected"),
    [
        ({"name": "window", "siez": 3}, "thoughts.siez: unknown key of window"),
        ({"name": "window", "size": 0}, "at least 1, found 0"),
        ({"name": "window", "scope": "everything"}, "scope"),
        ({"name": "pause", "size": 1}, "thoughts.size: unknown key of pause, which takes nothing"),
        ({"size": 1}, "thoughts.name: unknown source None"),
        ({"name": "window", "size": 1.5}, "thoughts.size: it must be a whole number; found 1.5"),
        ({"name": "window", "size": True}, "thoughts.size: it must be a whole number; found True"),
        ({"name": "window", "match_norm": "false"}, "thoughts.match_norm: it must be true or false, without quotes"),
        ({"name": "gaussian", "critic": "false"}, "thoughts.critic: it must be true or false, without quotes; found"),
        ({"name": "gaussian", "halt_after": 1.5}, "thoughts.halt_after: it must be a whole number; found 1.5"),
        ({"name": "gaussian", "scale": True}, "thoughts.scale: it must be a number; found True"),
        ({"name": "gaussian", "action": "word"}, "thoughts.action: it must be 'thought' or 'noise'; found 'word'"),
        ({"name": "gumbel", "top": 2.5}, "thoughts.top: it must be a whole number; found 2.5"),
        ({"name": "gumbel", "relaxation": float("inf")}, "thoughts.relaxation: it must be a finite number; found inf"),
        (
            {"name": "window", "weights": [float("nan"), 1.0]},
            "thoughts.weights: it must be a finite number or 'uniform'",
        ),
        ({"name": "window", "weights": [float("inf")]}, "thoughts.weights: it must be a finite number or 'uniform'"),
        ({"name": "window", "weights": "exponential", "decay": -1, "size": 2}, "above 0 and up to 1; found -1"),
        ({"name": "window", "weights": "exponential", "decay": 0.0, "size": 2}, "above 0 and up to 1; found 0.0"),
        ({"name": "window", "decay": 0.9}, "window decay is of exponential weights; found weights (0.6, 0.3, 0.1)"),
        (
            {"name": "gaussian", "memory": {"name": "bank", "capacity": 2.5}},
            "capacity: it must be a whole number; found 2.5",
        ),
    ],
)
def test_thought_sources_are_checked(thoughts, expected):
    assert expected in problem(thoughts=thoughts)


@pytest.mark.parametrize(
    "thoughts",
    [
        {"name": "window", "weights": [1, 0]},
        {"name": "window", "weights": "exponential", "decay": 1, "size": 2},
        {"name": "gaussian", "scale": 1, "halt_after": None, "memory": {"name": "bank", "worth": 2}},
    ],
)
def test_whole_numbers_are_numbers_too(thoughts):
    assert accepted(thoughts=thoughts).thoughts == thoughts


@pytest.mark.parametrize(
    "method", [{"name": "cot"}, {"name": "no_cot"}, {"name": "icot"}, {**COCONUT, "thoughts_per_step": 0}]
)
def test_thoughts_need_a_method_that_places_some(method):
    assert problem(method=method, thoughts={"name": "pause"}).startswith("thoughts: method ")
    assert "so there is nothing to refine" in problem(method=method, schedule={"name": "jacobi", "iterations": 3})
    accepted(method=method, thoughts={"name": "last_hidden"})


def test_a_width_must_be_a_multiple_of_the_heads():
    assert problem(model={"width": 130}) == "model.width: 130 is not a multiple of model.heads=4; set it to 132"
    accepted(model={"width": 130, "path": "gpt2"})


def test_rotary_positions_need_heads_of_even_width():
    assert "width / heads is even" in problem(model={"arch": "llama", "width": 12, "heads": 4})
    accepted(model={"arch": "gpt2", "width": 12, "heads": 4})


def test_a_revision_needs_a_path():
    assert problem(model={"revision": "main"}).startswith("model.revision: ")


def test_a_step_must_be_cut_into_equal_parts():
    assert "set it to 4 x 3 = 12" in problem(train={"batch_size": 10, "micro_batch_size": 3})


def test_training_must_have_an_epoch_left():
    assert "nothing to train" in problem(train={"epochs": 3, "first_epoch": 3})


def test_thoughts_must_leave_room_for_words():
    found = problem(method={**COCONUT, "thoughts_per_step": 10}, model={"max_positions": 62})
    assert "60 thoughts + 2 markers = 62" in found
    accepted(method={**COCONUT, "thoughts_per_step": 10}, model={"max_positions": 63})


def test_released_counts_are_about_unpadded_thoughts():
    assert "pad_thoughts: false" in problem(method={**COCONUT, "released_counts": True})


@pytest.mark.parametrize("task", ["gsm8k", "multiplication", "custom", "prontoqa"])
def test_superposition_needs_frontiers(task):
    found = problem(task={"name": task}, method={"name": "superposition"})
    assert f"and {task} has none; use task hops or prosqa" in found


def test_superposition_needs_answers_of_one_token():
    assert "task.rendering: symbols" in problem(task={"name": "prosqa"}, method={"name": "superposition"})
    accepted(task={"name": "prosqa", "rendering": "symbols", "max_hops": 4}, method={"name": "superposition"})
    assert "raise it to 6" in problem(task={"name": "prosqa", "rendering": "symbols"}, method={"name": "superposition"})
    accepted(task={"name": "hops"}, method={"name": "superposition"})


def test_controls_are_those_that_there_are():
    accepted(evaluate={"controls": THOUGHT_CONTROLS})
    assert "unknown control 'all'" in problem(evaluate={"controls": ["all"]})
    assert "set it to 2 or more" in problem(evaluate={"controls": ["another_row"], "batch_size": 1})


def test_a_section_that_cannot_be_read_hides_nothing_about_the_others():
    found = problems(
        model={"widht": 16},
        method={"name": "cot", "redrawn": True},
        thoughts={"name": "window", "siez": 3},
        schedule={"name": "jacobi", "iteratons": 2},
        train={"epochs": 3, "first_epoch": 3},
        evaluate={"controls": ["all"]},
    )
    keys = [each.split(":")[0] for each in found]
    assert keys == [
        "model.widht",
        "method.redrawn",
        "thoughts.siez",
        "schedule.iteratons",
        "train.first_epoch",
        "evaluate.controls",
    ]


def test_eyes_are_judged_whatever_the_task_and_the_evaluation_are():
    eyes = {"train_encoder": True, "width": 30, "heads": 4}
    for other in ({"task": {"name": "shape"}}, {"task": {"name": "shapes"}, "evaluate": {"typo": 1}}):
        found = problems(model={"vision": eyes}, **other)
        assert "model.vision.width: it must be a multiple of heads (4)" in found


@pytest.mark.parametrize(
    ("sections", "key"),
    [
        # what a step counts depends on the method
        ({"method": {"name": "grpo", "typo": 1}, "train": {"batch_size": 10, "micro_batch_size": 3}}, "method.typo"),
        # whether they are drawn by chance, or read states, depends on which they are
        ({"method": {"name": "grpo"}, "model": {"path": "run"}, "thoughts": "gaussian"}, "thoughts"),
        ({"method": {"name": "cot"}, "thoughts": "pause", "schedule": {"name": "single"}}, "thoughts"),
        # whether a rank is too large depends on the width
        ({"model": {"width": 1024, "typo": 1}, "thoughts": {"name": "navigator", "rank": 200}}, "model.typo"),
    ],
)
def test_of_a_section_that_cannot_be_read_nothing_is_assumed(sections, key):
    assert problem(**sections).startswith(f"{key}: ")


FROZEN = {"path": "gpt2", "train_decoder": False}
AT_ONCE = {"name": "coconut", "epochs_per_stage": 0}


@pytest.mark.parametrize(
    "thoughts",
    [
        {"name": "last_hidden"},
        {"name": "pause"},
        {"name": "window"},
        {"name": "gaussian"},
        {"name": "gaussian", "learn_scale": True, "halt_after": 1, "critic": True},
    ],
)
def test_a_frozen_language_model_needs_thoughts_that_learn(thoughts):
    found = problem(model=FROZEN, method=AT_ONCE, thoughts=thoughts)
    assert (
        f"nothing is left to learn: thoughts of {thoughts['name']} have no parameters that this loss reaches" in found
    )


@pytest.mark.parametrize(
    "thoughts",
    [
        {"name": "projection"},
        {"name": "window", "weights": "learned"},
        {"name": "navigator"},
        {"name": "gaussian", "identities": 2},
    ],
)
def test_thoughts_that_learn_may_be_all_that_does(thoughts):
    accepted(model=FROZEN, method=AT_ONCE, thoughts=thoughts)


def test_where_only_thoughts_learn_every_stage_has_some():
    settings = {"model": FROZEN, "thoughts": {"name": "projection"}}
    found = problem(**settings)
    assert "rows of stage 0 have no thoughts; set method.epochs_per_stage=0, which begins with the final stage" in found
    accepted(**settings, train={"first_epoch": 5})
    found = problem(**settings, method={"name": "coconut", "mix": 0.0, "epochs_per_stage": [60]})
    assert "rows of stage 0 have no thoughts; choose thoughts for them, or set it to true" in found
