import os
import re
import resource
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
from torch import distributed

from unspoken import __version__, cli
from unspoken.cli import verbs
from unspoken.cli.verb import Verb
from unspoken.cli.verbs import VERBS
from unspoken.errors import CheckpointError, NonFiniteError
from unspoken.recipe.shipped import run_name, shipped_recipes


@pytest.fixture
def run(capsys):
    """Runs a command in this process; its exit code, stdout and stderr."""

    def run(*arguments):
        code = cli.main(list(arguments))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def replace_verb(monkeypatch, name, action):
    monkeypatch.setitem(verbs.VERBS, name, Verb("test", lambda parser: None, action))


def raising(error):
    def action(arguments):
        raise error

    return action


def test_help_lists_every_verb_on_stdout(run):
    code, out, err = run("--help")
    assert (code, err) == (0, "")
    for name, verb in VERBS.items():
        assert f"  {name}" in out
        assert verb.help in out


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_has_help(run, name):
    code, out, _ = run(*name.split(), "--help")
    assert code == 0
    assert out.startswith(f"usage: unspoken {name} ")


def test_arguments_without_a_name_are_shown_in_front(run):
    assert run("audit", "--help")[1].startswith("usage: unspoken audit RUN [RUN ...] [-h] [--against RUN")
    code, _, err = run("audit", "--against", "a", "b")
    assert code == 2
    assert err.startswith("usage: unspoken audit RUN [RUN ...] [-h]")


def test_overrides_are_not_required(run):
    assert run("train")[2].endswith("the following arguments are required: RECIPE\n")


def test_a_bare_folder_of_recipes_names_them_all(run):
    code, _, err = run("plan", "prontoqa")
    assert code == 2
    assert "it is several recipes; choose one of prontoqa/coconut, prontoqa/cot\n" in err


def test_no_arguments_print_help_and_fail(run):
    code, out, err = run()
    assert (code, out) == (2, "")
    assert err.startswith("usage: unspoken VERB")


def test_the_group_data_has_its_own_help(run):
    assert run("data")[0] == 2
    code, out, _ = run("data", "--help")
    assert code == 0
    assert "data convert" in out
    assert "plan " not in out


def test_the_version_is_printed(run):
    assert run("--version") == (0, f"unspoken {__version__}\n", "")


def test_an_unknown_verb_says_what_is_near(run):
    assert run("trian") == (2, "", "unspoken: error: there is no verb 'trian'; did you mean train?\n")


