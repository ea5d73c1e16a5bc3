"""Images in a report: lit patches and bars drawn from their numbers, pictures of answers, and nothing else let in."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from tests.unit.report.synthetic_runs import answer, build_run, figures
from tests.unit.report.test_page import ATTACKS, LIVE, Page

from unspoken.errors import CheckpointError
from unspoken.inspection import inspect
from unspoken.report import write_report
from unspoken.report.inspected import SeenImage
from unspoken.report.read import read_runs
from unspoken.report.seen import amount, look, picture
from unspoken.vision.thumbnail import thumbnail

MODEL = Path(__file__).parents[2] / "models" / "hops-coconut"
RED = thumbnail(Image.new("RGB", (8, 8), "red"))
BLUE = thumbnail(Image.new("RGB", (8, 8), "blue"))


def image(grid, *attention, small=RED):
    return SeenImage(path="a.png", thumbnail=small, grid=grid, attention=attention)


# ---- the drawings


def test_a_patch_is_the_darker_the_less_it_is_looked_at():
    svg = look(image((2, 3), (0.4, 0.2, 0.1, 0.0, 0.3, 0.4)), 0, "thought 1", "there")
    shades = dict(re.findall(r'fill-opacity="([\d.]+)" d="([^"]*)"', svg))
    # 0.75 times the sixteenth nearest to what is missing; none over what is looked at most
    assert shades == {"0.38": "M1 0h1v1h-1z", "0.56": "M2 0h1v1h-1z", "0.75": "M0 1h1v1h-1z", "0.19": "M1 1h1v1h-1z"}
    assert 'viewBox="0 0 96 64"' in svg
    assert 'transform="scale(32)"' in svg
    assert '<use href="#there"/>' in svg


def test_what_is_not_looked_at_at_all_is_dark_and_evenly_looked_at_is_lit():
    dark = look(image((1, 2), (0.0, 0.0)), 0, "x", "there")
    assert re.findall(r'fill-opacity="([\d.]+)" d="([^"]*)"', dark) == [("0.75", "M0 0h1v1h-1zM1 0h1v1h-1z")]
    assert "fill-opacity" not in look(image((1, 2), (0.1, 0.1)), 0, "x", "there")


def test_slots_without_a_place_are_bars_as_high_as_their_attention():
    svg = look(image(None, (0.1, 0.4, 0.2, 0.0)), 0, "thought 1", "there")
    # the upper left corner of each
    assert re.findall(r"M([\d.]+) ([\d.]+)h19.20V96", svg) == [
        ("0.00", "72.00"), ("24.00", "0.00"), ("48.00", "48.00"), ("72.00", "96.00"),
    ]  # fmt: skip
    assert "use" not in svg


def test_the_numbers_are_told_in_words():
    seen = image((2, 3), (0.0,) * 6, (0.01, 0.02, 0.03, 0.04, 0.15, 0.05))
    told = "the answer pays 30.0% of its attention to the image, most of it, 15.0%, to the patch in row 2, column 2"
    svg = look(seen, 1, "the answer", "there")
    assert f'aria-label="{told}"' in svg
    assert f"<title>{told}</title>" in svg
    assert amount(seen, 1) == "30.0%, at most 15.0%"
    assert "10.0%, to slot 2" in look(image(None, (0.05, 0.1)), 0, "x", "there")


def test_a_picture_has_the_form_of_its_patches():
    assert 'viewBox="0 0 48 96" style="width: 48px"' in picture(RED, "x", "there", (4, 2))
    assert '<image id="there" width="48" height="96"' in picture(RED, "x", "there", (4, 2))
    assert 'viewBox="0 0 96 96"' in picture(RED, "x")
    assert " id=" not in picture(RED, "x")


# ---- an inspection with images


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    run = shutil.copytree(MODEL, tmp_path_factory.mktemp("seen") / "run")
    (run / "metrics.jsonl").write_text("")
    inspect(run, rows=24)
    return run


@pytest.fixture
def run(original, tmp_path):
    """A run whose first question has two images, the second one only slots; its second question one, unlooked at."""
    path = shutil.copytree(original, tmp_path / "run")
    values = json.loads((path / "inspection.json").read_text())
    first, second = values["examples"][:2]
    count = len(first["thoughts"]) + 1
    first["images"] = [
        {"path": "a.png", "thumbnail": RED, "grid": [2, 2], "attention": [[0.1, 0.0, 0.05, 0.0]] * count},
        {"path": "b.png", "thumbnail": BLUE, "grid": None, "attention": [[0.2, 0.1]] * count},
    ]
    second["images"] = [{"path": "c.png", "thumbnail": BLUE, "grid": [2, 2], "attention": None}]
    (path / "inspection.json").write_text(json.dumps(values))
    return path


def page_of(run, tmp_path):
    return write_report([run], tmp_path / "report.html").read_text(encoding="utf-8")


def policy_of(page):
    (policy,) = [each["content"] for each in page.named("meta") if each.get("http-equiv") == "Content-Security-Policy"]
    return policy


def test_pictures_stand_in_the_page_and_every_drawing_finds_its_own(run, tmp_path):
    text = page_of(run, tmp_path)
    page = Page(text)
    assert not page.open
    assert [each["href"] for each in page.named("image")] == [RED, BLUE, BLUE]
    names = [each["id"] for each in page.named("image")]
    assert len(set(names)) == 3
    # four thoughts and the answer look at the patches of the first; bars need no picture
    assert [each["href"] for each in page.named("use") if "seen" in each["href"]] == [f"#{names[0]}"] * 5
    assert [page.text.count(each) for each in ("15.0%, at most 10.0%", "30.0%, at most 20.0%")] == [5, 5]
    assert page.text.count("Thought looks at reads as") == 1, "the second question has nobody who looks"
    assert "have no place in it" in page.text
    assert "img-src data:;" in policy_of(page)
    assert not [tag for tag, _ in page.elements if tag in LIVE - {"image"}]
    bare = re.sub(r'"data:image/png;base64,[A-Za-z0-9+/=]*"', "", text)
    assert not re.search(r"data:image|https?://|@import|@font-face|url\([^#]", bare)


def test_a_page_without_pictures_allows_none(original, tmp_path):
    text = page_of(original, tmp_path)
    assert "img-src" not in policy_of(Page(text))
    assert "looks at" not in Page(text).text


def test_an_inspection_from_before_there_were_images_is_read(run, tmp_path):
    values = json.loads((run / "inspection.json").read_text())
    for example in values["examples"]:
        del example["images"]
    (run / "inspection.json").write_text(json.dumps(values))
    assert not Page(page_of(run, tmp_path)).named("image")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"thumbnail": "data:image/svg+xml;base64,AAAA"}, "thumbnail: string should match pattern"),
        ({"thumbnail": "https://example.org/a.png"}, "thumbnail: string should match pattern"),
        ({"thumbnail": RED + '"><script>'}, "thumbnail: string should match pattern"),
        ({"thumbnail": RED + "\n"}, "thumbnail: string should match pattern"),
        ({"thumbnail": "data:image/png;base64," + "A" * 50_000}, "thumbnail: string should have at most 40000"),
        ({"grid": [2, 3]}, "4 slots are not 2 x 3 patches"),
        ({"grid": [0, 4]}, "greater than 0"),
        ({"attention": [[0.1, 0.0, 0.0, 0.0]] * 4}, "not its 4 thoughts and its answer look at its images"),
        ({"attention": []}, "not its 4 thoughts and its answer look at its images"),
        ({"attention": [[0.1] * 4] * 4 + [[0.1] * 3]}, "slots for those who look at it"),
        ({"attention": [[]] * 5}, "slots for those who look at it"),
        ({"attention": [[2.0, 0.0, 0.0, 0.0]] * 5}, "less than or equal to 1"),
    ],
)
def test_damaged_images_are_refused_with_what_is_wrong(run, change, reason):
    values = json.loads((run / "inspection.json").read_text())
    values["examples"][0]["images"][0].update(change)
    (run / "inspection.json").write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match=f"inspection.json is damaged: .*{reason}.*unspoken inspect"):
        read_runs([run])


def test_many_patches_keep_the_page_small(run, tmp_path):
    values = json.loads((run / "inspection.json").read_text())
    share = [round(1e-3 * (slot % 97) / 97, 6) for slot in range(576)]
    for example in values["examples"]:
        readers = len(example["thoughts"]) + 1
        example["images"] = [{"path": "x", "thumbnail": RED, "grid": [24, 24], "attention": [share] * readers}]
    (run / "inspection.json").write_text(json.dumps(values))
    before = len(page_of(run, tmp_path))
    values["examples"][0]["images"] *= 2
    (run / "inspection.json").write_text(json.dumps(values))
    assert len(page_of(run, tmp_path)) - before < 60_000


# ---- the answers of an evaluation


def evaluated(tmp_path, *rows):
    return build_run(tmp_path / "run", trained=figures(1, 2), predictions=rows)


def test_an_answer_shows_its_images(tmp_path):
    Image.new("RGB", (300, 200), "green").save(tmp_path / "green.jpg")
    seen = replace(answer(), images=(str(tmp_path / "green.jpg"), str(tmp_path / "gone.png")))
    page = Page(page_of(evaluated(tmp_path, seen, answer("wrong")), tmp_path))
    (found,) = page.named("image")
    green = Image.open(tmp_path / "green.jpg").convert("RGB")
    assert found["href"] == thumbnail(green)
    assert "Image 2 is not shown: the file does not exist; mend the path or put the file there." in page.text
    assert "img-src data:;" in policy_of(page)


@pytest.mark.parametrize("attack", [*ATTACKS[:4], "https://example.org/a.png", "data:image/png;base64,AAAA", "\0", ""])
def test_what_is_no_file_is_named_and_never_loaded(tmp_path, attack):
    page = Page(page_of(evaluated(tmp_path, replace(answer(), images=(attack,))), tmp_path))
    assert "Image 1 is not shown: " in page.text
    assert not [tag for tag, _ in page.elements if tag in LIVE]


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
def test_a_browser_paints_the_pictures_and_the_patches_that_are_looked_at(run, tmp_path):
    report = write_report([run], tmp_path / "report.html")
    shot = tmp_path / "report.png"
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    done = subprocess.run(
        [CHROMIUM, *options, "--enable-logging=stderr", "--window-size=1200,3000", f"--screenshot={shot}",
         report.as_uri()],
        capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    assert "CONSOLE" not in done.stderr
    painted = Image.open(shot).convert("RGB")
    colours = {colour: count for count, colour in painted.getcolors(painted.width * painted.height)}
    # the picture whole, and of five drawings of it the one patch of four without a shade; edges are smooth
    lit = 96 * 96 + 5 * 48 * 48
    assert 0.95 * lit < colours[255, 0, 0] < 1.05 * lit
    # blue is the second image alone: its slots are bars
    assert 0.95 * 96 * 96 < colours[0, 0, 255] < 1.05 * 96 * 96
