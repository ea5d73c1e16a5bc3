"""One table of controls: what it names is carried out, and what is carried out is named."""

import inspect
import subprocess
import sys

import numpy as np
import pytest
from tests.laws.test_images import IMAGE, Array

from unspoken import config
from unspoken.controls import CONTROLS, IMAGE_CONTROLS, THOUGHT_CONTROLS, control_named, in_order, taken_away
from unspoken.evaluation.controls import REPLACEMENTS
from unspoken.evaluation.image_controls import image_controls


def test_every_control_is_of_thoughts_or_of_images():
    assert {*THOUGHT_CONTROLS}.isdisjoint(IMAGE_CONTROLS)
    assert {*THOUGHT_CONTROLS, *IMAGE_CONTROLS} == CONTROLS.keys()


def test_what_is_carried_out_on_thoughts_is_what_the_table_names():
    # to remove a slot changes the prompt, all others what is put into it
    assert {*REPLACEMENTS, "removed"} == {*THOUGHT_CONTROLS}
    assert "removed" not in REPLACEMENTS


def test_what_is_carried_out_on_images_is_what_the_table_names():
    assert image_controls(IMAGE, Array(np.zeros((4, 6), dtype=np.float32))).keys() == {*IMAGE_CONTROLS}


def test_the_settings_name_them_all():
    source = inspect.getsource(config.EvaluateSettings)
    assert [name for name in CONTROLS if name not in source] == []


def test_they_are_told_in_the_order_of_the_table_and_unknown_ones_behind():
    assert in_order(["y", "mean", "x", "zero", "no_image", "mean"]) == ["zero", "mean", "no_image", "x", "y"]
    assert control_named("x").phrase == "under the control x"


@pytest.mark.parametrize(
    ("controls", "said"),
    [([], "thoughts"), (["zero", "mean", "x"], "thoughts"), (["zero", "shuffled_images"], "thoughts or images")],
)
def test_what_they_take_away_is_said(controls, said):
    assert taken_away(controls) == said


def test_the_table_needs_nothing_heavy():
    code = "import sys, unspoken.controls; print({'torch', 'numpy', 'pydantic'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
