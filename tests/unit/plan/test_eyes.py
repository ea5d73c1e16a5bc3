"""What a plan counts of images is what is built: parameters, lengths, images; and what it cannot count, it says."""

from random import Random

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    AutoModel,
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPVisionConfig,
    Dinov2Config,
    SiglipVisionConfig,
)

from unspoken.config import VisionSettings
from unspoken.data.collate import collate
from unspoken.data.tokenizer import image_token, thought_tokens
from unspoken.errors import RecipeError
from unspoken.files import write_json
from unspoken.model.vision import encode
from unspoken.plan import plan, render
from unspoken.plan.eyes import read_eyes
from unspoken.plan.stage_table import layouts
from unspoken.prepare import build_model, build_tokenizer, read_examples, tokenize_rows
from unspoken.recipe import dump, load_recipe, resolve
from unspoken.recipe.batching import split_batch
from unspoken.run_directory import save_model
from unspoken.seeing import encoder_of

SMALL = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
SEEN = {"image_size": 32, "patch_size": 16}


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clip"
    torch.manual_seed(0)
    text = {**SMALL, "vocab_size": 50, "bos_token_id": 0, "eos_token_id": 1}
    CLIPModel(CLIPConfig(text_config=text, vision_config={**SMALL, **SEEN}, projection_dim=8)).save_pretrained(path)
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(path)
    return path


def small(name, tmp_path, vision, **sections):
    """A shipped recipe of pictures with few rows, a smaller model and these eyes."""
    values = dump(load_recipe(name))
    values["task"] |= {"folder": str(tmp_path / "pictures"), "train_rows": 12, "validation_rows": 8, "test_rows": 1}
    values["train"] |= {"batch_size": 4}
    if values["model"]["path"] is None:
        values["model"] |= {"layers": 1, "heads": 2, "width": 16}
    values["model"]["vision"] |= {"heads": 2, "width": 12, "cache": str(tmp_path / "features"), **vision}
    for section, settings in sections.items():
        values[section] |= settings
    return resolve(values, "test")


def built(recipe):
    """The model, its tokenizer, and the rows of the sample as tokens."""
    examples, ledger = read_examples(recipe.task, "validation")
    tokenizer = build_tokenizer(recipe, read_examples(recipe.task, "train")[0])
    model = build_model(recipe, tokenizer)
    return model, tokenizer, tokenize_rows(recipe, examples, ledger, tokenizer, model).tokenized


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def check(recipe):
    """Compare a plan with the model and with the batches of every stage; gives the plan."""
    found, (model, tokenizer, rows) = plan(recipe), built(recipe)
    assert found.num_parameters == count(model)
    assert found.vocabulary == len(tokenizer) == model.get_input_embeddings().num_embeddings
    assert found.eyes.slots == model.model.image_slots.slots
    assert found.eyes.projector == count(model.model.image_slots.projector)
    assert found.eyes.encoder.num_parameters == count(encoder_of(recipe).model)
    examples = recipe.task.examples("validation")[0]
    for stage in found.stages:
        staged = [recipe.method.layout(row, stage.stage, thought_tokens(tokenizer), Random(0)) for row in rows]
        batch = collate(staged, pad_id=tokenizer.pad_token_id)
        lengths = batch["attention_mask"].sum(dim=1).tolist()
        assert [len(row.input_ids) for row in layouts(recipe, examples, stage.stage, found.eyes.slots)] == lengths
        assert stage.length == np.mean(lengths)
        in_batch = (batch["input_ids"] == image_token(tokenizer)).sum(dim=1)
        assert in_batch.tolist() == [found.eyes.slots] * len(rows)
    per_image = batch["images"].numel() // batch["images"].shape[:2].numel()
    kept = per_image * (2 if recipe.model.vision.train_encoder else 4)
    assert (found.num_images, found.eyes.bytes_per_image) == (12, kept)
    return found


