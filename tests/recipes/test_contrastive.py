"""A small CLIP from end to end: trained, resumed, evaluated, opened by stock classes, and the eyes of another run."""

import io
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer, CLIPModel

from unspoken.cli import main
from unspoken.errors import CheckpointError, DataError, RecipeError
from unspoken.evaluation.evaluate import evaluate, table
from unspoken.evaluation.retrieval import retrieval
from unspoken.files import read_json, read_json_lines, sha256
from unspoken.pairs import build_caption_tokenizer, build_clip, method_of, read_pairs
from unspoken.plan import plan, render
from unspoken.recipe import load_recipe, override
from unspoken.report import write_report
from unspoken.run_directory import open_run
from unspoken.training import contrastive, supervised
from unspoken.training.contrastive import _collate
from unspoken.training.signals import Stopped, StopRequest
from unspoken.training.train import train
from unspoken.vision.clip import caption_tokenizer, open_clip

SMALL = (
    "task.train_rows=48", "task.validation_rows=12", "task.test_rows=10",
    "model.layers=1", "model.heads=2", "model.width=32",
    "model.vision.layers=1", "model.vision.heads=2", "model.vision.width=32",
    "method.embedding=16", "train.epochs=20", "train.batch_size=16", "train.warmup_steps=0",
    "train.learning_rate=0.003", "train.log_every=1",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pictures")


@pytest.fixture(scope="module")
def recipe(folder):
    return load_recipe("shapes/clip", [*SMALL, f"task.folder={folder}"])


@pytest.fixture(scope="module")
def run(recipe, tmp_path_factory):
    return train(recipe, tmp_path_factory.mktemp("clip") / "run")


def read(recipe, split="train"):
    examples, ledger = recipe.task.examples(split)
    pairs = method_of(recipe).pairs(examples)
    clip = build_clip(recipe, build_caption_tokenizer(recipe, pairs))
    return clip, read_pairs(pairs, ledger, clip, recipe.task.image_root)


def batch_of(recipe, rows, clip, count):
    staged = [recipe.method.layout(row, 0, None, None) for row in rows.tokenized[:count]]
    return _collate(staged, pad_id=clip.tokenizer.pad_token_id)


def test_the_loss_is_the_symmetric_cross_entropy_of_scaled_cosines(recipe):
    clip, rows = read(recipe)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(1)
        for parameter in clip.model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.2)
        clip.model.logit_scale.fill_(1.5)
        batch = batch_of(recipe, rows, clip, 7)
        loss = float(clip.model(**batch).loss)
        # the plain definition, one pair at a time, each caption alone and so without padding
        images = [
            clip.model.get_image_features(pixel_values=each[None]).pooler_output[0] for each in batch["pixel_values"]
        ]
        texts = [
            clip.model.get_text_features(input_ids=torch.tensor(row.answer[None], dtype=torch.long)).pooler_output[0]
            for row in rows.tokenized[:7]
        ]
    logits = np.array([[np.exp(1.5) * float(torch.cosine_similarity(i, t, dim=0)) for t in texts] for i in images])
    right = np.diag(logits)
    by_image = np.mean(np.log(np.exp(logits).sum(axis=1)) - right)
    by_text = np.mean(np.log(np.exp(logits).sum(axis=0)) - right)
    assert loss == pytest.approx((by_image + by_text) / 2, rel=1e-5)
    assert abs(by_image - by_text) > 1e-3, "one direction alone would not do"


def test_training_lowers_the_loss_and_validates_by_retrieval(run, recipe):
    lines = read_json_lines(run / "metrics.jsonl")
    losses = [line["loss"] for line in lines if "loss" in line]
    assert len(losses) == 60
    assert np.log(16) - 0.1 < losses[0] < np.log(16) + 1.5
    assert np.mean(losses[-3:]) < np.log(16) - 0.5
    validated = [line for line in lines if "eval_recall_1" in line]
    assert [line["epoch"] for line in validated] == [*range(20)]
    assert all(line["eval_chance_1"] == pytest.approx(1 / 12) for line in validated)
    clip, rows = open_clip(run), read(recipe, "validation")[1]
    captions = [pair.answer for pair in rows.examples]
    images = clip.images([row.images[0].array() for row in rows.tokenized])
    found = retrieval(images, clip.texts(captions), captions, 200)
    assert validated[-1]["eval_image_to_text_1"] == found["image_to_text"]["recall_1"]
    assert validated[-1]["eval_text_to_image_5"] == found["text_to_image"]["recall_5"]


