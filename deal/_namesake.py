"""Another distribution on the package index is called ``deal`` too: find it where it is installed.

Both install a package ``deal``, so whichever came last has overwritten files of the other. The
folders of ``sys.path`` are listed instead of asking ``importlib.metadata``, whose import alone
would take longer than the rest of ``import deal``.
"""

from __future__ import annotations

import os
import sys
import warnings

__all__ = ["namesake", "remedy", "warn_of_namesake"]


def namesake() -> str | None:
    """Version of the other distribution called ``deal``, or None if it is not installed."""
    for folder in sys.path:
        try:
            names = os.listdir(folder or ".")  # noqa: PTH208 (pathlib takes longer to import)
        except OSError:  # a zip file, or a folder that does not exist
            continue
        for name in names:
            stem, ending = os.path.splitext(name)  # noqa: PTH122
            distribution, _, version = stem.partition("-")
            if distribution == "deal" and version and ending in (".dist-info", ".egg-info"):
                return version.partition("-")[0]
    return None


def warn_of_namesake() -> None:
    """Warn if the other distribution called ``deal`` is installed beside this one."""
    version = namesake()
    if version is not None:
        message = f"another package named deal ({version}) is installed: {remedy()}"
        warnings.warn(message, RuntimeWarning, stacklevel=3)


def remedy() -> str:
    """Commands that take the other distribution away and repair this one."""
    from deal._install import pip_install

    return f"pip uninstall deal, then {pip_install(options='--force-reinstall')}"
