"""The origin of evaluations as plain values: a search may resume where they are equal."""

from __future__ import annotations

import dis
import hashlib
import logging
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path, PurePath
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

from space.utils.errors import InputError, shown

PLAIN_TYPES = (bool, int, float, complex, str, bytes, PurePath, type(None), type(Ellipsis))
DIGITS = 16
# Described by name, like installed packages, also where they are not installed.
OWN_PACKAGES = ("space", "supernet", "search")

Origin = str | Mapping[str, Any] | None


def describe_origin(origin: Origin, function: Callable[..., Any] | None) -> dict[str, Any]:
    """Return the user's origin as plain values, or else one derived from a callable's code.

    Args:
        origin: The user's name for the evaluation, or plain values; None for neither.
        function: Evaluation function, its factory, or a metric; None where there is no callable.

    Raises:
        InputError: The name is empty.
    """
    if origin is None:
        return {} if function is None else describe_callable(function)
    if isinstance(origin, Mapping):
        return dict(origin)
    if not isinstance(origin, str) or not origin.strip():
        raise InputError(f"origin: must be a name of the evaluation, got {shown(origin)}")
    return {"name": origin}


def describe_callable(function: Callable[..., Any]) -> dict[str, str]:
    """Hash a callable's code and the plain values, functions and classes that it uses.

    Those of other installed packages count by name. If a callable uses anything else, such as a
    network, its code does not determine its results: then return a unique value, and the reason.
    """
    try:
        description = _Describer(_package(function)).describe(function, "")
    except (_UnknownError, RecursionError, ValueError) as error:
        # ValueError: a variable of a closure has no value yet.
        return {"run": secrets.token_hex(DIGITS // 2), "why": str(error)}
    return {"code": hashlib.sha256(repr(description).encode()).hexdigest()[:DIGITS]}


class _UnknownError(Exception):
    """A value cannot be described."""


class _Describer:
    """A description of values by plain ones that are equal in every process.

    Args:
        package: Package of the callable. Its functions and classes, and those of modules that are
            not installed, are described by code, others by name.
    """

    def __init__(self, package: str) -> None:
        self._package = package
        self._numbers: dict[int, int] = {}

    def describe(self, value: Any, name: str) -> Any:
        """Describe a value; `name` is its name in the code that uses it, empty for the callable.

        Raises:
            _UnknownError: The value cannot be described.
        """
        if type(value) in PLAIN_TYPES or isinstance(value, PurePath):
            return str(value) if isinstance(value, PurePath) else repr(value)
        if isinstance(value, ModuleType) and not _is_installed(value.__name__):
            raise _UnknownError(
                f"it uses {name}, a module of yours, whose contents are not compared"
            )
        if isinstance(value, ModuleType | logging.Logger):
            return getattr(value, "__name__", None) or value.name
        if isinstance(value, BuiltinFunctionType) and not _is_bound(value):
            return value.__qualname__
        if isinstance(value, list | tuple):
            return [type(value).__name__, *(self.describe(each, name) for each in value)]
        if isinstance(value, set | frozenset):
            return sorted(repr(self.describe(each, name)) for each in value)
        if type(value) is dict:
            return [(self.describe(k, name), self.describe(v, name)) for k, v in value.items()]
        if isinstance(value, partial):
            parts = (value.func, value.args, value.keywords)
            return ["partial", *(self.describe(each, name) for each in parts)]
        if isinstance(value, FunctionType | type):
            return self._describe_definition(value)
        kind = f"of type {type(value).__name__}, which cannot be compared"
        raise _UnknownError(f"it uses {name}, {kind}" if name else f"it is {kind}")

    def _describe_definition(self, value: FunctionType | type) -> Any:
        """Describe a function or class: of another installed package by name, others once each."""
        if _package(value) != self._package and _is_installed(_package(value)):
            return f"{value.__module__}.{value.__qualname__}"
        if id(value) in self._numbers:
            return f"number {self._numbers[id(value)]}"
        self._numbers[id(value)] = len(self._numbers)
        if isinstance(value, FunctionType):
            return self._describe_function(value)
        parts = {k: v for k, v in vars(value).items() if not k.startswith("__") or callable(v)}
        return [
            [self.describe(base, base.__name__) for base in value.__bases__],
            [(name, self._describe_member(each, name)) for name, each in sorted(parts.items())],
        ]

    def _describe_member(self, value: Any, name: str) -> Any:
        if isinstance(value, staticmethod | classmethod):
            value = value.__func__
        if isinstance(value, property):
            return [self.describe(each, name) for each in (value.fget, value.fset)]
        return self.describe(value, f"`{name}`")

    def _describe_function(self, function: FunctionType) -> Any:
        code = function.__code__
        cells = [cell.cell_contents for cell in function.__closure__ or ()]
        used = dict(zip(code.co_freevars, cells, strict=True))
        global_values = function.__globals__
        names = set()
        for step in _iterate_instructions(code):
            if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                names.add(str(step.argval))
            elif step.opname == "IMPORT_NAME" and not _is_installed(step.argval):
                module = step.argval.split(".")[0]
                raise _UnknownError(f"it imports `{module}`, a module of yours, when it is called")
        used |= {name: global_values[name] for name in sorted(names) if name in global_values}
        return [
            self._describe_code(code, function.__doc__),
            [(name, self.describe(value, f"`{name}`")) for name, value in used.items()],
            self.describe((function.__defaults__, function.__kwdefaults__), "a default"),
            [(name, self.describe(each, f"`{name}`")) for name, each in vars(function).items()],
        ]

    def _describe_code(self, code: CodeType, docstring: str | None = None) -> Any:
        """Describe a function's code, without its variable names and docstring."""
        constants = list(code.co_consts)
        if docstring is not None and constants[:1] == [docstring]:
            constants[0] = None
        inner = [self._describe_code(each) for each in constants if isinstance(each, CodeType)]
        plain = [each for each in constants if not isinstance(each, CodeType)]
        steps = code.co_code.hex(), code.co_exceptiontable.hex(), code.co_names, code.co_argcount
        return [steps, inner, self.describe(plain, "a constant")]


def _iterate_instructions(code: CodeType) -> Iterator[dis.Instruction]:
    """Iterate over the instructions of a function and of those defined in it."""
    yield from dis.get_instructions(code)
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from _iterate_instructions(each)


@cache
def _is_installed(name: str) -> bool:
    """Return whether a module belongs to Python or to an installed package.

    Modules made by a program, without a file, count as the user's.
    """
    package = name.split(".", maxsplit=1)[0]
    if package in (*sys.stdlib_module_names, *OWN_PACKAGES):
        return True
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        return False
    return spec is not None and any(
        part in ("site-packages", "dist-packages") for part in Path(str(spec.origin)).parts
    )


def _is_bound(function: BuiltinFunctionType) -> bool:
    """Return whether a builtin is a method of a value, not a function of a module."""
    return not isinstance(function.__self__, ModuleType | type | None)


def _package(value: Any) -> str:
    function = value.func if isinstance(value, partial) else value
    return str(getattr(function, "__module__", None)).split(".")[0]
