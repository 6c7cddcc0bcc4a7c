"""A command that sends one file at a time, while frames come."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import time

from deal.errors import UsageError
from deal.rig.recorder import Recorder

__all__ = ["LinkCommand"]

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0


class LinkCommand:
    """Sends kept frames by a command, the best first; :meth:`go_on` never waits.

    Parameters
    ----------
    command : str
        As a shell reads it; ``{}`` stands for the file, which else comes at the end.

    Attributes
    ----------
    failures : int
        How often the command ended with another code than 0, or could not start. It then gets the
        frame once more, after a pause that doubles from a second to a minute.

    Raises
    ------
    UsageError
        The command is empty, its program is not there, or a quote is missing.
    """

    def __init__(self, recorder: Recorder, command: str) -> None:
        try:
            self._words = shlex.split(command)
        except ValueError as error:
            raise UsageError(f"--link {command!r}: {error}; close the quote") from None
        if not self._words:
            raise UsageError("--link is empty: give a command, such as 'rclone copy {} remote:'")
        if shutil.which(self._words[0]) is None:
            raise UsageError(
                f"--link cannot start {self._words[0]}: it is not there, or may not be executed; "
                "give a command that is there"
            )
        if not any("{}" in word for word in self._words):
            self._words.append("{}")
        self._recorder = recorder
        self._process: subprocess.Popen[bytes] | None = None
        self._sending = ""
        self._pause, self._again = _FIRST_PAUSE, 0.0
        self.failures = 0

    def go_on(self) -> None:
        """Note a frame that has arrived, and begin to send the next; raises OutputError."""
        if self._process is not None:
            code = self._process.poll()
            if code is None:
                return
            self._ended(code)
        if time.monotonic() < self._again:
            return
        found = self._recorder.to_send()
        if found is None:
            return
        self._sending = found.id
        path = str(self._recorder.path_of(found.id))
        words = [word.replace("{}", path) for word in self._words]
        try:
            self._process = subprocess.Popen(words, stdin=subprocess.DEVNULL)
        except OSError:  # no memory or no files for the moment: a trip goes on
            self._failed()

    def finish(self) -> None:
        """Wait for the frame that is being sent; raises OutputError."""
        if self._process is not None:
            self._ended(self._process.wait())

    def _ended(self, code: int) -> None:
        self._process = None
        if code == 0:
            self._recorder.sent(self._sending)
            self._pause = _FIRST_PAUSE
        else:
            self._failed()

    def _failed(self) -> None:
        self.failures += 1
        self._again = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
