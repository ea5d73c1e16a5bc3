"""Many trajectories in a report: pictures, tables and sentences from `trajectories.json`, which may hold anything."""

import json
import re
from xml.etree import ElementTree

import pytest
from tests.unit.report.synthetic_runs import bare, build_run, draw_trajectories
from tests.unit.report.test_page import ATTACKS, LIVE, Page

from unspoken.errors import CheckpointError
from unspoken.report import write_report
from unspoken.report.drawn_figures import pictures_of_trajectories
from unspoken.report.findings import find
from unspoken.report.read import read_runs

FEW = {1: 50, 2: 60, 4: 80}


@pytest.fixture
def run(tmp_path):
    return build_run(tmp_path / "grpo", method="grpo", stages=(0,))


@pytest.fixture
def cot(tmp_path):
    return build_run(tmp_path / "cot", method="cot", stages=(0,))


def page_of(tmp_path, *runs):
    return write_report(runs, tmp_path / "report.html").read_text(encoding="utf-8")


def pictures(*runs):
    return {picture.name: picture for picture in pictures_of_trajectories(read_runs(runs))}


def texts(picture):
    return [element.text for element in ElementTree.fromstring(str(picture.svg)).iter("text")]


def changed(run, change):
    values = json.loads((run / "trajectories.json").read_text())
    change(values)
    (run / "trajectories.json").write_text(json.dumps(values))


# ---- pictures


def test_every_way_has_its_line_over_the_number_of_trajectories(run):
    draw_trajectories(run, FEW, oracle={1: 50, 2: 70, 4: 90})
    (picture,) = pictures(run).values()
    assert picture.name == "trajectories-0"
    assert {"1", "2", "4", "single", "vote", "likeliest", "oracle", "100%", "0%"} <= set(texts(picture))
    assert "best value" not in texts(picture)
    assert "single 50.0% of 1, 50.0% of 2, 50.0% of 4; vote 50.0% of 1, 60.0% of 2, 80.0% of 4; " in picture.svg
    assert "likeliest 49.0% of 1, 59.0% of 2, 79.0% of 4; oracle 50.0% of 1, 70.0% of 2, 90.0% of 4." in picture.svg


def test_numbers_of_trajectories_are_as_far_apart_as_their_doublings(run):
    draw_trajectories(run, {1: 50, 2: 60, 16: 80})
    svg = ElementTree.fromstring(str(pictures(run)["trajectories-0"].svg))
    places = {element.text: float(element.attrib["x"]) for element in svg.iter("text") if element.text in "1 2 16"}
    assert (places["16"] - places["1"]) / (places["2"] - places["1"]) == pytest.approx(4, abs=0.1)


def test_a_critic_has_a_line_and_the_oracle_keeps_its_colour(run, tmp_path):
    draw_trajectories(run, FEW, value=True)
    valued = build_run(tmp_path / "ppo")
    draw_trajectories(valued, FEW)
    found = pictures(run, valued)
    assert "best value 47.0% of 1" in found["trajectories-0"].svg
    assert "best value" not in found["trajectories-1"].svg
    for name in ("trajectories-0", "trajectories-1"):
        assert "var(--series-4)" in found[name].svg
    assert "var(--series-3)" not in found["trajectories-1"].svg


def test_the_scale_begins_where_it_can_tell_apart_and_says_so(run):
    draw_trajectories(run, {1: 98, 4: 100})
    picture = pictures(run)["trajectories-0"]
    # the lowest end is that of 97 of 100 right: 91.5%
    assert {"90%", "92%", "100%"} <= set(texts(picture))
    assert picture.caption.endswith("The scale begins at 90%.")
    draw_trajectories(run, FEW)
    picture = pictures(run)["trajectories-0"]
    assert "0%" in texts(picture)
    assert "begins" not in picture.caption


def test_one_trajectory_alone_is_drawn(run):
    draw_trajectories(run, {1: 50})
    assert "1" in texts(pictures(run)["trajectories-0"])


def test_votes_of_runs_on_the_same_questions_stand_over_their_passes(run, cot):
    draw_trajectories(run, FEW, passes=6.0)
    draw_trajectories(cot, {1: 40, 2: 50}, passes=8.0)
    found = pictures(run, cot)
    assert [*found] == ["trajectories-0", "trajectories-1", "equal-compute"]
    picture = found["equal-compute"]
    assert "grpo: 50.0% [40.4, 59.6] in 6.0 passes, 60.0% [50.2, 69.1] in 12.0 passes, 80.0% [71.1, 86.7] in 24.0" in (
        picture.svg
    )
    assert "cot: 40.0% [30.9, 49.8] in 8.0 passes" in picture.svg
    assert {"8", "16", "grpo", "cot"} <= set(texts(picture))
    assert "Marks from the left: grpo 1, 2, 4; cot 1, 2 trajectories." in bare(picture.caption)


