"""The whole of an audit: what is in it, that it hangs together, and that it says what it left out."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from unspoken.audit import audit
from unspoken.audit.table import table
from unspoken.errors import RecipeError
from unspoken.evaluation.subject import Subject
from unspoken.recipe import resolve
from unspoken.run_directory import open_run
from unspoken.training.supervised import train

MODELS = Path(__file__).parents[2] / "models"
ROWS = 30
TINY = {
    "task": {"name": "hops", "train_rows": 64, "validation_rows": 8, "test_rows": 40},
    "model": {"layers": 1, "heads": 2, "width": 16, "max_positions": 64},
    "method": {"name": "no_cot"},
    "train": {"epochs": 1, "batch_size": 32, "save": "end"},
    "evaluate": {"max_new_tokens": 4},  # an untrained model does not know when to stop
}


def trained(path, **sections):
    return train(resolve({name: TINY[name] | sections.get(name, {}) for name in TINY}, "test"), path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    shutil.copytree(MODELS / "hops-coconut", folder / "coconut")
    trained(folder / "no_cot")
    return folder


@pytest.fixture(scope="module")
def found(folder):
    return audit(folder / "coconut", against=[folder / "no_cot"], rows=ROWS)


def test_the_file_holds_what_was_returned(folder, found):
    assert json.loads((folder / "coconut" / "audit.json").read_text()) == json.loads(json.dumps(found))


def test_it_says_what_was_audited(found):
    assert (found["task"], found["method"], found["thoughts"], found["stage"]) == ("hops", "coconut", "last_hidden", 4)
    assert (found["n"], found["num_rows"], found["data"], found["margin"]) == (ROWS, 1000, "test", 0.02)
    assert (
        found["model_sha256"]
        == json.loads((MODELS / "hops-coconut" / "run.json").read_text())["sha256"]["model.safetensors"]
    )
    assert found["questions"][0] == found["necessity"]["sentence"]


def test_every_row_of_every_condition_is_counted_and_every_figure_lies_in_its_interval(found):
    for each in [*found["interventions"], *found["budget"], *found["comparisons"]]:
        assert each["n"] + each["num_left_out"] == ROWS
        low, high = each["interval"]
        assert low <= each["accuracy"] <= high
        low, high = each["cost_interval"]
        assert low <= each["cost"] <= high
        assert each["cost"] == pytest.approx(each["accuracy_as_trained"] - each["accuracy"])
        assert 0 <= each["p"] <= each["p_holm"] <= 1
    names = [each["name"] for each in found["interventions"]]
    assert len(set(names)) == len(names)
    expected = {"removed", "aloud", "zero", "mean", "placeholder", "swap_other", "swap_same", "permuted", "noise_1"}
    expected |= {"frozen_1", "frozen_4", "principal_1", "random_1", "principal_4", "random_4"}
    assert expected <= set(names)
    # without an end marker nothing stands behind the slots to read their keys and values
    assert "cache_swap_other" not in names
    assert {"section": "intervention cache_swap_other", "reason": "it applies to none of these rows"} in found[
        "omitted"
    ]


def test_as_many_thoughts_as_trained_change_nothing_and_zero_thoughts_equal_taking_the_slots_out(found):
    (usual,) = [each for each in found["budget"] if each["trained"]]
    assert (usual["num_thoughts"], usual["cost"], usual["changed"]) == (4, 0.0, 0.0)
    assert [each["num_thoughts"] for each in found["budget"]] == [0, 1, 2, 3, 4, 5, 6]
    removed = next(each for each in found["interventions"] if each["name"] == "removed")
    assert {key: found["budget"][0][key] for key in ("accuracy", "cost", "changed")} == {
        key: removed[key] for key in ("accuracy", "cost", "changed")
    }


def test_another_run_answers_the_same_rows(found):
    (other,) = found["comparisons"]
    assert (other["method"], other["thoughts"]) == ("no_cot", None)
    assert other["accuracy_as_trained"] == found["as_trained"]["accuracy"]


def test_a_model_without_thoughts_needs_none(folder):
    found = audit(folder / "no_cot", rows=5)
    assert found["necessity"]["verdict"] == "not needed"
    assert found["necessity"]["sentence"] == "The thoughts are not needed: this model answers without any."
    assert (found["interventions"], found["budget"], found["thoughts"]) == ([], [], None)
    assert table(found).startswith("necessity: not needed")


def test_the_seed_decides_everything_that_is_drawn(folder):
    shutil.copytree(MODELS / "hops-coconut", folder / "again")
    one, two, other = (audit(folder / "again", rows=10, seed=seed) for seed in (1, 1, 2))
    volatile = ("seconds", "date", "command")
    for each in (one, two, other):
        for key in volatile:
            each.pop(key)
    assert one == two
    assert one["interventions"] != other["interventions"]


def test_rows_with_unequal_numbers_of_thoughts_are_audited(tmp_path):
    run = trained(
        tmp_path / "run",
        task={"name": "prosqa", "rendering": "symbols", "max_nodes": 14, "min_hops": 2, "max_hops": 3},
        model={"max_positions": 128},
        method={"name": "coconut", "max_stage": 3, "epochs_per_stage": 0, "pad_thoughts": False},
    )
    found = audit(run, rows=12)
    assert not any(each["trained"] for each in found["budget"])
    assert any(text.startswith("The number of thoughts differs between questions") for text in found["questions"])
    permuted = next(each for each in found["interventions"] if each["name"] == "permuted")
    assert permuted["n"] == 12
    assert math.isfinite(found["necessity"]["cost"])


def test_a_change_that_applies_to_no_row_is_left_out_and_said(folder):
    found = audit(folder / "coconut", rows=2, seed=0)
    names = [each["name"] for each in found["interventions"]]
    assert "swap_same" not in names
    assert {"section": "intervention swap_same", "reason": "it applies to none of these rows"} in found["omitted"]


def test_a_run_on_another_task_is_no_comparison(folder, tmp_path):
    other = trained(tmp_path / "other", task={"name": "multiplication", "first_digits": 1, "second_digits": 1,
                                              "train_rows": 20, "validation_rows": 10, "test_rows": 10})  # fmt: skip
    with pytest.raises(RecipeError, match="is a run on multiplication, not on hops"):
        audit(folder / "coconut", against=[other], rows=5)


def test_the_table_has_a_line_for_every_condition(found):
    lines = table(found).splitlines()
    assert lines[0] == "necessity: needed"
    assert lines[1] == f"  {found['necessity']['sentence']}"
    for name in (*(each["name"] for each in found["interventions"]), "4 thoughts *", "0 thoughts", "no_cot"):
        assert any(line.startswith(f"{name} ") for line in lines), name
    shift = found["shifts"][0]
    assert any(line.startswith(f"{shift['name']} ") and f"{shift['accuracy']:.3f}" in line for line in lines)


def test_rows_with_more_steps_get_as_many_thoughts_more(folder):
    """Thoughts as trained, and for each step that rows have more than in training one thought more; fewer likewise."""
    four = [("3 hops", 4), ("3 hops", 3), ("5 hops", 4), ("5 hops", 5), ("6 hops", 4), ("6 hops", 6)]
    assert thoughts_of_shifts(audit(folder / "coconut", rows=5)) == four


def test_a_model_with_fewer_thoughts_than_steps_keeps_the_difference(tmp_path):
    method = {"name": "coconut", "max_stage": 3, "epochs_per_stage": 0}
    run = trained(tmp_path / "run", method=method)
    three = [("3 hops", 3), ("3 hops", 2), ("5 hops", 3), ("5 hops", 4), ("6 hops", 3), ("6 hops", 5)]
    assert thoughts_of_shifts(audit(run, rows=5)) == three


def test_rows_that_get_fewer_thoughts_by_themselves_are_not_given_fewer_again(tmp_path):
    method = {"name": "coconut", "max_stage": 4, "epochs_per_stage": 0, "pad_thoughts": False}
    found = thoughts_of_shifts(audit(trained(tmp_path / "run", method=method), rows=5))
    assert [count for name, count in found if name == "3 hops"] == [3]


def test_no_row_is_given_less_than_no_thought(tmp_path):
    method = {"name": "coconut", "max_stage": 1, "epochs_per_stage": 0}
    found = thoughts_of_shifts(audit(trained(tmp_path / "run", method=method), rows=5))
    assert [count for name, count in found if name == "3 hops"] == [1]


def test_unlike_rows_that_do_not_fit_the_model_do_not_cost_the_audit(tmp_path):
    method = {"name": "coconut", "max_stage": 4, "epochs_per_stage": 0}
    found = audit(trained(tmp_path / "run", model={"max_positions": 30}, method=method), rows=5)
    reasons = [each["reason"] for each in found["omitted"] if each["section"].startswith("shift: ")]
    assert reasons
    assert all("30 positions" in reason or "fit the positions" in reason for reason in reasons)
    assert (tmp_path / "run" / "audit.json").is_file()


def test_an_answer_may_be_as_long_as_the_row_s_own_one_or_the_right_one(folder):
    """One long answer lets no other row think aloud."""
    run = open_run(folder / "coconut")
    subject = Subject.of(run, run.recipe.task.examples("test")[0][:6], lambda *told: None)
    as_trained = subject.answer("as trained", subject.prompts())
    lengths = {row: len(subject.tokenized[row].answer) for row in range(6)}
    assert subject.longest_as(as_trained) == lengths
    long, short = replace(as_trained[0], num_tokens=9), replace(as_trained[1], num_tokens=0)
    longest = subject.longest_as({0: long, 1: short})
    assert longest == {0: 9, 1: lengths[1]}
    aloud = subject.answer("aloud", subject.prompts(0), at_most=dict.fromkeys(range(6), 9))
    cut = subject.answer("cut", subject.prompts(0), at_most={row: 1 + row for row in range(6)})
    assert [cut[row].num_tokens for row in range(6)] == [min(1 + row, aloud[row].num_tokens) for row in range(6)]
    assert all(aloud[row].text.startswith(cut[row].text) for row in range(6))


def thoughts_of_shifts(found):
    return [(each["name"], each["num_thoughts"]) for each in found["shifts"]]
