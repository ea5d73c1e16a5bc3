"""`make gpu`, rehearsed on tiny shapes: all jobs, stopping and going on, and what the figures are made of."""

import os
import signal
import threading
import time
from pathlib import Path

import gpu
import pytest
import torch
from gpu_jobs import speed, stopwatch, training
from gpu_jobs.call import Call, OutOfTimeError, stopping_after
from gpu_jobs.speed import VARIANTS
from gpu_jobs.stopwatch import Stopwatch
from gpu_jobs.table import METHODS, WITH_SLOTS

from unspoken.files import append_json_line, read_json, write_json, write_json_lines
from unspoken.run_directory import open_run
from unspoken.tasks import prosqa
from unspoken.tasks.make import make

SUPERPOSITION = "superposition-0"


@pytest.fixture(autouse=True)
def few_and_uncompiled(monkeypatch):
    """Few shifted rows, and a stand-in for the compiler, which takes minutes."""
    monkeypatch.setattr(prosqa, "SHIFTED_ROWS", 4)
    monkeypatch.setattr(torch, "compile", lambda function, **settings: function)


@pytest.fixture(autouse=True)
def signals():
    """Every handler is as before."""
    numbers = (signal.SIGTERM, signal.SIGALRM)
    before = [signal.getsignal(number) for number in numbers]
    yield
    assert [signal.getsignal(number) for number in numbers] == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def call(tmp_path, seconds=100.0, peak=None):
    return Call(tmp_path, tmp_path, torch.device("cpu"), "fp32", peak, "command", time.monotonic() + seconds)


def rehearse(folder, *words):
    return gpu.main(["--rehearse", "--runs", str(folder), "--out", str(folder), *words])


def steps_in(log):
    return log.read_text().count("\n") if log.is_file() else 0


@pytest.fixture
def stopped_in_training(monkeypatch):
    """The first training gets SIGTERM when it has logged some steps, as at the end of a call."""

    def train(recipe, run, *, resume):
        def stop():
            while steps_in(run / "metrics.jsonl") < 6:
                time.sleep(0.005)
            os.kill(os.getpid(), signal.SIGTERM)

        if not resume:
            threading.Thread(target=stop, daemon=True).start()
        return real(recipe, run, resume=resume)

    real = training.train
    monkeypatch.setattr(training, "train", train)


@pytest.mark.slow
def test_all_jobs_are_done_over_several_calls(tmp_path, stopped_in_training, capsys):
    released = tmp_path / "released.json"
    make(prosqa.ProsQA(rendering="symbols", min_hops=3, max_hops=4, test_rows=4, seed=5), "test", released)
    words = ["--released-symbols", str(released), "--peak-tflops", "0.001"]
    assert rehearse(tmp_path, *words, "--seeds", "0") == 0
    assert "are over, all is kept; the same command goes on" in capsys.readouterr().err
    first = read_json(tmp_path / "gpu-superposition.json")
    assert first["complete"] is False
    assert first["by_seed"] == {}
    halfway = read_json(tmp_path / f"{SUPERPOSITION}.clock.json")
    (checkpoint,) = (tmp_path / SUPERPOSITION / "checkpoints").glob("checkpoint-*")
    assert 6 <= int(checkpoint.name.removeprefix("checkpoint-")) < 15

    assert rehearse(tmp_path, *words, "--seeds", "0", "--jobs", "superposition", "bench") == 0
    assert "all is done" in capsys.readouterr().err
    found = read_json(tmp_path / "gpu-superposition.json")
    assert found["complete"] is True
    assert found["environment"]["packages"]["torch"] == torch.__version__
    one = found["by_seed"]["0"]
    assert one["test"]["n"] == 8
    assert one["released"]["n"] == 4
    assert one["test"]["thoughts_per_answer"] > 0
    assert one["audit"]["necessity"]["n"] == 8
    of_training = one["training"]
    assert of_training["steps"] == 15
    assert of_training["seconds"] > halfway["seconds"]
    assert of_training["share_of_peak"] == pytest.approx(of_training["operations"] / of_training["seconds"] / 1e9)
    assert [each["step"] for each in of_training["validations"]] == [3, 6, 9, 12, 15]
    assert of_training["seconds_to_goal"] is None

    rows = read_json(tmp_path / "gpu-bench.json")["rows"]
    assert len(rows) == 2 * 2 * (len(VARIANTS) + 1)
    assert {row["outcome"] for row in rows} == {"measured"}
    assert all(row["tokens_per_second"] > 0 for row in rows)
    assert all(row["share_of_peak"] > 0 for row in rows if row["name"] != "generation")


