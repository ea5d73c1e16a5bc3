"""Killed at any write call of a save, or between saves, a run resumes to the same bits."""

import os
import shutil
import signal

import pytest
from transformers import Trainer

from tests.reliability.crash import CrashPoints, in_child, weights_of
from unspoken.recipe import resolve
from unspoken.training import begin
from unspoken.training.checkpoint import checkpoints, step_of
from unspoken.training.supervised import train
from unspoken.training.trainer import SupervisedTrainer

RECIPE = {
    "task": {"name": "hops", "symbols": 6, "hops": 3, "train_rows": 40, "validation_rows": 8, "test_rows": 8},
    "model": {"layers": 1, "heads": 2, "width": 16, "dropout": 0.1, "max_positions": 32},
    "method": {"name": "coconut", "max_stage": 2, "epochs_per_stage": 1, "markers": False, "mix": 0.3, "redraw": True},
    "train": {
        "epochs": 3,
        "batch_size": 16,
        "learning_rate": 0.003,
        "reset_optimizer": "stage",
        "lr_schedule": "cosine",
    },
}

ALL_POINTS = bool(os.environ.get("UNSPOKEN_ALL_CRASH_POINTS"))
"""Every point takes minutes; without this the test takes ten of them, evenly spread."""


def run_to_the_end(out, *, resume=False):
    train(resolve(RECIPE, "test"), out, resume=resume)
    return weights_of(out)


def die_in_save(out, number, point):
    """Train, and die at one write call of the save with this number."""
    saves, original = [], SupervisedTrainer._save_checkpoint

    def save(self, model, trial):
        saves.append(None)
        if len(saves) == number:
            points = CrashPoints(out, die_at=point)
            points.arm()
            original(self, model, trial)
            print_count(out, points)
        else:
            original(self, model, trial)

    SupervisedTrainer._save_checkpoint = save
    run_to_the_end(out)


def print_count(out, points):
    (out.parent / "points.txt").write_text("\n".join(points.names))


def die_after_step(out, step):
    original = SupervisedTrainer.training_step

    def training_step(self, *args, **kwargs):
        if self.state.global_step == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(self, *args, **kwargs)

    SupervisedTrainer.training_step = training_step
    run_to_the_end(out)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    text, code = in_child(lambda: run_to_the_end(folder / "run"))
    assert code == 0, text
    again, _ = in_child(lambda: run_to_the_end(folder / "again"))
    assert again == text, "the same recipe must give the same bits before anything is interrupted"
    return text


def resumed(out):
    """Resume; the run may have died before it wrote down what it is, and then it starts."""
    started = (out / "resolved.json").is_file()
    text, code = in_child(lambda: run_to_the_end(out, resume=started))
    assert code == 0, text
    return text


def test_killed_at_every_write_call_of_a_save(uninterrupted, tmp_path):
    out = tmp_path / "run"
    text, code = in_child(lambda: die_in_save(out, 2, 0))
    assert code == 0, text
    points = (tmp_path / "points.txt").read_text().splitlines()
    assert len(points) > 30
    same, in_save = 0, 0
    chosen = range(1, len(points) + 1, 1 if ALL_POINTS else len(points) // 10)
    for point in chosen:
        shutil.rmtree(out, ignore_errors=True)
        text, code = in_child(lambda point=point: die_in_save(out, 2, point))
        assert code == -signal.SIGKILL, text
        in_save += 1
        assert any((path / "manifest.json").is_file() for path in (out / "checkpoints").glob("checkpoint-*")), points[
            point - 1
        ]
        assert resumed(out) == uninterrupted, f"differs after dying at {points[point - 1]}"
        same += 1
    print(f"\n{same} of {len(chosen)} crash points inside a save resumed to the same sha256")
    assert same == in_save == len(chosen)


def test_killed_between_saves(uninterrupted, tmp_path):
    steps = range(9) if ALL_POINTS else (2, 5)
    same = 0
    for step in steps:
        out = tmp_path / f"run{step}"
        text, code = in_child(lambda step=step, out=out: die_after_step(out, step))
        assert code == -signal.SIGKILL, text
        assert resumed(out) == uninterrupted, f"differs after dying in step {step}"
        same += 1
    print(f"\n{same} of {len(steps)} steps between saves resumed to the same sha256")


def test_the_harness_catches_a_saver_that_writes_in_place(uninterrupted, tmp_path):
    """A planted defect: files written straight into the final folder, and the highest number taken for the newest."""
    out, bad = tmp_path / "run", 0

    def careless():
        SupervisedTrainer._save_checkpoint = Trainer._save_checkpoint
        SupervisedTrainer._get_output_dir = lambda self, trial: str(out / "checkpoints")
        begin.newest_valid = lambda run: max(checkpoints(run), key=step_of, default=None)

    def resume():
        careless()
        return run_to_the_end(out, resume=True)

    for point in (3, 8, 10):
        shutil.rmtree(out, ignore_errors=True)
        _, code = in_child(lambda point=point: (careless(), die_in_save(out, 2, point)))
        assert code == -signal.SIGKILL
        text, code = in_child(resume)
        bad += code != 0 or text != uninterrupted
    assert bad == 3