def test_options_and_overrides_may_stand_in_any_order(run, monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(
        "unspoken.training.supervised.train", lambda recipe, out, resume: seen.append((recipe, out)) or out
    )
    code, out, _ = run("train", "hops/coconut", "train.epochs=14", "--out", str(tmp_path / "r"), "train.seed=7")
    assert (code, out) == (0, f"{tmp_path / 'r'}\n")
    assert (seen[0][0].train.epochs, seen[0][0].train.seed) == (14, 7)


def test_a_run_is_named_after_its_recipe(run, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("unspoken.training.supervised.train", lambda recipe, out, resume: out)
    assert run("train", "hops/no_cot")[1] == f"runs{os.sep}hops-no_cot\n"
    own = tmp_path / "own.yaml"
    own.write_text(shipped_recipes()["hops/no_cot"].read_text())
    assert run("train", str(own))[1] == f"runs{os.sep}own\n"
    assert run("plan", str(own))[1].endswith(f"\nRun         runs{os.sep}own, unless --out says otherwise\n")


def test_a_run_stands_where_the_recipes_that_go_on_with_it_look():
    texts = [path.read_text() for path in shipped_recipes().values()]
    names = {f"runs/{run_name(path)}" for path in shipped_recipes().values()}
    assert len(names) == len(texts)
    asked = {found for text in texts for found in re.findall(r"runs/[\w-]+", text)}
    told = {found for text in texts for found in re.findall(r"--out (runs/[\w-]+)", text)}
    assert "runs/hops-half" in asked & names
    assert asked - names - told == set()


def test_a_directory_with_a_run_is_only_continued_when_asked(run, monkeypatch, tmp_path):
    monkeypatch.setattr("unspoken.training.supervised.train", lambda recipe, out, resume: out)
    for name in ("resolved.json", "metrics.jsonl"):
        (tmp_path / name).write_text("{}")
    code, out, err = run("train", "hops/cot", "--out", str(tmp_path))
    assert (code, out) == (2, "")
    assert "--resume" in err
    assert "--out" in err
    assert run("train", "hops/cot", "--out", str(tmp_path), "--resume")[0] == 0
    # the other processes of a run come when the first has begun to write
    monkeypatch.setenv("RANK", "1")
    assert run("train", "hops/cot", "--out", str(tmp_path)) == (0, "", "")


def test_a_directory_with_a_lock_alone_is_free(run, monkeypatch, tmp_path):
    monkeypatch.setattr("unspoken.training.supervised.train", lambda recipe, out, resume: out)
    (tmp_path / ".lock").touch()
    assert run("train", "hops/cot", "--out", str(tmp_path))[0] == 0


def test_a_directory_with_a_start_that_failed_is_free(run, monkeypatch, tmp_path):
    monkeypatch.setattr("unspoken.training.supervised.train", lambda recipe, out, resume: out)
    for name in ("resolved.json", "recipe.yaml"):
        (tmp_path / name).write_text("{}")
    assert run("train", "hops/cot", "--out", str(tmp_path))[0] == 0
    assert run("train", "hops/cot", "--out", str(tmp_path), "--resume")[0] == 0
    (tmp_path / "notes.txt").touch()
    assert run("train", "hops/cot", "--out", str(tmp_path))[0] == 2


def test_what_may_not_be_meant_is_said_before_training_begins(run, monkeypatch, tmp_path):
    monkeypatch.setattr("unspoken.training.supervised.train", lambda recipe, out, resume: out)
    code, _, err = run("train", "hops/coconut", "train.epochs=2", "--out", str(tmp_path / "run"))
    assert code == 0
    assert "unspoken: ! training ends at stage 0 of " in err
    monkeypatch.setenv("RANK", "1")
    assert run("train", "hops/coconut", "train.epochs=2", "--out", str(tmp_path / "run"))[2] == ""


def test_nothing_to_resume_is_said(run, tmp_path):
    code, _, err = run("train", "hops/cot", "--out", str(tmp_path / "absent"), "--resume")
    assert code == 2
    assert "holds no run to resume" in err
    assert not (tmp_path / "absent").exists()


def test_plans_and_lists_are_results(run):
    code, out, err = run("plan", "hops/coconut", "train.epochs=20")
    assert (code, err) == (0, "")
    assert "-19 " in out
    assert run("list", "recipes")[1].startswith("aokvqa/coconut  ")


LEGACY = """
project: x
save_path: out
name: run
only_eval: {only_eval}
cot: True
model_id: openai-community/gpt2
load_model_path: {path}
train_path: {data}
val_path: {data}
num_epochs: 2
lr: 1e-4
batch_size_training: 2
"""


@pytest.fixture
def legacy(tmp_path):
    data = tmp_path / "rows.jsonl"
    data.write_text('{"question": "1+1?", "steps": ["1+1=2"], "answer": "2"}\n' * 4)
    path = tmp_path / "old.yaml"
    path.write_text(LEGACY.format(only_eval=False, path="None", data=data))
    return path


def test_a_released_file_is_explained_on_stderr(run, legacy):
    code, out, err = run("plan", str(legacy))
    assert code == 0
    assert "name: custom" in out
    assert "cot: True -> method.name: cot" in err
    assert "project: x has no effect" in err


def test_a_released_file_names_its_run_directory(run, legacy, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("unspoken.training.supervised.train", lambda recipe, out, resume: out)
    assert run("train", str(legacy))[1] == f"out{os.sep}run\n"


def test_a_released_evaluation_evaluates(run, legacy, monkeypatch, tmp_path):
    seen = []

    def evaluate(run, *, progress, tell, **kwargs):
        progress("none", 1, 4)
        seen.append((run, kwargs))
        tell({})
        return {}

    monkeypatch.setattr("unspoken.evaluation.evaluate.evaluate", evaluate)
    monkeypatch.setattr("unspoken.evaluation.evaluate.table", lambda results: "table")
    model = tmp_path / "model"
    model.mkdir()
    legacy.write_text(LEGACY.format(only_eval=True, path=model, data=tmp_path / "rows.jsonl"))
    code, out, _ = run("train", str(legacy))
    assert (code, out) == (0, "table\n")
    assert seen == [(model, {"data": tmp_path / "rows.jsonl", "split": "test", "overrides": ()})]


def test_a_released_evaluation_takes_what_it_can_use_and_refuses_the_rest(run, legacy, monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(
        "unspoken.evaluation.evaluate.evaluate", lambda run, *, progress, tell, **kwargs: seen.append((run, kwargs))
    )
    model, other = tmp_path / "model", tmp_path / "other.jsonl"
    model.mkdir()
    legacy.write_text(LEGACY.format(only_eval=True, path=model, data=tmp_path / "rows.jsonl"))
    assert (
        run("train", str(legacy), "evaluate.controls=[mean]", "evaluate.batch_size=3", f"task.validation={other}")[0]
        == 0
    )
    assert seen[0][1] == {"data": other, "split": "test", "overrides": ("batch_size=3", 'controls=["mean"]')}
    code, _, err = run("train", str(legacy), "train.epochs=9", "--resume", "--out", str(tmp_path / "x"))
    assert code == 2
    assert "old.yaml has 3 problems" in err
    assert "train.epochs=9: only_eval: True trains nothing" in err
    assert "resume: only_eval: True trains nothing" in err
    assert f"out: the run {model} is evaluated where it is" in err
    code, out, _ = run("plan", str(legacy))
    assert (code, out) == (0, f"Nothing is trained: `unspoken train` evaluates {model} on {tmp_path / 'rows.jsonl'}\n")


def test_rows_are_made_checked_and_converted(run, tmp_path):
    made = tmp_path / "a.json"
    code, out, _ = run("data", "make", "hops", "test_rows=5", "--split", "test", "--out", str(made))
    assert (code, out) == (0, f"{made}: 5 rows in = 5 kept + 0 rejected\n")
    code, out, _ = run("data", "check", str(made), str(made))
    assert code == 1
    assert "leakage: 5 rows" in out
    assert run("data", "check", str(made))[0] == 0
    code, out, _ = run("data", "convert", str(made), "--format", "custom", "--out", str(tmp_path / "b.jsonl"))
    assert (code, out) == (0, f"{made}: 5 rows in = 5 kept + 0 rejected\n")


def test_rejected_rows_are_listed_and_fail_the_check(run, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"question": "1+1?", "steps": [], "answer": "2"}\n{"question": "x"}\n')
    code, out, _ = run("data", "check", str(path))
    assert code == 1
    assert "2 rows in = 1 kept + 1 rejected\n  row 2: no 'steps'" in out


def test_settings_of_the_task_may_stand_between_files(run, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"question": "1+1?", "steps": [], "answer": "two"}\n')
    assert run("data", "check", str(path))[0] == 0
    assert run("data", "check", "scoring=number", str(path))[0] == 2


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (CheckpointError("runs/a is damaged; use another"), 2, "unspoken: error: runs/a is damaged; use another\n"),
        (NonFiniteError("the loss is nan"), 1, "unspoken: failed: the loss is nan\n"),
        (OSError(28, "No space left on device", "a/b"), 1, "unspoken: failed: No space left on device: a/b\n"),
        (ZeroDivisionError("x"), 1, "unspoken: failed: ZeroDivisionError: x; run it again with --debug to see where\n"),
        (KeyboardInterrupt(), 130, "unspoken: interrupted\n"),
        (SystemExit(143), 143, ""),
    ],
)
def test_errors_are_one_message_and_an_exit_code(run, monkeypatch, error, code, message):
    replace_verb(monkeypatch, "bench", raising(error))
    assert run("bench") == (code, "", message)


def test_debug_shows_where(run, monkeypatch):
    replace_verb(monkeypatch, "bench", raising(CheckpointError("damaged")))
    code, _, err = run("bench", "--debug")
    assert code == 2
    assert "Traceback" in err
    assert err.endswith("unspoken: error: damaged\n")


def test_a_terminal_is_told_nothing_it_would_obey(run, monkeypatch):
    replace_verb(monkeypatch, "bench", raising(CheckpointError("name \x1b]0;x\x07 \u202e \ud800 é")))
    assert run("bench")[2] == "unspoken: error: name \\x1b]0;x\\x07 \\u202e \\ud800 é\n"


def test_remarks_of_the_package_go_to_stderr(run, monkeypatch):
    import logging

    def action(arguments):
        logging.getLogger("unspoken.somewhere").info("halfway")
        return 0

    replace_verb(monkeypatch, "bench", action)
    assert run("bench") == (0, "", "unspoken: halfway\n")
    assert not logging.getLogger("unspoken").handlers


def unspoken(*arguments, **kwargs):
    kwargs = {"capture_output": True, "text": True, "timeout": 60} | kwargs
    return subprocess.run([sys.executable, "-m", "unspoken", *arguments], check=False, **kwargs)


def test_the_module_runs_as_a_program():
    done = unspoken("list", "recipes")
    assert (done.returncode, done.stderr) == (0, "")
    assert "hops/coconut" in done.stdout
    assert unspoken("trian").returncode == 2


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from unspoken.cli import main; main(['--help']); main(['train', '--help'])\n"
        "print(sorted({'torch', 'transformers', 'numpy', 'pydantic', 'yaml'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")


def test_help_is_instant():
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert unspoken("--help").returncode == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # of computing: 0.1 s on an idle machine; the bound leaves room for a busy one
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2


def test_a_reader_that_goes_away_is_no_error():
    read, write = os.pipe()
    os.close(read)
    done = unspoken("list", "recipes", capture_output=False, stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_a_closed_stream_is_no_error(closed):
    done = subprocess.run(f"{sys.executable} -m unspoken list recipes {closed}", shell=True, check=False, timeout=60)
    assert done.returncode == 0


def test_a_plain_terminal_and_a_plain_locale_are_fine():
    environment = {**os.environ, "LANG": "C", "LC_ALL": "C", "TERM": "dumb", "COLUMNS": "20", "PYTHONUTF8": "0"}
    environment.pop("HOME", None)
    assert unspoken("plan", "hops/coconut", env=environment).returncode == 0
    done = unspoken("plan", "hops/é", env=environment)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_being_told_to_stop_ends_in_order(tmp_path):
    code = (
        # a job in the background inherits that Ctrl-C is ignored
        "import signal, time, sys\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from unspoken import cli\nfrom unspoken.cli.verb import Verb\nfrom unspoken.cli import verbs\n"
        "def wait(arguments):\n    print('ready', flush=True)\n    time.sleep(60)\n"
        "verbs.VERBS['bench'] = Verb('', lambda parser: None, wait)\nsys.exit(cli.main(['bench']))"
    )
    for number, expected in [(signal.SIGTERM, 143), (signal.SIGINT, 130)]:
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
        assert process.returncode == expected
        assert "Traceback" not in err


# ---- several processes


@pytest.mark.parametrize("end", [lambda: 0, lambda: sys.exit(143)], ids=["done", "stopped"])
def test_processes_part_in_good_order(end, monkeypatch):
    """Threads of the group that outlive Python abort it, after all the work was done."""

    def connect(parsed):
        distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
        return end()

    monkeypatch.setitem(verbs.VERBS, "list", replace(VERBS["list"], configure=lambda parser: None, run=connect))
    cli.main(["list"])
    assert not distributed.is_initialized()


@pytest.mark.parametrize("name", ["audit", "inspect", "report", "run", "bench", "demo", "list", "data check"])
def test_a_verb_for_one_process_says_so_once(name, monkeypatch, capsys):
    """Each of them would do the work, print it and write the same file."""
    monkeypatch.setitem(verbs.VERBS, name, replace(VERBS[name], configure=lambda parser: None, run=refuse))
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, expected in (
        (
            "0",
            f"unspoken: error: WORLD_SIZE says that 2 processes were started, but unspoken {name} is the work of one;",
        ),
        ("1", ""),
    ):
        monkeypatch.setenv("RANK", rank)
        assert cli.main(name.split()) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith(expected)
        assert bool(said.err) == bool(expected)


def refuse(arguments):
    raise AssertionError("it was not to run")


def test_training_planning_and_evaluating_take_several_processes():
    assert {name for name, verb in VERBS.items() if verb.in_processes} == {"plan", "train", "eval"}


def test_a_plan_for_several_processes_is_told_once(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    told = []
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        assert cli.main(["plan", "hops/coconut"]) == 0
        told.append(capsys.readouterr().out)
    assert "2 processes" in told[0]
    assert told[1] == ""
