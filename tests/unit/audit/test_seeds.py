"""Several seeds: their mean and t interval, and which runs may be taken together."""

import json
import shutil
from pathlib import Path

import pytest
from scipy import stats

from unspoken.audit.seeds import check_same_but_seeds, over_seeds
from unspoken.audit.table import table_over_seeds
from unspoken.errors import CheckpointError, RecipeError

MODELS = Path(__file__).parents[2] / "models"


def audit_of(seed, accuracy, verdict="needed", **costs):
    interventions = [
        {"name": name, "kind": "content" if name != "permuted" else "order", "what": f"the {name}", "cost": cost}
        for name, cost in costs.items()
    ]
    return {
        "run": f"run-{seed}", "seed": seed, "n": 100, "as_trained": {"accuracy": accuracy},
        "necessity": {"verdict": verdict}, "interventions": interventions,
    }  # fmt: skip


def test_means_and_intervals_are_those_of_the_t_distribution():
    found = over_seeds([audit_of(0, 0.9, mean=0.5), audit_of(1, 0.7, mean=0.4), audit_of(2, 0.8, mean=0.6)])
    (mean,) = found["interventions"]
    assert mean["cost"] == pytest.approx(0.5)
    expected = stats.t.interval(0.95, 2, loc=0.5, scale=stats.sem([0.5, 0.4, 0.6]))
    assert mean["cost_interval"] == pytest.approx(expected)
    assert found["accuracy"] == pytest.approx(0.8)
    assert found["accuracy_interval"][1] == 1.0  # a share ends there, the t interval does not
    assert found["accuracy_of_each"] == [0.9, 0.7, 0.8]


def test_the_sentence_names_the_mildest_replacement_and_every_verdict():
    found = over_seeds(
        [
            audit_of(0, 0.9, mean=0.5, zero=0.8, permuted=0.0),
            audit_of(1, 0.8, "undecided", mean=0.49, zero=0.8, permuted=0.0, swap_same=0.1),
        ]
    )
    assert found["sentence"] == (
        "Over 2 seeds accuracy is 85.0% [21.5%, 100.0%]; the thoughts are needed in 1, undecided in 1. The mildest "
        "replacement, the mean, costs 49.5 points [43.1, 55.9] on average."
    )
    assert [each["name"] for each in found["interventions"]] == ["mean", "zero", "permuted"]
    assert "mean                   0.495  [ 0.431,  0.559]  0.500, 0.490" in table_over_seeds(found)


def test_runs_that_are_all_alike_say_nothing_of_other_seeds():
    found = over_seeds([audit_of(seed, 0.9, mean=0.5) for seed in range(3)])
    assert found["sentence"] == (
        "Over 3 seeds accuracy is 90.0% with each; the thoughts are needed in 3. The mildest replacement, the mean, "
        "costs 50.0 points with each."
    )


def test_runs_without_thoughts_have_no_replacement():
    found = over_seeds([audit_of(0, 0.5, "not needed"), audit_of(1, 0.5, "not needed")])
    assert found["interventions"] == []
    assert found["sentence"].endswith("the thoughts are not needed in 2.")


def copied(tmp_path, name, seed, **changes):
    run = shutil.copytree(MODELS / "hops-coconut", tmp_path / name)
    resolved = json.loads((run / "resolved.json").read_text())
    resolved["recipe"]["train"]["seed"] = resolved["recipe"]["task"]["seed"] = seed
    for section, settings in changes.items():
        resolved["recipe"][section] |= settings
    (run / "resolved.json").write_text(json.dumps(resolved))
    return run


def test_runs_that_differ_in_their_seeds_alone_are_taken_together(tmp_path):
    check_same_but_seeds([copied(tmp_path, "a", 0), copied(tmp_path, "b", 1)])


def test_everything_that_keeps_runs_apart_is_named(tmp_path):
    a, b = copied(tmp_path, "a", 0), copied(tmp_path, "b", 1, train={"learning_rate": 0.5}, method={"mix": 0.1})
    c = copied(tmp_path, "c", 0)
    with pytest.raises(RecipeError) as error:
        check_same_but_seeds([a, b, c])
    assert list(error.value.problems) == [
        "train.seed: more than one run has seed 0; train with other seeds, or audit one at a time",
        f"{b} differs from {a} in method.mix, train.learning_rate; compare them with --against instead",
    ]


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="is not a directory"):
        check_same_but_seeds([copied(tmp_path, "a", 0), tmp_path / "none"])
