"""Bad recipes and bad arguments, through the real command: exit code 2, one message that says what to do, no traceback,
nothing written, nothing executed. The numbers are those of the list of bad inputs that the project set itself."""

import os
import time

import pytest

from unspoken import cli

RECIPE = "task:\n  name: hops\nmethod:\n  name: coconut\n"
RELEASED = """\
name: run
save_path: out
coconut: True
cot: False
no_cot: False
c_thought: 1
epochs_per_stage: 1
max_latent_stage: 2
model_id: openai-community/gpt2
train_path: data/train.json
val_path: data/valid.json
num_epochs: 3
lr: 1e-4
batch_size_training: 4
"""
LAUGHS = "a: &a [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


def released(old, new):
    assert old in RELEASED
    return RELEASED.replace(old, new)


FILES = {
    # 1-3: no mapping
    "an empty file": ("", ["it is empty", "write a recipe"]),
    "remarks alone": ("# nothing\n", ["it is empty"]),
    "a tab for indentation": ("task:\n\tname: hops\n", ["line 2, column 1", "indent with spaces"]),
    "a colon too many": ("task: name: hops\n", ["line 1, column 11", "mend the syntax"]),
    "an open bracket": (RECIPE + "train: {epochs: 3\n", ["line 6", "mend the syntax"]),
    "a list": ("- task\n", ["line 1", "expected a mapping"]),
    "two documents": (RECIPE + "---\n" + RECIPE, ["line 5", "keep one document"]),
    # 4: unknown names
    "a misspelt key": (
        RECIPE + "train:\n  learning_rte: 1\n",
        ["train.learning_rte (line 6)", "did you mean learning_rate?"],
    ),
    "a misspelt section": (RECIPE + "trian: {}\n", ["trian (line 5)", "did you mean train?"]),
    "a misspelt method": (
        "task: {name: hops}\nmethod: {name: cocnut}\n",
        ["method.name (line 2)", "did you mean coconut?"],
    ),
    "a task that does not exist": ("task: {name: x}\nmethod: {name: cot}\n", ["task.name (line 1)", "known are hops"]),
    "no method": ("task: {name: hops}\n", ["method.name", "choose one of cot"]),
    "a key of another method": (
        "task: {name: hops}\nmethod: {name: cot, max_stage: 3}\n",
        ["method.max_stage (line 2)", "a key of method coconut, superposition, not of cot", "remove it"],
    ),
    "an old key": (RECIPE + "lr: 1\n", ["lr (line 5)", "train.learning_rate"]),
    # 6-8, 16, 19: types and ranges
    **{
        f"a learning rate of {value}": (
            RECIPE + f"train:\n  learning_rate: {value}\n",
            ["train.learning_rate (line 6): it must be a", "found the number"]
            if "." in value
            else ["train.learning_rate (line 6): it must be greater than 0"],
        )
        for value in ("-1", "0", ".nan", ".inf")
    },
    "a number in quotes": (
        RECIPE + 'train:\n  epochs: "3"\n',
        ["train.epochs (line 6)", "a whole number", "the text '3'"],
    ),
    "a truth value in quotes": (
        "task: {name: hops}\nmethod: {name: coconut, markers: 'False'}\n",
        ["method.markers (line 2)", "without quotes"],
    ),
    **{
        f"a {key} of 0": (RECIPE + f"train: {{{key}: 0}}\n", [f"train.{key} (line 5): it must be greater than 0"])
        for key in ("batch_size", "micro_batch_size", "epochs")
    },
    "a negative seed": (RECIPE + "train: {seed: -1}\n", ["train.seed (line 5)", "greater than or equal to 0"]),
    "a seed beyond 32 bits": (RECIPE + f"train: {{seed: {2**64}}}\n", ["train.seed (line 5)", "less than 4294967296"]),
    "no seed": (RECIPE + "train: {seed: null}\n", ["train.seed (line 5)", "a whole number", "null"]),
    "a negative stage": (
        "task: {name: hops}\nmethod: {name: coconut, max_stage: -1}\n",
        ["method.max_stage (line 2)", "greater than or equal to 0"],
    ),
    # 9-11: what YAML would let through
    "a key twice": (RECIPE + "task:\n  name: prosqa\n", ["line 5", "'task' stands there again, first in line 1"]),
    "a call of a function": (
        RECIPE + "train: !!python/object/apply:os.system ['touch executed']\n",
        ["line 5", "!!python/object/apply:os.system", "remove it"],
    ),
    "a billion laughs": (LAUGHS, ["more than 20,000 values", "by hand"]),
    "an alias to itself": ("task: &a [*a]\n", ["line 1", "refers to itself"]),
    "a merge key": (RECIPE + "train:\n  <<: {epochs: 3}\n", ["line 6", "write the keys out"]),
    # 13-15: settings that do not fit together
    "thoughts that fill the model": (
        RECIPE + "model: {max_positions: 8}\n",
        ["6 thoughts + 2 markers = 8", "raise it"],
    ),
    "one pass for thoughts that read states": (
        RECIPE + "schedule: {name: single}\n",
        ["schedule.name (line 5)", "sequential"],
    ),
    "the released window in jacobi order": (
        RECIPE + "thoughts: {name: window, faithful: true}\nschedule: {name: jacobi, iterations: 2}\n",
        ["schedule.name (line 6)", "thoughts.faithful: false"],
    ),
    "thoughts for a method without any": (
        "task: {name: hops}\nmethod: {name: cot}\nthoughts: {name: pause}\n",
        ["thoughts (line 3)", "remove the section"],
    ),
    "a width that heads do not divide": (RECIPE + "model: {width: 130}\n", ["model.width (line 5)", "set it to 132"]),
    "a batch that parts do not divide": (
        RECIPE + "train: {batch_size: 10, micro_batch_size: 4}\n",
        ["train.batch_size (line 5)", "3 x 4 = 12"],
    ),
    "superposition without frontiers": (
        "task: {name: gsm8k}\nmethod: {name: superposition}\n",
        ["method.name (line 2)", "use task hops or prosqa"],
    ),
    "workers that freeze the curriculum": (
        RECIPE + "train:\n  trainer: {dataloader_persistent_workers: true}\n",
        ["train.trainer.dataloader_persistent_workers (line 6)", "remove it"],
    ),
    "checkpointing that drops the cache": (
        RECIPE + "train:\n  trainer: {gradient_checkpointing: true}\n",
        ["train.trainer.gradient_checkpointing (line 6)", "model.checkpoint_passes"],
    ),
    "a field that a setting decides": (
        RECIPE + "train:\n  trainer: {num_train_epochs: 3}\n",
        ["train.trainer.num_train_epochs (line 6)", "train.epochs"],
    ),
    "a field that does not exist": (
        RECIPE + "train:\n  trainer: {fsdpp: x}\n",
        ["train.trainer.fsdpp (line 6)", "did you mean fsdp?"],
    ),
    # 13, 15, 18: files of the released code
    "two methods at once": (
        released("cot: False\nno", "cot: True\nno").replace("no_cot: False", "no_cot: True"),
        ["coconut and cot and no_cot", "set one of them"],
    ),
    "no method at all": (released("coconut: True", "coconut: False"), ["none of coconut, cot", "set the one"]),
    "a method without thoughts": (released("c_thought: 1", "c_thought: 0"), ["c_thought: 0", "no_thoughts: True"]),
    "a released key misspelt": (released("lr: 1e-4", "lr: 1e-4\nlearn: 3"), ["learn", "no such key"]),
    "a released flag in quotes": (
        released("cot: False\nno", "cot: 'False'\nno"),
        ["cot: it is the text", "without quotes"],
    ),
    "a released number in quotes": (
        released("num_epochs: 3", "num_epochs: '3'"),
        ["train.epochs (num_epochs, line 12)", "whole number"],
    ),
    "a run outside its folder": (released("name: run", "name: ../../etc/x"), ["name:", "cannot name a run directory"]),
    "a run named after a device": (released("name: run", "name: CON"), ["cannot name a run directory"]),
    "a run with an endless name": (released("name: run", f"name: {'x' * 300}"), ["cannot name a run directory"]),
    "a run that looks like an option": (released("name: run", "name: -rf"), ["cannot name a run directory"]),
    "a checkpoint that is a placeholder": (
        RELEASED + "load_model_path: YOUR_PATH\n",
        ["load_model_path", "does not exist", "put the path"],
    ),
    # 17: paths
    "a model path with a line break": (RECIPE + 'model: {path: "a\\n"}\n', ["model.path (line 5)", "remove it"]),
    "a model path that ends in a space": (RECIPE + 'model: {path: "gpt2 "}\n', ["model.path (line 5)", "remove it"]),
}


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Runs a command in an empty folder, and checks that it leaves nothing there."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def command(*arguments):
        code = cli.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        assert not list(folder.rglob("*")), "a bad input leaves nothing behind"
        return code, out, err

    return command


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("verb", ["plan", "train"])
def test_a_bad_recipe_is_refused_with_its_place_and_a_remedy(name, verb, command, tmp_path):
    text, expected = FILES[name]
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    started = time.process_time()
    code, out, err = command(verb, path)
    assert time.process_time() - started < 5
    assert (code, out) == (2, "")
    assert err.startswith(f"unspoken: error: {path} has ")
    for part in expected:
        assert part in err
    assert not (tmp_path / "executed").exists()


