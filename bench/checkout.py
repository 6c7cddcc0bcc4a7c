"""The checkout that is measured: its commit, and the C programs that are built in it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import deal
from deal.errors import UsageError

__all__ = ["build", "checkout", "commit"]

# What may differ from the commit without another thing being measured.
_WORDS = (":(exclude)*.md", ":(exclude)bench/results")


def checkout() -> Path | None:
    """Root of the repository that this package is imported from; None of an installed package."""
    root = Path(deal.__file__).resolve().parent.parent
    return root if (root / "Makefile").is_file() and (root / "csrc").is_dir() else None


def build(target: str) -> Path:
    """Make a target of the Makefile, such as ``build/bench_latency``, and return its path.

    Raises
    ------
    UsageError
        There is no checkout to build in, or it cannot be built.
    """
    root = checkout()
    if root is None:
        raise UsageError(
            f"{target} is built in a checkout of the project: install it there (pip install -e .)"
        )
    try:
        subprocess.run(
            ["make", "--silent", target], cwd=root, check=True, stdout=subprocess.DEVNULL
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise UsageError(f"{target} needs make and a C compiler: {error}") from error
    return root / target


def commit(root: Path | None = None) -> str | None:
    """First letters of the commit that is checked out, ``-dirty`` behind them after changes.

    Changes of texts and of measured figures do not count. None without a repository.

    Parameters
    ----------
    root : Path, optional
        Of the repository; by default that of :func:`checkout`.
    """
    root = root or checkout()
    if root is None:
        return None
    try:
        found = _git(root, "rev-parse", "--short=10", "HEAD")
        changed = _git(root, "diff", "--quiet", "HEAD", "--", ".", *_WORDS).returncode != 0
    except OSError:
        return None
    if found.returncode != 0:
        return None
    return found.stdout.strip() + "-dirty" * changed


def _git(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True)
