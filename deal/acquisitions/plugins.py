"""Load users' own acquisition functions from modules, files, and entry points of packages."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

from deal.acquisitions.registry import all_or_none, registered
from deal.errors import UsageError

__all__ = ["load_installed", "load_plugin"]

_GROUP = "deal.acquisition"


def load_plugin(source: str | os.PathLike[str]) -> tuple[str, ...]:
    """Import a module or a file that registers acquisition functions.

    Parameters
    ----------
    source : str or path
        ``package.module``, or the path of a ``.py`` file. Its code runs, so load only code that
        you trust.

    Returns
    -------
    tuple of str
        Names of the functions that the module registers; loading it again is harmless.

    Raises
    ------
    UsageError
        The module does not exist, fails to import, registers nothing, or registers a name that is
        already in use. The registry then stays unchanged.
    """
    text = os.fspath(source)
    with all_or_none() as before:
        if text.endswith(".py") or os.sep in text:
            module = _import_file(Path(text))
        else:
            module = _import_module(text)
        names = tuple(
            name
            for name, entry in registered().items()
            if name not in before or entry.function.__module__ == module.__name__
        )
        if not names:
            raise UsageError(
                f"plugin {text} registers no acquisition function: decorate one with "
                "@deal.acquisition(name, requires=[columns])"
            )
    return names


def load_installed() -> None:
    """Load the plugins of installed packages: entry points of the group ``deal.acquisition``."""
    from importlib.metadata import entry_points  # slow, and only plugins need it

    for point in entry_points(group=_GROUP):
        try:
            with all_or_none():
                point.load()
        except Exception as error:
            package = point.dist.name if point.dist is not None else point.value
            raise UsageError(
                f"plugin {point.name} of the installed package {package} fails to load "
                f"({_said(error)}): repair or uninstall {package}"
            ) from error


def _import_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and name.split(".")[: error.name.count(".") + 1] == (
            error.name.split(".")
        ):
            raise UsageError(
                f"no plugin module {name}: install its package, or give the path of a .py file"
            ) from error
        raise _broken(name, error) from error
    except Exception as error:
        raise _broken(name, error) from error


def _import_file(path: Path) -> ModuleType:
    """Import a file once, however its path is written."""
    if not path.is_file():
        raise UsageError(f"no plugin file {path}: give an existing .py file, or a module name")
    place = path.resolve()
    name = f"_deal_plugin_{hashlib.sha256(os.fsencode(place)).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, place)
    if spec is None or spec.loader is None:
        raise UsageError(f"plugin file {path} is not Python: give a .py file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, Exception):
            raise _broken(str(path), error) from error
        raise
    return module


def _broken(plugin: str, error: Exception) -> UsageError:
    if isinstance(error, UsageError):
        return UsageError(f"plugin {plugin}: {error}")
    return UsageError(f"plugin {plugin} fails to load ({_said(error)}): repair it")


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
