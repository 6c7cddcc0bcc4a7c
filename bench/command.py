"""The command that measures again what was measured."""

from __future__ import annotations

import shlex

import click
from click.core import ParameterSource

__all__ = ["recorded"]

_PRESENTATION = ("as_json", "output")


def recorded(context: click.Context) -> str:
    """The command with every option that was given, so all others are at their defaults.

    Paths are as they were given; what only says where figures go is left out.

    Parameters
    ----------
    context : click.Context
        Of a command of ``deal bench`` whose arguments are parsed.
    """
    words, arguments = ["deal", "bench", str(context.command.name)], []
    for parameter in context.command.params:
        if not parameter.expose_value:  # it changes what is printed, not what is measured
            continue
        name = str(parameter.name)
        source = context.get_parameter_source(name)
        if name in _PRESENTATION or source is not ParameterSource.COMMANDLINE:
            continue
        value = context.params[name]
        if isinstance(parameter, click.Argument):
            arguments += list(value) if parameter.nargs == -1 else [str(value)]
        else:
            words += _spelled(parameter, value)
    dashed = any(word.startswith("-") for word in arguments)
    return shlex.join([*words, *["--"] * dashed, *arguments])


def _spelled(parameter: click.Parameter, value: object) -> list[str]:
    """An option with its value; one that is repeatable, once a value."""
    if isinstance(value, bool):
        return [(parameter.opts if value else parameter.secondary_opts)[0]]
    values = value if isinstance(value, tuple) and parameter.multiple else (value,)
    return [word for one in values for word in (parameter.opts[0], _text(one))]


def _text(value: object) -> str:
    """A value as it is given: a size as HxW."""
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)
