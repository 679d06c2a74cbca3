"""Safe and bounded reading of untrusted YAML, with the line of every value.

Refuses duplicate keys, keys that are not text, tags of objects, deep nesting, alias bombs and bytes
that are not UTF-8. Writing is atomic.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from space.utils.atomic import file_errors, replacing
from space.utils.errors import InputError, cut, one_line, printable, shown

MAX_BYTES = 1 << 20
MAX_DEPTH = 40
MAX_VALUES = 100_000
MAX_DIGITS = 32

# libyaml's parser, if PyYAML was built with it, is fifty times faster.
Loader: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
Dumper: type[Any] = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels"

TAG = "tag:yaml.org,2002:"

Place = tuple[str | int, ...]


class Document(NamedTuple):
    """The data of a file, and the line of each place in it."""

    path: Path
    data: Any
    lines: dict[Place, int]

    def error(self, place: Place, message: str) -> InputError:
        """Make an error about the value at `place`, with its line or that of its nearest parent."""
        parent = place
        while parent and parent not in self.lines:
            parent = parent[:-1]
        prefix = f"{self.path}:{self.lines.get(parent, 1)}: {dotted(place)}".rstrip(": ")
        return InputError(f"{prefix}: {message}")


def dotted(place: Place) -> str:
    """Format a place, as in `blocks[3].pool.grid`."""
    parts = (f"[{key}]" if isinstance(key, int) else f".{printable(key)}" for key in place)
    return cut("".join(parts).removeprefix("."))


def read_yaml(path: str | Path, integer_keys: bool = False) -> Document:
    """Read a file of one YAML document.

    Args:
        path: The file.
        integer_keys: Whether keys may be integers, which become text, as in JSON.

    Raises:
        InputError: The file cannot be read, is too large, or is not YAML of plain values.
    """
    path = Path(path)
    with file_errors(path, "read"), path.open("rb") as file:
        return _parse(path, file.read(MAX_BYTES + 1), integer_keys)


def _parse(path: Path, raw: bytes, integer_keys: bool = False) -> Document:
    if len(raw) > MAX_BYTES:
        raise InputError(f"{path}: larger than {MAX_BYTES >> 20} MiB, which no such file is")
    try:
        text = raw.decode("utf-8")
        check_size(path, text)
        node = yaml.compose(text, Loader=Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        reason = ", ".join(filter(None, (error.context, error.problem)))
        raise InputError(f"{path}:{line}: no valid YAML: {reason}") from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: no valid YAML: {one_line(error)}") from None
    if node is None:
        raise InputError(f"{path}: the file is empty")
    document = Document(path, None, {})
    return document._replace(data=_Constructor(document, integer_keys).value(node, ()))


def write_text(path: str | Path, text: str) -> None:
    """Write a text file atomically.

    Raises:
        InputError: The file cannot be written.
    """
    with replacing(path) as file:
        file.write(text.encode())


def write_yaml(path: str | Path, data: Any) -> None:
    """Write plain values as YAML in their order, innermost collections on one line.

    Raises:
        InputError: `read_yaml` would refuse a value, or the file cannot be written.
    """
    try:
        text = yaml.dump(
            data,
            Dumper=Dumper,
            sort_keys=False,
            allow_unicode=True,
            default_flow_style=None,
            width=100,
        )
        raw = text.encode()
    except (yaml.YAMLError, UnicodeEncodeError) as error:
        value = error.object if isinstance(error, UnicodeEncodeError) else error.args[-1]
        raise InputError(f"{path}: cannot be written: {shown(value)} is no plain value") from None
    _parse(Path(path), raw)
    write_text(path, text)


def check_size(path: Path | str, text: str) -> None:
    """Check the limits on nesting and values, on the event stream: without recursion or memory.

    Raises:
        InputError: A limit is exceeded.
        yaml.YAMLError: The text is not YAML.
    """
    depth = 0
    try:
        for count, event in enumerate(yaml.parse(text, Loader=Loader)):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH or count > MAX_VALUES:
                reason = TOO_DEEP if depth > MAX_DEPTH else f"more than {MAX_VALUES:,} values"
                line = event.start_mark.line + 1  # type: ignore[union-attr]
                raise InputError(f"{path}:{line}: {reason}")
    except yaml.MarkedYAMLError as error:
        # libyaml reads ahead, and may reach its own limit on nesting first.
        if "nesting depth" not in (error.problem or ""):
            raise
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InputError(f"{path}:{line}: {TOO_DEEP}") from None


class _Constructor:
    """Converts nodes to plain values, and stores their lines in the document."""

    def __init__(self, document: Document, integer_keys: bool) -> None:
        self.document = document
        self.integer_keys = integer_keys
        self._construct = yaml.SafeLoader("").construct_object

    def value(self, node: yaml.Node, place: Place) -> Any:
        lines = self.document.lines
        lines.setdefault(place, node.start_mark.line + 1)
        # A node counts at each alias too, which limits the expansion of aliases; the depth limits
        # nodes that contain themselves.
        if len(lines) > MAX_VALUES or len(place) > MAX_DEPTH:
            raise self._error(node, place, "too many values; aliases may not multiply")
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, place)
        kind = "map" if isinstance(node, yaml.MappingNode) else "seq"
        if node.tag != TAG + kind:
            raise self._error(node, place, f"the tag {shown(node.tag)} is not allowed")
        if kind == "map":
            return self._mapping(node, place)
        return [self.value(child, (*place, i)) for i, child in enumerate(node.value)]

    def _scalar(self, node: yaml.ScalarNode, place: Place) -> Any:
        problem = "is no text, number or boolean"
        # Long numbers take quadratic time to parse and print.
        if node.tag in (f"{TAG}int", f"{TAG}float") and len(node.value) > MAX_DIGITS:
            problem = "is too long a number"
        else:
            # PyYAML's constructors raise these errors for a scalar that does not fit its tag.
            with suppress(yaml.YAMLError, ValueError, LookupError, AttributeError, OverflowError):
                value = self._construct(node)
                if value is None or isinstance(value, str | int | float | bool):
                    return value
        raise self._error(node, place, f"{shown(node.value)} {problem}; quote it if it is text")

    def _mapping(self, node: yaml.Node, place: Place) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, child in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if self.integer_keys and key_node.tag == f"{TAG}int":
                key = str(self._scalar(key_node, place))
            elif key is None or key_node.tag != f"{TAG}str":
                raise self._error(key_node, place, f"a key must be text, got {shown(key)}")
            if key in values:
                raise self._error(key_node, (*place, key), "given twice")
            self.document.lines[(*place, key)] = key_node.start_mark.line + 1
            values[key] = self.value(child, (*place, key))
        return values

    def _error(self, node: yaml.Node, place: Place, message: str) -> InputError:
        self.document.lines[place] = node.start_mark.line + 1
        return self.document.error(place, message)
