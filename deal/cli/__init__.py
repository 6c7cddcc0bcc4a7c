"""The command line: ``deal`` with its subcommands, and ``deal-score``, short for ``deal score``.

Importing this package, and printing any help, imports neither NumPy nor a network library.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import os
import sys
from collections.abc import Sequence

import click

from deal._version import __version__
from deal.errors import DealError
from deal.text import printable

__all__ = ["deal", "main", "run", "score_main"]

_COMMANDS = (
    "train",
    "export",
    "fit-head",
    "score",
    "select",
    "report",
    "loop",
    "bench",
    "engines",
    "doctor",
)


class _Commands(click.Group):
    """Subcommands that are installed, imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name in _COMMANDS if importlib.util.find_spec(_module(name))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        command = importlib.import_module(_module(cmd_name)).command
        assert isinstance(command, click.Command)
        return command


def _module(name: str) -> str:
    return f"deal.cli.{name.replace('-', '_')}"


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="deal")
def deal() -> None:
    """Difficulty-aware active learning for semantic segmentation: what to label next."""


def main() -> None:
    """Entry point of ``deal``."""
    _open_streams()
    sys.exit(run(deal, sys.argv[1:], "deal"))


def score_main() -> None:
    """Entry point of ``deal-score``."""
    from deal.cli.score import command

    _open_streams()
    sys.exit(run(command, sys.argv[1:], "deal-score"))


def run(command: click.Command, arguments: Sequence[str], name: str) -> int:
    """Run a command and return its exit code; errors become one line on stderr.

    Parameters
    ----------
    command : click.Command
    arguments : sequence of str
    name : str
        What the command is called in its help.

    Returns
    -------
    int
        0 done; 1 failed; 2 usage; 3 done with quarantined inputs; 130 or 143 interrupted.
    """
    debug = "--debug" in arguments or os.environ.get("DEAL_DEBUG", "0") not in ("", "0")
    try:
        code = command.main(list(arguments), prog_name=name, standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message(), file=sys.stderr)
        return error.exit_code
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx is not None else name
        return _fail(f"{error.format_message()} See {path} --help.", error.exit_code)
    except click.ClickException as error:
        return _fail(error.format_message(), error.exit_code)
    except DealError as error:
        if debug:
            raise
        return _fail(str(error), error.exit_code)
    except OSError as error:  # of stdout, as a rule: every other file has an error of its own
        if debug:
            raise
        return _fail(f"{error} (DEAL_DEBUG=1 shows where)", 1)
    except click.Abort as abort:
        # click turns every KeyboardInterrupt into this; a run's own says how to resume.
        print(str(abort.__cause__ or "") or "interrupted", file=sys.stderr)
        return getattr(abort.__cause__, "exit_code", 130)


def _open_streams() -> None:
    """See to it that nothing printed can raise for its letters or a stream that is closed."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _fail(message: str, code: int) -> int:
    print(f"error: {printable(message)}", file=sys.stderr)
    return code
