"""What a class of thoughts, memories or schedules is built with: whether the settings are known, and of their types."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

STRICT = ConfigDict(strict=True, allow_inf_nan=False)
_WANTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false, without quotes",
    "string_type": "a text",
    "dict_type": "a mapping",
    "sequence_str": "a list",
    "is_instance_of": "a list",
}


def takes(*kinds: Callable[..., Any]) -> dict[str, Parameter]:
    """The settings that classes are built with; a width is what the model has, and no setting."""
    parameters = [each for kind in kinds for each in inspect.signature(kind).parameters.values()]
    kept = [each for each in parameters if each.kind != Parameter.VAR_KEYWORD and each.name != "width"]
    return {parameter.name: parameter for parameter in kept}


def setting_problems(name: str, chosen: Mapping[str, Any], known: Mapping[str, Parameter]) -> list[str]:
    """What is wrong with the keys and types of settings, `key: what is wrong` each.

    Args:
        name: What they are settings of.
        chosen: The settings without the name.
        known: Those that there are, see `takes`.
    """
    listed = ", ".join(known) or "nothing"
    unknown = [f"{key}: unknown key of {name}, which takes {listed}" for key in chosen if key not in known]
    missing = [
        f"{key}: it is missing; {name} needs it"
        for key, parameter in known.items()
        if key not in chosen and parameter.default is Parameter.empty
    ]
    mistyped = [f"{key}: {why}" for key in chosen if key in known and (why := _mistyped(known[key], chosen[key]))]
    # what seems to be missing may stand there under a wrong name
    return [*(unknown or missing), *mistyped]


def _mistyped(parameter: Parameter, value: Any) -> str | None:
    """What is wrong with the type of a value; classes that say nothing of it take any."""
    if parameter.annotation is Parameter.empty or isinstance(parameter.annotation, str):
        return None
    try:
        TypeAdapter(parameter.annotation, config=STRICT).validate_python(value)
    except ValidationError as error:
        return f"it must be {_alternatives(error.errors(include_url=False))}; found {value!r}"
    return None


def _alternatives(details: Sequence[ErrorDetails]) -> str:
    wanted = [_WANTED.get(each["type"], each["msg"].removeprefix("Input should be ")) for each in details]
    return " or ".join(dict.fromkeys(wanted))
