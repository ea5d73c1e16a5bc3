"""Stories from end to end: a CLIP on their frames, a model with heads that guesses in its space, and its evaluation."""

import json
import math
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from unspoken import seeing
from unspoken.errors import CheckpointError, DataError, RecipeError
from unspoken.evaluation.evaluate import evaluate, table
from unspoken.files import read_json_lines
from unspoken.plan import plan, render
from unspoken.recipe import load_recipe, resolve
from unspoken.run_directory import open_run
from unspoken.tasks.toy_stories import ToyStories
from unspoken.training.begin import freeze_decoder
from unspoken.training.train import train

EYES = {"layers": 1, "heads": 2, "width": 32, "image_size": 36, "patch_size": 12, "train_encoder": True}


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return {
        "name": "toy_stories", "train_rows": 32, "validation_rows": 6, "test_rows": 6, "image_size": 36,
        "folder": str(tmp_path_factory.mktemp("frames")),
    }  # fmt: skip


@pytest.fixture(scope="module")
def clip(task, tmp_path_factory):
    recipe = resolve(
        {
            "task": task,
            "model": {"layers": 1, "heads": 2, "width": 32, "max_positions": 64, "vision": EYES},
            "method": {"name": "contrastive", "embedding": 16},
            "train": {"epochs": 1, "batch_size": 16, "reset_optimizer": "never", "save": "end"},
        },
        "test",
    )
    return train(recipe, tmp_path_factory.mktemp("clip") / "run")


def values_of(task, clip, vision=EYES, **sections):
    model = {"layers": 1, "heads": 2, "width": 32, "max_positions": 192, "vision": vision}
    model |= {"embedding_heads": {"space": str(clip), "hidden": 16}} | sections.pop("model", {})
    settings = {"epochs": 2, "batch_size": 8, "learning_rate": 3e-3, "reset_optimizer": "never", "save": "end"}
    return {"task": task, "model": model, "method": {"name": "no_cot"}, "train": settings | {"log_every": 1}} | sections


@pytest.fixture(scope="module")
def run(task, clip, tmp_path_factory):
    return train(resolve(values_of(task, clip), "test"), tmp_path_factory.mktemp("heads") / "run")


def test_a_story_is_paired_with_the_frame_that_follows(task, clip):
    recipe = load_recipe("toy_stories/clip", _overrides(task))
    examples, _ = recipe.task.examples("validation")
    (pair, *_), example = recipe.method.pairs(examples), examples[0]
    assert pair.images == (example.next_image,)
    assert pair.answer == example.answer
    told = load_recipe("toy_stories/clip", [*_overrides(task), "method.caption=captions"]).method.pairs(examples)
    assert [each.answer for each in told[:5]] == [*example.captions, example.answer]
    assert [each.images[0] for each in told[:5]] == [*example.images, example.next_image]


def _overrides(task):
    return [f"task.{key}={value}" for key, value in task.items() if key != "name"]


def test_the_parts_of_the_loss_are_logged_and_add_up(run):
    steps = [row for row in read_json_lines(run / "metrics.jsonl") if "loss" in row]
    assert steps
    for row in steps:
        expected = row["loss_words"] + 0.5 * row["loss_image"] + 0.5 * row["loss_text"]
        assert row["loss"] == pytest.approx(expected, rel=1e-3)
    assert steps[-1]["loss_text"] < steps[0]["loss_text"]


def test_rows_count_alike_however_a_step_is_cut(run, task, clip, tmp_path):
    """In micro-batches, on several processes, and in what is logged of each part of the loss."""
    values = values_of(task, clip)
    values["train"] |= {"micro_batch_size": 2}
    cut, apart = resolve(values, "test"), resolve(values_of(task, clip), "test")
    (tmp_path / "apart.yaml").write_text(apart.source)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "unspoken"]
    command += ["train", str(tmp_path / "apart.yaml"), "--out", str(tmp_path / "apart")]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[:3000]
    expected = [row for row in read_json_lines(run / "metrics.jsonl") if "loss" in row]
    for other in (train(cut, tmp_path / "cut"), tmp_path / "apart"):
        found = [row for row in read_json_lines(other / "metrics.jsonl") if "loss" in row]
        for one, two in zip(expected, found, strict=True):
            for part in ("loss", "loss_words", "loss_image", "loss_text"):
                assert two[part] == pytest.approx(one[part], rel=2e-3, abs=2e-4), (other.name, one["step"], part)


