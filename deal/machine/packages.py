"""Versions of the packages that are installed here."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["version_of", "versions_of"]


def version_of(package: str) -> str | None:
    """Version of a distribution, or None if it is not installed."""
    from importlib import metadata  # slow, and seldom needed

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """Versions of those of the distributions that are installed."""
    found = ((package, version_of(package)) for package in packages)
    return {package: version for package, version in found if version is not None}
