"""Mistakes in a recipe: a key, and what is wrong with it, what was found, what to do."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from unspoken.config import EvaluateSettings, ModelSettings, Settings, TrainSettings
from unspoken.tasks.read_rows import shown


class Problem(NamedTuple):
    """One mistake.

    Attributes:
        key: The dotted name of the setting, e.g. `train.epochs`.
        message: What is wrong, what was found, what to do.
    """

    key: str
    message: str


ELSEWHERE = {
    "c_thought": "method.thoughts_per_step",
    "max_latent_stage": "method.max_stage",
    "pad_latent_to_max": "method.pad_thoughts",
    "uniform_prob": "method.mix",
    "model_id": "model.path",
    "num_epochs": "train.epochs",
    "num_train_epochs": "train.epochs",
    "lr": "train.learning_rate",
    "wd": "train.weight_decay",
    "bf16": "train.precision: bf16",
    "fp16": "train.precision: fp16",
    "gradient_accumulation_steps": "train.batch_size / train.micro_batch_size",
    "per_device_train_batch_size": "train.micro_batch_size",
    "max_steps": "train.epochs",
    "hidden_size": "model.width",
    "n_layer": "model.layers",
    "n_head": "model.heads",
    "n_embd": "model.width",
}
"""What a setting is called in the released Coconut or in transformers, and here."""


def settings_problems(
    error: ValidationError, kind: type[Settings], section: str, values: Mapping[str, Any], owners: Mapping[str, str]
) -> list[Problem]:
    """The problems behind a validation error, one for each key.

    Args:
        error: What pydantic found.
        kind: The settings class.
        section: Its section of the recipe.
        values: What the recipe says there.
        owners: Which other choice of this section has a key (`thoughts_per_step` -> `coconut`).
    """
    found: dict[str, list[str]] = {}
    for detail in error.errors(include_url=False):
        place = _place(detail, values)
        is_unknown = detail["type"] == "extra_forbidden"
        message = _unknown(place, kind, section, owners) if is_unknown else _message(detail)
        found.setdefault(".".join([section, *map(str, place)]), []).append(message)
    return [Problem(key, _alternatives(messages)) for key, messages in found.items()]


def advice(key: str, known: Sequence[str], section: str = "") -> str:
    """What an unknown key may have meant: another of the same place, else one of another section."""
    if key in ELSEWHERE:
        return f"here it is {ELSEWHERE[key]}"
    close = get_close_matches(key, known, n=1, cutoff=0.7)
    if close:
        return f"did you mean {close[0]}?"
    homes: dict[str, type[Settings]] = {"model": ModelSettings, "train": TrainSettings, "evaluate": EvaluateSettings}
    for home, kind in homes.items():
        near = get_close_matches(key, kind.model_fields, n=1, cutoff=0.7)
        if near and home != section:
            return f"did you mean {home}.{near[0]}?"
    return f"known are {', '.join(known)}"


def _place(detail: ErrorDetails, values: Any) -> list[str | int]:
    """The part of an error's location that names keys of the recipe; the rest names alternatives of a type."""
    place: list[str | int] = []
    for part in detail["loc"]:
        is_key = isinstance(values, Mapping) and part in values
        is_index = isinstance(values, list) and isinstance(part, int) and part < len(values)
        if is_key or is_index:
            values = values[part]
        elif detail["type"] != "missing":
            break
        place.append(part)
    return place


_WANTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false, without quotes",
    "string_type": "a text",
    "path_type": "a path",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping of settings",
    "model_attributes_type": "a mapping of settings",
}


def _message(detail: ErrorDetails) -> str:
    if detail["type"] == "value_error":
        return str(detail["ctx"]["error"])
    if detail["type"] == "missing":
        return "it is missing; set it"
    if detail["type"] == "json_invalid":
        return "it holds half a surrogate pair, which is no text; remove it"
    wanted = _WANTED.get(detail["type"], detail["msg"].removeprefix("Input should be "))
    if detail["type"] == "too_short":
        wanted = f"a list of {detail['ctx']['min_length']} or more"
    message = f"it must be {wanted}" if wanted != detail["msg"] else wanted
    hint = ""
    if detail["type"] == "literal_error" and isinstance(detail["input"], str):
        options = detail["ctx"]["expected"].replace(" or ", ", ").replace("'", "").split(", ")
        close = get_close_matches(detail["input"], options, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
    return f"{message[0].lower()}{message[1:]}; found {shown(detail['input'])}{hint}"


def _alternatives(messages: Sequence[str]) -> str:
    """The alternatives of a union as one message; what was found is said once."""
    wanted = [message.partition("; found")[0] for message in messages]
    first, *others = dict.fromkeys(wanted)
    return " or ".join([first, *(other.removeprefix("it must be ") for other in others)]) + messages[0][len(first) :]


def _unknown(place: Sequence[str | int], kind: type[Settings], section: str, owners: Mapping[str, str]) -> str:
    key = str(place[-1])
    if len(place) > 1:
        return "unknown key; remove it"
    if key in owners:
        name = kind.model_fields["name"].default
        remedy = f"remove it, or replace the whole section: {section}={{name: {name}}}"
        return f"it is a key of {section} {owners[key]}, not of {name}; {remedy}"
    return f"unknown key; {advice(key, list(kind.model_fields), section)}"
