"""`unspoken eval`: which rows, under which conditions, and what is written down about them."""

import json
import shutil
from collections import Counter
from dataclasses import MISSING, asdict, fields

import pytest

from unspoken.errors import CheckpointError, DataError, RecipeError
from unspoken.evaluation.evaluate import evaluate, table
from unspoken.evaluation.statistics import aggregate, wilson
from unspoken.files import read_json, read_json_lines, sha256
from unspoken.prepare import fingerprint
from unspoken.recipe import resolve
from unspoken.records import Evaluation, Prediction
from unspoken.run_directory import open_run
from unspoken.training.supervised import train

CONTROLS = ("zero", "mean", "noise", "another_row", "removed")
FIGURES = {field.name for field in fields(Evaluation) if field.default is MISSING}
TASK = {"name": "hops", "symbols": 6, "hops": 3, "train_rows": 16, "validation_rows": 20, "test_rows": 7}


def trained(out, **sections):
    """A run of one step from large random weights, so that its answers differ from row to row."""
    recipe = {
        "task": TASK,
        "model": {"layers": 1, "heads": 2, "width": 16, "max_positions": 32, "init_std": 0.5},
        "method": {"name": "coconut", "max_stage": 2, "epochs_per_stage": 0},
        "train": {"epochs": 1, "batch_size": 16, "save": "end", "validation_rows": 2, "seed": 3},
        "evaluate": {"max_new_tokens": 5, "controls": list(CONTROLS)},
    }
    return train(resolve({**recipe, **sections}, "test"), out)


@pytest.fixture(scope="module")
def shared_run(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("evaluated") / "run")


@pytest.fixture
def run(shared_run, tmp_path):
    return shutil.copytree(shared_run, tmp_path / "run")


def predictions(run, control=None):
    name = "predictions.jsonl" if control is None else f"predictions.{control}.jsonl"
    return [Prediction(**row) for row in read_json_lines(run / name)]


def test_results_hold_exactly_what_is_documented(run):
    results = evaluate(run)
    assert json.loads(json.dumps(results)) == read_json(run / "results.json")
    assert set(results) == {
        *FIGURES, "accuracy_without_thoughts", "interval_without_thoughts", "controls", "method", "thoughts", "task",
        "data", "data_sha256", "stage", "seed", "num_parameters", "model_sha256", "settings", "date", "environment",
    }  # fmt: skip
    opened = open_run(run)
    assert (results["method"], results["thoughts"], results["task"]) == ("coconut", "last_hidden", "hops")
    assert (results["data"], results["stage"], results["seed"]) == ("validation", 3, 3)
    assert results["data_sha256"] == fingerprint(opened.recipe.task.examples("validation")[0])
    assert results["num_parameters"] == sum(parameter.numel() for parameter in opened.model.parameters())
    assert results["model_sha256"] == sha256(run / "model.safetensors")
    assert results["settings"] == {"batch_size": 64, "max_new_tokens": 5, "controls": list(CONTROLS)}
    assert results["environment"]["processes"] == 1


def test_every_figure_is_that_of_the_predictions_beside_it(run):
    results = evaluate(run)
    written = {None: results, **results["controls"]}
    assert set(written) == {None, *CONTROLS}
    for control, figures in written.items():
        rows = predictions(run, control)
        assert [row.id for row in rows] == [f"hops/validation/{number}" for number in range(1, 21)]
        expected = asdict(aggregate(rows))
        assert {key: figures[key] for key in FIGURES} == {key: expected[key] for key in FIGURES}
        assert figures["interval"] == wilson(figures["num_right"], 20)
        verdicts = Counter(row.verdict for row in rows)
        assert (figures["num_right"], figures["num_unanswered"]) == (verdicts["right"], verdicts["no answer"])
    assert set(results["controls"]["zero"]) == FIGURES


@pytest.mark.parametrize("num_written", range(7))
def test_a_failed_evaluation_leaves_the_earlier_one(run, monkeypatch, num_written):
    evaluate(run)
    earlier = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    flushed, told = [], []

    def full(descriptor):
        flushed.append(descriptor)
        if len(flushed) > num_written:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("unspoken.files.os.fsync", full)
    with pytest.raises(OSError, match="No space left") as failure:
        evaluate(run, split="test", overrides=["controls=[zero, mean, noise, another_row, removed]"], tell=told.append)
    assert str(run) in str(failure.value.filename)
    assert {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()} == earlier
    assert told[0]["data"] == "test"


