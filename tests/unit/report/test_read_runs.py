import json
from pathlib import Path

import pytest
from tests.unit.report.synthetic_runs import answer, build_run, figures

from unspoken.errors import CheckpointError
from unspoken.report.read import labels, read_runs


@pytest.fixture
def run(tmp_path):
    rows = [answer("wrong", id="0"), answer(id="1"), answer("wrong", id="2"), answer("no answer", id="3")]
    controls = {"zero": figures(1, 4)}
    return build_run(tmp_path / "run", trained=figures(1, 4), controls=controls, predictions=rows)


def edit(file, change):
    values = json.loads(file.read_text())
    change(values)
    file.write_text(json.dumps(values))


def test_a_run_is_read_whole(run):
    (read,) = read_runs([run])
    assert (read.label, read.method, read.summary.last_step) == ("run", "coconut", 1200)
    assert read.results.figures == figures(1, 4)
    assert read.results.controls == {"zero": figures(1, 4)}
    assert [line.loss for line in read.lines if line.loss is not None][:2] == [2.0, 1.0]


def test_the_first_answer_of_each_verdict_is_kept(run):
    (read,) = read_runs([run])
    assert [(row.verdict, row.id) for row in read.answers] == [("right", "1"), ("wrong", "0"), ("no answer", "3")]


def test_a_validation_that_is_logged_twice_counts_once(run):
    (read,) = read_runs([run])
    assert [line.epoch for line in read.lines if line.eval_accuracy is not None] == [1, 2, 3, 4, 5, 6]


def test_a_line_torn_by_a_crash_is_left_out(run):
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 9999, "epo')
    (read,) = read_runs([run])
    assert read.lines[-1].step == 1200


def test_a_run_that_is_given_twice_is_read_once(run):
    assert len(read_runs([run, run.parent / "run" / ".." / "run"])) == 1


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["/a/x", "/a/y"], ["x", "y"]),
        (["/a/x", "/b/x", "/b/y"], ["a/x", "b/x", "b/y"]),
        (["/x"], ["x"]),
    ],
)
def test_labels_are_the_shortest_that_differ(paths, names):
    assert labels([Path(path) for path in paths]) == names


@pytest.mark.parametrize("name", ["recipe.yaml", "metrics.jsonl", "predictions.jsonl"])
def test_a_missing_file_is_named_with_what_to_do(run, name):
    (run / name).unlink()
    with pytest.raises(CheckpointError, match=rf"{name}.*(copy it again|run `unspoken eval`)"):
        read_runs([run])


@pytest.mark.parametrize("name", ["resolved.json", "run.json", "results.json", "predictions.jsonl", "metrics.jsonl"])
@pytest.mark.parametrize("damage", [b"{\n{", b'{"a": 1}\n{}\n', b"[]\n1\n", b"\xff\xfe\x00", b"null\n\n1"])
def test_a_damaged_file_is_named_with_what_to_do(run, name, damage):
    (run / name).write_bytes(damage)
    with pytest.raises(CheckpointError, match=rf"{name} is damaged.*(copy it again|unspoken eval|--resume)"):
        read_runs([run])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda values: values.update(accuracy=1.5), "1.5"),
        (lambda values: values.update(accuracy="high"), "accuracy"),
        (lambda values: values.update(interval=[0.9, 1.0]), "does not lie in"),
        (lambda values: values.update(interval=[0.1]), "interval"),
        (lambda values: values.update(n=0), "does not lie in"),
        (lambda values: values["controls"]["zero"].update(accuracy=-0.1), "'zero'"),
        (lambda values: values.update(passes_per_answer=-1), "negative"),
        (lambda values: values.pop("data"), "data"),
    ],
)
def test_figures_that_cannot_be_are_refused(run, change, reason):
    edit(run / "results.json", change)
    with pytest.raises(CheckpointError, match=f"results.json is damaged.*{reason}.*unspoken eval"):
        read_runs([run])


def test_a_damaged_line_is_named_by_its_number(run):
    lines = (run / "metrics.jsonl").read_text().splitlines()
    lines[2] = '{"step": "many", "epoch": 1, "stage": 0}'
    (run / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(CheckpointError, match=r"damaged in line 3: step: "):
        read_runs([run])


@pytest.mark.parametrize("kind", ["nothing", "empty directory", "file"])
def test_what_is_no_run_is_refused(tmp_path, kind):
    path = tmp_path / "x"
    if kind == "empty directory":
        path.mkdir()
    elif kind == "file":
        path.write_text("")
    with pytest.raises(CheckpointError, match=r"give (the directory of a run|one that `unspoken train` wrote)"):
        read_runs([path])


def test_no_run_at_all_is_refused():
    with pytest.raises(CheckpointError, match="at least one run"):
        read_runs([])


def test_a_run_stopped_before_its_first_line_is_still_a_run(tmp_path):
    run = build_run(tmp_path / "run", finished=False)
    (run / "metrics.jsonl").unlink()
    (read,) = read_runs([run])
    assert (read.lines, read.summary, read.results) == ((), None, None)
