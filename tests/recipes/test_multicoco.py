"""The YAML file and the checkpoints of MultiCoCo, through the real command, on models that fit a test."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModelForCausalLM

from unspoken import cli
from unspoken.files import read_json, read_json_lines, write_json
from unspoken.run_directory import open_run

FILE = """\
name: {name}
model_id: {model}
project: coconut_aokvqa_guna
resume: {resume}
train_path: {folder}/data/aokvqa_train.json
val_path: {folder}/data/aokvqa_validation.json
coconut: true
num_epochs: 12
batch_size_training: 3
c_thought: 2
max_latent_stage: 4
epochs_per_stage: 2
lr: 5e-5
save_path: {folder}/checkpoints
clip_id: {clip}
"""
QUICK = ("evaluate.max_new_tokens=4", "train.keep_checkpoints=1", "train.log_every=1", "train.validate_every=99")


@pytest.fixture
def unspoken(capsys):
    """Runs a command in this process; its exit code, stdout and stderr."""

    def unspoken(*arguments):
        code = cli.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return unspoken


@pytest.fixture
def file(tmp_path, shared_data, tiny_gpt2, tiny_clip):
    """Writes the YAML file beside real rows, whose photographs are pictures of noise where the rows say."""
    data = tmp_path / "data"
    rows = read_json(shared_data / "aokvqa" / "validation_part.json")[:8]
    rng = np.random.default_rng(0)
    for number, row in enumerate(rows):
        row["image"] = str(data / "images" / f"{number}.jpg")
        (data / "images").mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, size=(40, 48, 3), dtype=np.uint8)).save(row["image"])
    write_json(data / "aokvqa_train.json", rows[:5])
    write_json(data / "aokvqa_validation.json", rows[5:])

    def write(name, resume=0):
        path = tmp_path / f"{name}.yaml"
        path.write_text(FILE.format(name=name, resume=resume, folder=tmp_path, model=tiny_gpt2, clip=tiny_clip))
        return path

    return write


def test_its_file_trains_a_model_that_sees(file, tmp_path, unspoken):
    path, cache = file("coconut_aokvqa"), f"model.vision.cache={tmp_path}/features"
    code, out, err = unspoken("train", path, *QUICK, cache)
    run = tmp_path / "checkpoints" / "coconut_aokvqa"
    assert (code, out) == (0, f"{run}\n"), err
    lines = [line for line in read_json_lines(run / "metrics.jsonl") if "loss" in line]
    stages = [line["stage"] for line in lines]
    assert {stage: stages.count(stage) for stage in stages} == {0: 4, 1: 4, 2: 4, 3: 4, 4: 4, 5: 4}
    opened = open_run(run)
    assert opened.model.model.image_slots is not None
    assert opened.recipe.task.examples("train")[0][0].images == (f"{tmp_path}/data/images/0.jpg",)
    code, _, err = unspoken("eval", run, "controls=[zero, no_image, another_image]")
    assert code == 0, err
    results = read_json(run / "results.json")
    assert (results["n"], results["thoughts_per_answer"]) == (3, 8)
    assert set(results["controls"]) == {"zero", "no_image", "another_image"}


def test_its_checkpoint_is_gone_on_with(file, tmp_path, tiny_gpt2, unspoken):
    written = AutoModelForCausalLM.from_pretrained(tiny_gpt2)
    written.resize_token_embeddings(50260)
    with torch.no_grad():
        for parameter in written.parameters():
            parameter.normal_(std=0.02, generator=torch.Generator().manual_seed(3))
    state = {f"base_causallm.{key}": value for key, value in written.state_dict().items()}
    eyes = {"vision_projector.weight": torch.ones(16, 8), "vision_encoder.logit_scale": torch.ones(())}
    folder = tmp_path / "checkpoints" / "coconut_aokvqa"
    folder.mkdir(parents=True)
    table = written.get_input_embeddings().weight.detach()
    torch.save({**state, "embedding.weight": table, **eyes}, folder / "checkpoint_10.pt")

    path = file("coconut_aokvqa", resume=10)
    code, _, err = unspoken("train", path)
    assert code == 2
    assert f"{folder} is not empty; continue its run with --resume, or choose another directory with --out" in err
    further = [*QUICK, f"model.vision.cache={tmp_path}/features", "train.learning_rate=1e-12", "train.weight_decay=0"]
    code, _, err = unspoken("train", path, *further, "--out", tmp_path / "run")
    assert code == 0, err
    lines = [line for line in read_json_lines(tmp_path / "run" / "metrics.jsonl") if "loss" in line]
    assert {(line["epoch"], line["stage"]) for line in lines} == {(10, 5), (11, 5)}
    # so small a learning rate leaves the weights as the file has them
    model = open_run(tmp_path / "run").model
    torch.testing.assert_close(model.lm_head.weight[:50260].cpu(), table, rtol=0, atol=1e-8)
    block = model.model.language_model.h[0].mlp.c_fc.weight.cpu()
    torch.testing.assert_close(block, written.transformer.h[0].mlp.c_fc.weight.detach(), rtol=0, atol=1e-8)
    marker = model.get_input_embeddings().weight[50260].cpu()
    assert model.lm_head.weight.shape[0] == 50261
    torch.testing.assert_close(marker, table[16791], rtol=0, atol=1e-8)
