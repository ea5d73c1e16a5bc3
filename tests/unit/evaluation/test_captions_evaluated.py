"""`unspoken eval` of a task that writes captions: its `captions` beside everything else."""

import json
import sys
from dataclasses import replace
from math import exp, fsum

import pytest
import torch

from unspoken.data.tokenizer import thought_tokens
from unspoken.errors import RecipeError
from unspoken.evaluation.captions import Written, measure
from unspoken.evaluation.captions.evaluated import caption
from unspoken.evaluation.captions.images import another
from unspoken.evaluation.captions.measure import plain
from unspoken.evaluation.captions.words import is_whole
from unspoken.evaluation.evaluate import evaluate, table
from unspoken.files import read_json, read_json_lines
from unspoken.prepare import tokenize_rows
from unspoken.recipe import resolve
from unspoken.records import Prediction
from unspoken.run_directory import open_run
from unspoken.tasks.gsm8k import GSM8K
from unspoken.tasks.hops import Hops
from unspoken.tasks.toy_stories import ToyStories
from unspoken.training.supervised import train

RECIPE = {
    "task": {"name": "hops", "symbols": 6, "hops": 3, "train_rows": 16, "validation_rows": 12, "test_rows": 1},
    "model": {"layers": 1, "heads": 2, "width": 16, "max_positions": 48, "init_std": 0.5},
    "method": {"name": "coconut", "max_stage": 2, "epochs_per_stage": 0},
    "train": {"epochs": 1, "batch_size": 16, "save": "end", "validation_rows": 2, "seed": 3},
    "evaluate": {"max_new_tokens": 5, "controls": ["zero"]},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(resolve(RECIPE, "test"), tmp_path_factory.mktemp("captions") / "run")


@pytest.fixture
def writes_captions(monkeypatch):
    monkeypatch.setattr(Hops, "is_caption", property(lambda task: True))
    monkeypatch.setattr(Hops, "previous_caption", lambda task, example: example.premises[-1])


def predictions(run, name="predictions"):
    return [Prediction(**row) for row in read_json_lines(run / f"{name}.jsonl")]


@pytest.mark.usefixtures("writes_captions")
def test_captions_are_measured_under_every_condition(run):
    results = evaluate(run)
    assert json.loads(json.dumps(results)) == read_json(run / "results.json")
    opened = open_run(run)
    task, (examples, ledger) = opened.recipe.task, opened.recipe.task.examples("validation")
    rows = tokenize_rows(opened.recipe, examples, ledger, opened.tokenizer, opened.model).tokenized
    references = [[example.answer] for example in examples]
    found = results["captions"]
    assert found["n"] == 12
    assert list(found["conditions"]) == ["none", "zero", "previous_caption", "another_reference"]
    assert list(found["lost"]) == ["zero", "previous_caption", "another_reference"]
    assert found["bleu"].startswith("case:lc|eff:no|tok:13a|smooth:exp|version:")

    measured = {}
    for condition, name in (("none", "predictions"), ("zero", "predictions.zero")):
        written = predictions(run, name)
        assert {each.likeliest for each in written} == {None}
        ways = [
            Written(each.ended, each.log_likelihoods[0], len(row.answer))
            for each, row in zip(written, rows, strict=True)
        ]
        measured[condition] = measure(references, [caption(task, each) for each in written], written=ways)
    texts = [example.answer for example in examples]
    measured["previous_caption"] = measure(references, [example.premises[-1] for example in examples])
    measured["another_reference"] = measure(references, another(texts))
    for condition, captions in measured.items():
        assert found["conditions"][condition] == plain(captions.figures())
        if condition != "none":
            assert found["lost"][condition] == plain(measured["none"].less(captions))
    assert "perplexity" in found["lost"]["zero"]
    assert "perplexity" not in found["lost"]["previous_caption"]
    # nothing is chosen among one
    assert "choice_accuracy" not in results
    assert "captions" not in results["controls"]["zero"]
    assert table(results).count("previous caption") == 7
    finished = sum(each.ended and is_whole(caption(task, each)) for each in predictions(run))
    assert f"{finished} of 12 captions are whole sentences that the model ended itself" in table(results)


@pytest.mark.usefixtures("writes_captions")
def test_perplexity_is_that_of_the_reference_behind_question_and_thoughts(run):
    found = evaluate(run)["captions"]["conditions"]["none"]["perplexity"]["value"]
    opened = open_run(run)
    rows = tokenize_rows(
        opened.recipe, *opened.recipe.task.examples("validation"), opened.tokenizer, opened.model
    ).tokenized
    sums, count = [], 0
    for row in rows:
        prompt = opened.recipe.method.prompt(row, opened.stage, thought_tokens(opened.tokenizer)).input_ids
        ids = torch.tensor([[*prompt.tolist(), *row.answer.tolist()]])
        with torch.no_grad():
            likely = opened.model.eval()(input_ids=ids).logits[0].log_softmax(dim=-1)
        sums += [likely[place - 1, ids[0, place]].item() for place in range(len(prompt), ids.size(1))]
        count += len(row.answer)
    assert found == pytest.approx(exp(-fsum(sums) / count), rel=1e-4)


@pytest.mark.usefixtures("writes_captions")
def test_a_text_that_stops_at_the_limit_has_not_ended(run):
    evaluate(run, overrides=["max_new_tokens=24", "controls=[]"])
    lengths = [each.num_tokens for each in predictions(run) if each.num_tokens < 24]
    assert lengths, "no row ends within the limit; take other weights"
    assert all(each.ended for each in predictions(run) if each.num_tokens < 24)
    row = [each.num_tokens for each in predictions(run)].index(lengths[0])
    for limit, ended in ((lengths[0], True), (lengths[0] - 1, False)):
        evaluate(run, overrides=[f"max_new_tokens={limit}", "controls=[]"])
        found = predictions(run)[row]
        assert (found.num_tokens, found.ended) == (limit, ended)


def test_other_tasks_have_no_captions(run):
    assert "captions" not in evaluate(run)
    assert {each.ended for each in predictions(run)} == {None}
    assert all("ended" not in row for row in read_json_lines(run / "predictions.jsonl"))


@pytest.mark.usefixtures("writes_captions")
def test_one_row_is_answered_and_not_measured(run, caplog):
    results = evaluate(run, split="test")
    assert results["n"] == 1
    assert "captions" not in results
    assert "a caption alone cannot be weighed" in caplog.text


@pytest.mark.usefixtures("writes_captions")
def test_without_sacrebleu_nothing_is_answered(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics.bleu", None)
    rows = []
    with pytest.raises(RecipeError, match="BLEU needs sacrebleu"):
        evaluate(run, progress=lambda *args: rows.append(args))
    assert rows == []


def test_a_caption_is_what_follows_the_answer_start_as_it_stands_there():
    task = GSM8K(name="gsm8k")
    prediction = Prediction("1", "", "", "a step\n### A fox, then a hen. ", "A fox", "wrong", 0, 1, 1)
    assert caption(task, prediction) == "A fox, then a hen."
    assert caption(task, replace(prediction, text="a step", predicted=None)) == ""


def test_a_caption_that_says_too_little_to_be_an_answer_is_a_caption():
    prediction = Prediction("1", "", "", "### The red star goes home.", None, "no answer", 0, 1, 1)
    assert caption(ToyStories(), prediction) == "The red star goes home."
