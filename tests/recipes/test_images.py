"""Recipes on images from end to end: pictures, training, evaluation with and without them, and what is refused."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel

from unspoken.audit import audit
from unspoken.cli import main
from unspoken.errors import CheckpointError, RecipeError
from unspoken.evaluation.evaluate import evaluate
from unspoken.files import read_json, read_json_lines
from unspoken.inspection import inspect
from unspoken.recipe import load_recipe, resolve
from unspoken.run_directory import open_run
from unspoken.seeing import _encoder
from unspoken.training.supervised import train
from unspoken.vision import features


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clip"
    torch.manual_seed(0)
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**small, "vocab_size": 50, "bos_token_id": 0, "eos_token_id": 1}
    config = CLIPConfig(text_config=text, vision_config={**small, "image_size": 32, "patch_size": 16}, projection_dim=8)
    CLIPModel(config).save_pretrained(path)
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(path)
    return path


def recipe(tmp_path, vision, **sections):
    values = {
        "task": {
            "name": "shapes", "hops": 1, "grid": 3, "min_objects": 5, "max_objects": 6, "image_size": 36,
            "folder": str(tmp_path / "pictures"), "train_rows": 24, "validation_rows": 4, "test_rows": 8,
        },
        "model": {"layers": 1, "heads": 2, "width": 16, "max_positions": 128, "vision": vision},
        "method": {"name": "coconut", "max_stage": 1, "epochs_per_stage": 1},
        "train": {"epochs": 2, "batch_size": 8, "learning_rate": 0.003, "log_every": 1, "save": "end"},
        "evaluate": {
            "max_new_tokens": 4, "batch_size": 8, "controls": ["zero", "no_image", "blank_image", "another_image"],
        },
    }  # fmt: skip
    for section, settings in sections.items():
        values[section] = values[section] | settings
    return resolve(values, "test")


NEW = {"layers": 1, "heads": 2, "width": 16, "image_size": 32, "patch_size": 16, "train_encoder": True}


def frozen(clip, tmp_path):
    return {
        "path": str(clip),
        "cache": str(tmp_path / "features"),
        "slots": 2,
        "projector": {"name": "queries", "heads": 2},
    }


@pytest.mark.parametrize("kind", ["new", "frozen", "trainable", "pooled"])
def test_a_model_that_sees_is_trained_evaluated_and_audited(tmp_path, clip, kind):
    vision = {
        "new": NEW,
        "frozen": frozen(clip, tmp_path),
        "trainable": {"path": str(clip), "train_encoder": True},
        "pooled": {"path": str(clip), "cache": str(tmp_path / "features"), "features": "pooled", "slots": 3},
    }[kind]
    run = train(recipe(tmp_path, vision), tmp_path / "run")
    assert all(line["loss"] > 0 for line in read_json_lines(run / "metrics.jsonl") if "loss" in line)
    results = evaluate(run, split="test")
    assert set(results["controls"]) == {"zero", "no_image", "blank_image", "another_image"}
    assert results["n"] == 8
    assert [figures["choice_n"] for figures in (results, *results["controls"].values())] == [8] * 5
    assert audit(run, rows=6)["n"] == 6
    assert inspect(run, rows=6)["attention"]


def test_the_second_epoch_and_the_evaluation_run_the_encoder_over_no_image_again(tmp_path, clip, monkeypatch):
    seen = []
    usual = features._encode
    monkeypatch.setattr(features, "_encode", lambda *args: seen.append(len(args[1])) or usual(*args))
    run = train(recipe(tmp_path, frozen(clip, tmp_path)), tmp_path / "run")
    assert sum(seen) == 24 + 4
    evaluate(run, split="validation", overrides=["controls=[]"])
    assert sum(seen) == 24 + 4


def test_one_question_is_asked_about_one_image(tmp_path, capsys):
    run = train(recipe(tmp_path, NEW), tmp_path / "run")
    task = open_run(run).recipe.task
    example = task.examples("test")[0][0]
    assert main(["run", str(run), example.question, "--image", example.images[0], "--max-new-tokens", "3"]) == 0
    shown = capsys.readouterr().out
    expected = evaluate(run, split="test", overrides=["controls=[]", "max_new_tokens=3"])
    assert expected["n"] == 8
    assert shown.strip() == read_json_lines(run / "predictions.jsonl")[0]["text"].strip()
    assert main(["run", str(run), example.question, "--image", str(tmp_path / "none.png")]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_images_for_a_model_without_eyes_are_refused(capsys):
    run = Path(__file__).parents[1] / "models" / "hops-coconut"
    assert main(["run", str(run), "a b ? a", "--image", "x.png"]) == 2
    assert "images: this model sees none of the 1 images" in capsys.readouterr().err


def test_words_alone_are_read_by_a_model_without_eyes(tmp_path):
    run = train(recipe(tmp_path, None, evaluate={"controls": ["zero"]}), tmp_path / "run")
    assert evaluate(run, split="test")["n"] == 8


@pytest.mark.parametrize(
    ("name", "final", "controls"),
    [("shapes/no_cot", [], set()), ("shapes/coconut", ["method.epochs_per_stage=0"], {"zero", "mean"})],
)
def test_a_recipe_is_trained_on_the_words_alone_by_leaving_out_its_eyes(tmp_path, name, final, controls):
    changes = [
        "model={path: null, vision: null, layers: 1, heads: 2, width: 16, max_positions: 96}",
        "task.train_rows=16", "task.validation_rows=4", "task.test_rows=6", f"task.folder={tmp_path / 'pictures'}",
        "train={epochs: 2, batch_size: 8, save: end}", "evaluate.max_new_tokens=3",
    ]  # fmt: skip
    chosen = load_recipe(name, [*changes, *final])
    assert set(chosen.evaluate.controls) >= {"no_image", "blank_image", "another_image"}
    run = train(chosen, tmp_path / "run")
    results = evaluate(run, split="test")
    assert set(results["controls"]) == controls
    assert (results["choice_n"], results["chance"]) == (6, 0.25)
    # it sees nothing: other pictures change no answer
    rows = read_json_lines(run / "predictions.jsonl")
    for picture in (tmp_path / "pictures").rglob("*.png"):
        picture.write_bytes(b"")
    assert evaluate(run, split="test") == results
    assert read_json_lines(run / "predictions.jsonl") == rows


def test_a_run_whose_encoder_was_exchanged_is_refused(tmp_path, clip):
    run = train(recipe(tmp_path, frozen(clip, tmp_path)), tmp_path / "run")
    shutil.rmtree(clip)
    torch.manual_seed(1)
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**small, "vocab_size": 50, "bos_token_id": 0, "eos_token_id": 1}
    config = CLIPConfig(text_config=text, vision_config={**small, "image_size": 32, "patch_size": 16}, projection_dim=8)
    CLIPModel(config).save_pretrained(clip)
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(clip)
    _encoder.cache_clear()  # another process would load it anew
    with pytest.raises(CheckpointError, match="is not the one that the model was trained with"):
        evaluate(run, split="test")


def test_other_pictures_are_other_data(tmp_path):
    one = train(recipe(tmp_path, NEW), tmp_path / "one")
    other = train(
        recipe(tmp_path, NEW, task={"image_size": 48, "folder": str(tmp_path / "larger")}), tmp_path / "other"
    )
    assert read_json(one / "resolved.json")["data"] != read_json(other / "resolved.json")["data"]


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"task": {"name": "hops"}, "model": {"vision": None}}, "no_image takes away what a model sees"),
        ({"task": {"name": "hops"}}, "the rows of task hops name no images; take it out"),
        ({"model": {"vision": {**NEW, "heads": 3}}}, "model.vision.width: it must be a multiple of heads"),
        ({"model": {"vision": {**NEW, "patch_size": 15}}}, "it must be a multiple of patch_size"),
        ({"model": {"vision": {**NEW, "train_encoder": False}}}, "a new encoder that does not learn"),
        ({"evaluate": {"controls": ["no_images"]}}, "did you mean no_image"),
    ],
)
def test_what_does_not_fit_together_is_named(tmp_path, sections, message):
    values = {
        "task": {"name": "shapes"},
        "model": {"layers": 1, "heads": 2, "width": 16, "vision": NEW},
        "method": {"name": "coconut"},
        "evaluate": {"controls": ["no_image"]},
    }
    for section, settings in sections.items():
        values[section] = values[section] | settings if section != "task" else settings
    with pytest.raises(RecipeError, match=message):
        resolve(values, "test")


def test_the_real_rows_of_aokvqa_are_trained_and_evaluated_on_stand_in_images(tmp_path, clip, shared_data):
    """A tiny random CLIP, a tiny GPT-2 with its real tokenizer; pictures of noise under the names of the real ones."""
    file = shared_data / "aokvqa" / "validation_part.json"
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    names = {Path(row["image"]).name for row in read_json(file)}
    for name in names:
        Image.fromarray(rng.integers(0, 256, size=(40, 48, 3), dtype=np.uint8)).save(folder / name, format="JPEG")
    values = {
        "task": {
            "name": "aokvqa", "train": str(file), "validation": str(file), "test": str(file), "images": str(folder),
            "image_paths": "name", "repeated_choices": "keep",
        },
        "model": {
            "layers": 1, "heads": 2, "width": 16, "tokenizer": str(shared_data / "gpt2-tokenizer"),
            "vision": {"path": str(clip), "cache": str(tmp_path / "features")},
        },
        "method": {"name": "coconut", "max_stage": 2, "epochs_per_stage": 0},
        "train": {"epochs": 1, "batch_size": 32, "validation_rows": 8, "save": "end"},
        "evaluate": {"max_new_tokens": 3, "controls": ["zero", "no_image", "another_image"]},
    }  # fmt: skip
    run = train(resolve(values, "test"), tmp_path / "run")
    assert read_json(run / "resolved.json")["rows"]["train"]["rows_kept"] == 572
    results = evaluate(run, split="test")
    assert results["n"] == 572
    assert {figures["n"] for figures in results["controls"].values()} == {572}
