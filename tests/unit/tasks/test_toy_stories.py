"""Toy stories: what comes next follows from frames and words together, and from neither alone."""

from collections import Counter
from dataclasses import replace
from itertools import permutations, product
from pathlib import Path
from random import Random

import pytest
from PIL import Image
from pydantic import ValidationError

from unspoken.data.tokenizer import word_tokenizer
from unspoken.errors import DataError
from unspoken.evaluation.captions.words import is_whole
from unspoken.files import read_json_lines
from unspoken.records import Ledger, Score
from unspoken.tasks.shapes_picture import draw, png
from unspoken.tasks.shapes_scene import COLOURS, Kind
from unspoken.tasks.toy_stories import METADATA, ToyStories
from unspoken.tasks.toy_stories_plot import (
    FORMS,
    HOUSES,
    Facts,
    Story,
    Wish,
    is_fair,
    moving_tracks,
    name_of,
    scenes_of,
    split_of,
)
from unspoken.tasks.toy_stories_words import ENDINGS, captions_of, facts_in

ROWS = {"train_rows": 12, "validation_rows": 4, "test_rows": 6}
SPLITS = ("train", "validation", "test")
CAST = (Kind("red", "circle", "large"), Kind("blue", "star", "large"))
THINGS = (Kind("green", "star", "small"), Kind("red", "cross", "small"))
DAYS = 3
EXPECTED_QUESTION = (
    "1: The red cross thinks of nothing but the small green star.\n"
    "2: The yellow star wants the small green star.\n"
    "3: The wind blows the things about.\n"
    "4: It gets dark. The things are put away and all but one go home.\n"
    "NEXT:"
)
EXPECTED_ANSWER = "The red cross goes to the blue house and takes the small green star."


@pytest.fixture
def task(tmp_path):
    return ToyStories(folder=tmp_path, **ROWS)


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def all_words():
    """What three days of words can say about two characters and two things, each with its weight in 8."""
    for first, second in permutations(range(2)):
        for one, other in product(range(2), repeat=2):
            wishes = (Wish(first, one), Wish(second, other))
            yield (*wishes, None), 2
            yield (*wishes, Wish(first, 1 - one)), 1
            yield (*wishes, Wish(second, 1 - other)), 1


def all_pictures():
    """All that three days and an evening can show, but for what does not matter, each equally likely."""
    for seen in product(moving_tracks(DAYS), repeat=2):
        if is_fair(seen):
            for stays in range(2):
                yield seen, stays


def story_of(told, seen, stays):
    houses = ("yellow", "blue", "green")
    return Story(CAST, THINGS, houses, told, ((0, 1),) * DAYS, seen, stays, evening=0)


