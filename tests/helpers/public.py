"""The public surface as text: what ``tests/golden/public.txt`` holds.

After a change that is meant, write it anew, and read the difference::

    python -m tests.helpers.public > tests/golden/public.txt
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import click

import deal
from deal import cli

__all__ = ["surface"]


def surface() -> str:
    """Every public name with its signature, and every command with the names of its options."""
    return "\n".join([*_names(), "", *_commands("deal", cli.deal)]) + "\n"


def _names(module: ModuleType = deal, prefix: str = "") -> Iterator[str]:
    for short in module.__all__:
        name, value = prefix + short, getattr(module, short)
        if inspect.ismodule(value):
            yield from _names(value, f"{name}.")
        elif inspect.isclass(value):
            bases = ", ".join(base.__name__ for base in value.__bases__ if base is not object)
            yield f"class {name}({bases})" if bases else f"class {name}"
            yield from _members(value)
        elif callable(value):
            yield f"def {name}"
            yield from _parameters(value, "    ")
        else:
            yield name


def _members(value: type) -> Iterator[str]:
    """What a user sees of a class: how it is made, its attributes and its methods."""
    if not issubclass(value, BaseException):
        yield from _parameters(value, "    ")
    owners = [owner for owner in value.__mro__ if owner.__module__.split(".")[0] == "deal"]
    found = sorted({name for owner in owners for name in vars(owner) if name[0] != "_"})
    for name in found:
        member = inspect.getattr_static(value, name)
        if isinstance(member, property):
            yield f"    .{name}"
        elif callable(getattr(value, name)):
            yield f"    .{name}()"
            yield from _parameters(getattr(value, name), "        ")


def _parameters(value: Any, indent: str) -> Iterator[str]:
    for parameter in inspect.signature(value).parameters.values():
        if parameter.name == "self":
            continue
        mark = {parameter.KEYWORD_ONLY: "*, ", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
        yield f"{indent}{mark}{parameter.name}: {_written(parameter.annotation)}{default}"


def _written(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _commands(path: str, command: click.Command) -> Iterator[str]:
    yield path
    context = click.Context(command)
    for parameter in command.get_params(context):
        if "--help" in parameter.opts:  # click makes it once, by the context that asks first
            continue
        yield "    " + " ".join([*parameter.opts, *parameter.secondary_opts])
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from _commands(f"{path} {name}", found)


if __name__ == "__main__":
    print(surface(), end="")
