"""`unspoken audit` and `unspoken inspect` as a user calls them: results on stdout, one clear message for bad input."""

import json
import shutil
from pathlib import Path

import pytest

from unspoken import cli
from unspoken.recipe import resolve
from unspoken.training.supervised import train

MODELS = Path(__file__).parents[2] / "models"


@pytest.fixture
def run(capsys):
    def run(*arguments):
        code = cli.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def coconut(tmp_path):
    return shutil.copytree(MODELS / "hops-coconut", tmp_path / "coconut")


@pytest.fixture(scope="module")
def no_cot(tmp_path_factory):
    recipe = {
        "task": {
            "name": "multiplication",
            "first_digits": 1,
            "second_digits": 1,
            "train_rows": 20,
            "validation_rows": 10,
            "test_rows": 10,
        },
        "model": {"layers": 1, "heads": 2, "width": 16, "max_positions": 64},
        "method": {"name": "no_cot"},
        "train": {"epochs": 1, "batch_size": 32, "save": "end"},
    }
    return train(resolve(recipe, "test"), tmp_path_factory.mktemp("runs") / "no_cot")


def test_an_audit_is_a_table_and_a_file(run, coconut, tmp_path):
    code, out, err = run("audit", coconut, "--rows", 12, "--json", tmp_path / "audit.json")
    assert code == 0
    assert out.startswith("necessity: needed\n")
    assert "━" not in out + err
    assert json.loads((tmp_path / "audit.json").read_text()) == json.loads((coconut / "audit.json").read_text())


def test_an_inspection_is_a_table_and_a_file(run, coconut, tmp_path):
    code, out, _ = run("inspect", coconut, "--rows", 24, "--example", 30, "--json", tmp_path / "inspection.json")
    assert code == 0
    assert out.startswith("hops/test/30: ")
    written = json.loads((tmp_path / "inspection.json").read_text())
    assert written == json.loads((coconut / "inspection.json").read_text())
    assert [each["id"] for each in written["examples"]] == ["hops/test/30"]


@pytest.mark.parametrize("verb", ["audit", "inspect"])
def test_a_folder_for_the_figures_is_refused_before_any_work(run, coconut, tmp_path, verb):
    code, out, err = run(verb, coconut, "--rows", 12, "--json", tmp_path)
    assert (code, out) == (2, "")
    assert f"{tmp_path} is a folder; give the name of a file" in err
    assert not (coconut / "audit.json").exists()


@pytest.mark.parametrize("verb", ["audit", "inspect", "eval"])
def test_what_was_found_is_printed_also_on_a_full_disk(run, coconut, monkeypatch, verb):
    def full(self):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("unspoken.files.os.fsync", full)
    code, out, err = run(verb, coconut, *([] if verb == "eval" else ["--rows", 12]))
    assert code == 1
    assert len(out.splitlines()) > 3
    assert f"unspoken: failed: No space left on device: {coconut}" in err


@pytest.mark.parametrize("verb", ["audit", "inspect", "eval"])
def test_a_run_that_cannot_be_written_into_is_refused_before_any_work(run, coconut, monkeypatch, verb):
    monkeypatch.setattr("unspoken.files.os.access", lambda path, mode: False)
    code, out, err = run(verb, coconut)
    assert (code, out) == (2, "")
    assert f"{coconut} cannot be written into; copy it to a folder of yours, and give the copy" in err


def test_several_seeds_are_audited_one_by_one_and_together(run, coconut, tmp_path):
    other = shutil.copytree(coconut, tmp_path / "other")
    values = json.loads((other / "resolved.json").read_text())
    values["recipe"]["train"]["seed"] = 1
    (other / "resolved.json").write_text(json.dumps(values))
    code, out, _ = run("audit", coconut, other, "--rows", 6, "--json", tmp_path / "both.json")
    assert code == 0
    assert "Over 2 seeds accuracy is" in out
    written = json.loads((tmp_path / "both.json").read_text())
    assert written["over_seeds"]["seeds"] == [0, 1]
    assert [each["run"] for each in written["runs"]] == [str(coconut), str(other)]


@pytest.mark.parametrize("verb", ["audit", "inspect"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rows", "1"], "rows: 1 rows tell nothing; give at least 2"),
        (["--data", "missing.json"], "hops makes its own rows and reads no file; leave --data out"),
    ],
)
def test_bad_settings_are_named(run, coconut, verb, options, message):
    code, out, err = run(verb, coconut, *options)
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--margin", "0"], "margin: 0.0 is no difference of accuracies"),
        (["--margin", "1.5"], "margin: 1.5 is no difference of accuracies"),
        (["--margin", "x"], "invalid float value: 'x'"),
        (["--margin", "0", "--rows", "1"], "2 problems"),
    ],
)
def test_bad_margins_are_named(run, coconut, options, message):
    code, _, err = run("audit", coconut, *options)
    assert code == 2
    assert message in err


@pytest.mark.parametrize("example", [0, -1, 1001])
def test_a_row_that_is_not_there_is_named(run, coconut, example):
    code, _, err = run("inspect", coconut, "--example", example)
    assert code == 2
    assert f"example: there is no row {example}; give 1 to 1,000" in err


@pytest.mark.parametrize("verb", ["audit", "inspect"])
def test_what_is_no_finished_run_is_refused(run, coconut, tmp_path, verb):
    code, _, err = run(verb, tmp_path / "none")
    assert code == 2
    assert "is not a directory; give the directory of a run" in err
    (coconut / "run.json").unlink()
    code, _, err = run(verb, coconut)
    assert code == 2
    assert "has no run.json: finish it with `unspoken train --resume`" in err
    assert not (coconut / "audit.json").exists()


def test_a_damaged_model_is_not_audited(run, coconut):
    weights = (coconut / "model.safetensors").read_bytes()
    (coconut / "model.safetensors").write_bytes(weights[:-8] + bytes(8))
    code, _, err = run("audit", coconut)
    assert code == 2
    assert "model.safetensors" in err


def test_there_is_nothing_to_see_without_thoughts(run, no_cot):
    code, _, err = run("inspect", no_cot)
    assert code == 2
    assert "no_cot at stage 0 has no thoughts: there is nothing to see" in err


def test_another_task_is_no_comparison(run, coconut, no_cot):
    code, _, err = run("audit", coconut, "--against", no_cot, "--rows", 4)
    assert code == 2
    assert "is a run on multiplication, not on hops" in err
