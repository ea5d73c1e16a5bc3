"""Settings: frozen, typed and strict. An unknown key is an error; every default is visible here or in its class."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveInt, field_validator

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Place = Annotated[str, AfterValidator(os.path.expanduser)]
"""A folder, or a name on the hub."""


class Settings(BaseModel):
    """Base of every settings record: frozen, unknown keys refused, the text under a field is its documentation."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True)

    @field_validator("*")
    @classmethod
    def _at_home(cls, value: Any) -> Any:
        """Paths with `~` written out; a home that there is not stays as it is, and is no file."""
        return Path(os.path.expanduser(value)) if isinstance(value, Path) else value


class LoraSettings(Settings):
    """Low-rank adapters on every linear layer (arXiv:2106.09685); embeddings of the new tokens stay trainable."""

    rank: PositiveInt = 16
    """Rank of each adapter."""
    alpha: Positive = 32.0
    """Scale of each adapter, divided by its rank."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout in front of each adapter."""


class FusionSettings(Settings):
    """A small transformer over the slots of all images of a row, which tells the images apart by their order."""

    layers: PositiveInt = 2
    """Blocks."""
    heads: PositiveInt = 4
    """Attention heads; the model's width is a multiple of them."""
    pool: Literal["none", "mean", "attention"] = "none"
    """Every slot keeps what came of it, or one vector, the mean of all or what a learned query reads of them, is
    mapped to all slots: a prefix."""
    most_images: PositiveInt = 16
    """Images of a row, at most: each has a place of its own."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout in its blocks."""


class EmbeddingHeadsSettings(Settings):
    """Two guesses beside the answer, from the state that its first word is written from: what the next image looks
    like and what the answer means, as vectors in the space that a CLIP has of both.
    """

    space: Place
    """Hugging Face id or folder of a CLIP, or a run of method `contrastive`; it stays as it is."""
    revision: str | None = None
    """Commit or tag of `space`, when it is a Hugging Face id."""
    image_loss: Literal["mse", "cosine", "info_nce"] = "mse"
    """Of the guess about the next image: squared error a number, 1 - cosine, or the cross entropy of choosing the
    right one among those of the step, which must then be one forward pass."""
    text_loss: Literal["mse", "cosine", "info_nce"] = "cosine"
    """Of the guess about the answer."""
    image_weight: NonNegative = 0.5
    """Weight of the first beside the cross entropy of the words."""
    text_weight: NonNegative = 0.5
    """Weight of the second."""
    temperature: Positive = 0.07
    """Of `info_nce`."""
    shared: bool = False
    """One guess for both instead of two."""
    hidden: PositiveInt = 256
    """Width of the layer between state and guess."""

    @property
    def compares_rows(self) -> bool:
        """Whether a loss depends on which rows are in a forward pass together."""
        losses = ((self.image_loss, self.image_weight), (self.text_loss, self.text_weight))
        return any(loss == "info_nce" and weight > 0 for loss, weight in losses)


class VisionSettings(Settings):
    """Images before the question: an encoder, pretrained (`path`) or new, and how its features become slots."""

    path: Place | None = None
    """Hugging Face id or local folder of a vision encoder: CLIP, SigLIP, DINOv2."""
    revision: str | None = None
    """Commit or tag of `path`, when it is a Hugging Face id."""
    layers: PositiveInt = 2
    """Blocks of a new encoder."""
    heads: PositiveInt = 4
    """Attention heads of a new encoder."""
    width: PositiveInt = 128
    """Width of a new encoder, a multiple of `heads`."""
    image_size: PositiveInt = 64
    """Pixels on each side that a new encoder sees."""
    patch_size: PositiveInt = 16
    """Pixels on each side of a patch of a new encoder."""
    features: Literal["patches", "pooled", "joint"] = "patches"
    """One vector for each patch, or one for the whole image; or that vector in the space which a CLIP has of images and
    texts, and behind it, where a task tells stories, the vector of what is said of the image."""
    slots: PositiveInt | None = None
    """Positions that an image takes; default: one for each vector."""
    projector: dict[str, Any] = Field(default_factory=lambda: {"name": "linear"})
    """From features to slots: `linear`, `mlp` (with `hidden`), or `queries` (with `heads`) for any number of slots."""
    fusion: FusionSettings | None = None
    """Let the images of a row meet before the words."""
    train_encoder: bool = False
    """Let the encoder learn, as part of the model; otherwise each image is encoded once and kept in `cache`."""
    cache: Path = Field(default=Path("data/features"), validate_default=False)
    """Folder of features; they are kept by encoder and by content of the image files."""


