"""Frames and captions to a trained model: the story goes on as in the evaluation, and mistakes are named at once."""

import pytest

from unspoken.answer import ask
from unspoken.cli import main
from unspoken.errors import RecipeError
from unspoken.evaluation.evaluate import evaluate
from unspoken.files import read_json_lines
from unspoken.reasoning import reason
from unspoken.recipe import resolve
from unspoken.run_directory import open_run
from unspoken.training.supervised import train

EYES = {"layers": 1, "heads": 2, "width": 16, "image_size": 48, "patch_size": 24, "train_encoder": True}
FUSION = {"layers": 1, "heads": 2, "most_images": 6}


def trained(folder, task=None, vision=EYES):
    recipe = {
        "task": {
            "name": "toy_stories", "train_rows": 16, "validation_rows": 2, "test_rows": 4,
            "folder": str(folder / "pictures"), **(task or {}),
        },
        "model": {"layers": 1, "heads": 2, "width": 16, "max_positions": 160, "init_std": 0.4, "vision": vision},
        "method": {"name": "coconut", "max_stage": 1, "epochs_per_stage": 0},
        "train": {"epochs": 1, "batch_size": 8, "save": "end", "validation_rows": 1},
        "evaluate": {"controls": [], "max_new_tokens": 5},
    }  # fmt: skip
    return open_run(train(resolve(recipe, "test"), folder / "run"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Opens the run of a kind; each is trained once."""
    kinds = {
        "both": {"vision": {**EYES, "fusion": FUSION}},
        "images": {"task": {"context": "images"}},
        "words": {"task": {"context": "words"}, "vision": None},
        "blind": {"vision": None},
        "looking": {"task": {"about": "frame"}},
    }
    opened = {}

    def run(kind):
        if kind not in opened:
            opened[kind] = trained(tmp_path_factory.mktemp(kind), **kinds[kind])
        return opened[kind]

    return run


def rows_of(run):
    """The test rows, each with the captions that make its question where they are shown at all."""
    return [(row, [each for each in row.captions if each]) for row in run.recipe.task.examples("test")[0]]


@pytest.mark.parametrize("kind", ["both", "images", "words", "blind"])
def test_a_story_goes_on_as_in_the_evaluation(runs, kind):
    run = runs(kind)
    evaluate(run.path, split="test")
    predictions = read_json_lines(run.path / "predictions.jsonl")
    assert len({prediction["text"] for prediction in predictions}) > 1
    for (row, captions), prediction in zip(rows_of(run), predictions, strict=True):
        images = row.images if run.model.model.image_slots is not None else ()
        told = ask(run, images=images, captions=captions, max_new_tokens=5)
        assert told == ask(run, row.question, images=images, max_new_tokens=5)
        assert told.text == prediction["text"]


def test_white_space_in_a_caption_begins_no_line(runs):
    run = runs("both")
    row, captions = rows_of(run)[0]
    broken = [caption.replace(" ", " \n ", 1) for caption in captions]
    assert ask(run, images=row.images, captions=broken) == ask(run, images=row.images, captions=captions)


def test_trajectories_are_told_the_same(runs):
    run = runs("both")
    row, captions = rows_of(run)[1]
    settings = {"images": row.images, "token_temperature": 1.0, "temperature": 0.0, "num_trajectories": 3, "seed": 2}
    assert reason(run, captions=captions, **settings) == reason(run, row.question, **settings)


def test_shorter_and_longer_stories_are_told_with_a_note(runs, caplog):
    run = runs("both")
    row, captions = rows_of(run)[0]
    assert ask(run, images=row.images, captions=captions, max_new_tokens=2)
    assert "frames" not in caplog.text
    for order, count in ((slice(2), 2), (slice(None), 6)):
        frames = [*row.images, *row.images[:2]][order]
        ask(run, images=frames, captions=[*captions, *captions[:2]][order], max_new_tokens=2)
        assert f"trained on stories of 4 frames, and these are {count}" in caplog.text


@pytest.mark.parametrize(
    ("kind", "given", "problems"),
    [
        ("both", {}, ["captions: there are none, and no question; give one for each frame, or write the question"]),
        ("both", {"question": " ", "captions": ["a"]}, ["question: it is empty; write one"]),
        ("both", {"question": "NEXT:", "captions": ["a", "b"]}, ["captions: they make the question themselves"]),
        (
            "both",
            {"captions": ["a", " ", "c"], "missing": True, "thoughts": -1},
            ["captions: number 2 is empty; say what frame 2 shows", "thoughts: -1", "3 for 2 images", "does not exist"],
        ),
        ("both", {"captions": ["a"] * 7, "frames": 7}, ["images: 7, and this model has places for 6; give fewer"]),
        ("both", {"captions": ["a"], "frames": 0}, ["captions: 1 for 0 images; give one for each"]),
        ("images", {"captions": ["a", "b"]}, ["captions: this model was trained without any; leave them out"]),
        ("images", {"frames": 0}, ["images: there are no frames of a story; give some"]),
        ("words", {"captions": ["a", "b"]}, ["images: this model sees none of the 2 images"]),
        ("looking", {"captions": ["a", "b"]}, ["question: toy_stories makes none of captions; write one"]),
        ("looking", {}, ["question: there is none; write one"]),
    ],
)
def test_all_mistakes_are_named_at_once(runs, kind, given, problems):
    run = runs(kind)
    images = rows_of(runs("both"))[0][0].images
    frames = [images[place % 4] for place in range(given.get("frames", 2))]
    if given.get("missing"):
        frames[1] = "nowhere.png"
    with pytest.raises(RecipeError) as error:
        ask(
            run,
            given.get("question"),
            images=frames,
            captions=given.get("captions", ()),
            num_thoughts=given.get("thoughts"),
        )
    assert len(error.value.problems) == len(problems)
    for found, expected in zip(error.value.problems, problems, strict=True):
        assert expected in found


def test_the_command_takes_frames_and_captions_in_several_ways(runs, capsys):
    run = runs("both")
    row, captions = rows_of(run)[0]
    expected = f"{ask(run, row.question, images=row.images, max_new_tokens=4).text}\n"
    command = ["run", str(run.path), "--max-new-tokens", "4"]
    first, *rest = row.images
    for images in (["--images", *row.images], ["--image", first, "--image", *rest]):
        for said in (["--captions", *captions], [word for each in captions for word in ("--caption", each)]):
            assert main([*command, *images, *said]) == 0
            assert capsys.readouterr().out == expected
    assert main([*command, row.question, "--images", *row.images]) == 0
    assert capsys.readouterr().out == expected
    sampled = ["--trajectories", "2", "--token-temperature", "1"]
    assert main([*command, *sampled, "--images", *row.images, "--captions", *captions]) == 0
    assert "confidence" in capsys.readouterr().out
    assert main([*command, "--images", *row.images, "--captions", *captions[:3]]) == 2
    assert "captions: 3 for 4 images; give one for each" in capsys.readouterr().err
