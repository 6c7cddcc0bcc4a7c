"""The command line: ``deal`` with its subcommands, and ``deal-score``, short for ``deal score``.

Importing this package or printing any help imports neither NumPy nor a network library.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import click

from deal.cli.common import OWN_PROCESS
from deal.cli.ending import end_at_signals
from deal.cli.grouped import CommandGroup
from deal.cli.streams import finish_output, open_streams
from deal.cli.version import version_option, version_text
from deal.errors import DealError
from deal.text import one_line, printable

__all__ = ["deal", "main", "run", "score_main"]

# In the order of a first day: score, rank, label, make a model, compare, look after the machine.
_COMMANDS = (
    "score",
    "select",
    "stream",
    "view",
    "annotate",
    "collect",
    "compact",
    "rank-errors",
    "recommend",
    "report",
    "check",
    "fit-head",
    "train",
    "export",
    "distill",
    "loop",
    "doctor",
    "engines",
    "bench",
)

_PACKAGE = Path(__file__).resolve().parent.parent
_UNWRITTEN, _ELSEWHERE = "cannot write the output", "send it elsewhere (DEAL_DEBUG=1 shows where)"
_OUT_OF_MEMORY = (
    "not enough memory: lower --sessions, --decode-threads or --batch-size, or close other programs"
)


class _Commands(CommandGroup):
    """The subcommands that are installed; each is imported when it is used."""

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


@click.group(cls=_Commands)
@version_option("deal")
def deal() -> None:
    """Choose what to label next for semantic segmentation.

    Start with `deal score --demo`; `deal-score` is short for `deal score`.
    """


def main() -> None:
    """Entry point of ``deal``."""
    sys.exit(_main(deal, "deal"))


def score_main() -> None:
    """Entry point of ``deal-score``."""
    from deal.cli.score import command

    sys.exit(_main(command, "deal-score"))


def _main(command: click.Command, name: str) -> int:
    open_streams()
    code = run(command, sys.argv[1:], name, own_process=True)
    end_at_signals()
    try:
        finish_output()
    except OSError as error:
        if not code:
            return _fail(f"{_UNWRITTEN}: {error.strerror}; {_ELSEWHERE}", 1)
    gc.freeze()  # the process ends, and a last search for cycles takes a tenth of a small run
    if code in (130, 143) and any(t.name.startswith("deal-") for t in threading.enumerate()):
        os._exit(code)  # or Python waits for a file system that does not answer
    return code


def run(
    command: click.Command, arguments: Sequence[str], name: str, *, own_process: bool = False
) -> int:
    """Run a command and return its exit code; errors become one line on stderr.

    Parameters
    ----------
    command : click.Command
    arguments : sequence of str
    name : str
        What the command is called in its help.
    own_process : bool
        The process ends with the command, so the command may change what others would rely on.

    Returns
    -------
    int
        0 done; 1 failed; 2 usage; 3 done with quarantined inputs; 130 or 143 interrupted.
    """
    debug = "--debug" in arguments or os.environ.get("DEAL_DEBUG", "0") not in ("", "0")
    try:
        code = command.main(
            list(arguments),
            prog_name=name,
            standalone_mode=False,
            obj=OWN_PROCESS if own_process else None,
        )
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
        return _interrupted(error) or _fail(str(error), error.exit_code, _notes(error))
    except OSError as error:  # of stdout, as a rule: every other file has an error of its own
        if debug:
            raise
        if code := _interrupted(error):
            return code
        if error.filename is None:
            return _fail(f"{_UNWRITTEN}: {error.strerror or error}; {_ELSEWHERE}", 1)
        return _fail(f"{error} (DEAL_DEBUG=1 shows where)", 1)
    except MemoryError:
        if debug:
            raise
        return _fail(_OUT_OF_MEMORY, 1)
    except click.Abort as abort:
        # click turns every KeyboardInterrupt into this; a run's own says how to resume.
        print(str(abort.__cause__ or "") or "interrupted", file=sys.stderr)
        return getattr(abort.__cause__, "exit_code", 130)
    except Exception as error:
        if debug:
            raise
        return _interrupted(error) or _fail(_internal(error), 1)


def _interrupted(error: BaseException | None) -> int:
    """The exit code of the Ctrl-C behind an error, which is told; 0 where there is none.

    A library that it hits while it is imported says that it is broken, and one that it hits while
    it closes a file (``shutil.rmtree``) closes it again.
    """
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    if error is None:
        return 0
    print("interrupted", file=sys.stderr)
    return int(getattr(error, "exit_code", 130))


def _internal(error: Exception) -> str:
    """What a report of a bug needs: the type, the innermost place in deal, the versions."""
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(_PACKAGE)]
    place = ""
    if own:
        file = Path(own[-1].filename).relative_to(_PACKAGE.parent)
        place = f" at {file}:{own[-1].lineno}"
    reason = one_line(error)
    return (
        f"internal error, please report it with this line: {type(error).__name__}{place}"
        f"{': ' if reason else ''}{reason} [{one_line(version_text('deal'))}] "
        "(DEAL_DEBUG=1 shows the traceback)"
    )


def _notes(error: BaseException) -> list[str]:
    """The lines that belong to an error, such as the end of a log."""
    return list(getattr(error, "__notes__", ()))


def _fail(message: str, code: int, lines: Sequence[str] = ()) -> int:
    print(f"error: {printable(message)}", file=sys.stderr)
    for line in lines:
        print(printable(line), file=sys.stderr)
    return code