PROJECTORS = [
    {"projector": {"name": "linear"}},
    {"projector": {"name": "mlp"}},
    {"projector": {"name": "mlp", "hidden": 20}},
    {"projector": {"name": "queries", "heads": 2}, "slots": 3},
    {"features": "pooled", "slots": 2},
    {"features": "pooled", "projector": {"name": "queries", "heads": 2}, "slots": 2},
]


@pytest.mark.parametrize("eyes", PROJECTORS)
@pytest.mark.parametrize("kind", ["new", "trained", "frozen"])
def test_parameters_and_lengths_are_those_of_the_model_and_its_batches(tmp_path, clip, kind, eyes):
    settings = {"new": {}, "trained": {"path": str(clip)}, "frozen": {"path": str(clip), "train_encoder": False}}[kind]
    found = check(small("shapes/scene", tmp_path, {**settings, **eyes}))
    parts = found.eyes.projector + (0 if kind == "frozen" else found.eyes.encoder.num_parameters)
    assert found.eyes.num_parameters == parts


@pytest.mark.parametrize("kind", ["trained", "frozen"])
def test_a_run_that_goes_on_from_another_is_counted_as_well(tmp_path, clip, kind):
    eyes = {} if kind == "trained" else {"path": str(clip), "train_encoder": False}
    scene = small("shapes/scene", tmp_path, eyes)
    model, tokenizer, _ = built(scene)
    save_model(tmp_path / "scene", model, tokenizer, {})
    found = check(small("shapes/coconut", tmp_path, eyes, model={"path": str(tmp_path / "scene")}))
    assert [stage.thoughts for stage in found.stages] == [(0, 0), (1, 1), (2, 2), (3, 3)]
    assert found.num_parameters == count(model)


def test_eyes_on_a_run_without_any_take_a_token(tmp_path):
    blind = small("shapes/scene", tmp_path, {})
    blind = resolve({**dump(blind), "model": {**dump(blind)["model"], "vision": None}, "evaluate": {}}, "test")
    tokenizer = build_tokenizer(blind, blind.task.examples("train")[0])
    save_model(tmp_path / "blind", model := build_model(blind, tokenizer), tokenizer, {})
    assert plan(blind).num_parameters == count(model)
    assert plan(blind).eyes is None
    check(small("shapes/coconut", tmp_path, {}, model={"path": str(tmp_path / "blind")}))


ENCODERS = {
    "clip": CLIPVisionConfig(**SMALL, **SEEN),
    "siglip": SiglipVisionConfig(**SMALL, **SEEN),
    "dinov2": Dinov2Config(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, mlp_ratio=2, **SEEN),
}


@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.parametrize("features", ["patches", "pooled"])
def test_every_kind_of_encoder_is_counted_from_its_configuration_alone(tmp_path, kind, features):
    ENCODERS[kind].save_pretrained(tmp_path)
    eyes = read_eyes(VisionSettings(path=str(tmp_path), features=features), width=10)
    model = AutoModel.from_config(ENCODERS[kind])
    made = encode(model, torch.zeros(1, 3, 32, 32), pooled=features == "pooled")
    assert eyes.encoder.num_parameters == count(model)
    assert eyes.slots == eyes.encoder.patches == made.size(1) == (1 if features == "pooled" else 4)
    assert eyes.encoder.width == made.size(2)
    # norm, weights and bias of the linear projector
    assert eyes.projector == 2 * 16 + 16 * 10 + 10


