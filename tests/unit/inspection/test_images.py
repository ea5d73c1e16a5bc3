"""Who looks where: columns found by hand, pictures as the encoder gets them, patches that are the right ones."""

import numpy as np
import pytest
import torch
from PIL import Image
from tests.conftest import TOKENS, tiny_model
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel

from unspoken.config import VisionSettings
from unspoken.data.tokenizer import word_tokenizer
from unspoken.evaluation.evaluate import evaluate
from unspoken.evaluation.predict import judge
from unspoken.evaluation.subject import Subject
from unspoken.files import read_json, read_json_lines
from unspoken.inspection import inspect
from unspoken.inspection.attention import attention_by_group, attention_weights, plain_attention
from unspoken.inspection.images import as_seen, looks_at, patch_grid, seen_images, to_slots
from unspoken.inspection.tracing import pairs
from unspoken.model.vision import ImageSlots, encode
from unspoken.recipe import resolve, resolve_task
from unspoken.records import Example, StagedExample
from unspoken.run_directory import open_run
from unspoken.training.supervised import train
from unspoken.vision.encoder import build_encoder

IMAGE = 36
NEW = {"layers": 1, "heads": 2, "width": 16, "image_size": 48, "patch_size": 16, "train_encoder": True}


def prompt_of(ids, *, images=2):
    """A prompt with these tokens, of which 37 are thoughts."""
    ids = np.array(ids, dtype=np.int32)
    places = np.flatnonzero(ids == TOKENS.latent)
    first = int(places[0]) if len(places) else None
    return StagedExample("x", ids, np.full_like(ids, -100), len(places), first, images=(None,) * images)


def random_weights(length, layers=2):
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(length, length, generator=generator) for _ in range(layers)]


def test_thoughts_and_the_last_position_look_at_each_slot_of_each_image():
    prompt = prompt_of([1, *[IMAGE] * 6, 5, 6, 38, 37, 37, 39])
    weights = random_weights(len(prompt.input_ids) + 1)  # a word was written behind the prompt
    found = to_slots(weights, prompt, IMAGE, 3)
    assert found.shape == (3, 2, 3)
    for place, looker in enumerate([10, 11, 13]):
        for image in range(2):
            for slot in range(3):
                expected = sum(float(each[looker, 1 + 3 * image + slot]) for each in weights) / 2
                assert float(found[place, image, slot]) == pytest.approx(expected)


def test_without_thoughts_the_answer_looks():
    prompt = prompt_of([IMAGE, IMAGE, 5, 6], images=1)
    weights = random_weights(4, layers=1)
    assert torch.equal(to_slots(weights, prompt, IMAGE, 2), weights[0][3:, :2].view(1, 1, 2))


