"""Training on one of several rationales an epoch: which, and that a stopped run goes on with the right one."""

import json

import pytest
from tests.unit.training.test_supervised import assert_same_run, during, stopped_after  # noqa: F401

from unspoken.data.loader import StagedDataset
from unspoken.files import read_json
from unspoken.prepare import fingerprint
from unspoken.recipe import resolve
from unspoken.records import IGNORED
from unspoken.training.supervised import train

WORDS = ["cat", "dog", "bird"]


def recipe(folder, **task):
    rows = [
        {
            "image_id": number, "question": f"What is {number} ?", "choices": ["a", "b", "c", "d"],
            "correct_choice_idx": number % 4, "direct_answers": ["a"],
            "rationales": [f"It is a {word}. Look at the {word} there." for word in WORDS],
        }
        for number in range(10)
    ]  # fmt: skip
    (folder / "rows.json").write_text(json.dumps(rows))
    values = {
        "task": {
            "name": "aokvqa", "train": str(folder / "rows.json"), "validation": str(folder / "rows.json"),
            "rationale_per": "epoch", "max_answer_tokens": 3, **task,
        },
        "model": {"layers": 1, "heads": 2, "width": 16, "max_positions": 64, "dropout": 0.1},
        "method": {"name": "cot"},
        "train": {"epochs": 5, "batch_size": 4, "validation_rows": 2, "log_every": 1},
    }  # fmt: skip
    return resolve(values, "test")


@pytest.fixture
def trained_on(monkeypatch):
    """For each epoch and row the animal that its words name."""
    found = {}
    usual = StagedDataset.__getitem__

    def item(self, index):
        staged = usual(self, index)
        labels = set(staged.labels[staged.labels != IGNORED].tolist())
        # the words that only one of the reasonings of a row has
        reasonings = [set().union(*(step.tolist() for step in steps)) for steps in _reasonings(self.rows[index])]
        alone = [each.difference(*(other for other in reasonings if other is not each)) for each in reasonings]
        (place,) = (place for place, words in enumerate(alone) if words <= labels)
        found[self.epoch, staged.id] = (place, reasonings[place] <= labels)
        return staged

    monkeypatch.setattr(StagedDataset, "__getitem__", item)
    return found


def _reasonings(row):
    return (row.steps, *row.other_steps)


def test_every_epoch_trains_one_rationale_of_each_row_and_three_epochs_all_of_them(tmp_path, trained_on):
    train(recipe(tmp_path), tmp_path / "run")
    assert len(trained_on) == 5 * 10
    assert all(whole for _, whole in trained_on.values())
    for number in range(1, 11):
        places = [trained_on[epoch, f"aokvqa/train/{number}"][0] for epoch in range(5)]
        assert sorted(places[:3]) == [0, 1, 2]
        assert places[3] != places[4]
    assert len({tuple(trained_on[epoch, f"aokvqa/train/{n}"][0] for epoch in range(3)) for n in range(1, 11)}) > 1


@pytest.mark.parametrize("step", [2, 3, 7, 11])
def test_a_stopped_run_goes_on_with_the_rationale_of_its_epoch(step, tmp_path, during):  # noqa: F811
    whole = train(recipe(tmp_path), tmp_path / "whole")
    run = stopped_after(step, recipe(tmp_path), tmp_path / "run", during)
    train(recipe(tmp_path), run, resume=True)
    assert_same_run(run, whole)


def test_another_rationale_an_epoch_is_other_data(tmp_path):
    fixed, varied = recipe(tmp_path, rationale_per="row"), recipe(tmp_path)
    assert fingerprint(fixed.task.examples("train")[0]) != fingerprint(varied.task.examples("train")[0])
    run = train(recipe(tmp_path), tmp_path / "run")
    data = read_json(run / "resolved.json")["data"]
    assert data["train"] == fingerprint(varied.task.examples("train")[0])
