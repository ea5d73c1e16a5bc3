"""What is said of a run that fails midway can be done, and names the place."""

import errno
import resource
import signal

import pytest
import torch
from safetensors.torch import save_file

from unspoken import files
from unspoken.errors import NonFiniteError
from unspoken.prepare import load_model
from unspoken.recipe import resolve
from unspoken.training.failures import explained
from unspoken.training.train import train

RECIPE = {
    "task": {"name": "hops", "symbols": 6, "hops": 3, "train_rows": 32, "validation_rows": 4, "test_rows": 2},
    "model": {"layers": 1, "heads": 2, "width": 16, "max_positions": 32},
    "method": {"name": "coconut", "max_stage": 2, "epochs_per_stage": 1},
    "train": {"epochs": 3, "batch_size": 16, "learning_rate": 0.001},
}


def recipe(**settings):
    return resolve({**RECIPE, "train": {**RECIPE["train"], **settings}}, "test")


def said_of_nan(chosen, run):
    with pytest.raises(NonFiniteError) as error, explained(chosen, run):
        raise NonFiniteError("the loss of step 2 is nan; nothing was updated")
    return str(error.value)


@pytest.mark.parametrize(
    ("settings", "changes"),
    [
        ({"max_grad_norm": 1.0}, "a smaller train.learning_rate"),
        ({}, "a smaller train.learning_rate or train.max_grad_norm=1"),
        ({"precision": "bf16", "max_grad_norm": 1.0}, "a smaller train.learning_rate or train.precision=fp32"),
    ],
)
def test_without_a_checkpoint_a_run_that_diverged_is_started_again(settings, changes, tmp_path):
    assert said_of_nan(recipe(**settings), tmp_path) == (
        "the loss of step 2 is nan; nothing was updated. There is no checkpoint to begin from: "
        f"start again with {changes}, in another --out"
    )


def test_a_run_that_diverges_says_how_to_begin_from_its_last_weights_and_that_can_be_done(tmp_path):
    run = train(recipe(epochs=1), tmp_path / "run")
    checkpoint = run / "checkpoints" / "checkpoint-2"
    said = said_of_nan(recipe(epochs=1), run)
    assert "resume with" not in said
    assert said.endswith(f"in another --out; model.path={checkpoint} begins from the last weights that were saved")
    begun = resolve({**RECIPE, "model": {"path": str(checkpoint)}, "train": {**RECIPE["train"], "epochs": 1}}, "test")
    load_model(train(begun, tmp_path / "other"))


def test_of_adapters_alone_no_model_can_begin(tmp_path):
    checkpoint = tmp_path / "checkpoints" / "checkpoint-3"
    checkpoint.mkdir(parents=True)
    (checkpoint / "adapter_model.safetensors").write_bytes(b"")
    files.seal(checkpoint)
    assert said_of_nan(recipe(), tmp_path).endswith("in another --out")


def test_a_learning_rate_that_is_far_too_large_is_told_so_by_the_command_s_own_way_in(tmp_path):
    with pytest.raises(
        NonFiniteError, match=r"nothing was updated\. .*start again with a smaller train\.learning_rate"
    ):
        train(recipe(learning_rate=1e30), tmp_path / "run")


# ---- no room


@pytest.fixture
def small_files():
    """As on a full disk, no file grows beyond some bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def limit(size):
        resource.setrlimit(resource.RLIMIT_FSIZE, (before[0] if size is None else size, before[1]))

    try:
        yield limit
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def with_safetensors(path):
    save_file({"x": torch.zeros(100_000)}, path)


def with_torch(path):
    torch.save({"x": torch.zeros(100_000)}, path)


def by_ourselves(path):
    files.write_bytes(path, bytes(400_000))


@pytest.mark.parametrize("write", [with_safetensors, with_torch, by_ourselves])
def test_whatever_cannot_be_written_for_want_of_room_is_one_sentence_with_the_place(write, tmp_path, small_files):
    small_files(100_000)
    with pytest.raises(OSError, match="make room, then continue with --resume") as error, explained(recipe(), tmp_path):
        write(tmp_path / "file")
    assert error.value.filename == str(tmp_path)
    assert error.value.errno in (errno.EFBIG, errno.ENOSPC)


@pytest.mark.parametrize("error", [RuntimeError("another one"), FileNotFoundError(errno.ENOENT, "gone"), KeyError("x")])
def test_other_errors_are_left_as_they_are(error, tmp_path):
    with pytest.raises(type(error)) as raised, explained(recipe(), tmp_path):
        raise error
    assert raised.value is error


def test_a_run_on_a_full_disk_goes_on_where_there_is_room(tmp_path, small_files):
    small_files(15_000)
    with pytest.raises(OSError, match="make room") as error:
        train(recipe(), tmp_path / "run")
    assert error.value.filename == str(tmp_path / "run")
    small_files(None)
    train(recipe(), tmp_path / "run", resume=True)