@pytest.mark.slow
def test_the_table_compares_all_methods_after_equally_many_steps(tmp_path):
    assert rehearse(tmp_path, "--jobs", "prosqa") == 0
    (found,) = read_json(tmp_path / "gpu-prosqa.json")["by_shape"].values()
    assert list(found) == list(METHODS)
    assert {each["training"]["steps"] for each in found.values()} == {6}
    assert len({each["test"]["data_sha256"] for each in found.values()}) == 1
    thinking = {method for method, each in found.items() if each["test"]["thoughts_per_answer"]}
    assert thinking == set(WITH_SLOTS) == {method for method, each in found.items() if "audit" in each}
    others = [Path(each["run"]).name for each in found["coconut"]["audit"]["comparisons"]]
    assert others == [f"prosqa-tiny-{method}" for method in METHODS if method != "coconut"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_it_says_so_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert gpu.main([]) == gpu.REFUSED
    assert "finds no GPU here" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_full_scale_is_that_of_the_papers():
    from unspoken.recipe import load_recipe

    recipe = load_recipe("prosqa/superposition", list(gpu.FULL.superposition))
    assert (recipe.model.layers, recipe.model.heads, recipe.model.width) == (2, 8, 768)
    assert (recipe.task.train_rows, recipe.train.batch_size, recipe.method.epochs_per_stage) == (14785, 256, 25)
    plans = [load_recipe(f"prosqa/{method}", list(gpu.GPT2_SMALL)) for method in METHODS]
    assert {(each.model.layers, each.model.heads, each.model.width) for each in plans} == {(12, 12, 768)}
    assert len({(each.train.epochs, each.train.batch_size, each.task.train_rows) for each in plans}) == 1
    llama = gpu.FULL.cases[-1]
    assert (llama.arch, llama.layers, llama.heads, llama.width) == ("llama", 16, 32, 2048)
    assert gpu.FULL.rows == (32, 64, 128)
    assert len(gpu.FULL.seeds) == 5


def test_time_that_is_over_stops_what_is_no_training():
    with pytest.raises(OutOfTimeError), stopping_after(0.05):
        time.sleep(5)


def test_nothing_is_begun_when_the_time_is_over(tmp_path):
    late = call(tmp_path, seconds=-1.0)
    with pytest.raises(OutOfTimeError):
        late.once("a", lambda: {})
    write_json(tmp_path / "b.json", {"kept": 1})
    assert late.once("b", lambda: {}) == {"kept": 1}


def test_what_an_earlier_call_found_is_not_made_again(tmp_path):
    made = []
    for _ in range(2):
        assert call(tmp_path).once("a/b", lambda: made.append(1) or {"is": (1, 2)}) == {"is": [1, 2]}
    assert made == [1]


def test_a_measurement_that_no_call_is_long_enough_for_is_given_up(tmp_path):
    def never():
        raise OutOfTimeError

    for _ in range(2):
        with pytest.raises(OutOfTimeError):
            call(tmp_path).once("a", never, tries=2)
    assert call(tmp_path).once("a", never, tries=2) == {"outcome": "given up: not finished in 2 calls"}
    assert {path.name for path in tmp_path.iterdir()} == {"a.json"}


def test_the_stopwatch_goes_on_and_notes_each_validation_once(tmp_path):
    log, kept = tmp_path / "metrics.jsonl", tmp_path / "clock.json"
    with Stopwatch(log, kept):
        append_json_line(log, {"step": 1, "loss": 1.0})
        append_json_line(log, {"step": 2, "eval_accuracy": 0.5})
        append_json_line(log, {"step": 3, "loss": 1.0})
        time.sleep(0.05)
    first = read_json(kept)
    assert [(each["step"], each["accuracy"]) for each in first["validations"]] == [(2, 0.5)]
    again = [{"step": 2, "eval_accuracy": 0.5}]
    write_json_lines(log, [{"step": 1, "loss": 1.0}, *again])  # as a resumed run does
    with Stopwatch(log, kept) as watch:
        watch._look()
        write_json_lines(log, [*again, {"step": 4, "eval_accuracy": 0.98}])  # and its end, without an earlier line
    second = read_json(kept)
    assert [each["step"] for each in second["validations"]] == [2, 4]
    assert second["validations"][0] == first["validations"][0]
    assert second["validations"][1]["seconds"] >= first["seconds"] >= 0.05


def test_a_call_that_is_killed_loses_no_more_than_a_few_seconds(tmp_path, monkeypatch):
    monkeypatch.setattr(stopwatch, "EVERY", 0.01)
    monkeypatch.setattr(stopwatch, "KEPT_EVERY", 0.05)
    kept = tmp_path / "clock.json"
    with Stopwatch(tmp_path / "metrics.jsonl", kept):
        time.sleep(0.5)
        assert read_json(kept)["seconds"] > 0.2, "before it was stopped"


def test_the_peak_by_name_is_that_of_16_bits():
    assert gpu._peak("NVIDIA H200", "bf16", None) == 989.5e12
    assert gpu._peak("NVIDIA H200", "fp32", None) is None
    assert gpu._peak("NVIDIA H200", "fp32", 67.0) == 67e12


def test_all_validation_rows_are_answered_together(tmp_path, monkeypatch):
    recipes = []
    monkeypatch.setattr(training, "train", lambda recipe, run, resume: recipes.append(recipe))
    for method in METHODS:
        training.trained(call(tmp_path), training.Training(method, f"prosqa/{method}", ()))
    assert all(recipe.evaluate.batch_size >= recipe.task.validation_rows for recipe in recipes)
    assert len(recipes) == len(METHODS)


def test_a_shape_that_cannot_be_compiled_is_a_result_and_the_end_of_a_call_is_not(tmp_path, monkeypatch):
    def compile(function, **settings):
        def fail(*args, **kwargs):
            raise RuntimeError("no kernel")

        return fail

    monkeypatch.setattr(torch, "compile", compile)
    case = gpu.REHEARSAL.cases[0]
    assert speed.training(call(tmp_path), case, "compiled", 1)["outcome"] == "not compiled: RuntimeError"
    with pytest.raises(OutOfTimeError):
        speed.training(call(tmp_path, seconds=-1.0), case, "compiled", 1)


def test_operations_of_a_training_are_those_of_its_rows_epochs_and_stages(tmp_path, monkeypatch):
    path = Path(__file__).parents[2] / "models" / "hops-coconut"
    opened = open_run(path)
    seen = []
    monkeypatch.setattr(training, "training_flops", lambda model, batch: seen.append(batch) or 10)
    rows, epochs = opened.recipe.task.train_rows, opened.recipe.train.epochs
    assert training._operations(path) == 10 * rows * epochs
    stages = {opened.recipe.method.stage(epoch) for epoch in range(epochs)}
    assert len(seen) == training.COUNTED_ROWS * len(stages)
    slots = [int((batch["input_ids"] == opened.model.config.latent_token_id).sum()) for batch in seen]
    assert set(slots) == stages