def test_all_mistakes_of_a_recipe_come_at_once(command, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "task: {name: hops, hops: 9}\nmethod: {name: cot, max_stage: 3}\ntrain: {epochs: 0, lr: 1}\nmodle: {}\n"
    )
    _, _, err = command("train", path, "train.seed=-1", "evaluate")
    assert "has 7 problems" in err
    for key in ("task (line 1)", "method.max_stage (line 2)", "train.epochs (line 3)", "train.lr (line 3)",
                "modle (line 4)", "train.seed (override)", "evaluate (override)"):  # fmt: skip
        assert f"\n  {key}: " in err


def test_a_file_of_50_megabytes_is_refused_by_its_size(command, tmp_path):
    path = tmp_path / "recipe.yaml"
    with path.open("wb") as file:
        file.truncate(50 * 2**20)
    code, _, err = command("train", path)
    assert code == 2
    assert "52,428,800 bytes" in err


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
def test_utf16_is_refused_by_name(command, tmp_path, encoding):
    path = tmp_path / "recipe.yaml"
    path.write_bytes(RECIPE.encode(encoding))
    code, _, err = command("train", path)
    assert code == 2
    assert "UTF-16" in err
    assert "save it as UTF-8" in err


def test_bytes_that_are_no_text_are_refused(command, tmp_path):
    path = tmp_path / "recipe.yaml"
    for data, reason in [
        (b"task: \xff\xfe\x80", "not UTF-8"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"\x80\x04\x95", "not UTF-8"),
    ]:
        path.write_bytes(data)
        code, _, err = command("plan", path)
        assert code == 2
        assert reason in err


