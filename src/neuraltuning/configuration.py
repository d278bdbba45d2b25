"""Reads YAML configurations into pydantic models, and says in one sentence what is wrong with one.

    load_settings(RunSettings, "configs/quickstart.yaml", overrides=["tuning.steps=20"])

YAML is read by its 1.2 core rules: `1e-3` is a number, `no` is text, only `true` and `false` are booleans; duplicate
keys and aliases are refused. Values are taken as they are (strict): "8" is not a number. Knows no setting by name.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from neuraltuning.errors import InputError


class Settings(BaseModel):
    """Base of all configuration models: unknown keys are refused, a loaded configuration doesn't change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


SettingsT = TypeVar("SettingsT", bound=BaseModel)


def load_settings(model: type[SettingsT], path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> SettingsT:
    """Reads the YAML file at `path`, puts `overrides` over it and validates the result.

    Args:
        model: the pydantic model of the whole file, preferably a `Settings`.
        path: the YAML file.
        overrides: "dotted.key=value" with the value in YAML, later ones over earlier ones: "tuning.steps=20".

    Raises:
        InputError: no such file, no YAML, or a key or value that the model refuses; the message names file and key.
    """
    data = read_mapping(path)
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator:
            raise InputError(f"--set {override}: write a dotted key, an equals sign and a value: tuning.steps=20.")
        put(data, key.strip(), parse_value(text, f"--set {override}"), f"--set {override}", str(path))
    return validate_settings(model, data, str(path), overrides)


def validate_settings(
    model: type[SettingsT], data: dict[str, Any], where: str, overrides: Sequence[str] = ()
) -> SettingsT:
    """The strict, validated `model` of plain `data`.

    Args:
        model: the pydantic model.
        data: what YAML or JSON holds: mappings, lists, text, numbers, booleans, None.
        where: the file (and line) that the data come from, for messages.
        overrides: those "dotted.key=value" that are part of `data`, named instead of `where` if they are at fault.

    Raises:
        InputError: a key or value that the model refuses; the message names place and key.
    """
    try:
        # By way of JSON, strict validation still takes a list for a tuple and text for a path.
        return model.model_validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        raise InputError(_sentence(model, error, where, overrides)) from error


def dump_settings(settings: BaseModel) -> str:
    """The settings as YAML that `load_settings` reads back to an equal object, every key included."""
    values = settings.model_dump(mode="json")
    return yaml.dump(values, Dumper=_CoreDumper, sort_keys=False, allow_unicode=True, width=120)


def read_mapping(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The mapping that a YAML file holds; an empty file holds an empty one.

    Raises:
        InputError: no such file, no YAML, a duplicate key, or something else than a mapping.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"There is no configuration file {path}.") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not a YAML file: it is not UTF-8 text.") from None
    except OSError as error:
        raise InputError(f"The configuration file {path} can't be read: {error.strerror or error}.") from error
    data = _parse(text, str(path))
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise InputError(f"{path} must hold keys with values (key: value), but holds {_describe(data)}.")
    return data


# YAML 1.2 core schema. PyYAML's own rules (1.1) read 1e-3 as text, and `no` as false.
_RESOLVERS = (
    ("tag:yaml.org,2002:null", re.compile(r"~|null|Null|NULL|"), ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:bool", re.compile(r"true|True|TRUE|false|False|FALSE"), list("tTfF")),
    ("tag:yaml.org,2002:int", re.compile(r"[-+]?[0-9]+"), list("-+0123456789")),
    (
        "tag:yaml.org,2002:float",
        re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"),
        list("-+0123456789."),
    ),
)


class _CoreLoader(yaml.SafeLoader):
    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(
                problem="aliases (*name) are not taken here", problem_mark=self.peek_event().start_mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key must be a word", problem_mark=key.start_mark)
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key.value} stands twice", problem_mark=key.start_mark)
            seen.add(key.value)
            key.tag = "tag:yaml.org,2002:str"
        return super().construct_mapping(node, deep)


class _CoreDumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _construct_int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    return int(node.value)  # in YAML 1.1, 010 would be eight


def _construct_float(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    return float(node.value.lower().replace(".inf", "inf").replace(".nan", "nan"))


_CoreLoader.yaml_implicit_resolvers = {}
_CoreDumper.yaml_implicit_resolvers = {}
_CoreLoader.add_constructor("tag:yaml.org,2002:int", _construct_int)
_CoreLoader.add_constructor("tag:yaml.org,2002:float", _construct_float)
for _tag, _pattern, _first in _RESOLVERS:
    _whole = re.compile(rf"^(?:{_pattern.pattern})$")
    _CoreLoader.add_implicit_resolver(_tag, _whole, _first)
    _CoreDumper.add_implicit_resolver(_tag, _whole, _first)


def _parse(text: str, where: str) -> Any:
    try:
        return yaml.load(text, Loader=_CoreLoader)  # built on SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f", line {mark.line + 1}" if mark is not None else ""
        raise InputError(f"{where}{line}: {error.problem or error.context}; correct the YAML there.") from error
    except yaml.YAMLError as error:
        raise InputError(f"{where} is not a YAML file: {error}") from error


def parse_value(text: str, where: str) -> Any:
    """What a value means in YAML.

    Raises:
        InputError: it is no YAML; the sentence begins with `where`.
    """
    return _parse(text, where)


def put(data: dict[str, Any], key: str, value: Any, where: str, path: str) -> None:
    """Sets one dotted key in the mapping `data`, which `path` holds.

    Raises:
        InputError: the key has an empty part, or stands below a single value; the sentence begins with `where`.
    """
    parts = key.split(".")
    if not all(parts):
        raise InputError(f"{where}: write a dotted key, an equals sign and a value: tuning.steps=20.")
    node: Any = data
    for depth, part in enumerate(parts[:-1]):
        node = node.setdefault(part, {})
        if not isinstance(node, dict):
            above = ".".join(parts[: depth + 1])
            raise InputError(f"{where}: {above} is a single value in {path}, so it has no keys below it.")
    node[parts[-1]] = value


_EXPECTED = {
    "bool": "true or false",
    "dict": "keys with values",
    "float": "a number",
    "finite_number": "a finite number",
    "int": "a whole number",
    "list": "a list",
    "model": "keys with values",
    "model_attributes": "keys with values",
    "path": "a path",
    "string": "text",
    "tuple": "a list",
}


def _sentence(model: type[BaseModel], error: ValidationError, where: str, overrides: Sequence[str]) -> str:
    """One sentence about the first problem; an unknown key comes first, because a typo also leaves a key missing."""
    problems = sorted(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    problem = problems[0]
    location = problem["loc"]
    key = ".".join(str(part) for part in location)
    for override in overrides:
        name = override.partition("=")[0].strip()
        if key == name or key.startswith(name + ".") or (name.startswith(key + ".") and key):
            where = f"--set {override}"
    if problem["type"] == "extra_forbidden":
        text = f"there is no key {key}; {_suggestion(model, location)}"
    elif problem["type"] == "missing":
        text = f"the key {key} is missing; add it"
    elif not location:
        text = _reason(problem)
    else:
        text = f"{key} is {_describe(problem['input'])}, but {_reason(problem)}"
    others = len(problems) - 1
    more = f" ({others} more problem{'s' if others > 1 else ''} after this one)" if others else ""
    sentence = f"{where}: {text}{more}"
    return sentence if sentence.endswith("?") else f"{sentence}."


def _reason(problem: Any) -> str:
    """What a value must be, as the end of a sentence."""
    kind, context = problem["type"], problem.get("ctx", {})
    if kind == "value_error":
        return str(context["error"]).rstrip(".")
    if kind in ("literal_error", "enum"):
        return f"must be {context['expected']}"
    expected = _EXPECTED.get(re.sub(r"_(type|parsing|from_float)$", "", kind))
    if expected is not None:
        return f"must be {expected}"
    return re.sub(r"^\w+ should", "must", str(problem["msg"]))


def _suggestion(model: type[BaseModel], location: Sequence[int | str]) -> str:
    """The key that was probably meant, else all keys that may stand there."""
    *parents, unknown = location
    prefix = "".join(f"{part}." for part in parents)
    owner: type[BaseModel] | None = model
    for part in parents:
        owner = (
            next(_nested_models(owner.model_fields[str(part)].annotation), None)
            if owner and part in owner.model_fields
            else owner
        )
    known = list(owner.model_fields) if owner else []
    close = difflib.get_close_matches(str(unknown), known, n=1, cutoff=0.6)
    if close:
        return f"did you mean {prefix}{close[0]}?"
    elsewhere = [key for key in dotted_keys(model) if key.rpartition(".")[2] == unknown]
    if elsewhere:
        return f"did you mean {elsewhere[0]}?"
    return f"the keys there are {', '.join(known)}"


def _nested_models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _nested_models(argument)


def dotted_keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every key of a settings model, those of the models in it behind a dot."""
    for name, field in model.model_fields.items():
        yield prefix + name
        for nested in _nested_models(field.annotation):
            yield from dotted_keys(nested, f"{prefix}{name}.")


def _describe(value: Any) -> str:
    """A value as a short piece of a sentence."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:77] + "..."
