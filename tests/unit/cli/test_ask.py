"""`unspoken run` as a user calls it: what has no effect or cannot be is refused, with the right cause."""

from pathlib import Path

import pytest

from unspoken import cli

RUN = Path(__file__).parents[2] / "models" / "hops-coconut"
QUESTION = "g f h e e c a d b g c a d b f h ? c"


@pytest.fixture
def ask(capsys):
    def ask(*arguments):
        code = cli.main(["run", str(RUN), *map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return ask


@pytest.mark.parametrize(("option", "value"), [("--temperature", "2"), ("--seed", "1")])
def test_chance_without_drawing_is_refused(ask, option, value):
    code, out, err = ask(QUESTION, option, value)
    assert (code, out) == (2, "")
    assert f"{option.removeprefix('--')}: nothing is drawn; add --sample or --trajectories, or leave it out" in err
    assert ask(QUESTION, option, value, "--sample")[0] == 0


def test_a_seed_that_no_generator_takes_is_refused(ask):
    code, _, err = ask(QUESTION, "--sample", "--seed", "9" * 23)
    assert code == 2
    assert "argument --seed: 99999999999999999999999 is too large" in err


def test_a_question_behind_the_images_is_sought_there(ask):
    code, _, err = ask("--images", "a.png", "What is it?")
    assert code == 2
    assert "there is no file 'What is it?'; if it is the question, put it in front" in err


def test_no_thoughts_have_the_right_cause(ask):
    code, out, _ = ask(QUESTION, "--thoughts", "0", "--show-thoughts")
    assert code == 0
    assert out.startswith("no thoughts: none were asked for\n")


def test_too_many_thoughts_are_not_a_long_question(ask):
    code, _, err = ask(QUESTION, "--thoughts", "100000")
    assert code == 2
    assert "with its 100000 thoughts, the model has 64; let it think less often" in err
