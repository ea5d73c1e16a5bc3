"""Every key of a file of the released Coconut, section by section: what it becomes in a recipe, in a line."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar

from unspoken.tasks.read_rows import shown

MODES = ("coconut", "cot", "no_thoughts", "no_cot")

KEYS = frozenset(
    (
        *MODES, "project", "save_path", "name", "only_eval", "c_thought", "epochs_per_stage", "max_latent_stage",
        "pad_latent_to_max", "save_only_improve", "uniform_prob", "model_id", "load_model_path", "seed", "resume",
        "bf16", "train_path", "val_path", "reset_optimizer", "batch_size_training", "debug",
        "gradient_accumulation_steps", "num_epochs", "lr", "weight_decay",
    )
)  # fmt: skip
"""Every key of a released file."""

_REQUIRED = ("model_id", "train_path", "val_path", "num_epochs", "lr", "batch_size_training")
_CURRICULUM = ("epochs_per_stage", "max_latent_stage")
_FLAGS = (
    *MODES, "only_eval", "pad_latent_to_max", "save_only_improve", "bf16", "reset_optimizer", "debug",
)  # fmt: skip


@dataclass(slots=True)
class Translator:
    """Translates the keys section by section, and notes what became of each."""

    known: ClassVar[frozenset[str]] = KEYS
    """Keys that such a file may have."""
    published_processes: ClassVar[int | None] = 4
    """Processes of the published runs, where they had several."""

    values: dict[str, Any]
    recipe: dict[str, dict[str, Any]] = field(default_factory=lambda: {"model": {}, "train": {}})
    said: dict[str, str] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    directory: Path = Path("runs/run")

    def check_keys(self) -> None:
        """Unknown keys, flags that are no truth values, missing keys."""
        for key in self.values.keys() - self.known:
            close = get_close_matches(key, self.known, n=1)
            hint = f"did you mean {close[0]}?" if close else "remove it, or write a recipe with sections"
            self.problems.append(f"{key}: the released code has no such key; {hint}")
        for key in _FLAGS:
            if not isinstance(self.values.get(key), bool | None):
                self.problems.append(f"{key}: it is {shown(self.values[key])}; write True or False, without quotes")
        needed = (*_REQUIRED, *(_CURRICULUM if self.values.get("coconut") or self.values.get("no_thoughts") else ()))
        for key in needed:
            if self.values.get(key) is None:
                self.problems.append(f"{key}: it is missing; the released code needs it too")

    def mode(self) -> str | None:
        """The one flag that is set."""
        chosen = [mode for mode in MODES if self.values.get(mode) is True]
        if len(chosen) > 1:
            self.problems.append(f"{' and '.join(chosen)} are True together; set one of them, the others to False")
        elif not chosen:
            self.problems.append(f"none of {', '.join(MODES)} is True; set the one that names the method")
        return chosen[0] if len(chosen) == 1 else None

    def method(self, mode: str) -> None:
        """The mode flags and the curriculum."""
        name = "coconut" if mode == "no_thoughts" else mode
        self.recipe["method"] = {"name": name}
        for flag in MODES:
            if flag in self.values:
                self.said[flag] = f"{flag}: {self.values[flag]} -> " + (
                    f"method.name: {name}" if flag == mode else f"nothing, the method is {name}"
                )
        self.origins["method.name"] = mode
        if name != "coconut":
            for key in ("c_thought", *_CURRICULUM, "pad_latent_to_max", "uniform_prob"):
                self._note(key, f"has no effect, as {mode} has no stages")
            return
        if mode == "no_thoughts":
            self.recipe["method"] |= {"thoughts_per_step": 0, "markers": False}
            self.said[mode] += ", thoughts_per_step: 0, markers: false"
            self._note("c_thought", "has no effect, as no_thoughts leaves no thought")
        else:
            if self.values.get("c_thought") == 0:
                self.problems.append(
                    "c_thought: 0 with coconut: True leaves no thought; set no_thoughts: True instead, or c_thought: 1"
                )
            self._move("c_thought", "method.thoughts_per_step")
        if self.values.get("epochs_per_stage") == 0:
            self.problems.append("epochs_per_stage: 0 divides by zero in the released code; set it to 1 or more")
        self._move("epochs_per_stage", "method.epochs_per_stage")
        self._move("max_latent_stage", "method.max_stage")
        self._move("uniform_prob", "method.mix")
        self._move("pad_latent_to_max", "method.pad_thoughts")
        if self.values.get("pad_latent_to_max") is False:
            self.said["pad_latent_to_max"] += (
                "; the released code then trains rows with few steps on more thoughts than it evaluates them with, "
                "here both use the smaller number; method.released_counts=true trains as released"
            )

    def model(self) -> None:
        """Where the weights come from."""
        path = self.values.get("load_model_path")
        if path is None:
            self._note("load_model_path", "has no effect, training begins with model_id")
            self._move("model_id", "model.path")
            return
        if not isinstance(path, str) or not Path(path).exists():
            self.problems.append(
                f"load_model_path: {shown(path)} does not exist; put the path of your checkpoint there"
            )
        elif Path(path).is_dir():
            self._move("load_model_path", "model.path")
            self._note("model_id", "has no effect, the model is read from load_model_path")
        else:
            self._move("model_id", "model.path")
            self._move("load_model_path", "model.weights")

    def task(self) -> None:
        """The data, and how answers are scored: by the released rule on the name of the validation file."""
        has_numbers = "gsm" in str(self.values.get("val_path"))
        self.recipe["task"] = {"name": "custom", "max_answer_tokens": 64 if has_numbers else 128}
        if has_numbers:
            self.recipe["task"]["scoring"] = "number"
        self._move("train_path", "task.train")
        self._move("val_path", "task.validation")
        compared = "as numbers, up to 64 tokens" if has_numbers else "as texts, up to 128 tokens"
        self.said["val_path"] += f"; answers are compared {compared}"

    def train(self, world_size: int) -> None:
        """Optimisation. The released batch size is that of a process and a forward pass; ours is that of a step."""
        batch, accumulation = self.values["batch_size_training"], self.values.get("gradient_accumulation_steps")
        accumulation = 1 if accumulation is None else accumulation
        sizes = {"batch_size_training": batch, "gradient_accumulation_steps": accumulation}
        wrong = [key for key, size in sizes.items() if not isinstance(size, int) or isinstance(size, bool) or size < 1]
        for key in wrong:
            self.problems.append(f"{key}: it is {shown(sizes[key])}; it must be a whole number, 1 or more")
        if not wrong:
            total = batch * accumulation * world_size
            self.recipe["train"] |= {"batch_size": total, "micro_batch_size": batch}
            self.origins |= {"train.batch_size": "batch_size_training", "train.micro_batch_size": "batch_size_training"}
            processes = "1 process" if world_size == 1 else f"{world_size} processes"
            product = f"{batch} rows x {accumulation} accumulated x {processes} = train.batch_size: {total}"
            published = self.published_processes or world_size
            self.said["batch_size_training"] = (
                f"batch_size_training: {batch} -> train.micro_batch_size: {batch}; {product}"
                + ("" if world_size == published else f" (the published runs had {published})")
            )
            self._note("gradient_accumulation_steps", "-> train.batch_size, see batch_size_training")
        self._move("num_epochs", "train.epochs")
        self._move("lr", "train.learning_rate")
        self._move("weight_decay", "train.weight_decay")
        self._move("seed", "train.seed")
        self._choose("bf16", "train.precision", {True: "bf16", False: "fp32"})
        if self.values.get("bf16"):
            self.said["bf16"] += "; that is autocast with weights in fp32, the released code casts the weights too"
        self._choose("reset_optimizer", "train.reset_optimizer", {True: "epoch", False: "never"})
        if self.values.get("reset_optimizer"):
            self.said["reset_optimizer"] += ", as the released code does; the paper says at every stage"
        self._choose("save_only_improve", "train.save", {True: "improvement", False: "epoch"})
        self._resume()

    def _resume(self) -> None:
        if self.values.get("only_eval"):
            path = self.values.get("load_model_path")
            is_run = isinstance(path, str) and Path(path).is_dir()
            remark = "has no effect, the run at load_model_path knows its stage"
            self._note("resume", remark if is_run else "-> the stage of the evaluation: resume // epochs_per_stage")
            return
        self._move("resume", "train.first_epoch")
        if self.values.get("resume"):
            self.said["resume"] += "; training begins there in the schedule, nothing is continued"

    def run(self) -> None:
        """The run directory; it stays inside `save_path`."""
        name, folder = self.values.get("name"), self.values.get("save_path")
        name = "run" if name is None else name
        if not isinstance(name, str) or not _is_file_name(name):
            self.problems.append(
                f"name: {shown(name)} cannot name a run directory; use up to 200 letters, digits, - and _, not - first"
            )
            name = "run"
        if folder is not None and (not isinstance(folder, str) or not folder.strip() or "\n" in folder):
            self.problems.append(f"save_path: {shown(folder)} is no path; write the folder that holds the runs")
            folder = None
        self.directory = Path(folder or "runs").expanduser() / name
        self._note("save_path", f"-> --out {self.directory}")
        self._note("name", f"-> --out {self.directory}")

    def without_effect(self) -> None:
        """What remains."""
        self._note("project", "has no effect; train.report_to=wandb logs to Weights & Biases")
        self._note("debug", "has no effect; to try something out, train fewer epochs: train.epochs=1")
        is_evaluation = self.values.get("only_eval")
        self._note("only_eval", "-> load_model_path is evaluated on val_path" if is_evaluation else "-> training")

    def _move(self, old: str, new: str) -> None:
        """Put a value into the recipe as it is."""
        if old not in self.values:
            return
        value = self.values[old]
        if value is None:
            self._note(old, "has no effect, the default holds")
            return
        self._set(new, value)
        self.origins[new] = old
        self.said[old] = f"{old}: {_plain(value)} -> {new}: {_plain(value)}"

    def _choose(self, old: str, new: str, names: Mapping[bool, str]) -> None:
        """Put the name that a flag stands for into the recipe."""
        flag = self.values.get(old)
        if flag is None:
            self._note(old, "has no effect, the default holds")
            return
        self._set(new, names[bool(flag)])
        self.origins[new] = old
        self.said[old] = f"{old}: {flag} -> {new}: {names[bool(flag)]}"

    def _set(self, key: str, value: Any) -> None:
        section, _, name = key.partition(".")
        self.recipe.setdefault(section, {})[name] = value

    def _note(self, key: str, remark: str) -> None:
        if key in self.values:
            self.said[key] = f"{key}: {_plain(self.values[key])} {remark}"


def _is_file_name(name: str) -> bool:
    return (
        name.isprintable()
        and 0 < len(name.encode()) <= 200
        and name == name.strip()
        and name[0] not in "-."
        and not set('/\\:*?"<>|') & set(name)
        and name.upper() not in {"CON", "NUL", "PRN", "AUX"}
    )


def _plain(value: Any) -> str:
    return "None" if value is None else str(value)