def test_whoever_reads_the_words_alone_has_six_equally_likely_continuations():
    pictures = list(all_pictures())
    for told, _ in all_words():
        answers = Counter(story_of(told, *shown).facts for shown in pictures)
        assert len(answers) == 2 * HOUSES
        assert set(answers.values()) == {len(pictures) // (2 * HOUSES)}


def test_whoever_sees_the_frames_alone_has_two_equally_likely_continuations():
    for shown in all_pictures():
        answers = Counter()
        for told, weight in all_words():
            answers[story_of(told, *shown).facts] += weight
        (one, of_one), (other, of_other) = answers.items()
        assert of_one == of_other
        assert one.what != other.what
        assert one.where != other.where


def test_the_order_of_frames_and_of_captions_matters():
    for seen, stays in all_pictures():
        backwards = tuple(track[::-1] for track in seen)
        for told, _ in all_words():
            right = story_of(told, seen, stays).facts
            assert story_of(told, backwards, stays).facts.where != right.where
            first = next(wish.thing for wish in told if wish is not None and wish.character == stays)
            changed_its_mind = THINGS[first] != next(kind for kind in THINGS if name_of(kind) == right.what)
            assert (story_of(told[::-1], seen, stays).facts.what != right.what) == changed_its_mind


def test_what_is_drawn_is_as_likely_as_it_was_counted():
    stories = [ToyStories().story("train", number) for number in range(1, 1201)]
    # sigma is 0.014
    for share in (
        sum(story.wanted for story in stories) / 1200,
        sum(story.stays for story in stories) / 1200,
        sum(story.told[2] is None for story in stories) / 1200,
    ):
        assert share == pytest.approx(0.5, abs=0.06)
    assert Counter(story.place for story in stories)[0] / 1200 == pytest.approx(1 / 3, abs=0.06)
    tracks = Counter(story.seen for story in stories)
    assert len(tracks) > 250
    assert max(tracks.values()) < 20
    assert all(is_fair(seen) for seen in tracks)


def reading(question, scenes):
    """What happens next, from nothing but the captions and what the shown frames hold."""
    *days, evening = scenes

    def below(scene, kind):
        (column,) = (thing.cell[1] for thing in scene.things if thing.kind == kind)
        (house,) = (thing for thing in scene.things if thing.cell == (0, column))
        assert (house.kind.shape, house.kind.size) == ("square", "large")
        return f"{house.kind.colour} house"

    (who,) = (thing.kind for thing in evening.things if thing.kind.shape != "square")
    wishes = [line for line in question.split("\n") if f" {name_of(who)} " in f" {line} "]
    (what,) = {
        Kind(colour, shape, "small")
        for colour, shape in product(COLOURS, FORMS)
        if f"small {colour} {shape}" in wishes[-1]
    }
    last = [scene for scene in days if any(thing.kind == what for thing in scene.things)][-1]
    return Facts(name_of(who), name_of(what), below(last, what))


@pytest.mark.parametrize(
    "settings",
    [{}, {"frames": 7}, {"frames": 5, "characters": 3, "things": 3}, {"colours": 6, "shapes": 5, "image_size": 96}],
)
def test_the_answer_follows_from_the_captions_and_frames_that_are_shown(tmp_path, settings):
    task = ToyStories(folder=tmp_path, **{**ROWS, **settings})
    for number, example in enumerate(task.examples("train")[0], 1):
        scenes = scenes_of(task.story("train", number), Random(f"0/toy_stories/picture/train/{number}"))
        assert len(scenes) == len(example.images) + 1 == task.frames + 1
        for path, scene in zip(example.images, scenes, strict=False):
            assert Path(path).read_bytes() == png(draw(scene, task.image_size))
        found = reading(example.question, scenes[:-1])
        assert found == facts_in(example.answer)
        assert example.steps == (
            f"the {found.who} stays",
            f"the {found.who} wants the {found.what}",
            f"the {found.what} was last seen in picture {_last_picture(found.what, scenes[:-1])}",
            f"the {found.what} was at the {found.where}",
        )
        last = scenes[-1].things
        assert [thing.kind.shape for thing in last[:3]] == ["square"] * 3
        assert [name_of(thing.kind) for thing in last[3:]] == [found.who, found.what]
        assert last[3].cell[1] == last[4].cell[1]


def _last_picture(what, scenes):
    """The number of the last frame that shows a thing."""
    return max(
        number for number, scene in enumerate(scenes, 1) if what in [name_of(thing.kind) for thing in scene.things]
    )


def test_a_row_is_the_same_on_every_machine_and_version_of_python(task):
    example = task.examples("test")[0][0]
    assert example.question == EXPECTED_QUESTION
    assert example.answer == EXPECTED_ANSWER


def test_pictures_and_metadata_of_equal_settings_are_the_same_bytes_wherever_they_lie(tmp_path):
    for name in ("a", "b"):
        ToyStories(folder=tmp_path / name, **ROWS).examples("validation")
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert len(files(tmp_path / "a")) == 4 * 5 + 1
    with Image.open(next((tmp_path / "a").rglob("*.png"))) as image:
        assert (image.format, image.size) == ("PNG", (48, 48))


def test_the_metadata_say_what_the_files_are(task):
    examples, ledger = task.examples("test")
    assert ledger == Ledger(rows_in=6, rows_kept=6)
    described = read_json_lines(task.pictures("test") / METADATA)
    for number, (example, row) in enumerate(zip(examples, described, strict=True), 1):
        assert row["id"] == example.id == f"toy_stories/test/{number}"
        assert row["images"] == [f"{number}-{frame}.png" for frame in range(1, 6)]
        assert [Path(path).name for path in example.images] == row["images"][:4]
        assert (task.pictures("test") / row["images"][4]).is_file()
        told = [f"{place}: {caption}" for place, caption in enumerate(row["captions"][:4], 1)]
        assert example.question == "\n".join([*told, "NEXT:"])
        assert (row["captions"][4], tuple(row["steps"])) == (example.answer, example.steps)
        assert Facts(row["who"], row["what"], row["where"]) == task.story("test", number).facts


def test_files_that_exist_are_kept_and_missing_ones_are_written(task):
    task.examples("validation")
    before = files(task.folder)
    folder = task.pictures("validation")
    (folder / "3-1.png").write_bytes(b"kept")
    (folder / "2-5.png").unlink()
    task.examples("validation")
    assert files(task.folder) == {**before, (folder / "3-1.png").relative_to(task.folder): b"kept"}


def test_a_row_depends_on_nothing_but_settings_split_and_number(task):
    more = ToyStories(folder=task.folder, train_rows=20, validation_rows=9, test_rows=8)
    assert more.examples("train")[0][:12] == task.examples("train")[0]
    assert len(read_json_lines(task.pictures("train") / METADATA)) == 20
    assert more.examples("test")[0][:6] == task.examples("test")[0]


def test_other_settings_of_a_picture_have_another_folder():
    here = ToyStories().pictures("train")
    assert here.parts[:2] == ("data", "toy_stories")
    assert ToyStories(train_rows=3).pictures("train") == here
    changes = [{"seed": 1}, {"frames": 5}, {"characters": 3}, {"things": 3}, {"colours": 5}, {"shapes": 3}]
    assert len({here, *(ToyStories(**change).pictures("train") for change in [*changes, {"image_size": 64}])}) == 8


def test_no_story_is_in_two_splits_and_another_seed_has_others():
    stories = {split: {ToyStories().story(split, number) for number in range(1, 301)} for split in SPLITS}
    stories["other"] = {ToyStories(seed=1).story("train", number) for number in range(1, 301)}
    assert len(set().union(*stories.values())) == 1200
    assert all(split_of(story) == split for split in SPLITS for story in stories[split])


def test_copying_the_last_caption_is_no_answer_and_its_facts_are_those_of_no_caption(task):
    for example in task.examples("train")[0]:
        *captions, _ = (line.partition(": ")[2] for line in example.question.split("\n"))
        assert [task.score(example, f"### {caption}").verdict for caption in captions] == ["no answer"] * 4


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_answer_is_right_by_what_it_says_in_whatever_words(task, ending):
    example = replace(
        task.examples("test")[0][0],
        answer=ENDINGS[0].format(who="red star", what="small blue cross", where="red house"),
    )
    right = ending.format(who="red star", what="small blue cross", where="red house")
    assert task.score(example, f"### {right}") == Score("right", "red star / small blue cross / red house")
    assert task.score(example, f"a step\n### {right.upper()}").verdict == "right"
    assert is_whole(right)
    for changes, credit in [
        ({"who": "red circle"}, 2 / 3),
        ({"what": "small red cross", "where": "blue house"}, 1 / 3),
    ]:
        facts = {"who": "red star", "what": "small blue cross", "where": "red house", **changes}
        score = task.score(example, f"### {ending.format(**facts)}")
        assert score == Score("wrong", " / ".join(facts.values()))
        assert task.credit(example, score.predicted) == pytest.approx(credit)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "The red star goes to the red house.",
        "The small blue cross is taken from the red house.",
        "The red star takes the small blue cross.",
        "The red star and the blue circle take the small blue cross at the red house.",
        "The red star takes the small blue cross and the small red cross at the red house.",
        "The red star takes the small blue cross at the red house, not at the blue house.",
        "The star takes the small cross at the house.",
    ],
)
def test_what_lacks_a_fact_or_names_two_is_no_answer(task, text):
    example = task.examples("test")[0][0]
    assert task.score(example, f"### {text}") == Score("no answer", None)
    assert task.credit(example, None) == 0.0