def test_rows_are_as_long_as_their_images_are_many_and_each_image_is_counted_once(tmp_path, clip):
    Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    Image.new("RGB", (40, 40)).save(tmp_path / "b.png")
    rows = [
        {"question": "What is it? Choices are: red, blue", "steps": ["It is red."], "answer": "red", "image": image}
        for image in ("a.png", "a.png", None, "b.png")
    ]
    write_json(tmp_path / "rows.json", rows)
    vision = {"path": str(clip), "cache": str(tmp_path / "features")}
    values = {
        "task": {
            "name": "scienceqa",
            "train": str(tmp_path / "rows.json"),
            "validation": str(tmp_path / "rows.json"),
            "images": str(tmp_path),
        },
        "model": {"layers": 1, "heads": 2, "width": 16, "vision": vision},
        "method": {"name": "cot"},
    }
    seeing = plan(resolve(values, "test"))
    blind = plan(resolve({**values, "model": {**values["model"], "vision": None}}, "test"))
    assert seeing.num_images == 2
    assert seeing.stages[0].length == blind.stages[0].length + 4 * 3 / 4
    assert seeing.eyes.costs(2, 3 / 4, 16).once == 2 * seeing.eyes.costs(1, 3 / 4, 16).once > 0


def test_only_words_are_split_by_a_subword_tokenizer(tmp_path, clip):
    vision = {"path": str(clip), "train_encoder": False}
    words, subwords = (
        plan(small("shapes/scene", tmp_path, vision, model={"tokenizer": tokenizer}))
        for tokenizer in (None, "openai-community/gpt2")
    )
    assert subwords.stages[0].length == pytest.approx(1.6 * (words.stages[0].length - 4) + 4)


def test_a_frozen_encoder_runs_once_an_image_and_a_learning_one_each_time(tmp_path, clip):
    def costs(**settings):
        eyes = read_eyes(VisionSettings(path=str(clip), **settings), width=16)
        return eyes, eyes.costs(num_images=10, per_row=2, width=16)

    (eyes, frozen), (learning_eyes, learning) = costs(), costs(train_encoder=True)
    encoder, projector = eyes.encoder, eyes.projector
    # two operations a parameter and position; in attention two more for each position that is looked at, per layer
    once = 2 * 5 * (encoder.num_parameters + 2 * 2 * 16 * 5)
    assert (frozen.once, learning.once) == (10 * once, 0)
    assert frozen.operations == 2 * 6 * 4 * projector
    # a backward pass takes twice what a forward pass does
    assert learning.operations == frozen.operations + 2 * 3 * once
    assert (frozen.layers, learning.layers) == (0, 2)
    of_model = (eyes.num_parameters, learning_eyes.num_parameters)
    assert of_model == (projector, projector + encoder.num_parameters)
    assert (frozen.kept, learning.kept) == (10 * 4 * 4 * 16, 10 * 2 * 3 * 32 * 32)
    assert learning.states > frozen.states > 0


def test_eyes_are_in_the_estimate(tmp_path, clip):
    def estimated(**vision):
        return plan(small("shapes/scene", tmp_path, {"path": str(clip), **vision})).estimate

    frozen, learning = estimated(train_encoder=False), estimated()
    encoder = read_eyes(VisionSettings(path=str(clip)), 16).encoder.num_parameters
    assert learning.checkpoint - frozen.checkpoint == 12 * encoder
    assert learning.memory - frozen.memory > 16 * encoder
    assert learning.seconds > frozen.seconds


def test_what_an_encoder_that_is_not_here_takes_is_said_to_be_missing(tmp_path):
    def planned(**vision):
        recipe = small("shapes/scene", tmp_path, {"path": "someone/encoder", "train_encoder": False, **vision})
        return plan(recipe), " ".join(render(plan(recipe)).split())

    blind = small("shapes/scene", tmp_path, {})
    blind = plan(resolve({**dump(blind), "model": {**dump(blind)["model"], "vision": None}, "evaluate": {}}, "test"))
    found, text = planned()
    assert (found.eyes.slots, found.eyes.encoder, found.eyes.num_parameters) == (None, None, None)
    assert found.stages[0].length == blind.stages[0].length
    assert found.num_parameters == blind.num_parameters + 16  # the embedding of an image slot
    assert "the encoder someone/encoder, frozen no configuration of a vision encoder is here: its slots, its" in text
    assert "its projector and what they take are not counted in any figure of this plan" in text
    assert "new ? Batch" in text
    found, text = planned(slots=5, projector={"name": "queries", "heads": 2})
    assert found.stages[0].length == blind.stages[0].length + 5
    assert "frozen; 5 slots an image no configuration of a vision encoder is here: its parameters" in text