def test_byte_order_mark_windows_line_ends_and_1e4_are_fine(command, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_bytes(("\ufeff" + RECIPE + "train:\n  learning_rate: 1e-4\n").replace("\n", "\r\n").encode())
    assert command("plan", path)[0] == 0


def test_a_path_that_is_no_file_is_refused(command, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, reason in [
        (tmp_path, "not a regular file"),
        (pipe, "not a regular file"),
        ("/dev/zero", "not a regular file"),
        (tmp_path / "absent.yaml", "no such file"),
        ("hops/cocnut", "did you mean hops/coconut?"),
        ("", ""),
    ]:
        code, _, err = command("train", path)
        assert code == 2
        assert reason in err


def test_data_that_is_not_there_is_named(command, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    code, _, err = command("plan", "gsm8k/cot", "task.train=~/absent.json")
    assert code == 2
    assert f"{tmp_path}/absent.json does not exist" in err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "usage: unspoken VERB"),
        (["trian"], "did you mean train?"),
        (["data"], "data convert"),
        (["data", "mak"], "data make"),
        (["plan"], "required: RECIPE"),
        (["train", "hops/cot", "--out"], "--out: expected one argument"),
        (["train", "hops/cot", "--out", "a", "--out", "b"], "--out is given twice"),
        (["train", "hops/cot", "--lr", "1"], "unrecognized arguments: --lr"),
        (["train", "hops/cot", "--resum"], "unrecognized arguments: --resum"),
        (["train", "hops/cot", "train.learning_rate=abc"], "train.learning_rate (override): it must be a number"),
        (["train", "hops/cot", "train.learning_rate"], "form section.key=value"),
        (["train", "hops/cot", "train.epochs=[1"], "its value is not YAML"),
        (["train", "hops/cot", "learning_rate=1"], "did you mean train.learning_rate?"),
        (["train", "hops/cot", "--resume"], "no run to resume"),
        (["eval"], "required: RUN"),
        (["eval", "absent"], "absent"),
        (["eval", "absent", "--split", "trian"], "invalid choice: 'trian'"),
        (["run"], "required: RUN"),
        (["run", "absent"], "absent"),
        (["run", "absent", "2 + 2?"], "absent"),
        (["run", "absent", "2 + 2?", "--thoughts", "many"], "invalid int value: 'many'"),
        (["list", "models"], "invalid choice: 'models'"),
        (["data", "make", "hopps", "--split", "test", "--out", "a.json"], "did you mean hops?"),
        (["data", "make", "hops", "--split", "test", "--out", "a.csv"], ".json or .jsonl"),
        (["data", "make", "hops", "symbls=3", "--split", "test", "--out", "a.json"], "did you mean symbols?"),
        (["data", "make", "hops", "test_rows=0", "--split", "test", "--out", "a.json"], "task.test_rows"),
        (["data", "make", "gsm8k", "--split", "test", "--out", "a.json"], "set task.test to the path"),
        (["data", "convert", "absent", "--format", "gsm8k", "--out", "a.json"], "absent does not exist"),
        (["data", "convert", "absent", "--format", "x", "--out", "a.json"], "known are gsm8k"),
        (["data", "check", "absent"], "absent does not exist"),
        (["data", "check", "scoring=number"], "name at least one"),
        (["data", "check", "absent", "--task", "hops"], "reads no files"),
    ],
)
def test_bad_arguments_are_refused(arguments, expected, command):
    code, out, err = command(*arguments)
    assert (code, out) == (2, "")
    assert expected in err


def test_an_output_that_is_a_file_or_another_run_is_refused(command, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "run").mkdir()
    for name in ("resolved.json", "metrics.jsonl"):
        (tmp_path / "run" / name).write_text("{}")
    code, _, err = command("train", "hops/cot", "--out", tmp_path / "file")
    assert code == 2
    assert "is a file" in err
    code, _, err = command("train", "hops/cot", "--out", tmp_path / "run")
    assert code == 2
    assert "--resume" in err
    assert "--out" in err


def test_a_world_size_that_is_no_number_is_refused(command, tmp_path, monkeypatch):
    path = tmp_path / "recipe.yaml"
    path.write_text(RELEASED)
    monkeypatch.setenv("WORLD_SIZE", "two")
    code, _, err = command("train", path)
    assert code == 2
    assert "WORLD_SIZE" in err