def test_stock_classes_open_the_run_and_read_captions_and_pictures_as_training_did(run, recipe):
    model, same = AutoModel.from_pretrained(run).eval(), CLIPModel.from_pretrained(run)
    assert isinstance(model, CLIPModel)
    saved = load_file(run / "model.safetensors")
    for name, value in same.state_dict().items():
        assert torch.equal(value, saved[name]), name
    clip, rows = read(recipe)
    tokenizer, processor = AutoTokenizer.from_pretrained(run), AutoImageProcessor.from_pretrained(run)
    captions = [pair.answer for pair in rows.examples]
    tokens = tokenizer(captions, padding=True)
    batch = batch_of(recipe, rows, clip, len(captions))
    assert tokens["input_ids"] == batch["input_ids"].tolist()
    assert tokens["attention_mask"] == batch["attention_mask"].tolist()
    pictures = [Image.open(pair.images[0]) for pair in rows.examples[:3]]
    seen = processor(images=pictures, return_tensors="pt")["pixel_values"]
    assert torch.allclose(seen, batch["pixel_values"][:3], atol=1e-3)  # kept in half precision
    opened = open_clip(run)
    with torch.no_grad():
        output = model(pixel_values=seen, **tokenizer(captions[:3], padding=True, return_tensors="pt"))
    assert torch.allclose(opened.texts(captions[:3]), output.text_embeds, atol=1e-5)
    assert torch.allclose(opened.images([opened.pixels(each) for each in pictures]), output.image_embeds, atol=1e-5)


def test_a_caption_has_the_same_vector_whatever_stands_beside_it(run):
    clip = open_clip(run)
    short, long = "red circle", "blue square, nothing, green star, nothing, nothing, red circle"
    alone, together = clip.texts([short]), clip.texts([long, short, long])
    assert torch.allclose(alone[0], together[1], atol=1e-6)
    assert not torch.allclose(alone[0], together[0], atol=1e-2)
    with pytest.raises(DataError, match=r"has 201 tokens, this CLIP reads 64"):
        clip.texts([" ".join(["red"] * 200)])


def test_eval_prints_what_is_retrieved_of_the_held_out_pairs(run, recipe):
    results = evaluate(run, split="test")
    assert results == {**read_json(run / "results.json"), **{k: results[k] for k in ("image_to_text", "text_to_image")}}
    assert (results["n"], results["candidates"], results["method"]) == (10, 10, "contrastive")
    assert results["chance_1"] == 1 / 10
    printed = io.StringIO()
    with redirect_stdout(printed), redirect_stderr(io.StringIO()):
        assert main(["eval", str(run), "--split", "test"]) == 0
    assert printed.getvalue().strip() == table(results)
    for overrides in (["batch_size=4"], ["controls=[zero]"]):
        with pytest.raises(RecipeError, match="what is retrieved has no settings; remove it"):
            evaluate(run, overrides=overrides)
    with pytest.raises(DataError, match="makes its own rows and reads no file"):
        evaluate(run, data="rows.json")


def test_a_resumed_run_ends_in_the_same_bits(recipe, tmp_path, monkeypatch):
    saving = override(recipe, ["train.epochs=6", "train.save=epoch", "train.keep_checkpoints=2"])
    whole = train(saving, tmp_path / "whole")

    class Stopping(contrastive.ScaleBound):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 8:
                request.signal = 15

    request = StopRequest()
    with monkeypatch.context() as patch:
        patch.setattr(contrastive, "ScaleBound", Stopping)
        with pytest.raises(Stopped):
            contrastive._train(saving, tmp_path / "cut", False, request)
    assert not (tmp_path / "cut" / "run.json").exists()
    resumed = train(saving, tmp_path / "cut", resume=True)
    assert sha256(resumed / "model.safetensors") == sha256(whole / "model.safetensors")
    with pytest.raises(CheckpointError, match="started with other settings"):
        train(override(saving, ["method.embedding=24"]), tmp_path / "cut", resume=True)