def test_an_evaluation_on_other_rows_says_what_it_replaces(run, caplog):
    evaluate(run, split="test", overrides=["controls=[zero, mean]"])
    assert "replaced" not in caplog.text
    evaluate(run, overrides=["controls=[noise]"])
    assert "results.json is of test and will be replaced by that of validation" in caplog.text
    assert {path.name for path in run.glob("predictions*")} == {"predictions.jsonl", "predictions.noise.jsonl"}


def test_each_control_takes_the_thoughts_away_and_nothing_else(run):
    evaluate(run)
    trained_ = predictions(run)
    for control in CONTROLS:
        rows = predictions(run, control)
        assert [(row.id, row.question, row.expected) for row in rows] == [
            (row.id, row.question, row.expected) for row in trained_
        ]
        assert {row.num_thoughts for row in rows} == ({0} if control == "removed" else {2})
        changed = sum(row.text != other.text for row, other in zip(rows, trained_, strict=True))
        assert changed > 0, f"{control} changes no answer of a model with large random weights"


def test_an_evaluation_is_repeated_exactly_whatever_the_batches(run):
    first = evaluate(run)
    texts = {control: [row.text for row in predictions(run, control)] for control in (None, *CONTROLS)}
    assert evaluate(run) == first
    evaluate(run, overrides=["batch_size=7"])
    for control in (None, "zero", "mean", "removed"):  # noise is drawn in order, and the other row is of the batch
        assert [row.text for row in predictions(run, control)] == texts[control]


def test_without_thoughts_means_with_zeros_in_their_place(run):
    results = evaluate(run, overrides=["controls=[mean, zero]"])
    zero = results["controls"]["zero"]
    assert results["accuracy_without_thoughts"] == zero["accuracy"]
    assert results["interval_without_thoughts"] == zero["interval"]
    assert list(results["controls"]) == ["mean", "zero"]


@pytest.mark.parametrize("controls", ["[]", "[mean, removed]"])
def test_what_was_not_measured_is_null(run, controls):
    results = evaluate(run, overrides=[f"controls={controls}"])
    assert results["accuracy_without_thoughts"] is None
    assert results["interval_without_thoughts"] is None
    assert results["thoughts_per_answer"] == 2


@pytest.mark.parametrize("method", [{"name": "cot"}, {"name": "coconut", "thoughts_per_step": 0, "markers": False}])
def test_a_model_without_thoughts_loses_nothing_without_them(method, tmp_path):
    run = trained(tmp_path / "run", method=method)
    asked = []
    results = evaluate(run, progress=lambda condition, done, total: asked.append(condition))
    assert results["controls"] == {}
    assert results["thoughts"] is None
    assert results["accuracy_without_thoughts"] == results["accuracy"]
    assert results["interval_without_thoughts"] == results["interval"]
    assert set(asked) == {"none"}


@pytest.mark.parametrize(("split", "n"), [("train", 16), ("validation", 20), ("test", 7)])
def test_the_split_is_chosen_and_recorded(run, split, n):
    results = evaluate(run, split=split, overrides=["controls=[zero]"])
    assert (results["n"], results["data"]) == (n, split)
    assert [row.id for row in predictions(run)] == [f"hops/{split}/{number}" for number in range(1, n + 1)]
    assert results["data_sha256"] == fingerprint(open_run(run).recipe.task.examples(split)[0])


def test_progress_is_told_row_by_row_for_each_condition(run):
    seen = []
    evaluate(
        run,
        split="test",
        overrides=["controls=[zero]"],
        progress=lambda condition, done, total: seen.append((condition, done, total)),
    )
    assert seen == [(condition, done, 7) for condition in ("none", "zero") for done in range(1, 8)]


def test_settings_may_have_the_name_of_their_section(run):
    assert list(evaluate(run, overrides=["evaluate.controls=[noise]"])["controls"]) == ["noise"]
    with pytest.raises(RecipeError) as refused:
        evaluate(run, overrides=["train.epochs=3", "controls=[zero]", "task.seed=1"])
    advice = "a trained run keeps it; change settings of evaluate alone, e.g. controls=[zero,mean]"
    assert refused.value.problems == (
        f"train.epochs=3: it is of train, and {advice}",
        f"task.seed=1: it is of task, and {advice}",
    )