@pytest.mark.parametrize("other", [{"data_sha256": "0" * 64}, {"n": 50}])
def test_different_questions_are_not_drawn_beside_each_other(run, cot, tmp_path, other):
    draw_trajectories(run, FEW)
    draw_trajectories(cot, {1: 20, 2: 25}, **other)
    assert [*pictures(run, cot)] == ["trajectories-0", "trajectories-1"]
    assert "These runs were asked different questions" in Page(page_of(tmp_path, run, cot)).text
    assert not any("passes for a question" in text for text in find(read_runs([run, cot])).details)


# ---- sentences


@pytest.mark.parametrize(
    ("rights", "meaning"),
    [
        # 50 of 100 ends at 59.6, 80 of 100 begins at 71.1
        ({1: 50, 4: 80}, "is right on 80.0% [71.1, 86.7], one of them on 50.0% [40.4, 59.6]: a vote helps by at least "
                         "11.5 points."),
        ({1: 50, 4: 55}, "one of them on 50.0% [40.4, 59.6]: the intervals overlap, so these rows do not show that a "
                         "vote helps."),
        ({1: 80, 4: 50}, "one of them on 80.0% [71.1, 86.7]: a vote does worse than one."),
        ({1: 99, 4: 10}, "one of them on 99.0% [94.6, 99.8]: a vote does worse than one."),
    ],
)  # fmt: skip
def test_a_vote_is_said_to_help_only_where_the_intervals_do_not_touch(run, rights, meaning):
    draw_trajectories(run, rights, oracle={1: 50, 4: 90})
    (sentence,) = map(bare, find(read_runs([run])).details)
    assert sentence.startswith("On 100 held-out questions a vote of 4 trajectories of grpo is right on ")
    assert meaning in sentence
    assert sentence.endswith(" At least one of them is right on 90.0% [82.6, 94.5].")


def test_one_drawn_trajectory_is_told_alone(run):
    draw_trajectories(run, {1: 50}, data="validation")
    found = find(read_runs([run]))
    (sentence,) = map(bare, found.details)
    assert sentence == (
        "On 100 validation questions one trajectory of grpo, drawn by chance, is right on 50.0% [40.4, 59.6]."
    )
    assert any("flatters" in note for note in found.notes)
    assert any("bootstrap" in note for note in found.notes)


def test_runs_are_ranked_at_the_passes_that_all_were_given(run, cot):
    draw_trajectories(run, FEW, passes=6.0)
    draw_trajectories(cot, {1: 30, 2: 40, 4: 45, 8: 99}, passes=6.7)
    assert bare(find(read_runs([run, cot])).details[-1]) == (
        "Votes of as many trajectories as 24.0 passes for a question, or little more, allow, 4 of grpo (24.0 passes) "
        "and 2 of cot (13.4 passes): grpo has the highest accuracy, 80.0% [71.1, 86.7]; cot lies below."
    )


def test_a_little_more_compute_does_not_halve_the_trajectories(run, cot):
    draw_trajectories(run, FEW, passes=6.0)
    draw_trajectories(cot, {1: 30, 2: 40, 4: 75, 8: 99}, passes=6.5)
    sentence = bare(find(read_runs([run, cot])).details[-1])
    assert "4 of grpo (24.0 passes) and 4 of cot (26.0 passes): grpo has the highest accuracy" in sentence
    assert "the interval of cot overlaps with its own, so these rows do not show which is better" in sentence


def test_a_run_that_no_budget_of_another_pays_for_is_not_ranked(run, cot):
    draw_trajectories(run, FEW, passes=6.0)
    draw_trajectories(cot, FEW, passes=100.0)
    assert len(find(read_runs([run, cot])).details) == 3


# ---- the page


