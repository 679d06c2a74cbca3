"""Rewrites the parser's error messages in one line that names the option."""

from __future__ import annotations

import re
import types
from dataclasses import is_dataclass
from functools import cache
from typing import Any, ClassVar, Union, get_args, get_origin, get_type_hints

from search.pipeline.config import Config
from space.utils.errors import cut
from space.utils.yaml_file import Place

KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list such as [a, b]",
    "dict": "a mapping such as {a: 1}",
    "str": "text",
    "list[str]": "a list such as [a, b]",
    "dict[int, int]": "a mapping of whole numbers such as {0: 255}",
    "NoneType": "null",
    "typing.Literal['auto']": "auto",
}
# jsonargparse's messages.
UNION = re.compile(r"Does not validate .* Subtypes: \[(.*?)\] Errors: .* Given value: (.*)")
LITERAL = re.compile(r"Expected a typing\.Literal\[(.*?)\]\. Got value: (.*)")
MAX_LENGTH = 400


@cache
def get_option_types(kind: Any = Config, prefix: str = "") -> dict[str, Any]:
    """Return the type of each option of a config, by its dotted name."""
    option_types: dict[str, Any] = {}
    for name, hint in get_type_hints(kind).items():
        if get_origin(hint) is ClassVar:
            continue
        option_types[prefix + name] = hint
        section = section_of(hint)
        option_types |= get_option_types(section, f"{prefix}{name}.") if section else {}
    return option_types


def section_of(kind: Any) -> Any:
    """Return the dataclass of a type, optional or not; None for other types."""
    alternatives = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    return next((each for each in alternatives if is_dataclass(each)), None)


def _is_list(name: str) -> bool:
    """Return whether an option takes several values."""
    return get_origin(get_option_types().get(name)) is list


def _format_type_error(match: re.Match[str]) -> str:
    """Format the types that an option takes, and its value."""
    kinds, value = match.groups()
    outer = re.split(r", (?![^\[]*\])", kinds)
    expected = " or ".join(KINDS.get(kind, kind) for kind in outer)
    return f"must be {expected}, got {cut(value)}"


def _format_choice_error(match: re.Match[str]) -> str:
    """Format the values that an option takes, and its value."""
    choices, value = match.groups()
    return f"must be one of {choices.replace(chr(39), '')}, got {cut(value)}"


def explain(message: str) -> tuple[Place, str]:
    """Split the parser's error into the config's keys that it names, if any, and one line."""
    text = " ".join(message.split())
    match = re.search(r'[Pp]arser key "([\w.]+)":? *(.*)', text)
    if match is None:
        return (), cut(text, MAX_LENGTH)
    reason = re.sub(r"<class '(\w+)'>", r"\1", match.group(2))
    reason, choices = LITERAL.subn(_format_choice_error, reason)
    value = reason.rpartition(", got ")[2]
    if choices and "," in value and _is_list(match.group(1)):
        reason += f"; several are given as [{', '.join(value.split(','))}]"
    reason = re.sub(r"Expected a (\w+)\. Got value: (.*)", _format_type_error, reason)
    return tuple(match.group(1).split(".")), cut(UNION.sub(_format_type_error, reason), MAX_LENGTH)
