"""What a run leaves behind opens again as it was, and says what is wrong when something is missing or damaged."""

import os
import shutil

import pytest
import torch
from transformers.utils import logging

from unspoken.errors import CheckpointError
from unspoken.files import read_json, sha256, write_json
from unspoken.prepare import load_model
from unspoken.recipe import dump, resolve
from unspoken.run_directory import MODEL_FILES, open_run, read_recipe, read_summary, save_model
from unspoken.training import supervised
from unspoken.training.train import train

RECIPE = {
    "task": {"name": "hops", "symbols": 6, "hops": 3, "train_rows": 16, "validation_rows": 4, "test_rows": 2},
    "model": {"layers": 1, "heads": 2, "width": 16, "max_positions": 32},
    "method": {"name": "coconut", "max_stage": 2, "epochs_per_stage": 1},
    "thoughts": {"name": "window", "size": 2, "weights": "learned"},
    "train": {"epochs": 2, "batch_size": 16, "learning_rate": 0.01, "save": "end"},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return train(resolve(RECIPE, "test"), tmp_path_factory.mktemp("finished") / "run")


@pytest.fixture
def run(finished, tmp_path):
    """A copy of a finished run that a test may damage."""
    return shutil.copytree(finished, tmp_path / "run")


def weights_of(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def test_a_run_opens_with_its_recipe_stage_tokenizer_and_weights(finished):
    opened = open_run(finished)
    assert opened.path == finished
    assert opened.recipe == resolve(RECIPE, "test")
    assert opened.stage == 1
    assert opened.summary["step"] == opened.summary["last_step"] == 2
    assert not opened.model.training
    assert opened.model.config.thought_source == RECIPE["thoughts"]
    assert opened.tokenizer("? a", add_special_tokens=False)["input_ids"] == [6, 7]
    trained = load_model(finished / "checkpoints" / "checkpoint-2")
    assert all(torch.equal(value, weights_of(trained)[name]) for name, value in weights_of(opened.model).items())


def test_a_chat_has_the_thoughts_of_the_stage_that_was_reached(finished):
    opened = open_run(finished)
    chat = opened.tokenizer.apply_chat_template([{"role": "user", "content": "a"}], add_generation_prompt=True)
    assert opened.stage < opened.recipe.method.final_stage
    assert chat["input_ids"].count(opened.model.config.latent_token_id) == opened.stage


def test_the_summary_holds_the_sha256_of_every_model_file(finished):
    recorded = read_json(finished / "run.json")["sha256"]
    assert set(recorded) == set(MODEL_FILES)
    assert all(sha256(finished / name) == value for name, value in recorded.items())


def test_whoever_may_read_one_file_of_a_run_or_a_checkpoint_may_read_all(finished):
    """The library makes the weights readable to their owner alone."""
    umask = os.umask(0o077)
    os.umask(umask)
    for folder in (finished, finished / "checkpoints" / "checkpoint-2"):
        modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir() if path.is_file()}
        assert "model.safetensors" in modes
        assert set(modes.values()) == {0o666 & ~umask}, modes


def test_the_library_draws_no_bars_of_its_own_where_a_model_is_written_and_read(finished, tmp_path, capfd):
    shown = logging.is_progress_bar_enabled()
    logging.enable_progress_bar()
    try:
        begun = {**RECIPE, "model": {"path": str(finished)}, "train": {**RECIPE["train"], "epochs": 1}}
        open_run(train(resolve(begun, "test"), tmp_path / "run"))
        # as of a model that is downloaded, where the bars of all of training are not left out
        open_run(supervised.train(resolve(RECIPE, "test"), tmp_path / "other"))
        assert logging.is_progress_bar_enabled()
    finally:
        if not shown:
            logging.disable_progress_bar()
    err = capfd.readouterr().err
    assert "Writing model shards" not in err
    assert "Loading weights" not in err


@pytest.mark.parametrize("name", MODEL_FILES)
def test_one_changed_byte_in_any_model_file_is_found(run, name):
    data = bytearray((run / name).read_bytes())
    data[len(data) // 2] ^= 1
    (run / name).write_bytes(data)
    with pytest.raises(CheckpointError, match=rf"{name} does not have the recorded sha256: it is damaged"):
        open_run(run)


@pytest.mark.parametrize("name", MODEL_FILES)
def test_a_missing_model_file_is_named(run, name):
    (run / name).unlink()
    with pytest.raises(CheckpointError, match=rf"{name} is missing"):
        open_run(run)


def test_weights_cut_off_in_the_middle_are_damaged(run):
    data = (run / "model.safetensors").read_bytes()
    (run / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(CheckpointError, match=r"model\.safetensors does not have the recorded sha256"):
        open_run(run)
    with pytest.raises(CheckpointError, match=r"cannot be loaded: .*; use another checkpoint"):
        load_model(run)


def test_an_unfinished_run_is_to_be_resumed(run):
    (run / "run.json").unlink()
    with pytest.raises(CheckpointError, match=r"has no run\.json: finish it with `unspoken train --resume`"):
        open_run(run)


def test_a_folder_that_is_no_run_and_a_file_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"has no run\.json: give the directory of a finished run"):
        open_run(tmp_path)
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "absent"):
        with pytest.raises(CheckpointError, match="is not a directory; give the directory of a run"):
            open_run(path)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"stage": 1}', '{"stage": "x", "sha256": {}}', '{"sha256": {}}']
)
def test_a_damaged_summary_is_named(run, text):
    (run / "run.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"run\.json is damaged \(.+\); resume the run"):
        open_run(run)


@pytest.mark.parametrize("name", ["../elsewhere", "/etc/passwd"])
def test_a_summary_that_lists_files_outside_of_the_run_is_refused(run, name):
    summary = read_json(run / "run.json")
    write_json(run / "run.json", {**summary, "sha256": {name: "0"}})
    with pytest.raises(CheckpointError, match="lies outside of it"):
        read_summary(run)


@pytest.mark.parametrize("text", [None, "", "{", "[]", "{}"])
def test_settings_that_cannot_be_read_are_named(run, text):
    (run / "resolved.json").unlink()
    if text is not None:
        (run / "resolved.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"resolved\.json cannot be read \(.+\); give the directory of a run"):
        read_recipe(run)


def test_settings_of_another_release_are_refused_by_name(run):
    resolved = read_json(run / "resolved.json")
    resolved["recipe"]["train"]["colour"] = "red"
    write_json(run / "resolved.json", resolved)
    with pytest.raises(ValueError, match=r"resolved\.json has 1 problem\n  train\.colour: unknown key"):
        open_run(run)


def test_the_recorded_settings_are_all_of_them(finished):
    assert read_json(finished / "resolved.json")["recipe"] == dump(resolve(RECIPE, "test"))


def test_a_model_of_another_kind_is_no_latent_model(run):
    decoder = load_model(run).model.language_model
    decoder.save_pretrained(run)
    with pytest.raises(CheckpointError, match="holds a GPT2LMHeadModel, not a latent model"):
        load_model(run)


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="holds no model"):
        load_model(tmp_path)


def test_a_model_that_is_replaced_does_not_count_until_it_is_whole(run, monkeypatch):
    """Death in the middle of writing leaves a run that says it is unfinished, not one with half a model."""
    opened = open_run(run)
    before = weights_of(opened.model)

    def die(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(type(opened.tokenizer), "save_pretrained", die)
    with pytest.raises(KeyboardInterrupt):
        save_model(run, opened.model, opened.tokenizer, {"stage": 3})
    with pytest.raises(CheckpointError, match="finish it with"):
        open_run(run)
    monkeypatch.undo()
    save_model(run, opened.model, opened.tokenizer, {"stage": 3})
    again = open_run(run)
    assert again.stage == 3
    assert all(torch.equal(value, before[name]) for name, value in weights_of(again.model).items())


@pytest.mark.parametrize("section", ["task", "method"])
def test_a_run_of_what_is_no_part_of_the_package_says_what_to_import(run, section):
    resolved = read_json(run / "resolved.json")
    resolved["recipe"][section]["name"] = "parity"
    write_json(run / "resolved.json", resolved)
    with pytest.raises(CheckpointError, match=f"the {section} 'parity', .* import the module that registers it"):
        open_run(run)
