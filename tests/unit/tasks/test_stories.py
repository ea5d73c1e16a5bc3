"""Stories of StoryReasoning: captions by tags, steps by tables, windows, the division of stories, frames they share."""

import io
from collections import Counter
from random import Random

import datasets
import pytest
from datasets import Dataset, DatasetDict, Features, Image, List, Value
from PIL import Image as Picture
from PIL import ImageDraw

from unspoken.errors import DataError
from unspoken.files import read_json, write_json
from unspoken.records import Score
from unspoken.tasks.stories import Stories
from unspoken.tasks.stories_captions import captions_of, first_sentences, first_words
from unspoken.tasks.stories_leakage import fingerprint, near_files, same_files
from unspoken.tasks.stories_split import Division, divide, kept_division, stratum_of
from unspoken.tasks.stories_thoughts import steps_of

COLUMNS = Features(
    {
        "story_id": Value("string"), "images": List(Image()), "frame_count": Value("int32"),
        "chain_of_thought": Value("string"), "story": Value("string"),
    }
)  # fmt: skip

THOUGHT = """## Image 1

### Characters
| Character ID | Name | Description | Emotions | Actions | Narrative Function | Bounding Box |
|--------------|------|-------------|----------|---------|-------------------|--------------|
| char1 | Ann | a woman | calm | knocks at the door | protagonist | 1,2,30,40 |
| char2 | Tom | a man | afraid | hides | foe | 5,6,70,80 |

### Objects
| Object ID | Description | Function | Interaction | Narrative Function | Bounding Box |
|-----------|-------------|----------|------------|-------------------|--------------|
| obj1 | a door | entry | closed | obstacle | 1,1,9,9 |

### Setting
| Setting Element | Description | Mood | Time | Narrative Function |
|-----------------|-------------|------|------|-------------------|
| Location | a porch | cold | night | start |

## Image 2
### Characters
| Character ID | Name | Description | Emotions | Actions | Narrative Function | Bounding Box |
|--------------|------|-------------|----------|---------|-------------------|--------------|

### Setting
| Setting Element | Description | Mood | Time | Narrative Function |
|-----------------|-------------|------|------|-------------------|
| Location | an empty hall | quiet | night | pause |
| Broken row |

## Narrative Structure

| Narrative Phase | Description | Key Events | Images |
|-----------------|-------------|-----------|--------|
| Introduction | Ann comes home | She knocks | 1, 2 |
| Conflict | Nobody opens | She waits | image3-image5, 7 |
"""


