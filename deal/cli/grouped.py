"""Commands whose help lists options under headings: the first day's, and by ``--help-all`` all."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ["FC", "CommandGroup", "GroupedCommand", "GroupedOption", "option"]

FC = TypeVar("FC", bound="Callable[..., Any] | click.Command")

_HELP = "Help and errors"
_LEVELS = ("debug", "info", "warning", "error")
_WORDS = re.compile(r"[a-z0-9-]+(\|[a-z0-9-]+)+")
_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class GroupedOption(click.Option):
    """An option that stands under a heading of the help.

    Parameters
    ----------
    group : str
        The heading.
    first_day : bool
        ``--help`` shows it. Where no option of a command has this, ``--help`` shows all.
    """

    def __init__(self, *args: Any, group: str, first_day: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.group = group
        self.first_day = first_day

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Offer the words of a metavar such as ``auto|cpu|cuda``."""
        from click.shell_completion import CompletionItem

        if self.metavar and _WORDS.fullmatch(self.metavar):
            words = self.metavar.split("|")
            return [CompletionItem(word) for word in words if word.startswith(incomplete)]
        return super().shell_complete(ctx, incomplete)


class GroupedCommand(click.Command):
    """A command whose help lists options by group, in the order of their definition.

    Every such command has ``--verbose``, ``--log-level`` and ``--debug``.

    Parameters
    ----------
    examples : sequence of str
        Command lines, shown at the end of the help as they are.
    """

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:
        kwargs["context_settings"] = {**_CONTEXT, **kwargs.get("context_settings", {})}
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)
        self._short = any(getattr(p, "first_day", False) for p in self.params)
        if self._short:
            self.params.append(_help_all())
        self.params += _diagnostics()

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under their headings."""
        every = not self._short or ctx.meta.get("deal.help_all", False)
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None or isinstance(parameter, click.Argument):
                continue
            group = getattr(parameter, "group", _HELP if parameter.is_eager else "Options")
            if every or getattr(parameter, "first_day", parameter.is_eager):
                groups.setdefault(group, []).append(record)
        for title, records in groups.items():
            with formatter.section(title):
                formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples, each on a line of its own."""
        if self.examples:
            with formatter.section("Examples"):
                for example in self.examples:
                    formatter.write(f"{'':{formatter.current_indent}}{example}\n")
        super().format_epilog(ctx, formatter)


class CommandGroup(click.Group):
    """A command with subcommands, which have grouped options too."""

    command_class = GroupedCommand

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["context_settings"] = {**_CONTEXT, **kwargs.get("context_settings", {})}
        super().__init__(*args, **kwargs)


def option(group: str, *names: str, **kwargs: Any) -> Callable[[FC], FC]:
    """``click.option`` under a heading of the help."""
    return click.option(*names, cls=GroupedOption, group=group, **kwargs)


def _help_all() -> click.Option:
    def show(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        if value and not ctx.resilient_parsing:
            ctx.meta["deal.help_all"] = True
            click.echo(ctx.get_help(), color=ctx.color)
            ctx.exit()

    return GroupedOption(
        ["--help-all"],
        group=_HELP,
        first_day=True,
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=show,
        help="Show every option, and exit.",
    )


def _diagnostics() -> Iterator[click.Option]:
    def set_level(ctx: click.Context, param: click.Parameter, value: str | bool | None) -> None:
        if value and not ctx.resilient_parsing:
            from deal.cli.streams import log_to_stderr

            log_to_stderr("info" if value is True else str(value))

    shared: dict[str, Any] = {"group": _HELP, "expose_value": False}
    yield GroupedOption(
        ["--verbose", "-v"],
        is_flag=True,
        callback=set_level,
        help="Log what happens, on stderr; the same as --log-level info.",
        **shared,
    )
    yield GroupedOption(
        ["--log-level"],
        type=click.Choice(_LEVELS),
        callback=set_level,
        help="Log messages of this level and above, on stderr. Default: none.",
        **shared,
    )
    yield GroupedOption(
        ["--debug"],
        is_flag=True,  # read by deal.cli.run
        help="Show the traceback of an error; so does DEAL_DEBUG=1.",
        **shared,
    )
