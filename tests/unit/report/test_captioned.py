"""Captions in a report: figures beside those of no model, stories frame by frame, and which facts of them are right."""

import json
import re
import shutil
import subprocess
from dataclasses import asdict, replace

import pytest
from PIL import Image
from tests.unit.report.synthetic_runs import answer, build_run, figures
from tests.unit.report.test_page import ATTACKS, LIVE, Page, shape

from unspoken.errors import CheckpointError
from unspoken.report import write_report
from unspoken.report.captioned import MOST_STORIES
from unspoken.report.read import read_runs
from unspoken.report.told import marked

QUESTION = "1: The red star wants the small blue cross.\n2: The wind blows the things about.\nNEXT:"
REFERENCE = "The red star goes to the blue house and takes the small blue cross."
RIGHT = "### At the blue house the red star finds the small blue cross."
WRONG = "### At the blue house the red circle finds the small red star."
SHORT = "### The red star goes home."


def measures(cider, finished=None):
    found = {"cider_d": cider, "rouge_l": cider / 10, "bleu_4": cider / 20, "whole": 1.0, "words": 12.0}
    found |= {} if finished is None else {"ended": finished, "finished": finished, "perplexity": 3.0}
    return {name: {"value": value, "interval": [value * 0.9, value * 1.1]} for name, value in found.items()}


CONDITIONS = {
    "none": measures(3.0, finished=0.75),
    "no_image": measures(1.0, finished=0.5),
    "shuffled_images": measures(2.5, finished=0.75),
    "previous_caption": measures(0.5),
    "another_reference": measures(2.9),
}


def frames(folder, count=2, size=(48, 48)):
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{place}.png" for place in range(count)]
    for path, colour in zip(paths, ("red", "lime", "blue", "yellow"), strict=False):
        Image.new("RGB", size, colour).save(path)
    return tuple(map(str, paths))


def told(text=RIGHT, images=(), question=QUESTION, expected=REFERENCE, following=None, **changes):
    verdict = {RIGHT: "right", SHORT: "no answer"}.get(text, "wrong")
    row = answer(verdict, question=question, text=text, expected=expected, **changes)
    return replace(row, images=images or None, next_image=following, ended=True)


def captioned_run(path, rows=(), *, task="toy_stories", conditions=CONDITIONS, trained=None, right=(9, 3, 8), **others):
    """A run with captions. Rows are predictions as trained; `others` are those under a control, by its name."""
    names = ("no_image", "shuffled_images")
    controls = {name: figures(count, 12) for name, count in zip(names, right[1:], strict=True)}
    run = build_run(path, task=task, trained=trained or figures(right[0], 12), controls=controls, predictions=rows)
    for name in names:
        lines = [json.dumps(asdict(row)) for row in others.get(name, rows)]
        (run / f"predictions.{name}.jsonl").write_text("".join(f"{line}\n" for line in lines))
    change(run, lambda values: values.update(captions={"n": 12, "bleu": "x", "conditions": conditions, "lost": {}}))
    return run


def change(run, changes, name="results.json"):
    values = json.loads((run / name).read_text())
    changes(values)
    (run / name).write_text(json.dumps(values))


def page_of(tmp_path, *runs):
    return write_report(runs, tmp_path / "report.html").read_text(encoding="utf-8")


# ---- figures


def test_captions_stand_beside_those_that_no_model_wrote(tmp_path):
    run = captioned_run(tmp_path / "run", [told()])
    text = page_of(tmp_path, run)
    page = Page(text)
    assert not page.open
    assert "run CIDEr-D ROUGE-L BLEU-4 perplexity of the reference" in page.text
    assert "as trained 3.00 [2.70, 3.30] 0.300 [0.270, 0.330] 0.150 [0.135, 0.165] 3.00 [2.70, 3.30]" in page.text
    assert "another order 2.50 [2.25, 2.75]" in page.text
    assert "last caption copied 0.50 [0.45, 0.55] 0.050 [0.045, 0.055] 0.025 [0.023, 0.028] -" in page.text
    assert "run whole and ended whole ended words" in page.text
    assert "as trained 75.0% [67.5, 82.5] 100.0% [90.0, 110.0] 75.0% [67.5, 82.5] 12.0 [10.8, 13.2]" in page.text
    assert "95% intervals over the 12 captions" in page.text
    (drawing,) = [each for each in page.named("svg") if "Captions against their references" in each["aria-label"]]
    assert "no image CIDEr-D 1.00, ROUGE-L 0.100, BLEU-4 0.050" in drawing["aria-label"]
    assert "last caption copied CIDEr-D 0.50" in drawing["aria-label"]


