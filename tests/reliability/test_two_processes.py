"""Two processes and one give the same losses and the same rows."""

import json
import os
import subprocess
import sys

import pytest

RECIPE = """
task: {name: hops, symbols: 6, hops: 3, train_rows: 45, validation_rows: 11, test_rows: 7}
model: {layers: 1, heads: 2, width: 16, max_positions: 32}
method: {name: coconut, max_stage: 2, epochs_per_stage: 1, markers: false, mix: 0.3, pad_thoughts: false}
train: {epochs: 3, batch_size: 16, micro_batch_size: 8, learning_rate: 0.003, log_every: 1}
"""


def unspoken(processes, *arguments):
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [sys.executable, *(launcher if processes > 1 else []), "-m", "unspoken", *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert result.returncode == 0, result.stderr[-3000:]
    return result


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    (folder / "recipe.yaml").write_text(RECIPE)
    for processes in (1, 2):
        out = folder / str(processes)
        unspoken(processes, "train", folder / "recipe.yaml", "--out", out)
    return folder


def test_the_training_losses_agree_to_1e_6(runs):
    losses = [
        {row["step"]: row["loss"] for row in lines(runs / name / "metrics.jsonl") if "loss" in row} for name in "12"
    ]
    assert len(losses[0]) == 9
    assert losses[0].keys() == losses[1].keys()
    for step, loss in losses[0].items():
        assert loss == pytest.approx(losses[1][step], abs=1e-6), f"step {step}"


def test_every_row_is_evaluated_once_and_answered_the_same(runs):
    rows = []
    for processes in (1, 2):
        unspoken(processes, "eval", runs / "1", "--split", "validation")
        rows.append(lines(runs / "1" / "predictions.jsonl"))
        results = json.loads((runs / "1" / "results.json").read_text())
        assert results["n"] == 11, "an odd number of rows on two processes"
        assert results["environment"]["processes"] == processes
    assert rows[0] == rows[1]
    assert len({row["id"] for row in rows[0]}) == len(rows[0])


CHOOSING = """
task: {{name: shapes, folder: {folder}, grid: 3, min_objects: 7, max_objects: 8, image_size: 36,
  train_rows: 16, validation_rows: 4, test_rows: 11}}
model: {{layers: 1, heads: 2, width: 16, max_positions: 96, vision: null}}
method: {{name: coconut, max_stage: 2, epochs_per_stage: 0}}
train: {{epochs: 1, batch_size: 16, save: end}}
evaluate: {{controls: [zero], batch_size: 4, max_new_tokens: 3}}
"""


def test_the_choices_of_every_row_are_weighed_alike(tmp_path):
    (tmp_path / "recipe.yaml").write_text(CHOOSING.format(folder=tmp_path / "pictures"))
    unspoken(1, "train", tmp_path / "recipe.yaml", "--out", tmp_path / "run")
    rows = []
    for processes in (1, 2):
        unspoken(processes, "eval", tmp_path / "run", "--split", "test")
        rows.append(lines(tmp_path / "run" / "predictions.jsonl") + lines(tmp_path / "run" / "predictions.zero.jsonl"))
        assert json.loads((tmp_path / "run" / "results.json").read_text())["choice_n"] == 11
    for one, two in zip(*rows, strict=True):
        # rows are batched with others, which moves the last bits
        assert one.pop("log_likelihoods") == pytest.approx(two.pop("log_likelihoods"), abs=1e-4)
        assert one == two
