import pytest
from tests.unit.report.synthetic_runs import bare, build_run, figures

from unspoken.controls import CONTROLS
from unspoken.report.findings import ASK, comparison, control_findings, effect, find, finding, percent, with_interval
from unspoken.report.read import read_runs
from unspoken.report.recorded import Results


def results(trained, controls=None, **values):
    defaults = {"data": "test", "data_sha256": "e" * 64, "num_parameters": 1, "environment": {}}
    return Results(figures=trained, controls=controls or {}, **(defaults | values))


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.989, "98.9%"),
        (1.0, "100.0%"),
        (0.9996, "99.96%"),
        (0.0, "0.0%"),
        (0.0004, "0.04%"),
        (0.00049999, "0.05%"),
        (0.5, "50.0%"),
    ],
)
def test_only_all_is_a_hundred_percent_and_only_nothing_is_none(share, text):
    assert percent(share) == text


def test_an_accuracy_is_written_with_its_wilson_interval():
    # 989 of 1000: (0.989 + 1.9208 / 1000 -+ 1.96 * sqrt(0.989 * 0.011 / 1000 + 0.9604 / 1000^2)) / 1.003841
    assert with_interval(figures(989, 1000)) == "98.9% [98.0, 99.4]"


@pytest.mark.parametrize(
    ("trained", "other", "found"),
    [
        ((989, 1000), (132, 1000), "less"),
        ((989, 1000), (600, 1000), "less"),
        ((989, 1000), (985, 1000), "not shown"),
        ((9, 10), (5, 10), "not shown"),
        ((500, 1000), (989, 1000), "more"),
        ((0, 1000), (0, 1000), "not shown"),
        ((1000, 1000), (0, 1000), "less"),
    ],
)
def test_an_effect_is_named_only_where_the_intervals_do_not_touch(trained, other, found):
    assert effect(figures(*trained), figures(*other)) == found


ASKED = "whether they are needed: `unspoken audit RUN`."


@pytest.mark.parametrize(
    ("measured", "sentence"),
    [
        (
            # the near ends of the intervals are 98.1 and 15.5
            results(figures(989, 1000), {"zero": figures(132, 1000)}),
            "coconut answers 98.9% [98.0, 99.4] correctly; with its thoughts zeroed 13.2% [11.2, 15.4], "
            f"at least 82.6 points less; {ASKED}",
        ),
        (
            results(figures(985, 1000), {"zero": figures(980, 1000)}),
            "coconut answers 98.5% [97.5, 99.1] correctly; with its thoughts zeroed 98.0% [96.9, 98.7]; "
            f"the intervals overlap, so these rows show no difference; {ASKED}",
        ),
        (
            results(figures(10, 100), {"zero": figures(90, 100)}),
            "coconut answers 10.0% [5.5, 17.4] correctly; with its thoughts zeroed 90.0% [82.6, 94.5], "
            f"at least 65.1 points more; {ASKED}",
        ),
        (
            # a twentieth of a point lies between the intervals
            results(figures(6030, 10000), {"zero": figures(5832, 10000)}),
            "coconut answers 60.3% [59.3, 61.3] correctly; with its thoughts zeroed 58.3% [57.4, 59.3], less; " + ASKED,
        ),
        (
            results(figures(50, 100), {"shuffled": figures(5, 100)}),
            "coconut answers 50.0% [40.4, 59.6] correctly; \u2068under the control shuffled\u2069 5.0% [2.2, 11.2], "
            f"at least 29.2 points less; {ASKED}",
        ),
        (
            results(figures(50, 100, thoughts=0)),
            "coconut answers 50.0% [40.4, 59.6] correctly; it has no thoughts to take away.",
        ),
        (
            results(figures(50, 100)),
            "coconut answers 50.0% [40.4, 59.6] correctly; it was not measured without its thoughts.",
        ),
        (
            results(figures(50, 100), {"no_image": figures(5, 100)}),
            "coconut answers 50.0% [40.4, 59.6] correctly; it was not measured without its thoughts.",
        ),
    ],
)
def test_a_run_is_told_in_a_sentence(measured, sentence):
    assert finding("coconut", measured) == sentence


def test_of_several_controls_the_mildest_is_told_first():
    """Zeros break the pause run of the demo, and yet the audit says that its slots are not needed."""
    controls = {"zero": figures(10, 1000), "mean": figures(142, 1000), "no_image": figures(900, 1000)}
    assert finding("pause", results(figures(142, 1000), controls)) == (
        "pause answers 14.2% [12.2, 16.5] correctly; with the mean thought in place of each, the mildest of 2 "
        f"controls, 14.2% [12.2, 16.5]; the intervals overlap, so these rows show no difference; {ASKED}"
    )


def test_no_control_of_an_evaluation_says_what_is_needed():
    """Docs, decision 0012: what one replacement costs proves nothing."""
    for left in (0, 100, 500, 900, 1000):
        measured = results(figures(900, 1000), dict.fromkeys(CONTROLS, figures(left, 1000)))
        told = " ".join([finding("x", measured), *control_findings(measured)]).replace(ASK, "")
        assert "need" not in told
        assert "help" not in told