# ---- the picture


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A CLIP that crops, and whose patches leave 3 pixels over."""
    path = tmp_path_factory.mktemp("clip")
    torch.manual_seed(0)
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**small, "vocab_size": 50, "bos_token_id": 0, "eos_token_id": 1}
    config = CLIPConfig(text_config=text, vision_config={**small, "image_size": 35, "patch_size": 16}, projection_dim=8)
    CLIPModel(config).save_pretrained(path)
    CLIPImageProcessorPil(size={"shortest_edge": 35}, crop_size={"height": 35, "width": 35}).save_pretrained(path)
    return path


def noise(height, width):
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8))


def difference(one, other):
    return np.abs(np.asarray(one, dtype=int) - np.asarray(other, dtype=int)).max()


def test_a_picture_is_shown_as_the_encoder_gets_it(clip):
    new = build_encoder(VisionSettings(**NEW), seed=0)
    assert difference(as_seen(new, noise(48, 48)), noise(48, 48)) <= 1
    cropping = build_encoder(VisionSettings(path=str(clip)), seed=0)
    wide = noise(35, 75)
    found = as_seen(cropping, wide)
    assert found.size == (32, 32)
    assert difference(found, wide.crop((20, 0, 52, 32))) <= 1
    pooled = build_encoder(VisionSettings(path=str(clip), features="pooled"), seed=0)
    assert difference(as_seen(pooled, wide), wide.crop((20, 0, 55, 35))) <= 1


@pytest.mark.parametrize(
    ("projector", "features", "slots", "expected"),
    [
        ({"name": "linear"}, "patches", 4, (2, 2)),
        ({"name": "mlp"}, "patches", 4, (2, 2)),
        ({"name": "queries", "heads": 2}, "patches", 4, None),
        ({"name": "linear"}, "pooled", 1, None),
        ({"name": "linear"}, "pooled", 3, None),
    ],
)
def test_only_a_slot_of_one_patch_has_a_place_in_the_picture(clip, projector, features, slots, expected):
    encoder = build_encoder(VisionSettings(path=str(clip), features=features), seed=0)
    settings = {
        "slots": slots, "num_patches": encoder.num_patches, "feature_size": encoder.feature_size,
        "projector": projector,
    }  # fmt: skip
    assert patch_grid(encoder, ImageSlots(settings, 16, 0.02), as_seen(encoder, noise(40, 60))) == expected


@torch.no_grad()
def test_the_slot_of_a_patch_is_the_one_that_its_pixels_change_most():
    encoder = build_encoder(VisionSettings(**NEW), seed=0)
    settings = {"slots": 9, "num_patches": 9, "feature_size": 16, "projector": {"name": "linear"}}
    slots, plain = ImageSlots(settings, 16, 0.02), noise(48, 48)

    def filled(picture):
        return slots.projector(encode(encoder.model, torch.from_numpy(encoder.pixels(picture))[None], pooled=False))[0]

    rows, columns = patch_grid(encoder, slots, as_seen(encoder, plain))
    for slot in range(rows * columns):
        picture = plain.copy()
        left, upper = 16 * (slot % columns), 16 * (slot // columns)
        picture.paste((255, 0, 0), (left, upper, left + 16, upper + 16))
        assert int((filled(picture) - filled(plain)).norm(dim=-1).argmax()) == slot


# ---- a run


def recipe(folder, vision):
    return resolve(
        {
            "task": {
                "name": "shapes", "hops": 1, "grid": 3, "min_objects": 5, "max_objects": 6, "image_size": 48,
                "folder": str(folder / "pictures"), "train_rows": 8, "validation_rows": 4, "test_rows": 8,
            },
            "model": {"layers": 2, "heads": 2, "width": 16, "max_positions": 128, "init_std": 0.3, "vision": vision},
            "method": {"name": "coconut", "max_stage": 1, "thoughts_per_step": 2, "epochs_per_stage": 1},
            "train": {"epochs": 2, "batch_size": 8, "save": "end"},
            "evaluate": {"controls": []},
        },
        "test",
    )  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory, clip):
    folder = tmp_path_factory.mktemp("runs")
    queries = {"path": str(clip), "cache": str(folder / "features"), "slots": 3, "projector": {"name": "queries"}}
    return {
        "patches": train(recipe(folder, NEW), folder / "patches"),
        "queries": train(recipe(folder, queries), folder / "queries"),
        "words": train(recipe(folder, None), folder / "words"),
    }


@pytest.fixture(scope="module")
def subjects(runs):
    found = {}
    for kind, path in runs.items():
        run = open_run(path)
        found[kind] = Subject.of(run, run.recipe.task.examples("test")[0], lambda *told: None)
    return found


@pytest.mark.parametrize(("kind", "grid", "num_slots"), [("patches", (3, 3), 9), ("queries", None, 3)])
def test_the_attention_of_a_question_is_that_of_the_pass_that_writes_its_answer(subjects, kind, grid, num_slots):
    subject = subjects[kind]
    recorded, model = subject.record(), subject.run.model
    for row in range(3):
        prompt, tokens, example = recorded.prompts[row], subject.tokenized[row], subject.examples[row]
        (image,) = seen_images(subject, recorded, row)
        assert (image.path, image.grid) == (example.images[0], grid)
        start = tokens.answer[: tokens.answer_start]
        assert subject.run.tokenizer.decode(start.tolist()).strip() == "###"
        with plain_attention(model):
            weights = attention_weights(model, prompt, recorded.thoughts[row], start)
            bare = attention_weights(model, prompt, recorded.thoughts[row])
        slots = [place for place, token in enumerate(prompt.input_ids) if token == model.config.image_token_id]
        assert len(slots) == num_slots
        last = len(prompt.input_ids) + len(start) - 1
        for looker, shares in zip([prompt.first_thought, prompt.first_thought + 1, last], image.attention, strict=True):
            expected = [sum(float(each[looker, slot]) for each in weights) / 2 for slot in slots]
            assert shares == pytest.approx(expected, abs=1e-6)
        groups = {}
        for _, thought, group, share in attention_by_group(
            bare, prompt, tokens, example, 2, model.config.image_token_id
        ):
            groups.setdefault((thought, group), []).append(share)
        for thought in (1, 2):
            assert sum(groups[thought, "images"]) / 2 == pytest.approx(sum(image.attention[thought - 1]), abs=1e-4)
            places = ("start", "images", "all facts", "question", "markers", "other thoughts", "itself")
            parts = [groups[thought, name] for name in places if (thought, name) in groups]
            assert [sum(each) for each in zip(*parts, strict=True)] == pytest.approx([1, 1], abs=1e-5)


def test_words_alone_have_no_images_to_look_at(subjects):
    subject = subjects["words"]
    assert subject.examples[0].images
    recorded = subject.record()
    assert seen_images(subject, recorded, 0) == ()
    with plain_attention(subject.run.model):
        weights = attention_weights(subject.run.model, recorded.prompts[0], recorded.thoughts[0])
    entries = attention_by_group(weights, recorded.prompts[0], subject.tokenized[0], subject.examples[0], 2)
    assert "images" not in {group for _, _, group, _ in entries}


def test_a_decoder_that_hides_its_attention_still_shows_its_picture(subjects, monkeypatch):
    subject = subjects["patches"]
    recorded = subject.record()

    def refuse(implementation):
        raise ValueError(f"there is no {implementation}")

    monkeypatch.setattr(subject.run.model.model.language_model, "set_attn_implementation", refuse)
    assert looks_at(subject, recorded, 0) is None
    (image,) = seen_images(subject, recorded, 0)
    assert image.attention is None
    assert image.thumbnail.startswith("data:image/png;base64,")


def test_tracing_tells_images_from_words(subjects):
    subject = subjects["patches"]
    recorded = subject.record()
    found = pairs(subject.run.model, recorded.prompts, recorded.thoughts, subject.tokenized, 4, seed=0)
    assert found
    for pair in found:
        assert list(pair.places)[:3] == ["images", "question", "thought 1"]
        images, question = pair.places["images"], pair.places["question"]
        assert images.stop - images.start == 9
        assert question.start == images.stop
        assert question.stop == pair.places["thought 1"].start


def test_an_inspection_and_predictions_name_the_images(runs, subjects):
    for kind in ("patches", "words"):
        found = inspect(runs[kind], rows=4)
        assert read_json(runs[kind] / "inspection.json")["examples"][1]["images"] == [
            {**image, "grid": [3, 3], "attention": [list(each) for each in image["attention"]]}
            for image in found["examples"][1]["images"]
        ]
        assert len(found["examples"][1]["images"]) == (kind == "patches")
        evaluate(runs[kind], split="test")
        written = read_json_lines(runs[kind] / "predictions.jsonl")
        assert [row["images"] for row in written] == [list(each.images) for each in subjects[kind].examples]


def test_the_images_of_a_prediction_are_files_whatever_folder_the_rows_count_from(tmp_path):
    task = resolve_task("aokvqa", [f"images={tmp_path}", "train=rows.json"])
    model, tokenizer = tiny_model(), word_tokenizer(["what", "dog", "###"])
    prompt = prompt_of([1, 2], images=0)
    for images, expected in [
        (("a.jpg", "b/c.jpg"), (str(tmp_path / "a.jpg"), str(tmp_path / "b" / "c.jpg"))),
        ((), None),
    ]:
        example = Example("x", "what? The choices are 0 : dog, 1 : cat", (), "0 : dog", images=images)
        assert judge(model, tokenizer, task, example, prompt, [0]).images == expected
