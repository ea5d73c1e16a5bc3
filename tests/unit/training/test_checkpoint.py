"""Which checkpoints count, which one to resume from, which ones to keep."""

import os
import random
import re

import pytest

from unspoken import files
from unspoken.errors import CheckpointError
from unspoken.training.checkpoint import checkpoints, newest_valid, refuse_differences, rotate, step_of


def make(run, step, *, sealed=True, name=None):
    folder = run / "checkpoints" / (name or f"checkpoint-{step}")
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(random.Random(step).randbytes(100))
    if sealed:
        files.seal(folder)
    return folder


def damage(folder):
    (folder / "model.safetensors").write_bytes(b"other")


def steps(run):
    return [step_of(path) for path in checkpoints(run)]


def test_checkpoints_are_listed_by_step_and_not_by_name_or_time(tmp_path):
    for step in (5, 100, 20, 9):
        make(tmp_path, step)
    times = random.Random(0)
    for path in checkpoints(tmp_path):
        os.utime(path, (times.randrange(10**9), times.randrange(10**9)))
    assert steps(tmp_path) == [5, 9, 20, 100]
    assert newest_valid(tmp_path).name == "checkpoint-100"


def test_names_that_are_no_checkpoint_are_not_looked_at(tmp_path):
    make(tmp_path, 3)
    for name in ("checkpoint-", "checkpoint-9-old", "checkpoint-x", "my-checkpoint-9", ".partial", "checkpoint-9.tmp"):
        make(tmp_path, 9, name=name)
    (tmp_path / "checkpoints" / "checkpoint-8").write_text("a file")
    (tmp_path / "checkpoints" / "checkpoint-7").symlink_to(tmp_path / "nowhere")
    assert steps(tmp_path) == [3]
    assert newest_valid(tmp_path).name == "checkpoint-3"


def test_a_run_without_checkpoints_has_none(tmp_path):
    assert checkpoints(tmp_path) == []
    assert newest_valid(tmp_path) is None
    rotate(tmp_path, 1, None)


def test_the_newest_valid_one_is_behind_those_that_are_incomplete_or_damaged(tmp_path):
    for step in (1, 2, 3, 4, 5):
        make(tmp_path, step, sealed=step != 5)
    assert newest_valid(tmp_path).name == "checkpoint-4"
    damage(tmp_path / "checkpoints" / "checkpoint-4")
    assert newest_valid(tmp_path).name == "checkpoint-3"
    (tmp_path / "checkpoints" / "checkpoint-3" / "model.safetensors").unlink()
    assert newest_valid(tmp_path).name == "checkpoint-2"
    (tmp_path / "checkpoints" / "checkpoint-2" / files.MANIFEST).write_text("{")
    assert newest_valid(tmp_path).name == "checkpoint-1"


def test_those_that_are_passed_over_are_named_with_their_reasons(tmp_path, caplog):
    for step in (1, 2, 3):
        make(tmp_path, step, sealed=step != 3)
    damage(tmp_path / "checkpoints" / "checkpoint-2")
    newest_valid(tmp_path)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert re.search(r"checkpoint-3 has no manifest\.json: it was never completed", said[0])
    assert re.search(r"checkpoint-2/model\.safetensors does not have the recorded sha256", said[1])


def test_checkpoints_of_which_none_is_valid_are_not_begun_anew_unasked(tmp_path):
    for step in (1, 2):
        damage(make(tmp_path, step))
    with pytest.raises(CheckpointError) as error:
        newest_valid(tmp_path)
    first, *listed, last = str(error.value).split("\n")
    assert first == f"{tmp_path} holds no valid checkpoint:"
    assert ["checkpoint-2/" in listed[0], "checkpoint-1/" in listed[1], len(listed)] == [True, True, 2]
    assert last == f"put back a copy of one, or remove {tmp_path / 'checkpoints'} to begin anew"


@pytest.mark.parametrize(
    ("keep", "best", "left"),
    [
        (1, None, [5]),
        (2, None, [4, 5]),
        (4, None, [2, 3, 4, 5]),
        (5, None, [1, 2, 3, 4, 5]),
        (9, None, [1, 2, 3, 4, 5]),
        (1, 2, [2, 5]),
        (2, 2, [2, 5]),
        (3, 2, [2, 4, 5]),
        (2, 5, [4, 5]),
        (2, 4, [4, 5]),
        (1, 99, [5]),
    ],
)
def test_the_oldest_are_deleted_beyond_the_number_to_keep_but_never_the_newest_or_the_best(tmp_path, keep, best, left):
    for step in (1, 2, 3, 4, 5):
        make(tmp_path, step)
    rotate(tmp_path, keep, best)
    assert steps(tmp_path) == left
    for path in checkpoints(tmp_path):
        files.verify(path)


