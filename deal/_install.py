"""How this installation is extended: the remedy of every error that misses a package."""

from __future__ import annotations

import shlex
from pathlib import Path

__all__ = ["pip_install"]

_ROOT = Path(__file__).resolve().parent.parent


def pip_install(*extras: str, options: str = "", root: Path = _ROOT) -> str:
    """Return the command that adds extras to this installation; without extras, deal itself.

    Parameters
    ----------
    extras : str
        Names under ``[project.optional-dependencies]``.
    options : str
        Of ``pip install``, such as ``--force-reinstall``.
    root : Path
        The folder that ``deal/`` lies in. A checkout, which holds ``pyproject.toml``, is installed
        from where it lies; otherwise the distribution ``deal-score`` is.

    Examples
    --------
    ``pip install 'deal-score[ort,train]'``, in a checkout ``pip install '.[ort,train]'``.
    """
    if not (root / "pyproject.toml").is_file():
        target = "deal-score"
    else:
        target = "." if root == Path.cwd() else str(root)
    what = f"'{target}[{','.join(extras)}]'" if extras else shlex.quote(target)
    return " ".join(["pip install", *([options] if options else []), what])
