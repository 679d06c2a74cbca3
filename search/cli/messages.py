"""The parser's error messages, rewritten in one line that names the option."""

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
    "NoneType": "nothing",
}
# Messages of jsonargparse.
UNION = re.compile(r"Does not validate .* Subtypes: \[(.*?)\] Errors: .* Given value: (.*)")
LITERAL = re.compile(r"Expected a typing\.Literal\[(.*?)\]\. Got value: (.*)")
LONGEST = 400


@cache
def options(kind: Any = Config, prefix: str = "") -> dict[str, Any]:
    """Return the type of each option of a config, by its dotted name."""
    found: dict[str, Any] = {}
    for name, hint in get_type_hints(kind).items():
        if get_origin(hint) is ClassVar:
            continue
        found[prefix + name] = hint
        inner = section_of(hint)
        found |= {} if inner is None else options(inner, f"{prefix}{name}.")
    return found


def section_of(kind: Any) -> Any:
    """Return the dataclass of a type, optional or not; None for other types."""
    options = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    return next((option for option in options if is_dataclass(option)), None)


def _plainly(found: re.Match[str]) -> str:
    kinds, value = found.groups()
    named = " or ".join(KINDS.get(kind, kind) for kind in kinds.split(", "))
    return f"must be {named}, got {cut(value)}"


def _one_of(found: re.Match[str]) -> str:
    values, value = found.groups()
    return f"must be one of {values.replace(chr(39), '')}, got {cut(value)}"


def explain(message: str) -> tuple[Place, str]:
    """Return the config's keys that the parser's error names, if any, and the error in a line."""
    text = " ".join(message.split())
    found = re.search(r'[Pp]arser key "([\w.]+)":? *(.*)', text)
    if found is None:
        return (), cut(text, LONGEST)
    reason = re.sub(r"<class '(\w+)'>", r"\1", found.group(2))
    reason = LITERAL.sub(_one_of, reason)
    reason = re.sub(r"Expected a (\w+)\. Got value: (.*)", _plainly, reason)
    return tuple(found.group(1).split(".")), cut(UNION.sub(_plainly, reason), LONGEST)