def test_further_controls_of_one_effect_share_a_sentence():
    controls = {"another_row": (127, 1000), "zero": (132, 1000), "mean": (985, 1000), "noise": (986, 1000)}
    measured = results(figures(989, 1000), {name: figures(*value) for name, value in controls.items()})
    assert control_findings(measured) == [
        "With its thoughts zeroed 13.2% [11.2, 15.4], with the thoughts of another question 12.7% [10.8, 14.9], "
        "at least 82.6 points less.",
        "With the mean thought in place of each 98.5% [97.5, 99.1]; the intervals overlap, so these rows show no "
        "difference.",
    ]


def test_points_of_several_controls_are_those_of_the_least():
    controls = {"zero": figures(600, 1000), "mean": figures(600, 1000), "noise": figures(700, 1000)}
    controls |= {"another_row": figures(800, 1000)}
    (sentence,) = control_findings(results(figures(989, 1000), controls))
    assert sentence.endswith(", at least 25.2 points less.")


def test_every_control_of_images_is_told_of_a_run_without_thoughts():
    controls = {"no_image": figures(26, 100), "blank_image": figures(25, 100)}
    (sentence,) = control_findings(results(figures(90, 100, thoughts=0), controls))
    assert sentence.startswith("Without its images 26.0% [18.4, 35.4], with a blank image in place of each 25.0%")


@pytest.mark.parametrize(
    ("runs", "sentence"),
    [
        (
            {"a": (990, 1000), "b": (100, 1000)},
            "a has the highest accuracy, 99.0% [98.2, 99.5]; b lies below.",
        ),
        (
            {"a": (985, 1000), "b": (990, 1000)},
            "b has the highest accuracy, 99.0% [98.2, 99.5]; the interval of a overlaps with its own, "
            "so these rows do not show which is better.",
        ),
        (
            {"a": (985, 1000), "b": (990, 1000), "c": (984, 1000), "d": (1, 1000), "e": (2, 1000)},
            "b has the highest accuracy, 99.0% [98.2, 99.5]; the intervals of a and c overlap with its own, "
            "so these rows do not show which is better; d and e lie below.",
        ),
        ({"a": (50, 100), "b": (50, 100)}, "a and b have the same accuracy, 50.0% [40.4, 59.6]."),
        (
            {"a": (50, 100), "b": (50, 100), "c": (5, 100)},
            "a and b have the highest accuracy, 50.0% [40.4, 59.6]; c lies below.",
        ),
    ],
)
def test_runs_are_ranked_only_as_far_as_the_intervals_tell(runs, sentence):
    assert comparison({name: figures(*value) for name, value in runs.items()}) == sentence


@pytest.mark.parametrize(
    ("data", "n", "opening"),
    [
        ("test", 1000, "On 1,000 held-out questions coconut answers "),
        ("validation", 1, "On 1 validation question coconut answers "),
        ("/home/someone/rows.json", 20, "On 20 questions of rows.json coconut answers "),
    ],
)
def test_the_headline_says_which_questions(tmp_path, data, n, opening):
    build_run(tmp_path / "coconut", trained=figures(1, n), data=data)
    assert bare(find(read_runs([tmp_path / "coconut"])).headline).startswith(opening)


def test_validation_questions_come_with_a_warning(tmp_path):
    build_run(tmp_path / "a", trained=figures(1, 2), data="validation")
    build_run(tmp_path / "b", trained=figures(1, 2), data="test")
    warned = [any("flatters" in note for note in find(read_runs([tmp_path / name])).notes) for name in "ab"]
    assert warned == [True, False]


def test_an_overlap_points_to_the_finer_test(tmp_path):
    build_run(tmp_path / "a", trained=figures(50, 100), controls={"zero": figures(49, 100)})
    build_run(tmp_path / "b", trained=figures(50, 100), controls={"zero": figures(1, 100)})
    told = [any("unspoken audit" in note for note in find(read_runs([tmp_path / name])).notes) for name in "ab"]
    assert told == [True, False]


def test_runs_on_different_questions_are_not_compared(tmp_path):
    build_run(tmp_path / "coconut", trained=figures(90, 100), data_sha256="1" * 64)
    build_run(tmp_path / "cot", method="cot", trained=figures(10, 100, thoughts=0), data_sha256="2" * 64)
    found = find(read_runs([tmp_path / "coconut", tmp_path / "cot"]))
    assert found.headline == "These runs answered different questions, so their accuracies do not compare."
    assert [bare(text).partition(" answers")[0] for text in found.details] == [
        "On 100 held-out questions coconut",
        "On 100 held-out questions cot",
    ]


def test_a_run_whose_name_does_not_tell_its_method_is_told_with_it(tmp_path):
    build_run(tmp_path / "mine", trained=figures(1, 2))
    assert "questions mine (coconut) answers" in bare(find(read_runs([tmp_path / "mine"])).headline)


def test_a_run_that_is_not_evaluated_names_the_command(tmp_path):
    run = build_run(tmp_path / "coconut two")
    assert bare(find(read_runs([run])).headline) == (
        f"coconut two is trained, to stage 2 in 1,200 steps, but not evaluated; `unspoken eval '{run}'` gives the rest."
    )


def test_a_stopped_run_names_the_command_that_continues_it(tmp_path):
    run = build_run(tmp_path / "coconut", finished=False)
    assert bare(find(read_runs([run])).headline) == (
        "coconut is not trained to its end (1,200 steps were logged); "
        f"`unspoken train {run}/recipe.yaml --out {run} --resume` continues it."
    )
