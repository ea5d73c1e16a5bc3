"""Reading YAML that people write: strict where YAML is generous, and every mistake with its line.

Only text, numbers, true, false, null, lists and mappings are read, by the rules of YAML 1.2: `1e-4` is a number, `no`
is a text. Repeated keys, foreign tags, merge keys and aliases that expand without end are refused.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from unspoken.errors import DataError, RecipeError
from unspoken.files import read_text

MAX_BYTES = 2**20
MAX_VALUES = 20_000
"""Values of a document after its aliases are written out; no recipe comes near, a bomb passes it at once."""
MAX_SHOWN = 20


class Document(NamedTuple):
    """A YAML mapping, and where each of its keys stands.

    Attributes:
        values: What the file says.
        lines: The line of each key, counted from 1, by its dotted name (`train.epochs`).
    """

    values: dict[str, Any]
    lines: Mapping[str, int]


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        RecipeError: See `read_document`.
    """
    return read_document(path).values


def read_document(path: Path) -> Document:
    """The mapping in a YAML file, with the line of each key.

    Raises:
        RecipeError: The file cannot be read, is larger than 1 MB, is not UTF-8, or see `parse_document`.
    """
    try:
        text = read_text(path, limit=MAX_BYTES)
    except DataError as error:
        problem = str(error).removeprefix(f"{path} ")
        if "is not UTF-8" in problem and path.read_bytes()[:2] in (b"\xff\xfe", b"\xfe\xff"):
            problem = "is UTF-16 text; save it as UTF-8"
        raise RecipeError(str(path), [problem]) from error
    return parse_document(text, str(path))


def parse_yaml(text: str, where: str) -> dict[str, Any]:
    """The mapping in a YAML text; see `parse_document`."""
    return parse_document(text, where).values


def parse_document(text: str, where: str) -> Document:
    """The mapping in a YAML text, with the line of each key.

    Args:
        text: The text.
        where: Its file, for messages.

    Raises:
        RecipeError: It is empty, no mapping, or not YAML as this module reads it; all such places are named.
    """
    node = _compose(text, where)
    if node is None:
        raise RecipeError(where, ["it is empty; write a recipe with a task and a method"])
    if not isinstance(node, yaml.MappingNode):
        kind = "a list" if isinstance(node, yaml.SequenceNode) else "a single value"
        raise RecipeError(where, [f"line {_line(node)}: expected a mapping (key: value), found {kind}"])
    reader = _Reader()
    values = _read(reader, node, where)
    return Document(values, reader.lines)


def parse_value(text: str, where: str) -> Any:
    """One YAML value, such as the right side of `train.learning_rate=1e-4`; nothing is null.

    Raises:
        RecipeError: It is not YAML as this module reads it.
    """
    node = _compose(text, where)
    return None if node is None else _read(_Reader(), node, where)


