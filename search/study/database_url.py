"""URLs of databases, as configs have them."""

from __future__ import annotations

from space.utils.errors import InputError, shown

DATABASES = ("sqlite", "postgresql", "mysql", "mariadb")


def check_url(url: object, name: str = "storage") -> None:
    """Reject all but URLs of supported databases, before any driver is imported.

    Raises:
        InputError: The URL is invalid; the message calls it `name`.
    """
    known = ", ".join(DATABASES)
    if not isinstance(url, str):
        raise InputError(f"{name}: must be the URL of one of {known}, as text, got {shown(url)}")
    scheme, query = url.partition("://")[0].partition("+")[0], url.partition("?")[2]
    # Other schemes load a driver from wherever the URL says, and `plugin` loads an entry point.
    if "://" not in url or scheme not in DATABASES or "plugin" in query:
        raise InputError(
            f"{name}: must be the URL of one of {known}, without plugins, got "
            f"{shown(without_password(url))}"
        )


def without_password(url: str) -> str:
    """Remove the password from a URL."""
    head, at, tail = url.rpartition("@")
    scheme, separator, user = head.partition("://")
    return f"{scheme}{separator}{user.split(':')[0]}@{tail}" if at else url