def test_the_best_epoch_is_left_behind(recipe, tmp_path):
    best = train(override(recipe, ["train.save=improvement"]), tmp_path / "best")
    lines = [line for line in read_json_lines(best / "metrics.jsonl") if "eval_recall_1" in line]
    highest = max(line["eval_recall_1"] for line in lines)
    summary = read_json(best / "run.json")
    assert summary["best_validation_recall_1"] == highest
    assert summary["step"] == next(line["step"] for line in lines if line["eval_recall_1"] == highest)
    validated = evaluate(best, split="validation")
    assert validated["recall_1"] == highest


def test_the_temperature_is_learned_within_its_bound(run, recipe, tmp_path):
    scale = float(load_file(run / "model.safetensors")["logit_scale"])
    assert scale != pytest.approx(np.log(1 / 0.07), abs=1e-4)
    hot = train(override(recipe, ["method.temperature=0.0101", "train.learning_rate=1.0"]), tmp_path / "hot")
    assert float(load_file(hot / "model.safetensors")["logit_scale"]) <= np.log(100) + 1e-6


def test_another_recipe_sees_with_its_frozen_eyes(run, folder, tmp_path):
    scene = load_recipe(
        "shapes/scene",
        [
            "task.train_rows=8", "task.validation_rows=4", "task.test_rows=4", f"task.folder={folder}",
            "train.epochs=1",
            "model.layers=1", "model.heads=2", "model.width=16", "train.batch_size=4", "evaluate.max_new_tokens=4",
            f"model.vision={{path: {run}, cache: {tmp_path / 'features'}}}",
        ],
    )  # fmt: skip
    trained = supervised.train(scene, tmp_path / "scene")
    assert len(list((tmp_path / "features").glob("*/*.safetensors"))) == 2
    assert evaluate(trained)["n"] == 4
    assert open_run(trained).model.config.vision["fingerprint"]
    assert plan(scene).eyes.encoder.patches == 9


def test_a_plan_counts_steps_and_parameters_and_says_what_it_does_not(run, recipe):
    planned = plan(recipe)
    assert (planned.rows, planned.total_steps) == (48, 60)
    assert planned.num_parameters == read_json(run / "run.json")["num_parameters"]
    assert "Time        not estimated for contrastive training, nor memory" in render(planned)
    assert any(
        "a caption of the sample takes" in warning
        for warning in plan(override(recipe, ["model.max_positions=8"])).warnings
    )


def test_what_asks_for_an_answer_is_refused_in_a_sentence(run, tmp_path):
    with pytest.raises(CheckpointError, match=r"holds encoders of images and texts, which answer no questions"):
        open_run(run)
    with pytest.raises(CheckpointError, match="answer nothing that a report shows"):
        write_report([run], tmp_path / "report.html")
    with pytest.raises(CheckpointError, match="holds no CLIP that can be opened"):
        open_clip(Path(tmp_path))
    for verb in (["run", str(run), "What?"], ["audit", str(run)], ["inspect", str(run)]):
        printed = io.StringIO()
        with redirect_stdout(io.StringIO()), redirect_stderr(printed):
            assert main(verb) == 2
        assert "answer no questions" in printed.getvalue()


def test_captions_that_cannot_be_read_are_named(recipe):
    with pytest.raises(DataError, match=r"48 of 48 captions are longer than 8 positions:\n  row shapes/"):
        read(override(recipe, ["model.max_positions=8"]))
    clip, rows = read(recipe)
    odd = [replace(rows.examples[0], answer="a purple unicorn")]
    with pytest.raises(DataError, match="not in the vocabulary"):
        read_pairs(odd, rows.ledger, clip, None)


def test_a_tokenizer_whose_end_clip_does_not_look_for_is_refused(recipe):
    clip, _ = read(recipe)
    clip.tokenizer.eos_token = "<|unknown|>"
    assert clip.tokenizer.eos_token_id == 2
    with pytest.raises(RecipeError, match="its end of sequence has the id 2"):
        caption_tokenizer(clip.tokenizer)


def test_several_processes_are_refused(recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RecipeError, match="2 processes see a part each; start one process"):
        train(recipe, tmp_path / "run")