@pytest.fixture(autouse=True)
def _caches_are_kept_apart(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def picture(seed, size=48, shade=0):
    """A picture like no other; `shade` makes it a little brighter."""
    image = Picture.new("RGB", (size * 2, size), (90, 90, 90))
    canvas, rng = ImageDraw.Draw(image), Random(seed)
    for cell in range(32):
        level = 20 + int(rng.random() * 200) + shade
        left, top = cell % 8 * size // 4, cell // 8 * size // 4
        canvas.rectangle((left, top, left + size // 4 - 1, top + size // 4 - 1), fill=(level, level, level))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def row(number, frames=6, **changes):
    text = " ".join(
        f"<gdi image{frame}> <gdo char1>Ann</gdo> takes <gda char1>step</gda> {frame} of {number}. </gdi>"
        for frame in range(1, frames + 1)
    )
    return {
        "story_id": str(number),
        "images": [{"bytes": picture(number * 100 + frame), "path": None} for frame in range(1, frames + 1)],
        "frame_count": frames,
        "chain_of_thought": THOUGHT,
        "story": text,
        **changes,
    }


def saved(folder, train, test=()):
    parts = {"train": Dataset.from_list(list(train), features=COLUMNS)}
    parts["test"] = Dataset.from_list(list(test) or [row(9000)], features=COLUMNS)
    DatasetDict(parts).save_to_disk(folder / "saved")
    return str(folder / "saved")


def task_on(folder, train, test=(), **settings):
    given = {"dataset": saved(folder, train, test), "images": folder / "images", "splits": folder / "splits.json"}
    return Stories(**given, **settings)


def everything(task):
    """The rows that come of the official training stories, by id, and both ledgers."""
    (training, one), (validation, other) = task.examples("train"), task.examples("validation")
    return {example.id.split("/")[2]: example for example in (*training, *validation)}, (one, other)


# captions


def test_a_caption_goes_from_its_tag_to_the_next_without_tags():
    text = (
        "<gdi image1>\n<gdo char1>Ann</gdo> <gda char1>knocks</gda> at\n<gdl lm1>the door</gdl>.</gdi>\n"
        "<gdi image2> 3 < 4, and <gdo bg1 bg2>nobody</gdo> answers. </gdi> Night falls. <GDI image3>She goes."
    )
    captions = captions_of(text, 3)
    assert captions.texts == ("Ann knocks at the door.", "3 < 4, and nobody answers. Night falls.", "She goes.")
    assert (captions.repeated, captions.begins_outside, captions.beyond) == ((), False, ())


def test_repeated_tags_are_joined_and_text_before_the_first_tag_begins_its_caption():
    text = (
        "Once <gdo x>upon</gdo> a time. <gdi image2>B.</gdi> <gdi image1>A.</gdi> <gdi image2>C.</gdi><gdi image02>D."
    )
    captions = captions_of(text, 2)
    assert captions.texts == ("A.", "Once upon a time. B. C. D.")
    assert (captions.repeated, captions.begins_outside, captions.beyond) == ((2,), True, ())


def test_captions_may_be_empty_and_tags_may_have_no_image():
    captions = captions_of("<gdi image1> </gdi><gdi image3>C<gdi image4>x<gdi image0>y<gdi image99999999999>z", 3)
    assert captions.texts == ("", "", "C")
    assert captions.beyond == (0, 4, 10**9)


def test_a_story_of_22_frames_has_22_captions():
    assert captions_of(row(5, 22)["story"], 22).texts[21] == "Ann takes step 22 of 5."


def test_a_story_without_tags_is_refused():
    with pytest.raises(DataError, match=r"no <gdi imageN> stands in the text 'Ann knocks\.'; mark"):
        captions_of("Ann knocks.", 5)


def test_captions_are_cut_between_sentences():
    text = "One two three. Four five. Six seven eight."
    assert first_sentences(text, 5) == "One two three. Four five."
    assert first_sentences(text, 7) == "One two three. Four five."
    assert first_sentences(text, 8) == text
    assert first_sentences(text, 2) == "One two three."
    assert first_words(text, 2) == "One two"
    assert first_words(text, 6) == "One two three. Four five."


# chain of thought


def test_the_chain_of_thought_gives_a_step_a_frame_and_the_phase_of_the_next():
    of_frames = ("1: Ann knocks at the door; Tom hides", "2: an empty hall")
    assert steps_of(THOUGHT, range(1, 3), 3, "frames") == of_frames
    assert steps_of(THOUGHT, range(1, 3), 3, "plan") == ("Conflict: Nobody opens",)
    assert steps_of(THOUGHT, range(1, 5), 5, "frames and plan") == (*of_frames, "Conflict: Nobody opens")
    assert steps_of(THOUGHT, range(2, 6), 6, "frames and plan") == ("2: an empty hall",)
    assert steps_of(THOUGHT, range(1, 5), 4, "plan") == ("Conflict: Nobody opens",)
    assert steps_of(THOUGHT, range(1, 7), 7, "plan") == ("Conflict: Nobody opens",)
    assert steps_of(THOUGHT, range(1, 3), 3, "none") == ()
    assert steps_of("I think that Ann knocks.", range(1, 3), 3, "frames and plan") == ()


# rows


def test_a_row_shows_frames_with_their_captions_and_asks_for_the_next(tmp_path):
    task = task_on(tmp_path, [row(number) for number in range(1, 11)])
    examples, ledgers = everything(task)
    assert set(examples) == {f"{number}-5" for number in range(1, 11)}
    example = examples["7-5"]
    told = [f"{place}: Ann takes step {place} of 7." for place in range(1, 5)]
    assert example.question == "\n".join([*told, "NEXT:"])
    assert example.answer == "Ann takes step 5 of 7."
    assert example.steps == ("1: Ann knocks at the door; Tom hides", "2: an empty hall", "Conflict: Nobody opens")
    shown = [(task.image_root / name).read_bytes() for name in example.images]
    assert shown == [picture(700 + frame) for frame in range(1, 5)]
    assert [(ledger.rows_in, ledger.rows_kept, ledger.rejected) for ledger in ledgers] == [(9, 9, ()), (1, 1, ())]
    assert ledgers[0].notes == ("1 story of the training set not in this split",)
    assert ledgers[1].notes[1] == "none of 1 story has an image file of a training story"
    assert task.score(example, "a step\n### Ann takes\nstep 5 of 7.") == Score("right", "Ann takes step 5 of 7.")
    assert task.score(example, "### Ann takes step 5 of 8.").verdict == "wrong"


def test_all_windows_of_a_story_keep_the_places_of_their_frames(tmp_path):
    rows = [row(1, 22), row(2, 5)]
    task = task_on(tmp_path, rows, windows="all")
    write_json(tmp_path / "splits.json", all_for_training(rows))
    examples = {example.id.split("/")[2]: example for example in task.examples("train")[0]}
    assert list(examples) == [*(f"1-{target}" for target in range(5, 23)), "2-5"]
    last = examples["1-22"]
    assert last.question.startswith("18: Ann takes step 18 of 1.\n19: ")
    assert last.answer == "Ann takes step 22 of 1."
    assert (task.image_root / last.images[-1]).read_bytes() == picture(121)


def test_frames_and_words_are_as_set(tmp_path):
    story = "<gdi image1>One two. Three four five.<gdi image2>Six seven eight nine.<gdi image3>It is ten. Go home. Now."
    rows = [row(number, 3, story=story) for number in range(1, 11)]
    settings = {"frames": 2, "context_words": 3, "answer_words": 5, "reasoning": "none"}
    examples, ledgers = everything(task_on(tmp_path, rows, **settings))
    example = examples["1-3"]
    assert (example.question, example.answer) == ("1: One two.\n2: Six seven eight\nNEXT:", "It is ten. Go home.")
    assert (len(example.images), example.steps) == (2, ())
    assert ledgers[0].notes[1].startswith("9 rows without steps")


def test_the_official_test_stories_are_apart(tmp_path):
    task = task_on(tmp_path, [row(number) for number in range(1, 21)], [row(50), row(51)])
    assert [example.id for example in task.examples("test")[0]] == ["stories/test/50-5", "stories/test/51-5"]
    assert len(task.examples("train")[0]) == 18
    assert len(task.examples("validation")[0]) == 2
    held_out = task.model_copy(update={"test_stories": "held_out"})
    ids = {
        split: {row.id.split("/")[2] for row in held_out.examples(split)[0]}
        for split in ("train", "validation", "test")
    }
    assert {split: len(found) for split, found in ids.items()} == {"train": 16, "validation": 2, "test": 2}
    assert len(set.union(*ids.values())) == 20


# what is wrong with rows


def test_every_bad_row_is_named_and_counted(tmp_path):
    good = [row(number) for number in range(1, 31)]
    text = row(0)["story"]
    before, after = text.split("<gdi image3>")
    images = row(36)["images"]
    bad = {
        31: (row(31, story=text.replace("takes", "###")), "the caption of frame 5 holds '### '"),
        32: (row(32, story=before + after[after.index("<gdi") :]), "frame 3 has no caption; add it"),
        33: (row(33, story="no tags"), "no <gdi imageN> stands in the text 'no tags'"),
        34: (row(34, frame_count=7), "story 34 has 6 images, and frame_count is the number 7; correct it"),
        35: (row(35, story="  "), "story is the text '  '; it must be a text that is not empty"),
        36: (row(36, images=[*images[:2], None, *images[3:]]), "the image of frame 3 is missing: it is null"),
        37: (row(37, story_id="1"), "the story 1 stands in an earlier row; give each its own id"),
        38: (row(38, story_id=" "), "story_id is empty"),
        39: (row(39, story=text.replace("step", "st\0ep")), "the character U+0000"),
    }  # fmt: skip
    rows = [*good, *(each for each, _ in bad.values())]
    task = task_on(tmp_path, rows)
    # whatever split they are in: all of them
    write_json(tmp_path / "splits.json", all_for_training(rows))
    with pytest.raises(DataError, match=r"9 of 39 rows rejected, 30 kept; mend them, or set task\.max_bad_rows=9"):
        task.examples("train")
    examples, ledger = task.model_copy(update={"max_bad_rows": 9}).examples("train")
    assert (ledger.rows_in, ledger.rows_kept, len(examples)) == (39, 30, 30)
    found = {rejection.row: rejection.reason for rejection in ledger.rejected}
    assert set(found) == set(bad)
    for number, (_, reason) in bad.items():
        assert reason in found[number], number
    assert found[32].startswith("story 32, frames 1 to 5: ")


def all_for_training(rows):
    ids = list(dict.fromkeys(each["story_id"] for each in rows))
    return {"version": 1, "seed": 0, "train": ids, "validation": [], "held_out": []}


def test_only_the_windows_with_something_wrong_are_rejected(tmp_path):
    story = row(1, 10)["story"].replace("<gdi image9>", "<gdi image8>")
    rows = [row(1, 10, story=story)]
    task = task_on(tmp_path, rows, windows="all", max_bad_rows=2)
    write_json(tmp_path / "splits.json", all_for_training(rows))
    examples, ledger = task.examples("train")
    assert [example.id for example in examples] == [f"stories/train/1-{target}" for target in (5, 6, 7, 8)]
    reasons = [rejection.reason for rejection in ledger.rejected]
    assert reasons == [f"story 1, frames {first} to {first + 4}: frame 9 has no caption; add it" for first in (5, 6)]
    assert ledger.rows_in == ledger.rows_kept + len(ledger.rejected) == 6


def test_stories_with_too_few_frames_are_listed_without_an_error(tmp_path):
    rows = [row(1), row(2, 4), row(3, 5), row(4, 1)]
    task = task_on(tmp_path, rows)
    write_json(tmp_path / "splits.json", all_for_training(rows))
    examples, ledger = task.examples("train")
    assert [example.id for example in examples] == ["stories/train/1-5", "stories/train/3-5"]
    assert [(each.row, each.reason) for each in ledger.rejected] == [
        (2, "story 2 has 4 frames, 4 and the next one are needed"),
        (4, "story 4 has 1 frames, 4 and the next one are needed"),
    ]
    with pytest.raises(DataError, match=r"no train story of .* can be asked about: 4 are shorter than task\.frames=6"):
        task.model_copy(update={"frames": 6}).examples("train")


def test_what_is_odd_and_mended_is_noted_with_the_stories(tmp_path):
    rows = [row(number) for number in range(1, 5)]
    rows[0]["story"] = "Long ago. " + rows[0]["story"]
    rows[1]["story"] += " <gdi image2> Again. <gdi image7> Nothing is here."
    rows[2]["story"] += " <gdi image1> And again."
    rows[3]["chain_of_thought"] = None
    task = task_on(tmp_path, rows)
    write_json(tmp_path / "splits.json", all_for_training(rows))
    examples, ledger = task.examples("train")
    assert examples[0].question.startswith("1: Long ago. Ann takes step 1 of 1.\n2: ")
    assert "\n2: Ann takes step 2 of 2. Again.\n" in examples[1].question
    assert ledger.notes == (
        "1 story with a tag for which there is no image, whose text is left out: 2",
        "2 stories with a tag that stands more than once, whose captions are joined: 2, 3",
        "1 story with text before the first tag, which begins the first caption: 1",
        "1 row without steps: a curriculum has nothing to replace by thoughts there",
    )


def test_images_that_are_no_list_are_refused(tmp_path):
    columns = Features({"story_id": Value("string"), "images": Image(), "story": Value("string")})
    data = Dataset.from_list([{"story_id": "1", "images": {"bytes": picture(1), "path": None}, "story": "x"}], columns)
    DatasetDict({"train": data}).save_to_disk(tmp_path / "saved")
    task = Stories(dataset=str(tmp_path / "saved"), images=tmp_path / "images", splits=tmp_path / "splits.json")
    with pytest.raises(
        DataError, match=r"no column 'images' of the type List\(Image\(\)\); found story_id: Value, images: Image"
    ):
        task.examples("train")


def test_parquet_files_give_the_rows_of_a_saved_data_set(tmp_path):
    rows = [row(number) for number in range(1, 11)]
    expected, _ = everything(task_on(tmp_path, rows))
    (tmp_path / "parquet" / "data").mkdir(parents=True)
    for split, part in (("train", rows), ("test", [row(9000)])):
        path = tmp_path / "parquet" / "data" / f"{split}-00000-of-00001.parquet"
        Dataset.from_list(part, features=COLUMNS).to_parquet(path)
    task = Stories(dataset=str(tmp_path / "parquet"), images=tmp_path / "images", splits=tmp_path / "splits.json")
    assert everything(task)[0] == expected


# the division


def test_3552_stories_are_divided_as_the_seed_divides_them():
    frames = {str(number): 5 + number % 18 for number in range(3552)}
    division = divide(frames, seed=42)
    assert [len(part) for part in (division.train, division.validation, division.held_out)] == [2841, 355, 356]
    assert set().union(division.train, division.validation, division.held_out) == set(frames)
    strata = [
        Counter(stratum_of(frames[id]) for id in part)
        for part in (division.train, division.validation, division.held_out)
    ]
    # 5-7, 8-11, 12-15, 16-22 frames: 594, 791, 788 and 1,379 stories
    assert strata[0] == {0: 475, 1: 633, 2: 630, 3: 1103}
    assert strata[1] == {0: 59, 1: 79, 2: 79, 3: 138}
    assert strata[2] == {0: 60, 1: 79, 2: 79, 3: 138}


def test_where_a_story_goes_depends_on_its_id_and_the_seed_not_on_its_row():
    frames = {str(number): 5 + number % 18 for number in range(400)}
    backwards = dict(reversed(frames.items()))
    assert divide(frames, seed=1) == divide(backwards, seed=1)
    assert set(divide(frames, seed=1).validation) != set(divide(frames, seed=2).validation)


def test_the_last_of_each_stratum():
    assert [stratum_of(frames) for frames in (1, 7, 8, 11, 12, 15, 16, 22)] == [0, 0, 1, 1, 2, 2, 3, 3]


def test_a_division_is_kept_and_read_back(tmp_path):
    path, frames = tmp_path / "folder" / "splits.json", {str(number): 6 for number in range(20)}
    division = kept_division(path, frames, seed=3)
    assert division == divide(frames, seed=3)
    exchanged = Division(division.train, division.held_out, division.validation)
    value = read_json(path)
    write_json(path, {**value, "validation": value["held_out"], "held_out": value["validation"]})
    assert kept_division(path, frames, seed=3) == exchanged
    with pytest.raises(DataError, match=r"divided with the seed 3, task\.seed is 4; set task\.seed=3"):
        kept_division(path, frames, seed=4)
    with pytest.raises(DataError, match=r"1 stories of the data set are not in it \(x\) and 0 of it"):
        kept_division(path, {**frames, "x": 6}, seed=3)
    with pytest.raises(DataError, match=r"0 stories of the data set are not in it and 19 of it .* and 9 more"):
        kept_division(path, {"7": 6}, seed=3)
    write_json(path, {**value, "validation": value["train"]})
    with pytest.raises(DataError, match="has a story in two parts"):
        kept_division(path, frames, seed=3)
    write_json(path, {"train": []})
    with pytest.raises(DataError, match="not a division of stories"):
        kept_division(path, frames, seed=3)


# frames that stories share


def test_stories_that_share_an_image_with_training_are_counted_and_can_be_left_out(tmp_path):
    training = [row(number) for number in range(1, 11)]
    same = row(50)
    same["images"][2] = {"bytes": picture(304), "path": None}
    near = row(51)
    near["images"][0] = {"bytes": picture(205, shade=3), "path": None}
    rows = [same, near, row(52)]
    task = task_on(tmp_path, training, rows)
    write_json(tmp_path / "splits.json", all_for_training(training))
    notes = [
        "1 of 3 stories with an image file of a training story (1 images, perhaps of the same film); kept: 50",
        "2 of 3 stories with an equal or nearly equal image of a training story (2 images, perhaps of the same film); "
        "kept: 50, 51",
    ]
    for leakage, note in zip(("exact", "near"), notes, strict=True):
        examples, ledger = task.model_copy(update={"leakage": leakage}).examples("test")
        assert ledger.notes[0] == note
        assert len(examples) == 3
    kept = read_json(tmp_path / "fingerprints.json")
    assert len(kept) == 10 * 6 + 3 * 6 - 1
    examples, ledger = task.model_copy(update={"leakage": "near", "shared_frames": "leave_out"}).examples("test")
    assert [example.id for example in examples] == ["stories/test/52-5"]
    assert [each.row for each in ledger.rejected] == [1, 2]
    assert ledger.rejected[0].reason == "story 50 shares a frame with a training story; it is left out as set"


def test_fingerprints_are_kept_between_calls(tmp_path):
    task = task_on(tmp_path, [row(1), row(2)], [row(50)], leakage="near")
    write_json(tmp_path / "splits.json", all_for_training([row(1), row(2)]))
    task.examples("test")
    path = tmp_path / "fingerprints.json"
    before = path.stat()
    task.examples("test")
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    write_json(path, ["x"])
    with pytest.raises(DataError, match="holds no fingerprints of images; remove it"):
        task.examples("test")


def test_near_images_differ_in_at_most_four_bits_wherever_they_are():
    bits = 0x0123456789ABCDEF
    others = {"a": ["other"]}
    for places in ((0,), (0, 13, 26, 39), (60, 61, 62, 63), (0, 20, 40, 63)):
        changed = bits
        for number in places:
            changed ^= 1 << number
        assert near_files({"b": ["own"]}, others, {"own": bits, "other": changed}).stories == ("b",)
        far = changed ^ 1 << 30 ^ (0 if len(places) == 4 else 0b1110000000)
        assert near_files({"b": ["own"]}, others, {"own": bits, "other": far}).stories == ()
    plain = near_files({"b": ["own"]}, others, {"own": None, "other": None})
    assert (plain.stories, plain.unread) == ((), 2)
    assert same_files({"b": ["other", "x"], "c": ["y"]}, others).stories == ("b",)


def test_a_fingerprint_survives_size_and_brightness_and_plain_or_broken_files_have_none(tmp_path):
    files = {"a": picture(1), "large": picture(1, size=96), "bright": picture(1, shade=5), "b": picture(2)}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    prints = {name: fingerprint(tmp_path / name) for name in files}
    assert prints["a"] == prints["large"] == prints["bright"]
    assert (prints["a"] ^ prints["b"]).bit_count() > 8
    (tmp_path / "broken").write_bytes(picture(1)[:100])
    Picture.new("RGB", (40, 40), (9, 9, 9)).save(tmp_path / "plain", "PNG")
    assert fingerprint(tmp_path / "broken") is None
    assert fingerprint(tmp_path / "plain") is None
