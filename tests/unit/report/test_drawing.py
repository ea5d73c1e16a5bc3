from itertools import pairwise
from xml.etree import ElementTree

import matplotlib
import pytest
from tests.unit.report.synthetic_runs import build_run, figures

from unspoken.report.curves import averaged, course
from unspoken.report.figures import pictures, pictures_of_training
from unspoken.report.panel import LETTER, MARKS, Box, beside, fitted, mark, spread
from unspoken.report.read import read_runs
from unspoken.report.recorded import Line
from unspoken.report.svg import SERIES, draw


@pytest.mark.parametrize(
    ("wanted", "places"),
    [
        ([0.0, 5.0], [0.0, 5.0]),
        ([5.0, 0.0], [5.0, 0.0]),
        ([5.0, 5.0], [4.5, 5.5]),
        ([5.0, 5.2, 5.1], [4.1, 6.1, 5.1]),
        ([10.0, 10.0, 10.0], [8.0, 9.0, 10.0]),
        ([0.0, 0.0], [0.0, 1.0]),
        ([], []),
        # the first pair moves apart and meets a third
        ([1.0, 1.0, 1.8], [0.2667, 1.2667, 2.2667]),
    ],
)
def test_names_move_apart_as_little_as_can_be(wanted, places):
    assert spread(wanted, 1.0, 0.0, 10.0) == pytest.approx(places, abs=1e-4)


def test_names_keep_their_distance_where_there_is_no_room():
    assert spread([1.0, 2.0, 3.0], 1.0, 0.0, 1.0) == [0.0, 1.0, 2.0]


def test_a_name_beside_a_point_avoids_points_and_names():
    points = [(1.0, 1.0), (1.4, 1.0), (3.9, 1.0)]
    taken = [Box(x - 0.07, y - 0.07, x + 0.07, y + 0.07) for x, y in points]
    boxes = beside(points, taken, ["first", "second", "last"], 4.0)
    assert not any(box.meets(other) for box in boxes for other in taken)
    assert not any(box.meets(other) for index, box in enumerate(boxes) for other in boxes[:index])
    assert boxes[2].right == pytest.approx(3.8)
    assert boxes[2].right - boxes[2].left == pytest.approx(4 * LETTER)


def test_long_names_lose_their_middle():
    assert fitted("abcdefgh", 8) == "abcdefgh"
    assert fitted("abcdefghi", 8) == "abcd…ghi"


def test_long_curves_are_averaged():
    points = [(float(x), float(x * 10)) for x in range(1, 8)]
    assert averaged(points, 7) == points
    assert averaged(points, 3) == [(3.0, 20.0), (6.0, 50.0), (7.0, 70.0)]
    assert averaged([], 3) == []


def test_a_stage_ends_where_the_next_one_begins():
    lines = [
        Line(step=step, epoch=step / 10, stage=stage) for step, stage in [(5, 0), (10, 0), (15, 2), (20, 2), (25, 1)]
    ]
    assert course(lines, lambda line: line.step) == ((0, 0.0, 10), (2, 10, 20), (1, 20, 25))
    assert course([], lambda line: line.step) == ()


def test_the_first_runs_differ_in_colour_and_in_shape():
    marks = [(mark(index)["color"], mark(index)["marker"]) for index in range(len(SERIES) * len(MARKS))]
    assert len(set(marks)) == len(marks)
    assert all(one[0] != other[0] and one[1] != other[1] for one, other in pairwise(marks))


def names_of(paths):
    runs = read_runs(paths)
    return [picture.name for picture in (*pictures(runs), *pictures_of_training(runs))]


def test_only_what_there_is_to_show_is_drawn(tmp_path):
    evaluated = build_run(tmp_path / "a", trained=figures(9, 10))
    other = build_run(tmp_path / "b", trained=figures(8, 10))
    trained = build_run(tmp_path / "c")
    begun = build_run(tmp_path / "d", finished=False)
    (begun / "metrics.jsonl").unlink()
    assert names_of([evaluated]) == ["controls", "loss", "validation"]
    assert names_of([evaluated, other]) == ["controls", "cost", "loss", "validation"]
    assert names_of([trained]) == ["loss", "validation"]
    assert names_of([begun]) == []


def texts(picture):
    return [element.text for element in ElementTree.fromstring(str(picture.svg)).iter("text")]


def test_figures_say_what_they_show(tmp_path):
    a = build_run(tmp_path / "a", trained=figures(989, 1000), controls={"zero": figures(132, 1000)})
    b = build_run(tmp_path / "b", method="cot", trained=figures(994, 1000, thoughts=0), stages=(0,), epochs=6)
    controls, cost = pictures(read_runs([a, b]))
    loss, validation = pictures_of_training(read_runs([a, b]))
    assert {"a", "as trained", "98.9%", "zeroed", "13.2%", "b", "99.4%"} <= set(texts(controls))
    assert {"a", "b"} <= set(texts(cost))
    for curves in (loss, validation):
        assert {"a", "b", "stage", "0", "1", "2"} <= set(texts(curves))
    assert "a: as trained 98.9% [98.0, 99.4], zeroed 13.2% [11.2, 15.4]" in controls.svg
    assert "b: 99.4% [98.7, 99.7] in 2.0 passes" in cost.svg
    assert "a: from 2 to 0.0833 in 1,200 steps" in loss.svg
    assert "a: 85.7% after epoch 6, at best 85.7%" in validation.svg


def test_different_courses_of_stages_stand_beside_their_runs(tmp_path):
    a = build_run(tmp_path / "a", stages=(0, 1))
    b = build_run(tmp_path / "b", stages=(0, 3))
    c = build_run(tmp_path / "c", stages=(0, 1))
    loss, _ = pictures_of_training(read_runs([a, b, c]))
    assert {"a, c", "b"} <= set(texts(loss))
    assert "stage" not in texts(loss)


def test_names_are_never_formulas(tmp_path):
    run = build_run(tmp_path / "$x^2$_$", trained=figures(1, 2))
    assert "$x^2$_$" in texts(pictures(read_runs([run]))[0])


def test_drawing_leaves_the_settings_of_matplotlib_as_they_were():
    with matplotlib.rc_context({"lines.linewidth": 33.0, "svg.hashsalt": "mine"}):
        before = dict(matplotlib.rcParams)
        one = draw("x", "", 1, 1, lambda figure: figure.add_axes((0, 0, 1, 1)).plot([0, 1]))
        assert dict(matplotlib.rcParams) == before
    assert one == draw("x", "", 1, 1, lambda figure: figure.add_axes((0, 0, 1, 1)).plot([0, 1]))


def test_colours_are_those_of_the_page():
    svg = draw("x", "", 1, 1, lambda figure: figure.add_axes((0, 0, 1, 1)).plot([0, 1], color=SERIES[0]))
    assert "var(--series-0)" in svg
    assert "#0072b2" not in svg
