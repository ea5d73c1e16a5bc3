"""What shipped recipes on stories need, small: data, a CLIP with words, and the runs that they go on from."""

import io

import datasets
from PIL import Image
from transformers import AutoTokenizer, CLIPConfig, CLIPImageProcessorPil, CLIPModel

from unspoken.recipe import load_recipe
from unspoken.training.train import train
from unspoken.vision.clip import caption_tokenizer

QUICK = ("train.epochs=1", "train.batch_size=4", "evaluate.max_new_tokens=4")
SCRATCH = ("model.layers=1", "model.heads=2", "model.width=16")
ROWS = ("task.train_rows=4", "task.validation_rows=3", "task.test_rows=2")
STORIES = 30
"""Of which 3 are for validation, 3 held out and so trained, too."""


def with_toy_stories(folder, recipe):
    """Overrides for recipes on generated stories."""
    eyes = ["model.vision.width=16", "model.vision.heads=2"]
    small = [*ROWS, f"task.folder={folder}/frames", *eyes]
    if recipe.model.path is None:
        return [*SCRATCH, *small]
    begin = train(load_recipe("toy_stories/frame", [*QUICK, *SCRATCH, *small]), folder / "eyes")
    if recipe.model.embedding_heads is None:
        return [*small, f"model.path={begin}"]
    clip = load_recipe("toy_stories/clip", [*QUICK, *SCRATCH, *small, "method.embedding=8"])
    space = f"model.embedding_heads.space={train(clip, folder / 'clip')}"
    if recipe.adversary is not None:
        early = load_recipe("toy_stories/no_cot", [*QUICK, *small, f"model.path={begin}", space])
        begin = train(early, folder / "early")
    return [*small, f"model.path={begin}", space]


def with_films(folder, recipe, model):
    """Overrides for recipes on film frames: data set, language model and CLIP are folders on this machine."""
    rows = [_film(number) for number in range(STORIES)]
    columns = datasets.Features(
        {**datasets.Dataset.from_list(rows[:1]).features, "images": datasets.List(datasets.Image())}
    )
    data = {split: datasets.Dataset.from_list(rows, features=columns) for split in ("train", "test")}
    datasets.DatasetDict(data).save_to_disk(folder / "data")
    clip = _clip(folder / "clip", model)
    given = [
        f"task.dataset={folder}/data", f"task.images={folder}/images", f"task.splits={folder}/splits.json",
        f"model.vision.path={clip}", f"model.vision.cache={folder}/features", "model.vision.fusion.heads=2",
        f"model.embedding_heads.space={clip}", f"train.batch_size={STORIES}",
    ]  # fmt: skip
    if recipe.model.vision.projector["name"] == "queries":
        given.append("model.vision.projector.heads=2")
    if recipe.adversary is None:
        return [*given, f"model.path={model}"]
    warmup = load_recipe("stories/warmup", [*given, f"model.path={model}", "train.epochs=1", "train.save=end"])
    return [*given, f"model.path={train(warmup, folder / 'warmup')}"]


def _film(number):
    frames = []
    for frame in range(5):
        buffer = io.BytesIO()
        Image.new("RGB", (48, 40), (8 * number, 50 * frame, 90)).save(buffer, "PNG")
        frames.append({"bytes": buffer.getvalue(), "path": None})
    story = " ".join(f"<gdi image{frame}> Ann takes step {frame} of {number}. </gdi>" for frame in range(1, 6))
    return {
        "story_id": str(number), "images": frames, "frame_count": 5, "story": story,
        "chain_of_thought": "## Narrative Structure\n| Narrative Phase | Description | Images |\n"
        "|---|---|---|\n| Introduction | Ann walks | 1-5 |\n",
    }  # fmt: skip


def _clip(folder, model):
    """A CLIP with random weights and the words of a language model."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer = caption_tokenizer(tokenizer)
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    end = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    text = {**small, **end, "vocab_size": len(tokenizer), "max_position_embeddings": 77}
    seen = {**small, "image_size": 32, "patch_size": 16}
    CLIPModel(CLIPConfig(text_config=text, vision_config=seen, projection_dim=8)).save_pretrained(folder)
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