def test_a_run_that_does_not_think_yet_says_which_controls_are_left_out(tmp_path, caplog):
    method = {"name": "coconut", "max_stage": 3, "epochs_per_stage": 5}
    results = evaluate(trained(tmp_path / "run", method=method), overrides=["controls=[zero,mean]"])
    assert results["controls"] == {}
    assert "trained to stage 0 of 4, where it has no thoughts; controls left out: zero, mean" in caplog.text


# ---- files


ROWS = [{"question": f"is {word} ?", "steps": ["so it is"], "answer": word} for word in "abcdefgh"]


@pytest.fixture(scope="module")
def custom_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("custom")
    (folder / "train.json").write_text(json.dumps(ROWS))
    (folder / "validation.json").write_text(json.dumps(ROWS[:2]))
    task = {"name": "custom", "train": f"{folder}/train.json", "validation": f"{folder}/validation.json"}
    return trained(folder / "run", task=task)


def test_a_file_may_be_given_instead_of_a_split(custom_run, tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(ROWS[5:2:-1]))
    results = evaluate(custom_run, data=path, overrides=["controls=[zero]"])
    assert (results["n"], results["data"]) == (3, str(path))
    assert [(row.question, row.expected) for row in predictions(custom_run)] == [
        ("is f ?", "f"),
        ("is e ?", "e"),
        ("is d ?", "d"),
    ]
    assert results["data_sha256"] != evaluate(custom_run, overrides=["controls=[]"])["data_sha256"]


def test_a_file_of_the_run_that_is_sought_elsewhere_is_named_whole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for split in ("train", "validation"):
        (tmp_path / f"{split}.json").write_text(json.dumps(ROWS))
    run = trained(tmp_path / "run", task={"name": "custom", "train": "train.json", "validation": "validation.json"})
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(DataError) as refused:
        evaluate(run)
    assert f"there is no {tmp_path}/elsewhere/validation.json; relative paths begin where the" in str(refused.value)
    assert "name the file with --data" in str(refused.value)
    with pytest.raises(
        DataError, match=f"mine.json does not exist in {tmp_path}/elsewhere, where relative paths begin"
    ):
        evaluate(run, data="mine.json")


def test_questions_of_training_are_counted(custom_run, tmp_path, caplog):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps([*ROWS[:3], {**ROWS[0], "question": "so is it a ?"}]))
    results = evaluate(custom_run, data=path, overrides=["controls=[]"])
    assert (results["n"], results["shared_with_training"]) == (4, 3)
    assert "3 evaluated rows ask what a training row asks, so they may be remembered" in caplog.text
    assert read_json(custom_run / "resolved.json")["shared"] == {"validation": 2}
    assert evaluate(custom_run, overrides=["controls=[]"])["shared_with_training"] == 2
    assert "shared_with_training" not in evaluate(custom_run, split="train", overrides=["controls=[]"])


def test_a_file_that_cannot_be_used_is_refused_and_the_old_results_stay(custom_run, tmp_path):
    evaluate(custom_run, overrides=["controls=[]"])
    before = sha256(custom_run / "results.json")
    path = tmp_path / "mine.json"
    for rows, message in [
        ([{"question": "is z ?", "steps": [], "answer": "a"}], "the word 'z' is not in the vocabulary"),
        ([{"question": "is a ?", "steps": []}], "no 'answer'"),
        ([{"question": "is a ? " * 20, "steps": [], "answer": "a"}], "longer than the model's 32 positions"),
        ([], "has 0 rows"),
    ]:
        path.write_text(json.dumps(rows))
        with pytest.raises(DataError, match=message):
            evaluate(custom_run, data=path)
    with pytest.raises(DataError, match="does not exist"):
        evaluate(custom_run, data=tmp_path / "absent.json")
    assert sha256(custom_run / "results.json") == before


def test_a_split_without_a_file_is_refused(custom_run):
    with pytest.raises(DataError, match=r"task custom has no test file; set task\.test"):
        evaluate(custom_run, split="test")


