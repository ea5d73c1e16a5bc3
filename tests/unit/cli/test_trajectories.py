"""`unspoken run` and `unspoken eval` with trajectories, as a user calls them."""

import argparse
import json
import shutil

import pytest
from tests.unit.trajectories.runs import TRAINED, policy_run, question

from unspoken import cli
from unspoken.cli.verbs import VERBS
from unspoken.run_directory import open_run
from unspoken.trajectories.fusion import FUSIONS


@pytest.fixture
def run(capsys):
    def run(*arguments):
        code = cli.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return policy_run(tmp_path_factory.mktemp("drawn"), halt_after=1)


def test_all_fusions_can_be_chosen():
    parser = argparse.ArgumentParser()
    VERBS["run"].configure(parser)
    (fuse,) = [action for action in parser._actions if action.dest == "fuse"]
    assert fuse.choices == tuple(FUSIONS)


def test_a_question_is_answered_with_all_trajectories(run, drawn):
    asked = ("run", drawn.path, question(drawn), "--trajectories", 5, "--seed", 2)
    code, shown, _ = run(*asked, "--show-thoughts")
    assert code == 0
    numbers = [line.split(":")[0] for line in shown.split("\n") if line.startswith("trajectory")]
    assert numbers == [f"trajectory {number}" for number in range(1, 6)]
    assert shown.count("thought 1:") == 5
    assert shown.rstrip().split("\n")[-1].startswith("confidence: 0.")
    assert run(*asked)[1].count("thought 1:") == 0
    assert run(*asked, "--fuse", "likelihood", "--temperature", "0.01")[1].endswith("confidence: 1.00\n")
    assert run("run", drawn.path, question(drawn), "--trajectories", 5, "--seed", 3)[1] != run(*asked)[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--fuse", "vote"], "fuse: it is about several trajectories; add --trajectories"),
        (["--token-temperature", "1"], "token_temperature: it is about several trajectories"),
        (["--trajectories", "2", "--sample"], "use --token-temperature"),
        (["--trajectories", "65"], "trajectories: 65 are not possible; give a number from 1 to 64"),
        (["--trajectories", "0", "--fuse", "value"], "fuse: value needs a critic"),
    ],
)
def test_what_does_not_fit_together_is_refused(run, drawn, options, message):
    code, shown, complaint = run("run", drawn.path, question(drawn), *options)
    assert (code, shown) == (2, "")
    assert message in complaint


def test_a_run_without_a_policy_is_told_what_it_can_draw(run):
    asked = ("run", TRAINED, question(open_run(TRAINED)), "--trajectories", 3)
    code, _, complaint = run(*asked)
    assert code == 2
    assert "leave nothing to chance, so all 3 trajectories would be the same" in complaint
    code, shown, _ = run(*asked, "--token-temperature", 1)
    assert code == 0
    assert shown.count("trajectory") == 3


def test_an_evaluation_is_a_table_and_a_file(run, drawn):
    code, shown, _ = run("eval", drawn.path, "--trajectories", 2, "--spread", 1, "--seed", 4, "batch_size=100")
    assert code == 0
    found = json.loads((drawn.path / "trajectories.json").read_text())
    assert f"{found['figures'][1]['oracle']['accuracy']:.3f}" in shown
    settings = found["settings"]
    assert (settings["spread"], settings["temperature"], settings["seed"], settings["batch_size"]) == (1.0, 1.0, 4, 100)
    assert found["data"] == "validation"


def test_settings_of_trajectories_alone_are_refused(run, tmp_path):
    copy = shutil.copytree(TRAINED, tmp_path / "run")
    code, _, complaint = run("eval", copy, "--temperature", 2, "--seed", 1)
    assert code == 2
    assert "temperature: it is about several trajectories" in complaint
    assert "seed: it is about several trajectories" in complaint
    assert not (copy / "results.json").exists()