def test_compared_rows_are_all_in_one_process(task, clip, tmp_path, monkeypatch):
    chosen = values_of(task, clip, model={"embedding_heads": {"space": str(clip), "text_loss": "info_nce"}})
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RecipeError, match="info_nce compares all rows of a step, and 2 processes see a part each"):
        train(resolve(chosen, "test"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_heads_are_measured_beside_their_chance_and_captions_beside_images(run):
    found = evaluate(run, split="test")["foreseen"]
    assert found["n"] == 6
    for kind in ("image", "text"):
        heads = found["heads"][kind]
        assert -1 <= heads["cosine"]["interval"][0] <= heads["cosine"]["value"] <= heads["cosine"]["interval"][1] <= 1
        assert heads["recall_1"] <= heads["recall_5"]
        assert 1 / 6 <= heads["chance_1"] < heads["chance_5"] < 1
    scores = found["clip_score"]
    assert {"none", "previous_caption", "reference", "another_reference"} <= scores.keys()
    assert found["prefix"] == ""  # a CLIP of few words never read the usual one
    for figures in scores.values():
        assert figures["clip_score"]["value"] >= 0
    printed = table(json.loads((run / "results.json").read_text()))
    assert "the next image" in printed
    assert "CLIPScore" in printed


def test_heads_come_back_with_the_model_and_go_on_in_another_run(run, task, clip, tmp_path):
    opened = open_run(run)
    values = values_of(task, clip, model={"path": str(run)})
    values["train"] |= {"epochs": 1, "learning_rate": 1e-9}
    again = open_run(train(resolve(values, "test"), tmp_path / "again"))
    for name, weight in opened.model.embedding_heads.state_dict().items():
        torch.testing.assert_close(again.model.embedding_heads.state_dict()[name], weight)


def test_another_clip_than_that_of_training_is_refused(run, clip):
    weights, before = load_file(clip / "model.safetensors"), (clip / "model.safetensors").read_bytes()
    changed = {name: weight + 1 if name == "text_projection.weight" else weight for name, weight in weights.items()}
    save_file(changed, clip / "model.safetensors", metadata={"format": "pt"})
    seeing._space.cache_clear()
    try:
        with pytest.raises(CheckpointError, match="is not the one that the model was trained with"):
            evaluate(run, split="test")
    finally:
        (clip / "model.safetensors").write_bytes(before)
        seeing._space.cache_clear()


@pytest.mark.parametrize("pool", ["none", "mean", "attention"])
def test_frames_and_captions_meet_in_the_space_of_a_clip(task, clip, tmp_path, pool):
    vision = {
        "path": str(clip), "features": "joint", "cache": str(tmp_path / "cache"),
        "fusion": {"layers": 1, "heads": 2, "pool": pool, "most_images": 4},
    }  # fmt: skip
    values = values_of(task, clip, vision=vision, evaluate={"controls": ["no_image", "blank_image", "another_image"]})
    values["train"] |= {"epochs": 1}
    run = train(resolve(values, "test"), tmp_path / "run")
    opened = open_run(run)
    assert opened.model.config.vision["num_patches"] == 2
    results = evaluate(run, split="test")
    assert {"no_image", "blank_image", "another_image"} == results["controls"].keys()
    shards = sum(len(list(folder.glob("*.safetensors"))) for folder in (tmp_path / "cache").iterdir())
    evaluate(run, split="test")
    assert sum(len(list(folder.glob("*.safetensors"))) for folder in (tmp_path / "cache").iterdir()) == shards


def test_a_frozen_language_model_stays_as_it_is(run, task, clip, tmp_path):
    values = values_of(task, clip, model={"path": str(run), "train_decoder": False})
    values["train"] |= {"epochs": 1}
    frozen, before = open_run(train(resolve(values, "test"), tmp_path / "frozen")).model, open_run(run).model
    changed = {
        name.split(".")[1] if name.startswith("model.") else name.split(".")[0]
        for (name, weight), old in zip(frozen.named_parameters(), before.parameters(), strict=True)
        if not torch.equal(weight, old)
    }
    assert changed == {"image_slots", "embedding_heads"}


def test_adapters_leave_eyes_and_heads_as_a_whole(run, task, clip, tmp_path):
    vision = {**EYES, "fusion": {"layers": 1, "heads": 2, "most_images": 4}}
    values = values_of(task, clip, vision=vision, model={"path": str(run), "lora": {"rank": 2, "alpha": 4.0}})
    values["train"] |= {"epochs": 1}
    adapted, before = open_run(train(resolve(values, "test"), tmp_path / "adapted")).model, open_run(run).model
    old = dict(before.named_parameters())
    moved = {name for name, weight in adapted.named_parameters() if name in old and not torch.equal(weight, old[name])}
    assert any(".attn." in name for name in moved)
    assert any("image_slots.encoder" in name for name in moved)
    assert any("embedding_heads" in name for name in moved)
    assert not any("lora" in name for name, _ in adapted.named_parameters())
    assert math.isfinite(evaluate(tmp_path / "adapted", split="test")["accuracy"])


def test_a_frozen_language_model_has_no_dropout(run):
    model = open_run(run).model
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
    freeze_decoder(model)
    model.train()
    ids = torch.tensor([[5, 6, 7, 8]])
    first, second = (model.model.language_model(ids).last_hidden_state for _ in range(2))
    assert torch.equal(first, second)


def test_rows_without_a_next_image_are_named_before_training(task, clip, tmp_path, monkeypatch):
    whole = ToyStories.examples

    def without(self, split):
        rows, ledger = whole(self, split)
        return (replace(rows[0], next_image=None), *rows[1:]), ledger

    monkeypatch.setattr(ToyStories, "examples", without)
    with pytest.raises(DataError, match=r"1 training rows have no next image, .*: toy_stories/train/1; take them out"):
        train(resolve(values_of(task, clip), "test"), tmp_path / "run")
    assert not (tmp_path / "run" / "resolved.json").exists()


def test_more_images_than_a_fusion_has_places_are_named_before_training(task, clip, tmp_path):
    vision = {**EYES, "fusion": {"layers": 1, "heads": 2, "most_images": 3}}
    with pytest.raises(DataError, match=r"32 of 32 rows have more images than the fusion has places \(3\)"):
        train(resolve(values_of(task, clip, vision=vision), "test"), tmp_path / "run")


def test_a_plan_says_that_heads_of_a_space_it_cannot_see_are_not_counted(task, clip):
    here = plan(resolve(values_of(task, clip), "test"))
    away = plan(resolve(values_of(task, "nobody/nowhere"), "test"))
    assert "in the space of" in render(here)
    assert "counted in no figure" not in render(here)
    assert "counted in no figure" in render(away)
    assert here.num_parameters - away.num_parameters == 32 * 16 + 16 + 16 * 2 * 16 + 2 * 16


def test_a_plan_offers_no_smaller_micro_batches_where_rows_are_compared(task, clip):
    compared = {"embedding_heads": {"space": str(clip), "hidden": 16, "text_loss": "info_nce"}}
    plain, comparing = (plan(resolve(values_of(task, clip, model=model), "test")) for model in ({}, compared))
    assert plain.estimate.smaller
    assert not comparing.estimate.smaller
    assert comparing.estimate.memory == plain.estimate.memory


WRONG = {
    "heads of a task without a next image": (
        {"task": {"name": "hops"}, "model": {"embedding_heads": {"space": "x"}, "vision": None}},
        "rows of hops have none",
    ),
    "heads that nothing trains": (
        {"model": {"embedding_heads": {"space": "x", "image_weight": 0.0, "text_weight": 0.0}}},
        "with both weights 0",
    ),
    "joint without a CLIP": ({"model": {"vision": {**EYES, "features": "joint"}}}, "set model.vision.path to one"),
    "rows that are compared in parts": (
        {"model": {"embedding_heads": {"space": "x", "text_loss": "info_nce"}}, "train": {"micro_batch_size": 4}},
        "info_nce compares all rows of a step, which cannot be cut into parts",
    ),
    "a frozen model from scratch": ({"model": {"train_decoder": False}}, "from scratch has to learn"),
    "fusion heads": (
        {"model": {"vision": {**EYES, "fusion": {"heads": 3}}}},
        "model.width=32 is not a multiple of 3",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_settings_that_do_not_fit_are_refused(case):
    changes, message = WRONG[case]
    values = values_of({"name": "toy_stories"}, "clip")
    values["model"] |= changes.get("model", {})
    values["train"] |= changes.get("train", {})
    values["task"] = changes.get("task", values["task"])
    with pytest.raises(RecipeError, match=message):
        resolve(values, "test")


def test_a_frame_is_told_place_by_place(task):
    recipe = load_recipe("toy_stories/frame", _overrides(task))
    examples, _ = recipe.task.examples("train")
    assert {example.question for example in examples} == {f"What is in picture {place}?" for place in (1, 2, 3, 4)}
    assert all(len(example.images) == 4 and example.answer.count(",") == 8 for example in examples)
    assert not recipe.task.is_caption