class ModelSettings(Settings):
    """The decoder: a checkpoint (`path`) or a new one from scratch (`arch`, `layers`, `heads`, `width`)."""

    path: Place | None = None
    """Hugging Face id or local folder of a causal language model, or a run directory of Unspoken."""
    weights: Path | None = None
    """A `checkpoint_N` file of the released Coconut for the model at `path`; it is read without unpickling objects."""
    revision: str | None = None
    """Commit or tag of `path`, when it is a Hugging Face id."""
    arch: Literal["gpt2", "llama", "qwen2", "qwen3", "mistral", "gemma2", "smollm3"] = "gpt2"
    """Architecture of a model from scratch; ignored when `path` is set."""
    layers: PositiveInt = 2
    heads: PositiveInt = 4
    width: PositiveInt = 128
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout of a model from scratch."""
    max_positions: PositiveInt = 1024
    """Longest sequence of a model from scratch."""
    init_std: Positive = 0.02
    """Standard deviation of new weights. Small models learn to follow pointers twice as fast with 0.08."""
    tokenizer: Place | None = None
    """Hugging Face id or folder of the tokenizer; default: the model's; from scratch, one word of the task a token."""
    lora: LoraSettings | None = None
    """Train adapters instead of all weights; they are merged into the model that the run leaves behind."""
    train_decoder: bool = True
    """Whether the language model learns; otherwise only what stands around it: eyes, fusion, heads, thought source."""
    vision: VisionSettings | None = None
    """Let the model see the images of the rows."""
    embedding_heads: EmbeddingHeadsSettings | None = None
    """Let it guess what comes next as vectors, beside the words."""
    marker_init: Literal["mean"] | str = "<<"
    """New token embeddings: a copy of this token's (Coconut: `<<`), or `mean`; `mean` also where it is no token."""
    checkpoint_passes: bool = False
    """Recompute each pass in the backward pass: less memory, about a third more time, the same bits."""


class AdversarySettings(Settings):
    """A judge of captions beside the supervised loss, whose judgement reaches the model that writes them."""

    signal: Literal["policy_gradient", "straight_through", "embedding"] = "embedding"
    """How it reaches the model: through the probability of captions that were drawn, through words that are drawn
    along the right caption and have a gradient, or through the guess about the answer."""
    fakes: Literal["fresh", "cached"] = "fresh"
    """Captions that the discriminator sees as false: drawn at each of its updates, or for some rows once an epoch."""
    negatives: Literal["generated", "generated_and_hard"] = "generated"
    """What it sees as false: what the model makes, or for one half captions of other moments: of the same story, and
    those of other rows that are nearest to the right one."""
    judge: Literal["discriminator", "clip_margin"] = "discriminator"
    """Of `policy_gradient`: the discriminator, or how much nearer a caption is to its image than to images like it."""
    weight: NonNegative = 0.2
    """Of the judgement in the loss; with 0 the discriminator learns, and nobody hears of it."""
    feature_matching: NonNegative = 0.0
    """Weight of the mean distance (L1) between what true and made captions are on average in its last layer."""
    every: PositiveInt = 1
    """Steps from one update of the discriminator to the next."""
    learning_rate: Positive = 2e-4
    """Of its AdamW."""
    width: Annotated[int, Field(ge=8)] = 512
    """Of its layers."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """In them."""
    samples: Annotated[int, Field(ge=2)] = 4
    """Captions of each row that `policy_gradient` draws, and compares with each other."""
    cached_rows: PositiveInt = 1200
    """Rows of an epoch for which `cached` draws a caption."""
    temperature: Positive = 1.0
    """Of words that are drawn: their logits are divided by it."""


class TrainSettings(Settings):
    """Optimisation. The defaults are Coconut's (arXiv:2412.06769): AdamW, constant 1e-4, effective batch 128."""

    epochs: PositiveInt = 50
    first_epoch: Count = 0
    """Epoch of the stage schedule to begin with: a run that starts from a trained model skips the stages before it."""
    batch_size: PositiveInt = 128
    """Rows per optimizer step over all processes and accumulated micro-batches."""
    micro_batch_size: PositiveInt | None = None
    """Rows per forward pass of one process; default: the whole share of the process."""
    learning_rate: Positive = 1e-4
    lr_schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup_steps: Count = 0
    weight_decay: NonNegative = 0.01
    betas: tuple[Probability, Probability] = (0.9, 0.999)
    max_grad_norm: NonNegative = 0.0
    """Clip the gradient to this norm; 0 does not clip (Coconut)."""
    reset_optimizer: Literal["never", "stage", "epoch"] = "epoch"
    """When Adam forgets its moments. The released code does so every epoch, the paper at every stage."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Autocast precision; weights stay in fp32."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    save: Literal["epoch", "improvement", "end"] = "epoch"
    """When to write a checkpoint: after every epoch, when validation accuracy improves, or only at the end."""
    keep_checkpoints: PositiveInt | None = None
    """Valid checkpoints to keep, best and newest always among them; default: all."""
    validate_every: PositiveInt = 1
    """Epochs between validations by generation; the last epoch is always validated."""
    validation_rows: PositiveInt | None = None
    """Rows of the validation set to generate for during training; default: all."""
    log_every: PositiveInt = 10
    """Optimizer steps between lines of metrics.jsonl."""
    workers: Count = 0
    """Processes that lay out batches ahead of training; with 0 it does so itself. The batches are the same."""
    report_to: str = "none"
    """Experiment tracker, as in transformers: none, tensorboard, wandb, trackio ..."""
    trainer: dict[str, Any] = Field(default_factory=dict)
    """Further fields of transformers.TrainingArguments, e.g. `{fsdp: full_shard}`."""


class EvaluateSettings(Settings):
    """Evaluation by greedy generation, with the thoughts and with them removed."""

    batch_size: PositiveInt = 64
    max_new_tokens: PositiveInt | None = None
    """Longest answer in tokens; default: the task's."""
    controls: tuple[str, ...] = ("zero",)
    """What is taken away, each in its turn: thoughts (zero, removed, mean, noise, another_row) or images (no_image,
    blank_image, another_image, shuffled_images)."""


class DataPaths(Settings):
    """Files of a task that reads its rows."""

    train: Path | None = None
    validation: Path | None = None
    test: Path | None = None
