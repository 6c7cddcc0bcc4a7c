"""Publish images to the node of examples/ros2, and hold what it keeps to `deal stream`.

    python examples/ros2/check.py

Needs deal in this environment, with onnxruntime and the extra mcap. ROS 2 comes from PyPI into
build/ros2. Where its wheels cannot be installed, the check is skipped: exit code 0, and one line
says why.
"""

from __future__ import annotations

import json
import os
import signal
import site
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILD = HERE.parents[1] / "build" / "ros2"
PACKAGES = ("ros-rclpy", "ros-rmw-fastrtps-cpp", "ros-sensor-msgs")
TOPICS = ("/front/image/compressed", "/rear/image/compressed")
IMAGES, BUDGET, SECOND = 50, 10, 10**9
START = 1_700_000_000 * SECOND
DAMAGED = TOPICS[0], START - SECOND
RULES = ["--budget", str(BUDGET), "--min-gap", "1s"]


def install() -> str | None:
    """Make build/ros2, an environment with ROS 2; return why not, if that fails."""
    python = BUILD / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", BUILD], check=True)
    has_ros = [python, "-c", "import rclpy, sensor_msgs.msg, rmw_fastrtps_cpp"]
    if subprocess.run(has_ros, capture_output=True, check=False).returncode == 0:
        return None
    command = [python, "-m", "pip", "install", "--quiet", *PACKAGES]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        version = ".".join(map(str, sys.version_info[:2]))
        return (
            f"pip cannot install {' '.join(PACKAGES)} for Python {version}: "
            f"{done.stderr.strip().splitlines()[-1]}"
        )
    return None


def environment() -> dict[str, str]:
    """For programs of build/ros2: deal and what it needs come from this environment."""
    import deal

    folders = [str(Path(deal.__file__).parents[1]), *site.getsitepackages()]
    local = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "ROS_DOMAIN_ID": str(os.getpid() % 100)}
    return {**os.environ, **local, "PYTHONPATH": os.pathsep.join(folders)}


def publish(work: Path) -> None:
    """Run in build/ros2: send the images, and collect decisions until the node has gone."""
    import rclpy
    from rclpy.qos import QoSHistoryPolicy, QoSProfile
    from sensor_msgs.msg import CompressedImage
    from std_msgs.msg import String

    rclpy.init()
    node = rclpy.create_node("camera")
    profile = QoSProfile(history=QoSHistoryPolicy.KEEP_ALL, depth=1)
    told: list[dict[str, object]] = []
    node.create_subscription(
        String, "/deal/decisions", lambda message: told.append(json.loads(message.data)), profile
    )
    publishers = {topic: node.create_publisher(CompressedImage, topic, profile) for topic in TOPICS}

    def wait(what: str, until: object) -> None:
        end = time.monotonic() + 60
        while not until():  # type: ignore[operator]
            if time.monotonic() > end:
                raise SystemExit(f"after 60 s: {what}")
            rclpy.spin_once(node, timeout_sec=0.05)

    wait(
        "the node is not there",
        lambda: (
            all(one.get_subscription_count() for one in publishers.values())
            and node.count_publishers("/deal/decisions")
        ),
    )
    images = [(topic, stamp, path.read_bytes()) for topic, stamp, path in trip(work)]
    for topic, stamp, data in [(*DAMAGED, b"no image"), *images]:
        message = CompressedImage(format="jpeg", data=data)
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, SECOND)
        publishers[topic].publish(message)
        rclpy.spin_once(node, timeout_sec=0)
    # What waits is decided when the trip ends, so the node is asked to end when it has all images.
    journal = work / "kept" / "journal.bin"
    wait("images are missing", lambda: journal.stat().st_size >= (IMAGES + 1) * 264)
    os.kill(int((work / "node.pid").read_text()), signal.SIGTERM)
    wait("the node does not end", lambda: node.count_publishers("/deal/decisions") == 0)
    for _ in range(20):
        rclpy.spin_once(node, timeout_sec=0.05)
    (work / "told.json").write_text(json.dumps(told))
    node.destroy_node()
    rclpy.shutdown()


def trip(work: Path) -> list[tuple[str, int, Path]]:
    """Topic, stamp and file of every image; the cameras take turns, five images per second."""
    pool = sorted((work / "pool").iterdir())
    return [
        (TOPICS[index % 2], START + index * SECOND // 5, pool[index % len(pool)])
        for index in range(IMAGES)
    ]


def main() -> None:
    """Run the check."""
    missing = install()
    if missing is not None:
        print(f"skipped: {missing}")
        return
    import deal
    from deal.pool.listing import Pool

    demo = Path(deal.__file__).parent / "demo"
    model = ["--model", str(demo / "model.onnx")]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        (work / "pool").symlink_to(demo / "pool")
        listen(work, [*model, *RULES])
        kept = files(work / "kept")
        assert len(kept) == BUDGET

        lines = [
            f"{path.resolve()},{frame_id(topic, stamp)},{topic},{stamp}"
            for topic, stamp, path in trip(work)
        ]
        manifest = work / "trip.csv"
        manifest.write_text("\n".join(["uri,id,camera,timestamp_ns", *lines]) + "\n")
        desk = [*model, *RULES, "--acquisition", "entropy", "--output", str(work / "desk")]
        subprocess.run(
            [sys.executable, "-m", "deal", "stream", str(manifest), *desk],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        assert files(work / "desk") == kept, "other images than deal stream keeps"

        told = json.loads((work / "told.json").read_text())
        damaged = [one["id"] for one in told if one["why"] == "decode"]
        assert damaged == [frame_id(*DAMAGED)]
        ids = {frame_id(topic, stamp) for topic, stamp, _ in trip(work)}
        assert {one["id"] for one in told} == {*ids, *damaged}
        last = {one["id"]: one["action"] for one in told}
        assert {name for name, action in last.items() if action == "keep"} == set(kept)

        logged = {
            frame_id(str(item.sequence).partition("#")[2], item.timestamp_ns): item.locator.read()
            for item in Pool(work / "kept.mcap")
        }
        assert logged == kept, "other images in the log"
        print(
            f"{IMAGES} images in, {len(told)} decisions out, {len(kept)} kept: the files of deal "
            "stream, the decisions told and the log agree"
        )


def listen(work: Path, options: list[str]) -> None:
    """Run the node, and the publisher until the node has ended."""
    python = str(BUILD / "bin" / "python")
    topics = [word for topic in TOPICS for word in ("--topic", topic)]
    output = ["--output", str(work / "kept"), "--mcap", str(work / "kept.mcap"), "--reliable"]
    node = subprocess.Popen(
        [python, str(HERE / "rig_node.py"), *options, *topics, *output],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        (work / "node.pid").write_text(str(node.pid))
        publisher = [python, str(HERE / "check.py"), "publish", str(work)]
        subprocess.run(publisher, env=environment(), check=True)
        _, errors = node.communicate(timeout=60)
        assert node.returncode == 0, errors
    finally:
        node.kill()


def files(output: Path) -> dict[str, bytes]:
    """Kept files by their ids."""
    folder = output / "frames"
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def frame_id(topic: str, stamp: int) -> str:
    """As rig_node.py names images."""
    return f"{topic.strip('/')}/{stamp:019}.jpg"


if __name__ == "__main__":
    if sys.argv[1:2] == ["publish"]:
        publish(Path(sys.argv[2]))
    else:
        main()
