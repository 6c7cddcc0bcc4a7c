"""The kept frames of a trip as a robot log: MCAP with the messages of ROS 2."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deal._install import pip_install
from deal.errors import OutputError, UsageError
from deal.machine.files import replacing
from deal.pool.decode import image_format
from deal.rig.recorder import Recorder
from deal.selection.stream import Decision

__all__ = ["DECISIONS", "require_writer", "write_log"]

DECISIONS = "/deal/decisions"
"""The topic of decisions: strings that hold JSON."""

_TIME = "MSG: builtin_interfaces/Time\nint32 sec\nuint32 nanosec\n"
_HEADER = "MSG: std_msgs/Header\nbuiltin_interfaces/Time stamp\nstring frame_id\n"
_LINE = "=" * 80 + "\n"
_COMPRESSED = _LINE.join(["std_msgs/Header header\nstring format\nuint8[] data\n", _HEADER, _TIME])
_LATEST = 2**31 * 10**9  # seconds of a stamp are an int32


def require_writer() -> None:
    """UsageError if the libraries are not installed."""
    try:
        importlib.import_module("mcap_ros2.writer")
    except ImportError as error:
        raise UsageError(f"--mcap needs two packages: {pip_install('mcap')}") from error


def write_log(path: Path, recorder: Recorder, metadata: Mapping[str, Any]) -> int:
    """Write the kept frames, by time, with the bytes of their files; return how many.

    A camera's frames are ``CompressedImage`` messages on ``/CAMERA/image/compressed``, with the
    camera as ``frame_id``; without a camera the topic is ``/image/compressed``. What was decided
    about a frame follows on ``/deal/decisions``, and the rules are the metadata record ``deal``.

    Parameters
    ----------
    path : Path
        Replaced once the log is complete.
    recorder : Recorder
    metadata : mapping
        JSON values.

    Raises
    ------
    OutputError
        The log cannot be written, or a frame has a time that a stamp of ROS cannot hold.
    UsageError
        The libraries are not installed.
    """
    require_writer()
    from mcap.writer import CompressionType
    from mcap_ros2.writer import Writer

    kept = sorted(recorder.kept(), key=lambda d: (d.timestamp_ns, d.arrival))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            # Frames are compressed already.
            writer: Any = Writer(file, compression=CompressionType.NONE)
            image = writer.register_msgdef("sensor_msgs/msg/CompressedImage", _COMPRESSED)
            text = writer.register_msgdef("std_msgs/msg/String", "string data\n")
            for decision in kept:
                _, camera = recorder.place_of(decision.id)
                message = _image(decision, camera, recorder.path_of(decision.id).read_bytes())
                time = decision.timestamp_ns
                writer.write_message(_topic(camera), image, message, time, time)
                writer.write_message(DECISIONS, text, _decision(decision), time, time)
            rules = {name: json.dumps(value, default=str) for name, value in metadata.items()}
            writer.add_metadata("deal", rules)
            writer.finish()
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror}; the kept frames are in {recorder.folder}"
        ) from error
    return len(kept)


def _topic(camera: str | None) -> str:
    name = "" if not camera else "/" + camera.strip("/")
    return f"{name}/image/compressed"


def _image(decision: Decision, camera: str | None, data: bytes) -> dict[str, Any]:
    time = decision.timestamp_ns
    if not 0 <= time < _LATEST:
        raise OutputError(
            f"{decision.id} has the time {time} ns, which a log of ROS cannot hold: give times "
            "from 1970 to 2038, or leave --mcap out"
        )
    seconds, rest = divmod(time, 10**9)
    stamp = {"sec": seconds, "nanosec": rest}
    return {
        "header": {"stamp": stamp, "frame_id": camera or ""},
        "format": (image_format(data) or "").lower(),
        "data": data,
    }


def _decision(decision: Decision) -> dict[str, str]:
    told = {
        "id": decision.id,
        "score": decision.score,
        "why": decision.why,
        "arrival": decision.arrival,
        "sent": decision.sent,
    }
    return {"data": json.dumps(told)}
