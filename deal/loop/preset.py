"""Configurations that come with deal; quick to import, for the help of ``deal loop``."""

from __future__ import annotations

from pathlib import Path

from deal.errors import UsageError

__all__ = ["preset_names", "preset_text"]

_FOLDER = Path(__file__).parent / "presets"


def preset_names() -> tuple[str, ...]:
    """Names, in byte order."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))


def preset_text(name: str) -> str:
    """Return a configuration that comes with deal; UsageError for another name."""
    names = preset_names()
    if name not in names:
        raise UsageError(f"no preset {name!r}: the presets are {', '.join(names)}")
    return (_FOLDER / f"{name}.toml").read_text(encoding="utf-8")
