"""Audits of runs that are unlike the demo: rows from files, unequal thoughts, no steps; and what a caller sees."""

import json
import shutil
from pathlib import Path

import pytest

from unspoken import cli
from unspoken.audit import audit
from unspoken.audit.faithfulness import following
from unspoken.audit.table import table
from unspoken.errors import UnspokenError
from unspoken.evaluation.subject import Subject
from unspoken.recipe import resolve
from unspoken.run_directory import open_run
from unspoken.training.supervised import train

MODELS = Path(__file__).parents[2] / "models"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for name in ("hops-coconut", "hops-pause"):
        shutil.copytree(MODELS / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def custom(folder):
    """A run on a file, on a task without graphs, whose rows have one or two steps and as many thoughts."""
    rows = [
        {"question": f"{a} plus {b}", "steps": ["x"] * (1 + a % 2), "answer": str((a + b) % 3)}
        for a in range(6)
        for b in range(8)
    ]
    files = {name: folder / f"{name}.json" for name in ("train", "validation", "test")}
    for name, part in zip(files, (rows, rows[12:24], rows[24:36]), strict=True):
        files[name].write_text(json.dumps(part))
    recipe = {
        "task": {"name": "custom", **{name: str(path) for name, path in files.items()}},
        "model": {"layers": 1, "heads": 2, "width": 16, "max_positions": 64},
        "method": {"name": "coconut", "max_stage": 2, "epochs_per_stage": 0, "pad_thoughts": False},
        "train": {"epochs": 1, "batch_size": 32, "save": "end"},
        "evaluate": {"max_new_tokens": 4},
    }
    return train(resolve(recipe, "test"), folder / "custom")


def test_a_run_on_a_task_without_such_changes_is_not_asked(custom):
    run = open_run(custom)
    assert following(Subject.of(run, run.recipe.task.examples("test")[0], lambda *_: None), seed=0) is None


def test_every_interval_contains_its_figure(folder):
    found = audit(folder / "hops-coconut", against=[folder / "hops-pause"], rows=24)
    pairs = [(found["as_trained"]["accuracy"], found["as_trained"]["interval"])]
    for each in [*found["interventions"], *found["budget"], *found["comparisons"]]:
        pairs += [(each["accuracy"], each["interval"])]
        pairs += [(each["cost"], each[key]) for key in ("cost_interval", "bootstrap_interval")]
    changed = found["counterfactuals"]
    pairs += [(changed[key], changed[f"{key}_interval"]) for key in ("following", "stuck", "thoughts_followed")]
    pairs += [(each["accuracy"], each["interval"]) for each in found["shifts"]]
    pairs += [(each["cost"], each["cost_interval"]) for each in found["shifts"]]
    assert len(pairs) > 50
    for figure, (low, high) in pairs:
        assert low - 1e-12 <= figure <= high + 1e-12


def test_rows_too_short_for_a_change_are_left_out_of_it_and_counted(custom):
    found = audit(custom)
    left_out = {each["name"]: each["num_left_out"] for each in found["interventions"]}
    counts = {each["name"]: each["n"] + each["num_left_out"] for each in found["interventions"]}
    assert left_out["permuted"] == 4  # rows with one thought have no other order
    assert left_out["swap_other"] == 0
    assert set(counts.values()) == {12}
    assert found["counterfactuals"] is None
    assert not any(each["trained"] for each in found["budget"])


def test_stdout_is_the_table_and_nothing_else(folder, capsys):
    run, other = folder / "hops-coconut", folder / "hops-pause"
    code = cli.main(["audit", str(run), "--rows", "12", "--against", str(other)])
    assert (code, capsys.readouterr().out) == (0, table(json.loads((run / "audit.json").read_text())) + "\n")


@pytest.mark.parametrize("verb", ["audit", "inspect"])
def test_a_folder_or_a_file_that_is_not_what_it_should_be_is_named(custom, tmp_path, capsys, verb):
    for arguments, message in (
        ([tmp_path], f"{tmp_path} has no run.json: give the directory of a finished run"),
        ([custom, "--data", tmp_path / "absent.json"], "absent.json does not exist; give the path of an existing file"),
    ):
        assert cli.main([verb, *map(str, arguments)]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert message in captured.err
        assert "Traceback" not in captured.err


def test_prosqa_rows_without_steps_can_be_audited(tmp_path):
    recipe = {
        "task": {"name": "prosqa", "rendering": "symbols", "max_nodes": 14, "min_hops": 2, "max_hops": 3,
                 "train_rows": 64, "validation_rows": 8, "test_rows": 20},
        "model": {"layers": 1, "heads": 2, "width": 16, "max_positions": 128},
        "method": {"name": "coconut", "max_stage": 3, "epochs_per_stage": 0},
        "train": {"epochs": 1, "batch_size": 32, "save": "end"},
        "evaluate": {"max_new_tokens": 4},
    }  # fmt: skip
    run = train(resolve(recipe, "test"), tmp_path / "run")
    rows = [
        {"question": " ".join([*each.premises, each.question]), "steps": [], "answer": each.answer}
        for each in open_run(run).recipe.task.examples("test")[0][:6]
    ]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    audit(run, data=tmp_path / "rows.json")


@pytest.mark.parametrize("verb", ["audit", "inspect"])
def test_a_negative_seed_is_bad_input(tmp_path, capsys, verb):
    run = shutil.copytree(MODELS / "hops-coconut", tmp_path / "run")
    assert cli.main([verb, str(run), "--seed", "-1", "--rows", "24"]) == 2
    assert "seed" in capsys.readouterr().err


def test_a_run_that_cannot_be_compared_is_refused_before_the_work(tmp_path):
    run, seen = shutil.copytree(MODELS / "hops-coconut", tmp_path / "run"), []
    with pytest.raises(UnspokenError):
        audit(run, against=[tmp_path / "absent"], rows=4, progress=lambda name, *_: seen.append(name))
    assert seen == []