def test_the_head_says_what_captions_are_worth_and_that_the_order_of_images_is_not_shown_to_matter(tmp_path):
    text = Page(page_of(tmp_path, captioned_run(tmp_path / "run", [told()]))).text
    assert (
        "run (coconut) writes captions with a CIDEr-D of 3.00 [2.70, 3.30]: better than the last caption copied, "
        "0.50 [0.45, 0.55]; not told apart from the caption of another row, 2.90 [2.61, 3.19]. "
        "75.0% [67.5, 82.5] of its 12 captions are whole sentences that it ended itself."
    ) in text
    assert "with its images in another order 66.7% [39.1, 86.2]; the intervals overlap" in text
    assert "these rows show no difference" in text
    assert text.index("answers 75.0%") < text.index("writes captions")


def test_where_nothing_is_right_word_by_word_captions_come_first(tmp_path):
    run = captioned_run(tmp_path / "run", [told()], task="stories", right=(0, 0, 0))
    text = Page(page_of(tmp_path, run)).text
    assert "On 12 held-out questions run (coconut) writes captions with a CIDEr-D of 3.00" in text
    assert (
        "Its CIDEr-D: without its images 1.00 [0.90, 1.10], worse than that as trained; with its images in another "
        "order 2.50 [2.25, 2.75], not told apart from that as trained. No caption is its reference word by word."
    ) in text
    assert "correctly" not in text


def test_captions_of_several_runs_share_a_picture_and_have_their_stories_apart(tmp_path):
    runs = [captioned_run(tmp_path / name, [told()]) for name in ("one", "two")]
    page = Page(page_of(tmp_path, *runs))
    drawings = [each for each in page.named("svg") if "Captions against their references" in each["aria-label"]]
    assert len(drawings) == 1
    assert "one: as trained CIDEr-D 3.00" in drawings[0]["aria-label"]
    assert "two: as trained CIDEr-D 3.00" in drawings[0]["aria-label"]
    assert [("open" in each) for each in page.named("details")] == [True, False]


def test_what_is_foreseen_and_how_captions_fit_their_image(tmp_path):
    run = captioned_run(tmp_path / "run", [told()])
    cosine = {"value": 0.5, "interval": [0.4, 0.6]}
    sought = {
        "cosine": cosine, "recall_1": 0.25, "interval_1": [0.1, 0.5], "chance_1": 0.1, "recall_5": 0.5,
        "interval_5": [0.25, 0.75], "chance_5": 0.5, "n": 12, "candidates": 10,
    }  # fmt: skip
    scores = {name: {"clip_score": cosine, "cosine": cosine} for name in [*CONDITIONS, "reference"]}
    foreseen = {"heads": {"image": sought}, "clip_score": scores, "prefix": "", "n": 12}
    change(run, lambda values: values.update(foreseen=foreseen))
    text = Page(page_of(tmp_path, run)).text
    assert "the next image 0.500 [0.400, 0.600] 25.0% [10.0, 50.0] 50.0% [25.0, 75.0] 10.0%, 50.0%" in text
    assert "CLIPScore perplexity" in text
    assert "the reference - - - 0.500 [0.400, 0.600] -" in text


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"conditions": {}}, "captions.conditions: dictionary should have at least 1 item"),
        ({"conditions": {"zero": measures(1.0)}}, r"there are no captions of the model as trained \(none\)"),
        ({"conditions": {"none": {"cider_d": {"value": 1, "interval": [2, 1]}}}}, "ends before it begins"),
        ({"conditions": {"none": {"cider_d": {"value": float("inf"), "interval": [1, 2]}}}}, "finite|Infinity|number"),
    ],
)
def test_damaged_figures_are_refused(tmp_path, changes, reason):
    run = captioned_run(tmp_path / "run", [told()])
    change(run, lambda values: values["captions"].update(changes))
    with pytest.raises(CheckpointError, match=f"results.json is damaged: .*{reason}"):
        read_runs([run])


# ---- stories