def test_what_is_not_an_encoder_is_not_counted_as_one(tmp_path):
    write_json(tmp_path / "config.json", {"model_type": "gpt2"})
    assert read_eyes(VisionSettings(path=str(tmp_path)), 16).encoder is None


@pytest.mark.parametrize(
    ("vision", "message"),
    [
        ({"slots": 4}, "9 patches make as many slots, not 4; or use the projector queries"),
        ({"projector": {"name": "queries", "heads": 3}}, "width 16 is not a multiple of 3 heads"),
    ],
)
def test_slots_that_cannot_be_made_are_refused_before_anything_is_loaded(tmp_path, vision, message):
    with pytest.raises(RecipeError, match=message):
        plan(small("shapes/scene", tmp_path, vision))


def test_pixels_that_training_would_refuse_are_warned_of(tmp_path):
    warnings = plan(small("shapes/scene", tmp_path, {}, task={"train_rows": 700_000})).warnings
    assert any("the pixels of all images take 9.7 GB of memory, 8.6 GB are allowed" in warning for warning in warnings)


def test_the_plan_says_one_layer_and_two_layers(tmp_path, clip):
    def vision_lines(**vision):
        lines = render(plan(small("shapes/scene", tmp_path, vision))).splitlines()
        start = next(index for index, line in enumerate(lines) if line.startswith("Vision"))
        return [line[12:] for line in lines[start : start + 3]]

    one = vision_lines()
    assert one[0] == "a new encoder of 1 layer, which learns; 9 slots an image"
    assert one[2] == "12 images; their pixels take 1 MB of memory"
    assert vision_lines(layers=2)[0] == "a new encoder of 2 layers, which learns; 9 slots an image"
    frozen = vision_lines(path=str(clip), train_encoder=False, features="pooled")
    assert frozen[0] == f"the encoder {clip}, frozen; 1 slot an image"
    assert frozen[1].endswith("parameters stay outside of the model; 304 of its projector are counted above")
    assert frozen[2] == "12 images, each encoded once; their features take 1 MB of memory"


def test_the_table_of_a_model_that_sees_shows_its_positions(tmp_path):
    text = render(found := plan(small("shapes/scene", tmp_path, {})))
    header, row = text.split("Stages\n")[1].splitlines()[:2]
    assert header.split()[-1] == "positions"
    assert row.split()[-1] == f"{found.stages[0].length:.1f}"
    table = render(plan(load_recipe("hops/coconut"))).split("Stages\n")[1]
    assert table.splitlines()[0].split()[-1] == "optimizer"


def test_a_memory_estimate_is_cut_with_the_micro_batch(tmp_path):
    recipe = small("shapes/scene", tmp_path, {})
    found = plan(recipe)
    assert split_batch(recipe.train, 1).micro == 4
    assert [rows for rows, _ in found.estimate.smaller] == [2, 1]
    assert found.estimate.smaller[1][1] < found.estimate.smaller[0][1] < found.estimate.memory


@pytest.mark.parametrize("pool", ["none", "mean", "attention"])
def test_fusion_is_counted_as_it_is_built(pool):

    recipe = load_recipe(
        "toy_stories/frame",
        [f"model.vision.fusion={{layers: 1, heads: 2, pool: {pool}, most_images: 3}}", "task.train_rows=2"],
    )
    model = build_model(recipe, build_tokenizer(recipe, []))
    eyes = read_eyes(recipe.model.vision, recipe.model.width)
    assert eyes.num_parameters == sum(parameter.numel() for parameter in model.model.image_slots.parameters())
