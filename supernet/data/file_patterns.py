"""Patterns of files, and names: the text that their stars stand for."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from space.utils.errors import InputError, near, one_line, shown

MAX_NEAR = 10_000  # names to compare a misspelt one with
MAX_SHOWN = 3  # files of a folder in which none matches
ANY_SUFFIX = ".*"
# Regular expressions of a pattern's stars.
WILDCARDS = {"**/": "((?:[^/]+/)*)", "*": "([^/]*)"}
STARS = re.compile(r"(\*\*/|\*)")


@dataclass(frozen=True)
class FilePattern:
    """A pattern of files: `*` is a part of one name, `**` any folders, `.*` at the end any suffix.

    Args:
        option: Its key in the config, for errors.
        text: The pattern.
        root: The folder below which it matches; an absolute pattern replaces it.

    Raises:
        InputError: The pattern has no star, or `**` beside other text.
    """

    option: str
    text: str
    root: Path

    def __post_init__(self) -> None:
        _, stars = self._parts
        folders = stars.split("/")
        if any("**" in each and each != "**" for each in folders) or folders[-1] == "**":
            raise InputError(
                f"{self.option}: {self.text!r} has `**` in a name; it stands for folders, as in "
                "`rgb/**/*.png`"
            )
        if "*" not in stars.removesuffix(ANY_SUFFIX):
            raise InputError(
                f"{self.option}: {self.text!r} matches one file; a star must stand for the names, "
                "as in `rgb/*.png`"
            )

    @property
    def path(self) -> Path:
        """The pattern below its root."""
        return self.root / self.text

    @cached_property
    def _parts(self) -> tuple[Path, str]:
        """The part without stars, a folder, and the rest."""
        parts = Path(self.text).parts
        first = next((k for k, part in enumerate(parts) if "*" in part), len(parts) - 1)
        return self.root.joinpath(*parts[:first]), "/".join(parts[first:])

    def find(self) -> dict[str, Path]:
        """Find the files, by name: what the stars stand for, joined by `/`.

        Hidden files do not match.

        Raises:
            InputError: There are none, or two of one name.
        """
        folder, stars = self._parts
        body = stars.removesuffix(ANY_SUFFIX)
        has_suffix, pieces = body == stars, STARS.split(body)
        text = "".join(WILDCARDS.get(piece) or re.escape(piece) for piece in pieces)
        expression = re.compile(text + ("" if has_suffix else r"\.[^./]+"))
        # Brackets and question marks stand for themselves.
        wild = "".join(piece if piece in WILDCARDS else glob.escape(piece) for piece in pieces)
        wild += "" if has_suffix else ANY_SUFFIX
        # Not `Path.glob`, which does not follow links below `**`.
        paths = glob.glob(wild, root_dir=folder, recursive=True)  # noqa: PTH207
        files: dict[str, Path] = {}
        for path in sorted(paths):
            match = expression.fullmatch(path)
            file = folder / path
            # A dead link is left to the check of the images, which names it.
            if match is None or file.is_dir():
                continue
            name = "/".join(filter(None, (group.strip("/") for group in match.groups())))
            if name in files:
                raise InputError(
                    f"{file}: has the same name, {name!r}, as {files[name].name} beside it"
                )
            files[name] = file
        if not files:
            raise InputError(f"{self.option}: no file matches {self.path}: {_describe(folder)}")
        return files


def _describe(folder: Path) -> str:
    """Describe a folder in which no file matches."""
    if not folder.is_dir():
        return f"there is no folder {folder}"
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208 - names alone
    except OSError as error:
        return f"{folder} cannot be read: {one_line(error)}"
    more = ", ..." if len(names) > MAX_SHOWN else ""
    return f"{folder} holds {', '.join(names[:MAX_SHOWN]) or 'nothing'}{more}"


def is_text_file(path: Path) -> bool:
    """Return whether a value of the config names a file; `Path.is_file` raises for long text."""
    return os.path.isfile(path)  # noqa: PTH113


def read_lines(path: Path) -> list[tuple[int, str]]:
    """Read the lines of a text file that are not empty, with their numbers.

    Raises:
        InputError: The file cannot be read, or holds no line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as text: {one_line(error)}") from None
    lines = [(i, line.strip()) for i, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        raise InputError(f"{path}: holds no names")
    return lines


def read_names(path: Path, *found: Mapping[str, Path]) -> list[str]:
    """Read the names in a text file, one on each line.

    Args:
        path: The text file.
        found: Files by name, by patterns.

    Raises:
        InputError: No file has a name, or a name is listed twice.
    """
    names: dict[str, None] = {}
    for number, name in read_lines(path):
        if name in names:
            raise InputError(f"{path}:{number}: {name!r} is listed twice")
        if not any(name in files for files in found):
            hint = _suggest(name, *found)
            raise InputError(f"{path}:{number}: no file has the name {shown(name)}{hint}")
        names[name] = None
    return list(names)


def _suggest(name: str, *found: Mapping[str, Path]) -> str:
    """Suggest a name for a line that is a file's path, or several, or a misspelt name."""
    for word in (name, *name.split()[:1]):
        for files in found:
            for known, path in files.items():
                if f"/{path.as_posix()}".endswith(f"/{word.lstrip('./')}"):
                    return f"; a name is what the stars stand for, here {known!r}"
    return near(name, sorted({known for files in found for known in files})[:MAX_NEAR])
