"""``--version``: deal, Python, the platform, and the engines that are installed."""

from __future__ import annotations

from collections.abc import Callable

import click

from deal._version import __version__
from deal.cli.grouped import FC

__all__ = ["version_option", "version_text"]

# Engine → distributions that bring it.
_ENGINES = {
    "ort": ("onnxruntime", "onnxruntime-gpu"),
    "openvino": ("openvino",),
    "trt": ("tensorrt",),
    "torch": ("torch",),
}


def version_text(name: str) -> str:
    """Lines that a bug report needs; nothing is imported or started for them."""
    import importlib.metadata
    import platform

    found = []
    for engine, distributions in _ENGINES.items():
        for distribution in distributions:
            try:
                version = importlib.metadata.version(distribution)
            except importlib.metadata.PackageNotFoundError:
                continue
            found.append(f"{engine} ({distribution} {version})")
    return (
        f"{name}, version {__version__}\n"
        f"Python {platform.python_version()}, {platform.platform()}\n"
        f"engines installed: {', '.join(found) or 'none'}; deal doctor tries them"
    )


def version_option(name: str) -> Callable[[FC], FC]:
    """Add ``--version`` to the command that is called so."""

    def show(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        if value and not ctx.resilient_parsing:
            click.echo(version_text(name))
            ctx.exit()

    return click.option(
        "--version",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=show,
        help="Show the versions of deal, Python and the engines, and exit.",
    )