def test_only_complete_ones_count_toward_the_number_to_keep(tmp_path):
    for step in (1, 2, 3, 4, 5, 6):
        make(tmp_path, step, sealed=step in (1, 2, 4))
    rotate(tmp_path, 2, None)
    assert [step_of(path) for path in checkpoints(tmp_path) if files.is_sealed(path)] == [2, 4]
    assert newest_valid(tmp_path).name == "checkpoint-4"


def test_at_every_moment_of_a_rotation_there_is_a_valid_checkpoint(tmp_path, monkeypatch):
    for step in (1, 2, 3, 4):
        make(tmp_path, step)
    valid, unlink = [], os.unlink

    def watching(*args, **kwargs):
        valid.append(newest_valid(tmp_path))
        return unlink(*args, **kwargs)

    monkeypatch.setattr(os, "unlink", watching)
    rotate(tmp_path, 1, None)
    assert len(valid) == 3 * 2  # three folders of two files
    assert {path.name for path in valid} == {"checkpoint-4"}


# ---- resuming with something else

RECORDED = {
    "recipe": {"task": {"name": "hops", "symbols": 8}, "train": {"lr": 1e-4, "betas": [0.9, 0.999]}, "lora": None},
    "data": {"train": "aa", "validation": "bb"},
    "tokenizer": "cc",
}


def changed(path, value):
    copy = {key: dict(inner) if isinstance(inner, dict) else inner for key, inner in RECORDED.items()}
    *parents, last = path
    place = copy
    for key in parents:
        place[key] = dict(place[key])
        place = place[key]
    place[last] = value
    return copy


def test_the_same_settings_and_data_are_fine(tmp_path):
    refuse_differences(RECORDED, changed(["tokenizer"], "cc"), tmp_path)
    reordered = {key: RECORDED[key] for key in reversed(RECORDED)}
    refuse_differences(RECORDED, reordered, tmp_path)


@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        (["tokenizer"], "dd", "tokenizer: was 'cc', is now 'dd'"),
        (["data", "train"], "ab", "data.train: was 'aa', is now 'ab'"),
        (["recipe", "task", "symbols"], 9, "recipe.task.symbols: was 8, is now 9"),
        (["recipe", "train", "betas"], [0.9, 0.95], "recipe.train.betas: was [0.9, 0.999], is now [0.9, 0.95]"),
        (["recipe", "train", "new"], 1, "recipe.train.new: was None, is now 1"),
        (["recipe", "lora"], {"rank": 8}, "recipe.lora.rank: was None, is now 8"),
    ],
)
def test_a_difference_is_refused_with_its_place_and_both_values(tmp_path, path, value, line):
    with pytest.raises(CheckpointError) as error:
        refuse_differences(RECORDED, changed(path, value), tmp_path)
    assert f"\n  {line}\n" in str(error.value)
    assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize("name", ["report_to", "log_every", "workers", "keep_checkpoints"])
def test_what_has_no_effect_on_what_is_learned_may_differ(tmp_path, name):
    refuse_differences(changed(["recipe", "train", name], 1), changed(["recipe", "train", name], 2), tmp_path)
    with pytest.raises(CheckpointError, match=r"recipe\.task"):
        refuse_differences(RECORDED, changed(["recipe", "task", name], 2), tmp_path)


def test_a_setting_that_is_gone_is_a_difference(tmp_path):
    now = {**RECORDED, "recipe": {"task": {"name": "hops"}, "train": RECORDED["recipe"]["train"], "lora": None}}
    with pytest.raises(CheckpointError, match=r"recipe\.task\.symbols: was 8, is now None"):
        refuse_differences(RECORDED, now, tmp_path)


def test_every_difference_is_listed(tmp_path):
    now = {
        "recipe": {
            "task": {"name": "prosqa", "symbols": 9},
            "train": {"lr": 1e-3, "betas": [0.9, 0.999]},
            "lora": None,
        },
        "data": {"train": "xx", "validation": "bb"},
        "tokenizer": "cc",
    }
    with pytest.raises(CheckpointError) as error:
        refuse_differences(RECORDED, now, tmp_path)
    listed = [line.split(":")[0].strip() for line in str(error.value).splitlines() if ": was " in line]
    assert listed == ["data.train", "recipe.task.name", "recipe.task.symbols", "recipe.train.lr"]