def test_a_story_shows_its_frames_with_their_captions_and_what_was_written(tmp_path):
    images = frames(tmp_path / "frames")
    run = captioned_run(
        tmp_path / "run", [told(images=images)], no_image=[told(WRONG, images)], shuffled_images=[told(SHORT, images)]
    )
    text = page_of(tmp_path, run)
    page = Page(text)
    article = page.text[page.text.index("The first story") :]
    assert "✓ right row-0 The red star wants the small blue cross. The wind blows the things about." in article
    assert "reference The red star goes to the blue house and takes the small blue cross ." in article
    assert "as trained At the blue house the red star finds the small blue cross . who ✓ what ✓ where ✓" in article
    assert "no image At the blue house the red circle finds the small red star . who ✗ what ✗ where ✓" in article
    assert "another order The red star goes home. who ✓ what \u2013 where \u2013" in article
    film = re.search(r'<ol class="film">.*?</ol>', text, flags=re.DOTALL)[0]
    assert film.count("<image ") == 2
    assert film.count('viewBox="0 0 48 48"') == 2
    assert not [tag for tag, _ in page.elements if tag in LIVE - {"image"}]


def test_the_next_frame_is_shown_beside_what_was_written_about_it(tmp_path):
    *images, following = frames(tmp_path / "frames", count=3)
    run = captioned_run(tmp_path / "run", [told(images=tuple(images), following=following), told(id="row-1")])
    text = page_of(tmp_path, run)
    first, second = re.findall(r'<div class="outcome">.*?</dl>', text, flags=re.DOTALL)
    (shown,) = [each for each in Page(first).named("svg") if each["aria-label"] == "The next frame"]
    assert shown["viewbox"] == "0 0 48 48"
    assert first.index("What comes next, not shown to the model") < first.index("reference") < first.index("as trained")
    assert "next" not in second
    film = re.search(r'<ol class="film">.*?</ol>', text, flags=re.DOTALL)[0]
    assert film.count("<image ") == 2, "it is not one of those that were shown"


def test_a_next_frame_that_is_missing_is_named(tmp_path):
    run = captioned_run(tmp_path / "run", [told(following=str(tmp_path / "gone.png"))])
    assert "The next frame is not shown: the file does not exist" in Page(page_of(tmp_path, run)).text


def test_a_wide_frame_keeps_its_shape_and_stays_small(tmp_path):
    images = frames(tmp_path / "frames", size=(500, 240))
    text = page_of(tmp_path, captioned_run(tmp_path / "run", [told(images=images)]))
    assert text.count('<svg class="frame-image" viewBox="0 0 500 240"') == 2
    assert text.count('<ol class="film wide-frames">') == 1
    assert text.count("data:image/jpeg;base64,") == 4  # in the story, and as the first right answer
    assert len(text) < 150_000


def test_a_missing_frame_is_named_and_the_others_are_shown(tmp_path):
    (image, _) = frames(tmp_path / "frames")
    run = captioned_run(tmp_path / "run", [told(images=(image, str(tmp_path / "gone.png")))])
    text = Page(page_of(tmp_path, run)).text
    assert "Image 2 is not shown: the file does not exist; mend the path or put the file there." in text
    assert "The wind blows the things about." in text


def test_only_the_first_stories_are_shown_and_words_alone_have_no_frames(tmp_path):
    rows = [told(id=f"row-{number}") for number in range(MOST_STORIES + 3)]
    page = Page(page_of(tmp_path, captioned_run(tmp_path / "run", rows)))
    assert page.text.count("The wind blows") == MOST_STORIES + 1  # and the first right answer
    assert not page.named("image")


def test_a_question_that_is_no_story_is_shown_as_it_is(tmp_path):
    run = captioned_run(tmp_path / "run", [told(question="What happens?")])
    assert '<p class="question" dir="auto">What happens?</p>' in page_of(tmp_path, run)


@pytest.mark.parametrize("task", ["stories", "a task of another version"])
def test_a_task_that_reads_no_facts_has_no_marks_and_no_verdicts(tmp_path, task):
    text = page_of(tmp_path, captioned_run(tmp_path / "run", [told(WRONG)], task=task))
    section = text[text.index('id="captions"') : text.index('id="training"')]
    assert "fact" not in section
    assert "✗" not in section
    assert "the red circle finds" in section


def test_what_was_written_without_a_caption_is_shown_as_such(tmp_path):
    rows = {"no_image": [told("the red star stays")], "shuffled_images": [told(" ")]}
    text = Page(page_of(tmp_path, captioned_run(tmp_path / "run", [told()], **rows))).text
    assert "no image no caption begins in: the red star stays who \u2013 what \u2013 where \u2013" in text
    assert "another order nothing who \u2013" in text


def test_figures_of_no_known_measure_draw_nothing(tmp_path):
    run = captioned_run(tmp_path / "run", [told()], conditions={"none": {"taste": measures(1.0)["words"]}})
    page = Page(page_of(tmp_path, run))
    assert "captions-measured" not in {each["id"] for each in page.named("figure")}
    assert "writes captions" not in page.text