def test_the_small_thing_is_not_taken_for_a_character():
    assert facts_in("the small red star at the blue house") is None
    assert facts_in("At the  Blue house the green star finds the small\nred star") == Facts(
        "green star", "small red star", "blue house"
    )


def test_captions_come_in_many_wordings_and_all_of_them_are_whole():
    rows = [captions_of(ToyStories().story("train", number), Random(number)) for number in range(1, 201)]
    assert Counter(row[-1].split()[0] for row in rows).keys() == {"The", "At", "So"}
    assert len({row[-2] for row in rows}) == 3
    assert all(is_whole(caption) for row in rows for caption in (*row[:-2], row[-1]))


def test_another_wish_changes_the_answer_and_no_picture(tmp_path):
    task = ToyStories(folder=tmp_path, things=3, frames=5, **ROWS)
    for number, example in enumerate(task.examples("test")[0], 1):
        changed = task.counterfactual(example, Random(number))
        assert changed.images == example.images
        assert changed.id == f"{example.id}/changed"
        scenes = scenes_of(task.story("test", number), Random(f"0/toy_stories/picture/test/{number}"))
        found, before = reading(changed.question, scenes[:-1]), facts_in(example.answer)
        assert found == facts_in(changed.answer)
        assert found.who == before.who
        assert found.what != before.what
        assert found.where != before.where
        pairs = zip(example.question.split("\n"), changed.question.split("\n"), strict=True)
        assert all(f" {found.who} " in f" {old} " for old, new in pairs if old != new)
    assert task.counterfactual(replace(example, id="elsewhere/1"), Random(0)) is None