def test_the_page_holds_what_was_drawn(run, tmp_path):
    draw_trajectories(run, FEW, value=True, oracle={1: 50, 2: 70, 4: 90})
    page = Page(page_of(tmp_path, run))
    assert not page.open
    # trajectories, different answers, pairs that agree, thoughts, tokens, passes
    assert "1 1.00 - 4.0 2.0 6.0 2 1.00 75.0% 8.0 4.0 12.0 4 1.00 75.0% 16.0 8.0 24.0" in page.text
    assert "25.0% of the trajectories stopped by themselves, 12.5% gave no answer that could be read" in page.text
    assert "They differ by chance alone: the best of them is right on 54.0%, the worst on 51.0%; 4.0%" in page.text
    assert "1 1.62 0.875 30" in page.text, "thought 2 has no pair"
    assert "Trajectories single vote likeliest best value oracle weighted vote 1 50.0% [40.4, 59.6]" in page.text
    assert "4 on test, 100 rows; temperature 1 of thoughts, 0.7 of words; spread 0; seed 3" in page.text
    command = "unspoken eval grpo --trajectories 4 --temperature 1 --token-temperature 0.7 --seed 3 --split test"
    assert command in page.text
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    assert '<a href="#trajectories">' in page_of(tmp_path, run)


def test_the_command_names_rows_and_spread_where_they_were_given(run, tmp_path):
    settings = {"temperature": 1.5, "spread": 0.5, "token_temperature": 0, "seed": 0}
    draw_trajectories(run, FEW, data="/somewhere/my rows.json", settings=settings)
    wanted = "--temperature 1.5 --token-temperature 0 --spread 0.5 --seed 0 --data 'my rows.json'"
    assert wanted in Page(page_of(tmp_path, run)).text


def test_a_page_without_trajectories_has_no_such_section(run, tmp_path):
    assert "trajectories" not in page_of(tmp_path, run)


@pytest.mark.parametrize("attack", ATTACKS)
def test_text_of_the_file_never_comes_alive(run, tmp_path, attack):
    draw_trajectories(run, FEW, data=attack, data_sha256=attack)
    text = page_of(tmp_path, run)
    page = Page(text)
    assert not page.open
    assert not [tag for tag, _ in page.elements if tag in LIVE]
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert not re.search(r"@import|url\([^#]", "".join(re.findall(r"<style>.*?</style>", text, re.S)))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda v: v["figures"][0]["vote"].update(accuracy=1.5), "figures.0.vote.accuracy: .*less than or equal to 1"),
        (lambda v: v["figures"][1]["oracle"].update(interval=[0.9, 1.0]), "0.6 does not lie in"),
        (lambda v: v["figures"][1].update(num_trajectories=0), "greater than 0"),
        (lambda v: v["figures"][1].update(num_trajectories=1), "do not count up"),
        (lambda v: v["figures"][1].update(n=7), r"of \[7, 100\] questions"),
        (lambda v: v["figures"][1].update(passes_per_question=0), "greater than 0"),
        (lambda v: v["figures"][1].update(passes_per_question=1e300), "less than or equal to"),
        (lambda v: v["figures"][1].update(agreement="all"), "agreement"),
        (lambda v: v["figures"][1].pop("single"), "single: field required"),
        (lambda v: v.update(figures=[]), "figures: "),
        (lambda v: v["figures"][2].update(num_trajectories=10**400), "4 siblings are not the 1000"),
        (lambda v: v["siblings"].pop(), "3 siblings are not the 4 that were drawn"),
        (lambda v: v["thoughts"][0].update(distance=float("nan")), "damaged"),
        (lambda v: v["thoughts"][0].update(cosine=None), "thought 1: 30 pairs"),
        (lambda v: v.update(stopped=-0.1), "stopped"),
        (lambda v: v["settings"].update(seed="x"), "settings.seed"),
        (lambda v: v.pop("model_sha256"), "model_sha256: field required"),
    ],
)
def test_a_damaged_file_is_refused_with_what_is_wrong(run, change, reason):
    draw_trajectories(run, FEW)
    changed(run, change)
    with pytest.raises(CheckpointError, match=f"trajectories.json is damaged: .*{reason}.*unspoken eval --trajector"):
        read_runs([run])


@pytest.mark.parametrize("damage", [b"{", b"[]", b"null", b"\xff\xfe\x00", b"{}", b'{"figures": 3}'])
def test_what_is_no_such_file_is_refused(run, damage):
    draw_trajectories(run, FEW)
    (run / "trajectories.json").write_bytes(damage)
    with pytest.raises(CheckpointError, match=r"trajectories.json is damaged: .*unspoken eval --trajectories"):
        read_runs([run])


def test_trajectories_of_other_weights_are_refused(run):
    draw_trajectories(run, FEW, model_sha256="0" * 64)
    with pytest.raises(
        CheckpointError, match="other weights than those of the run; run `unspoken eval --trajectories` on it again"
    ):
        read_runs([run])
