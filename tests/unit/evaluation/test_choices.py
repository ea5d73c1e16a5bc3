"""Questions with choices: what an evaluation says about them besides what the model writes."""

import json

import pytest

from unspoken.errors import CheckpointError, RecipeError
from unspoken.evaluation.evaluate import evaluate, table
from unspoken.evaluation.statistics import wilson
from unspoken.files import read_json, read_json_lines
from unspoken.recipe import resolve
from unspoken.report import write_report
from unspoken.training.supervised import train

THINGS = ["cat", "dog", "bird", "fish", "cow", "hen"]
FURTHER = {"choice_accuracy", "choice_interval", "choice_n", "soft_accuracy", "soft_interval", "soft_n"}


def rows(count, **changes):
    """Official rows whose annotators agree with the gold choice, of which the text is a word."""
    found = []
    for number in range(count):
        choices = [THINGS[(number + place) % 6] for place in range(4)]
        gold = (number * number) % 3
        found.append(
            {
                "image_id": number, "question": f"What is {THINGS[number // 6 % 6]} {THINGS[number % 6]} ?",
                "choices": choices, "correct_choice_idx": gold, "rationales": ["It is so.", "Look there."],
                "direct_answers": [choices[gold]] * 3 + ["it"], **changes,
            }
        )  # fmt: skip
    return found


def trained(folder, train_rows=None, **task):
    (folder / "rows.json").write_text(json.dumps(train_rows or rows(24)))
    paths = dict.fromkeys(("train", "validation", "test"), str(folder / "rows.json"))
    values = {
        "task": {"name": "aokvqa", "answer": "text", "max_answer_tokens": 4, **paths, **task},
        "model": {"layers": 1, "heads": 2, "width": 16, "max_positions": 64, "init_std": 0.5, "vision": None},
        "method": {"name": "coconut", "max_stage": 2, "epochs_per_stage": 0},
        "train": {"epochs": 1, "batch_size": 16, "save": "end", "validation_rows": 2},
        "evaluate": {"controls": ["zero", "another_row", "no_image"]},
    }
    return train(resolve(values, "test"), folder / "run")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("choices"))


def predictions(run, control=None):
    return read_json_lines(run / ("predictions.jsonl" if control is None else f"predictions.{control}.jsonl"))


def test_each_condition_is_scored_by_choice_and_by_annotators(run):
    results = evaluate(run, split="test")
    assert json.loads(json.dumps(results)) == read_json(run / "results.json")
    assert set(results["controls"]) == {"zero", "another_row"}
    for control, figures in [(None, results), *results["controls"].items()]:
        assert figures.keys() >= FURTHER
        written = predictions(run, control)
        right = sum(row["likeliest"] == row["expected"] for row in written)
        assert figures["choice_accuracy"] == right / 24
        assert figures["choice_interval"] == wilson(right, 24)
        assert (figures["choice_n"], figures["soft_n"]) == (24, 24)
        assert figures["soft_accuracy"] == pytest.approx(sum(row["credit"] for row in written) / 24)
        for row, source in zip(written, rows(24), strict=True):
            values = dict(zip(source["choices"], row["log_likelihoods"], strict=True))
            assert row["likeliest"] == max(values, key=values.get)
            # three of four agree: a third is lost for one of the three when he is left out
            agrees = row["predicted"] == row["expected"]
            assert row["credit"] == pytest.approx((3 * 2 / 3 + 1) / 4 if agrees else 0)
    assert len({figures["choice_accuracy"] for figures in (results, *results["controls"].values())}) > 1


def test_a_guess_and_the_same_answer_always_stand_beside_it(run):
    results = evaluate(run, split="test", overrides=["controls=[]"])
    assert results["chance"] == 0.25
    # n * n % 3 is 0 in one of three rows and 1 in two
    assert results["majority"] == pytest.approx(2 / 3)
    assert table(results).split("\n")[-1] == "a guess among the choices 0.250, the same answer always 0.667"


def test_the_table_holds_them_beside_the_accuracy(run):
    results = evaluate(run, split="test", overrides=["controls=[zero]"])
    head, first, second, *_ = table(results).split("\n")
    assert head.split("  ")[0] == "condition"
    assert [title for title in ("accuracy", "by choice", "soft") if title in head] == ["accuracy", "by choice", "soft"]
    for line, figures in ((first, results), (second, results["controls"]["zero"])):
        shown = line.replace("as trained", "as_trained").split()
        assert [shown[1], shown[4], shown[7]] == [
            f"{figures[key]:.3f}" for key in ("accuracy", "choice_accuracy", "soft_accuracy")
        ]
        assert len(line) == len(head)


def test_the_report_tells_them(run, tmp_path):
    results = evaluate(run, split="test", overrides=["controls=[zero]"])
    page = write_report([run], tmp_path / "report.html").read_text()
    for figures in (results, results["controls"]["zero"]):
        assert f"by choice {100 * figures['choice_accuracy']:.1f}%" in page
    assert f"soft {100 * results['soft_accuracy']:.1f}%" in page
    assert "a guess 25.0%, the same answer always 66.7%" in page
    results["controls"]["zero"]["choice_accuracy"] = 1.5
    (run / "results.json").write_text(json.dumps(results))
    with pytest.raises(CheckpointError, match=r"accuracy 1\.5 of condition 'zero' does not lie in"):
        write_report([run], tmp_path / "report.html")


def test_rows_without_annotators_have_no_soft_accuracy(tmp_path):
    results = evaluate(trained(tmp_path, rows(12, direct_answers=[])), overrides=["controls=[]"])
    assert FURTHER & results.keys() == {"choice_accuracy", "choice_interval", "choice_n"}
    assert all("credit" not in row for row in predictions(tmp_path / "run"))
    assert "soft" not in table(results)


def test_asked_directly_rows_have_a_soft_accuracy_and_no_choices(tmp_path):
    run = trained(tmp_path, ask="direct")
    results = evaluate(run, split="test", overrides=["controls=[zero]"])
    assert FURTHER & results.keys() == {"soft_accuracy", "soft_interval", "soft_n"}
    assert results["controls"]["zero"]["soft_n"] == 24
    assert "chance" not in results
    assert "majority" not in results
    assert "The choices are" not in "".join(row["question"] for row in predictions(run))
    assert "by choice" not in table(results)


def test_controls_of_images_are_left_out_for_a_model_that_reads_the_words_alone(run, caplog):
    results = evaluate(run, split="test", overrides=["controls=[no_image, blank_image, zero]"])
    assert set(results["controls"]) == {"zero"}
    assert "reads the words alone, so these controls are left out: no_image, blank_image" in caplog.text


def test_a_model_without_eyes_must_be_meant():
    values = {
        "task": {"name": "aokvqa"}, "model": {"layers": 1, "heads": 2, "width": 16}, "method": {"name": "no_cot"},
        "evaluate": {"controls": ["no_image"]},
    }  # fmt: skip
    with pytest.raises(RecipeError, match=r"set model\.vision, or model\.vision: null to read the words alone"):
        resolve(values, "test")
    values["model"]["vision"] = None
    assert resolve(values, "test").model.vision is None
    values["task"] = {"name": "hops"}
    with pytest.raises(RecipeError, match="no_image takes away what a model sees"):
        resolve(values, "test")
