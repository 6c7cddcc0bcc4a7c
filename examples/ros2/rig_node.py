r"""A ROS 2 node that keeps the best images of a trip.

    python examples/ros2/rig_node.py --model model.onnx --output trip/ --budget 500 --min-gap 2s \
        --topic /front/image/compressed --topic /rear/image/compressed

It subscribes to sensor_msgs/CompressedImage, scores every image, and keeps the files of the best in
OUTPUT/frames. Every decision goes out on /deal/decisions, one std_msgs/String of JSON each: an
image may be kept, and evicted later by better ones. Ctrl-C or SIGTERM ends the trip: all that waits
is decided, and with --mcap the kept images are written as a log that `deal-score` and others read.
It may be killed, too: the next start in the same folder goes on with what is on disk.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import rclpy
from rclpy.node import Node
from rclpy.qos import QoSHistoryPolicy, QoSProfile, QoSReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import String

import deal
from deal.errors import ItemError
from deal.pool.decode import decode_bytes

DECISIONS = "/deal/decisions"
DEFINITION = """std_msgs/Header header
string format
uint8[] data
================================================================================
MSG: std_msgs/Header
builtin_interfaces/Time stamp
string frame_id
================================================================================
MSG: builtin_interfaces/Time
int32 sec
uint32 nanosec
"""


def frame_id(topic: str, stamp: int) -> str:
    """The id of an image, which is also the name of its file below OUTPUT/frames."""
    return f"{topic.strip('/')}/{stamp:019}.jpg"


class RigNode(Node):  # type: ignore[misc]
    """Scores images as they come, records the best and publishes what was decided.

    Parameters
    ----------
    topics : sequence of str
        Of sensor_msgs/CompressedImage; each is a camera.
    scorer : deal.Scorer
    acquisition : str
        Name of a function that scores one image alone.
    recorder : deal.Recorder
    queue : int
        Images per topic that wait for the network; the oldest are lost beyond.
    reliable : bool
        Ask publishers to send again what was lost. Publishers of "best effort" (the default of
        sensor drivers) are not heard then.
    """

    def __init__(
        self,
        topics: Sequence[str],
        scorer: deal.Scorer,
        acquisition: str,
        recorder: deal.Recorder,
        *,
        queue: int,
        reliable: bool,
    ) -> None:
        super().__init__("deal_rig")
        self._scorer = scorer
        self._acquisition = acquisition
        self._recorder = recorder
        self.images = 0
        self._publisher = self.create_publisher(String, DECISIONS, QoSProfile(depth=1000))
        policy = QoSReliabilityPolicy.RELIABLE if reliable else QoSReliabilityPolicy.BEST_EFFORT
        profile = QoSProfile(history=QoSHistoryPolicy.KEEP_LAST, depth=queue, reliability=policy)
        for topic in topics:
            self.create_subscription(
                CompressedImage,
                topic,
                lambda message, topic=topic: self._take(topic, message),
                profile,
            )

    def _take(self, topic: str, message: CompressedImage) -> None:
        stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        name, data = frame_id(topic, stamp), bytes(message.data)
        self.images += 1
        if self._recorder.is_done(name):
            return
        try:
            image = decode_bytes(data).image
        except ItemError as error:  # of this image; the next may be whole
            self._tell(id=name, action="drop", why="decode", timestamp_ns=stamp)
            self.get_logger().warning(f"{name}: {error}")
            return
        columns, score = self._scorer.score([image]), float("nan")
        if columns["status"][0] == "ok":
            score = float(deal.acquisition_scores(columns, self._acquisition)[0])
        try:
            decisions = self._recorder.push(
                name, data, score=score, timestamp_ns=stamp, camera=topic, image=image
            )
        except deal.OutputError as error:  # a full disk: the image waits in memory
            self.get_logger().error(str(error))
            return
        self.publish(decisions)

    def publish(self, decisions: Sequence[deal.Decision]) -> None:
        """Publish decisions about images that came earlier, or just now."""
        for decision in decisions:
            self._tell(
                id=decision.id,
                action=decision.action,
                why=decision.why,
                timestamp_ns=decision.timestamp_ns,
                score=decision.score,
                waiting=decision.waiting,
            )

    def _tell(self, **values: Any) -> None:
        self._publisher.publish(String(data=json.dumps(values)))


def write_log(path: Path, recorder: deal.Recorder) -> None:
    """Write the kept images as an MCAP file, by their times; a camera is a topic again."""
    from mcap_ros2.writer import Writer

    with path.open("wb") as file:
        log = Writer(file)
        schema = log.register_msgdef("sensor_msgs/msg/CompressedImage", DEFINITION)
        for kept in sorted(recorder.kept(), key=lambda decision: decision.timestamp_ns):
            camera = kept.id.rpartition("/")[0]
            seconds, nanoseconds = divmod(kept.timestamp_ns, 10**9)
            stamp = {"sec": seconds, "nanosec": nanoseconds}
            message = {
                "header": {"stamp": stamp, "frame_id": camera},
                "format": "jpeg",
                "data": recorder.path_of(kept.id).read_bytes(),
            }
            log.write_message(f"/{camera}", schema, message, kept.timestamp_ns, kept.timestamp_ns)
        log.finish()


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="ONNX model")
    parser.add_argument("--output", required=True, type=Path, help="folder of the trip")
    parser.add_argument("--topic", required=True, action="append", dest="topics")
    parser.add_argument("--acquisition", default="entropy")
    parser.add_argument("--budget", type=int, required=True, help="images to keep")
    parser.add_argument("--max-bytes", help="bytes of all kept images, such as 2GB")
    parser.add_argument("--min-gap", help="least time between kept images of a topic, such as 2s")
    parser.add_argument("--near-duplicates", type=float, help="grey levels")
    parser.add_argument("--mcap", type=Path, help="write the kept images here when the trip ends")
    parser.add_argument("--queue", type=int, default=100, help="images per topic that may wait")
    parser.add_argument("--reliable", action="store_true", help="lose no image on the network")
    parser.add_argument("--threads", type=int, default=1, help="of the network")
    return parser.parse_args(words)


def main() -> int:
    """Run the node until it is asked to end."""
    given = arguments()
    # ROS's own handlers would shut down before the last decisions are told.
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    rules = {
        "budget": given.budget,
        "max_bytes": given.max_bytes,
        "min_gap": given.min_gap,
        "near_duplicates": given.near_duplicates,
    }
    with (
        deal.Scorer(given.model, threads=given.threads) as scorer,
        deal.Recorder(given.output, **rules) as recorder,
    ):
        node = RigNode(
            given.topics,
            scorer,
            given.acquisition,
            recorder,
            queue=given.queue,
            reliable=given.reliable,
        )
        node.get_logger().info(f"listening to {', '.join(given.topics)}")
        while not ended.is_set():
            rclpy.spin_once(node, timeout_sec=0.1)
        node.publish(recorder.end())
        print(f"{len(recorder.kept())} of {node.images} images kept in {given.output}", flush=True)
        if given.mcap is not None:
            write_log(given.mcap, recorder)
        node.destroy_node()
        rclpy.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