def to_yaml(values: Mapping[str, Any]) -> str:
    """Plain values as a YAML text that `parse_yaml` reads back."""
    text: str = yaml.dump(dict(values), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return text


class _Loader(yaml.SafeLoader):
    """PyYAML's parser with the plain values of YAML 1.2: `no` is text, `010` is ten, `1e-4` is a number."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 (PyYAML fills it class by class)


_CORE = "tag:yaml.org,2002:"
_FLOAT = r"[-+]?(\d[\d_]*\.[\d_]*([eE][-+]?\d+)?|\.\d[\d_]*([eE][-+]?\d+)?|\d[\d_]*[eE][-+]?\d+|\.(inf|Inf|INF))"
_Loader.add_implicit_resolver(f"{_CORE}null", re.compile(r"^(~|null|Null|NULL|)$"), ["~", "n", "N", ""])
_Loader.add_implicit_resolver(f"{_CORE}bool", re.compile(r"^(true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
_Loader.add_implicit_resolver(f"{_CORE}int", re.compile(r"^[-+]?\d[\d_]*$"), list("-+0123456789"))
_Loader.add_implicit_resolver(f"{_CORE}float", re.compile(rf"^({_FLOAT}|\.(nan|NaN|NAN))$"), list("-+0123456789."))


class _Dumper(yaml.SafeDumper):
    """Quotes what `_Loader` would not read as text, and writes shared values out."""

    yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers

    def ignore_aliases(self, data: Any) -> bool:
        """See `yaml.SafeDumper`; there are no aliases."""
        return True

    def represent_list(self, data: Any) -> yaml.SequenceNode:
        """See `yaml.SafeDumper`; lists stand on one line."""
        node: yaml.SequenceNode = self.represent_sequence(f"{_CORE}seq", data, flow_style=True)
        return node


_Dumper.add_representer(list, _Dumper.represent_list)


def _compose(text: str, where: str) -> yaml.Node | None:
    if "\0" in text:
        raise RecipeError(where, ["it holds NUL characters, as UTF-16 text does; save it as UTF-8"])
    try:
        loader = _Loader(text)
        node: yaml.Node | None = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        raise RecipeError(where, [_syntax_problem(error)]) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise RecipeError(
            where, [f"line {line}: the character U+{error.character:04X} is not allowed; remove it"]
        ) from error
    except RecursionError as error:
        raise RecipeError(
            where, ["it is nested too deeply to be a recipe; write sections of plain settings"]
        ) from error
    return node


def _syntax_problem(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
    context = f" ({error.context})" if error.context else ""
    advice = "mend the syntax there"
    if "'\\t'" in str(error.problem):
        advice = "indent with spaces, YAML allows no tabs"
    elif isinstance(error, yaml.composer.ComposerError) and "single document" in str(error.context):
        advice = "keep one document (remove `---` between them)"
    return f"{place}{error.problem}{context}; {advice}"


def _read(reader: "_Reader", node: yaml.Node, where: str) -> Any:
    try:
        value = reader.read(node, "")
    except RecursionError:
        reader.problems.append(f"line {_line(node)}: an alias (*name) refers to itself; write the value out")
    if reader.problems:
        raise RecipeError(where, reader.problems[:MAX_SHOWN])
    return value


@dataclass(slots=True)
class _Reader:
    """Turns nodes into values, writing aliases out, and collects what is wrong on the way."""

    problems: list[str] = field(default_factory=list)
    lines: dict[str, int] = field(default_factory=dict)
    num_values: int = 0

    def read(self, node: yaml.Node, key: str) -> Any:
        self.num_values += 1
        if self.num_values > MAX_VALUES:
            if self.num_values == MAX_VALUES + 1:
                self.problems.append(
                    f"line {_line(node)}: more than {MAX_VALUES:,} values once the aliases (*name) are written out; "
                    "write a recipe by hand"
                )
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, key)
        if isinstance(node, yaml.SequenceNode):
            self._check_tag(node, "seq")
            items = []
            for item in node.value:
                if self.num_values > MAX_VALUES:
                    break
                items.append(self.read(item, key))
            return items
        assert isinstance(node, yaml.ScalarNode), "YAML has three kinds of nodes"
        return self._scalar(node)

    def _mapping(self, node: yaml.MappingNode, key: str) -> dict[str, Any]:
        self._check_tag(node, "map")
        values: dict[str, Any] = {}
        first_line: dict[str, int] = {}
        for key_node, value_node in node.value:
            if self.num_values > MAX_VALUES:
                break
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != f"{_CORE}str":
                found = f"{key_node.value!r}" if isinstance(key_node, yaml.ScalarNode) else "a list or mapping"
                self.problems.append(f"line {_line(key_node)}: a key must be text, found {found}; put it in quotes")
                continue
            name, line = key_node.value, _line(key_node)
            if name == "<<":
                self.problems.append(f"line {line}: merge keys (<<) are not read; write the keys out")
            elif name in values:
                self.problems.append(
                    f"line {line}: the key {name!r} stands there again, first in line {first_line[name]}; keep one"
                )
            dotted = f"{key}.{name}" if key else name
            first_line.setdefault(name, line)
            self.lines.setdefault(dotted, line)
            values[name] = self.read(value_node, dotted)
        return values

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        text, kind = node.value, node.tag.removeprefix(_CORE)
        try:
            match kind:
                case "str":
                    return text
                case "null":
                    return None
                case "bool":
                    return {"true": True, "false": False}[text.lower()]
                case "int":
                    return int(text.replace("_", ""))
                case "float":
                    return _float(text)
        except (KeyError, ValueError):
            self.problems.append(f"line {_line(node)}: {_brief(text)} is not of type {kind}; mend the value or its tag")
            return None
        self._check_tag(node, "")
        return None

    def _check_tag(self, node: yaml.Node, expected: str) -> None:
        if node.tag != f"{_CORE}{expected}":
            tag = node.tag.replace(_CORE, "!!")
            self.problems.append(f"line {_line(node)}: the tag {_brief(tag)} is not read here; remove it")


def _float(text: str) -> float:
    plain = text.replace("_", "").lower()
    sign = -1.0 if plain.startswith("-") else 1.0
    if plain.lstrip("+-") == ".inf":
        return sign * math.inf
    return math.nan if plain == ".nan" else float(plain)


def _line(node: yaml.Node) -> int:
    line: int = node.start_mark.line
    return line + 1


def _brief(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