def test_a_task_that_makes_its_own_rows_reads_no_file(run, tmp_path):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(ROWS))
    with pytest.raises(DataError, match="hops makes its own rows and reads no file"):
        evaluate(run, data=path)


# ---- settings


def test_overrides_are_settings_of_the_evaluation_alone(run):
    results = evaluate(run, split="test", overrides=["max_new_tokens=2", "controls=[removed]", "batch_size=3"])
    assert results["settings"] == {"batch_size": 3, "max_new_tokens": 2, "controls": ["removed"]}
    assert results["tokens_per_answer"] <= 2
    assert open_run(run).recipe.evaluate.max_new_tokens == 5, "the run itself is as it was"
    for wrong, message in [
        ("controls=[zeros]", "unknown control 'zeros'"),
        ("batch_siz=3", r"evaluate\.batch_siz \(override\): unknown key; did you mean batch_size"),
        ("max_new_tokens=0", r"evaluate\.max_new_tokens"),
        ("train.epochs=3", r"train\.epochs=3: it is of train"),
        ("zero", "must have the form"),
    ]:
        with pytest.raises(RecipeError, match=message):
            evaluate(run, overrides=[wrong])


def test_predictions_of_an_earlier_evaluation_do_not_stay_beside_other_results(run):
    evaluate(run, overrides=["controls=[zero, mean]"])
    evaluate(run, split="test", overrides=["controls=[mean]"])
    assert sorted(path.name for path in run.glob("predictions*")) == ["predictions.jsonl", "predictions.mean.jsonl"]
    assert {len(predictions(run)), len(predictions(run, "mean"))} == {7}


@pytest.mark.parametrize("rows", [3, 7])
def test_thoughts_are_exchanged_also_where_a_row_is_left_over(rows, custom_run, tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(ROWS[:rows]))
    results = evaluate(custom_run, data=path, overrides=["controls=[another_row]", "batch_size=2"])
    assert results["controls"]["another_row"]["n"] == rows
    assert len(predictions(custom_run, "another_row")) == rows


def test_thoughts_are_exchanged_also_where_every_row_has_a_batch_of_its_own(custom_run, tmp_path):
    """Rows near the end of the positions are answered apart from those of other lengths."""
    path = tmp_path / "mine.json"
    path.write_text(json.dumps([{**row, "question": "is " * n + row["question"]} for n, row in enumerate(ROWS[:5])]))
    results = evaluate(custom_run, data=path, overrides=["controls=[another_row]", "max_new_tokens=30"])
    assert results["controls"]["another_row"]["n"] == 5
    rows, exchanged = predictions(custom_run), predictions(custom_run, "another_row")
    assert any(row.text != other.text for row, other in zip(rows, exchanged, strict=True))


def test_one_row_has_no_other_to_exchange_its_thoughts_with(custom_run, tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(ROWS[:1]))
    assert evaluate(custom_run, data=path, overrides=["controls=[zero]"])["n"] == 1
    with pytest.raises(
        DataError, match="another_row exchanges thoughts between rows, and only custom/test/1 has any; leave it out"
    ):
        evaluate(custom_run, data=path, overrides=["controls=[another_row]"])


def test_a_run_that_is_not_finished_or_damaged_is_not_evaluated(run):
    (run / "model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match="damaged"):
        evaluate(run)
    (run / "run.json").unlink()
    with pytest.raises(CheckpointError, match="finish it with"):
        evaluate(run)
    assert not (run / "results.json").exists()


def test_the_table_has_a_line_for_each_condition(run):
    results = evaluate(run)
    head, trained_, *controls, last = table(results).split("\n")
    assert head.split() == ["condition", "accuracy", "95%", "interval", "n", "words", "thoughts", "passes"]
    low, high = results["interval"]
    assert trained_.split()[2:6] == [f"{results['accuracy']:.3f}", f"[{low:.3f},", f"{high:.3f}]", "20"]
    assert [line.split()[0] for line in controls] == sorted(CONTROLS)
    for line in controls:
        assert float(line.split()[1]) == pytest.approx(results["controls"][line.split()[0]]["accuracy"], abs=5e-4)
    assert last.startswith(f"{results['num_unanswered']} of 20 rows gave no answer")