def test_facts_are_marked_where_they_stand_the_longest_first():
    facts = {"who": "red cross", "what": "small red cross"}
    found = marked("A small Red\ncross and the red cross & <b>", facts, {"who": "wrong", "what": "right"})
    assert found == (
        'A <span class="fact right" title="what">small Red\ncross</span> and the '
        '<span class="fact wrong" title="who">red cross</span> &amp; &lt;b&gt;'
    )
    assert marked("<i>", {}, {}) == "&lt;i&gt;"
    assert marked("recrossed", {"who": "cross"}, {}) == "recrossed"


def test_conditions_are_those_of_the_same_rows(tmp_path):
    run = captioned_run(tmp_path / "run", [told()], no_image=[told(id="another")])
    with pytest.raises(CheckpointError, match=r"predictions\.no_image\.jsonl is about other rows than .*unspoken eval"):
        read_runs([run])
    (run / "predictions.no_image.jsonl").unlink()
    with pytest.raises(CheckpointError, match=r"predictions\.no_image\.jsonl is missing; run `unspoken eval`"):
        read_runs([run])


def test_the_name_of_a_condition_leads_to_no_other_file(tmp_path):
    run = captioned_run(tmp_path / "run", [told()])
    (tmp_path / "secret.jsonl").write_text("{}")
    change(run, lambda values: values["controls"].update({"x/../../../secret": values["controls"]["no_image"]}))
    (read,) = read_runs([run])
    assert [each.condition for each in read.stories[0].versions] == ["none", "no_image", "shuffled_images"]


@pytest.mark.parametrize("attack", ATTACKS)
def test_captions_never_come_alive(tmp_path, attack):
    def page(name, text, condition):
        conditions = {"none": measures(1.0, finished=0.5), condition: measures(0.5)}
        row = told(text, question=text, expected=text, id=text)
        return Page(page_of(tmp_path, captioned_run(tmp_path / name, [row], conditions=conditions)))

    found, expected = page("hostile", attack, attack), page("plain", "x", "other")
    assert shape(found) == shape(expected)
    assert not [tag for tag, _ in found.elements if tag in LIVE]


# ---- training


def logged(run, *columns):
    lines = [
        {"step": 10 * number, "epoch": number / 4, "stage": 0, "loss": 1.0, **each}
        for number, each in enumerate(columns, 1)
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return run


def test_parts_of_a_loss_and_an_adversary_have_their_panels(tmp_path):
    run = logged(
        build_run(tmp_path / "run"),
        {"loss_words": 2.0, "loss_image": 0.01, "adversary_real": 1.0, "adversary_n": 355},
        {"loss_words": 1.5, "loss_image": 0.005, "adversary_real": -1.0, "eval_adversary_accuracy": 0.75},
    )
    page = Page(page_of(tmp_path, run))
    told_of = {each["id"]: label for each, label in zip(page.named("figure"), page.named("svg"), strict=True)}
    assert [*told_of] == ["loss", "parts-0", "adversary-0", "told-apart-0"]
    assert "words: from 2 to 1.5 in 20 steps; image: from 0.01 to 0.005 in 20 steps" in told_of["parts-0"]["aria-label"]
    assert "real: from 1 to -1 in 20 steps." in told_of["adversary-0"]["aria-label"]
    assert "held-out generated: from 0.75 to 0.75 in 20 steps." in told_of["told-apart-0"]["aria-label"]
    assert "Parts of the loss of run . As they were logged. Logarithmic scale." in page.text


def test_a_log_without_parts_has_no_panel_for_them(tmp_path):
    run = logged(build_run(tmp_path / "run"), {"loss_note": "a text"}, {})
    assert [each["id"] for each in Page(page_of(tmp_path, run)).named("figure")] == ["loss"]


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
def test_a_browser_paints_the_frames_side_by_side(tmp_path):
    images = frames(tmp_path / "frames", count=4)
    run = captioned_run(tmp_path / "run", [told(images=images)])
    report, shot = write_report([run], tmp_path / "report.html"), tmp_path / "report.png"
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    done = subprocess.run(
        [CHROMIUM, *options, "--enable-logging=stderr", "--window-size=1200,4000", f"--screenshot={shot}",
         report.as_uri()],
        capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    assert "CONSOLE" not in done.stderr
    painted = Image.open(shot).convert("RGB")
    colours = {colour: count for count, colour in painted.getcolors(painted.width * painted.height)}
    # once in the story, and once as 96 pixels among the answers
    sides = [colours[colour] - 96 * 96 for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0))]
    assert max(sides) < 1.02 * min(sides)
    assert 130**2 < min(sides) < 180**2
