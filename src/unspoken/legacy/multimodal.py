"""The YAML files of MultiCoCo (GPT-2 with CLIP): keys of the released Coconut, and a few of its own.

    model_id: gpt2                      ->  model: {path: gpt2, vision: {path: openai/clip-vit-base-patch32, ...}}
    train_path: A/aokvqa_train.json         task: {name: aokvqa, train: A/aokvqa_train.json, images: A, ...}
    resume: 10                              train: {first_epoch: 10}, model: {weights: .../checkpoint_10.pt}

Most of these files have no key of their own; what they are shows in the names of their data files.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from unspoken.legacy.released import KEYS, MODES, Translator

CLIP = "openai/clip-vit-base-patch32"
"""The encoder of the original, where the file names none."""

_OWN = frozenset({"clip_id", "batch_size_eval", "max_length", "load_4bit", "use_flash_attention_2"})
_FITTED = ("n_latents", "latent_dim", "latent_lr", "e_steps")

MULTIMODAL_KEYS = KEYS | _OWN | set(_FITTED)
"""Every key of a file of MultiCoCo."""

_FORMATS: Mapping[str, Mapping[str, Any]] = {
    # steps and answers as the original has them; it reads rows with two equal choices too
    "aokvqa": {"rationale": "each", "answer": "label", "repeated_choices": "keep"},
    "scienceqa": {"answer": "text", "repeated_choices": "keep"},
}


def is_multimodal(values: Mapping[str, Any]) -> bool:
    """Whether a flat file is one of MultiCoCo: it names CLIP, or its data files name a data set with images."""
    return "clip_id" in values or _task(values) is not None


class MultimodalTranslator(Translator):
    """What is said of a file of the released Coconut, and what images change."""

    known: ClassVar[frozenset[str]] = MULTIMODAL_KEYS
    published_processes: ClassVar[int | None] = None

    def check_keys(self) -> None:
        """As there; and keys of a method that is not offered."""
        super().check_keys()
        fitted = [key for key in _FITTED if key in self.values]
        if fitted:
            self.problems.append(
                f"{', '.join(fitted)}: vectors fitted to each training row with its answer, which a new question does "
                "not have; remove them, and the thoughts are Coconut's"
            )
        if _task(self.values) is None:
            self.problems.append(
                "val_path: neither it nor train_path says aokvqa or scienceqa, by which the form of the rows is known; "
                "rename the files, or write a recipe with sections"
            )

    def mode(self) -> str | None:
        """The flag that is set; without any, as in the later files, Coconut where there are stages."""
        if any(mode in self.values for mode in MODES):
            return super().mode()
        return "coconut" if {"epochs_per_stage", "max_latent_stage"} <= self.values.keys() else "cot"

    def method(self, mode: str) -> None:
        """As there; an answer that no key gives has no origin."""
        super().method(mode)
        if mode not in self.values:
            del self.origins["method.name"]

    def model(self) -> None:
        """The decoder, and a frozen encoder whose pooled features are one slot."""
        super().model()
        path = CLIP if self.values.get("clip_id") is None else self.values["clip_id"]
        self.recipe["model"]["vision"] = {"path": path, "features": "pooled"}
        self._note("clip_id", f"-> model.vision.path: {path}")
        if self.values.get("clip_id") is not None:
            self.origins["model.vision.path"] = "clip_id"
        self.said["model_id"] += (
            f"; an image is one slot before the question, what {path} makes of it (model.vision), where the original "
            "adds it to the first word"
        )

    def task(self) -> None:
        """The data, in the form that the names of the files say, with steps and answers as in the original."""
        name = _task(self.values)
        assert name is not None, "check_keys has left a problem"
        images = Path(str(self.values["train_path"])).expanduser().parent
        self.recipe["task"] = {"name": name, "images": str(images), **_FORMATS[name]}
        self._move("train_path", "task.train")
        self._move("val_path", "task.validation")
        self.origins["task.images"] = "train_path"
        self.said["train_path"] += (
            f"; images are read in {images} alone, by their paths in the rows; task.images=FOLDER names another folder"
        )
        if name == "aokvqa":
            self.said["train_path"] += (
                ", task.image_paths=name takes the file names alone; each rationale is a step, though they are no chain"
            )
        self.said["val_path"] += f"; task.name: {name}, by the names of these files"

    def train(self, world_size: int) -> None:
        """Optimisation, and what is known of later files."""
        super().train(world_size)
        if self.values.get("bf16") is False:
            self.said["bf16"] += "; the original trains in fp16 on a GPU, as train.precision=fp16 does"
        if self.values.get("reset_optimizer") is None:
            self.recipe["train"]["reset_optimizer"] = "never"
            self.said["lr"] += "; with train.reset_optimizer: never, as in the original"
        self._move("batch_size_eval", "evaluate.batch_size")

    def _resume(self) -> None:
        """`resume: N` loads `save_path/name/checkpoint_N.pt` and goes on with epoch N."""
        number, given = self.values.get("resume"), self.values.get("load_model_path")
        if self.values.get("only_eval") or given is not None or not number:
            super()._resume()
            return
        file = self.directory / f"checkpoint_{number}.pt"
        if not file.is_file():
            self.problems.append(
                f"resume: {file} does not exist, and the original would begin anew without a word; put it there, or "
                "set resume: 0 (a run of ours goes on with --resume)"
            )
            return
        self._move("resume", "train.first_epoch")
        self._set("model.weights", str(file))
        self.origins["model.weights"] = "resume"
        self.said["resume"] += f", model.weights: {file}; give the run another directory with --out"

    def without_effect(self) -> None:
        """What remains."""
        super().without_effect()
        self._note("max_length", "has no effect; no row is cut off, and one that does not fit the model is named")
        self._note("load_4bit", "has no effect; model.lora={rank: 16} trains with less memory")
        self._note("use_flash_attention_2", "has no effect")


def _task(values: Mapping[str, Any]) -> str | None:
    """The data set that the names of the files say, that of the validation file first."""
    for key in ("val_path", "train_path"):
        folded = Path(str(values.get(key))).name.casefold().replace("-", "").replace("_", "")
        for name in _FORMATS:
            if name in folded:
                return name
    return None