@pytest.mark.parametrize("settings", [{}, {"frames": 7, "characters": 3, "things": 3, "colours": 6, "shapes": 5}])
def test_every_word_is_in_the_vocabulary_and_the_longest_row_fits_the_answer(tmp_path, settings):
    task = ToyStories(folder=tmp_path, **ROWS, **settings)
    tokenizer = word_tokenizer(task.words())
    for example in task.examples("train")[0]:
        output = "".join(step + task.text.step_end for step in example.steps) + task.text.answer_start + example.answer
        for text in (example.question + task.text.question_end, output):
            ids = tokenizer(text)["input_ids"]
            assert tokenizer.unk_token_id not in ids
            assert "".join(tokenizer.decode(ids).split()) == "".join(text.split())
        decoded = tokenizer.decode(tokenizer(output)["input_ids"])
        assert task.score(example, decoded).verdict == "right"
        assert is_whole(decoded.rpartition("###")[2])
        assert 1.5 * (len(tokenizer(output)["input_ids"]) + 1) <= task.max_new_tokens


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"frames": 3}, "greater than or equal to 4"),
        ({"frames": 8}, "less than 8"),
        ({"characters": 4}, "less than or equal to 3"),
        ({"colours": 2}, "greater than or equal to 3"),
        ({"image_size": 20}, "greater than or equal to 36"),
    ],
)
def test_settings_that_no_story_can_have_are_refused(settings, reason):
    with pytest.raises(ValidationError, match=reason):
        ToyStories(**settings)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot be written: .*; give another task\.folder"):
        ToyStories(folder=tmp_path / "file", **ROWS).examples("test")
