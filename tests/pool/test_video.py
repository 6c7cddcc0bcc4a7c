"""Frames of videos: which are taken, and that they are those of decoding the whole film."""

from __future__ import annotations

import struct
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from deal.errors import ItemError, PoolError, UsageError
from deal.pool.inside import Every, Reading
from deal.pool.listing import Pool
from deal.pool.locator import read_uri
from deal.types import Decoded, FailedItem, PoolItem

av: Any = pytest.importorskip("av")

SIZE = (48, 64)


def film(
    path: Path,
    count: int = 60,
    *,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    times: list[int] | None = None,  # in milliseconds
    rotation: int | None = None,
    size: tuple[int, int] = SIZE,
) -> Path:
    """A pan over noise, 25 frames per second unless ``times`` says otherwise."""
    noise = np.random.default_rng(0).integers(0, 256, (size[0], size[1] + count, 3), dtype=np.uint8)
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        if rotation is not None:
            stream.set_display_rotation(rotation)
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for index in range(count):
            image = np.ascontiguousarray(noise[:, index : index + size[1]])
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[index], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def whole(path: Path) -> dict[float, NDArray[np.uint8]]:
    """Every frame by its time, decoded from the beginning by PyAV alone."""
    with av.open(path) as container:
        return {
            float(frame.pts * frame.time_base): frame.to_ndarray(format="rgb24")
            for frame in container.decode(video=0)
        }


def items(path: Path, every: str) -> list[PoolItem]:
    found = list(Pool(path, reading=Reading(every=every)))
    assert all(isinstance(item, PoolItem) for item in found)
    return found  # type: ignore[return-value]


def pixels(item: PoolItem) -> NDArray[np.uint8]:
    decoded = item.locator.read()
    assert isinstance(decoded, Decoded)
    return decoded.image


def time_of(item: PoolItem) -> float:
    return float(item.id.partition("#t=")[2])


FILMS = {
    "mp4": ("a.mp4", "libx264", {"g": "12", "bf": "3", "b-pyramid": "normal"}),
    "open-gop": ("a.mkv", "libx264", {"g": "12", "bf": "3", "x264-params": "open-gop=1"}),
    "hevc-open-gop": ("b.mp4", "libx265", {"g": "12", "x265-params": "log-level=none:open-gop=1"}),
    "one-gop": ("a.mov", "libx264", {"g": "1000", "bf": "2"}),
    "intra": ("a.avi", "mjpeg", {}),
    "mpeg-ts": ("a.ts", "libx264", {"g": "12", "bf": "2"}),
    "webm": ("a.webm", "libvpx-vp9", {"g": "12", "deadline": "realtime", "cpu-used": "8"}),
}


@pytest.mark.parametrize("kind", FILMS)
@pytest.mark.parametrize("every", ["1f", "7f", "0.2s", "keyframe"])
def test_frames_are_those_of_the_whole_film_in_order_and_by_seeking(
    tmp_path: Path, kind: str, every: str
) -> None:
    name, codec, options = FILMS[kind]
    if codec == "mjpeg" and every == "keyframe":
        every = "20f"
    if codec == "mjpeg":
        path = tmp_path / name
        with av.open(path, "w") as container:
            stream = container.add_stream("mjpeg", rate=25)
            stream.height, stream.width, stream.pix_fmt = *SIZE, "yuvj420p"
            for level in range(60):
                image = np.full((*SIZE, 3), level, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode())
    else:
        path = film(tmp_path / name, codec=codec, options=options)
    expected = {round(time, 3): image for time, image in whole(path).items()}
    found = items(path, every)
    if every == "1f":
        assert [time_of(item) for item in found] == sorted(expected)
    for item in found:
        assert (pixels(item) == expected[time_of(item)]).all()
    for item in reversed(found):
        decoded = read_uri(item.uri, item.source_version)
        assert isinstance(decoded, Decoded)
        assert (decoded.image == expected[time_of(item)]).all()
        assert item.sequence == name
        assert item.timestamp_ns == pytest.approx(time_of(item) * 1e9, abs=5e5)


def test_which_frames_are_taken(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", 60, options={"g": "25", "sc_threshold": "0"})
    assert [time_of(i) for i in items(path, "1s")] == [0, 1, 2]
    assert [time_of(i) for i in items(path, "0.5s")] == [0, 0.52, 1, 1.52, 2]
    assert [time_of(i) for i in items(path, "25f")] == [0, 1, 2]
    assert [time_of(i) for i in items(path, "keyframe")] == [0, 1, 2]
    assert Pool(path).count() == 3


def test_a_variable_rate_counts_time_and_not_frames(tmp_path: Path) -> None:
    times = [0, 10, 20, 900, 1100, 1200, 5000, 5010, 5990, 6010]
    path = film(tmp_path / "a.mp4", 10, times=times)
    assert [i.id for i in items(path, "1s")] == [
        f"a.mp4#t={t}" for t in ("0.000", "1.100", "5.000", "6.010")
    ]
    expected = whole(path)
    for item, image in zip(items(path, "1f"), expected.values(), strict=True):
        assert (pixels(item) == image).all()


def test_frames_within_one_millisecond_have_one_id(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=3000, options={"bf": "0"})
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 3000)
        for index in range(9):
            frame = av.VideoFrame.from_ndarray(np.zeros((*SIZE, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 3000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    ids = [item.id for item in items(path, "1f")]
    assert ids == [f"a.mp4#t=0.00{index}" for index in range(4)]
    assert all(isinstance(read_uri(item.uri), Decoded) for item in items(path, "1f"))


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_a_turned_film_is_upright_as_its_matrix_says(tmp_path: Path, rotation: int) -> None:
    path = film(tmp_path / "a.mp4", 3, rotation=rotation)
    data = path.read_bytes()
    track = data.index(b"tkhd")
    a, b, _, c, d, *_ = struct.unpack(">9i", data[track + 44 : track + 80])
    a, b, c, d = (value >> 16 for value in (a, b, c, d))
    stored = next(iter(whole(path).values()))
    height, width = stored.shape[:2]
    y, x = np.mgrid[:height, :width]
    right, down = a * x + c * y, b * x + d * y  # QuickTime: [x y 1] times the matrix
    upright = np.zeros((height, width, 3) if a else (width, height, 3), np.uint8)
    upright[down - down.min(), right - right.min()] = stored
    decoded = items(path, "1f")[0].locator.read()
    assert isinstance(decoded, Decoded)
    assert (decoded.image == upright).all()
    assert decoded.orientation == {(1, 0): 1, (0, 1): 6, (-1, 0): 3, (0, -1): 8}[a, b]


def test_a_film_that_was_cut_gives_its_frames_and_a_row_that_tells(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    noise = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    with av.open(path, "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "10", "bf": "2"})
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        for shift in range(60):
            image = np.roll(noise, shift, axis=1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    expected = whole(path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    *frames, last = list(Pool(path, reading=Reading(every="1f")))
    assert isinstance(last, FailedItem)
    assert last.item.id == "a.mp4#"
    assert "is cut" in last.error
    right = 0
    for item in frames:
        assert isinstance(item, PoolItem)
        try:
            found = pixels(item)
        except ItemError:
            continue
        right += bool((found == expected[time_of(item)]).all())
    assert right >= 20

    path.write_bytes(data[: data.index(b"moov") + 8])
    (only,) = Pool(path)
    assert isinstance(only, FailedItem)
    assert only.error_code == "decode"


@pytest.mark.parametrize(("name", "codec"), [("a.mkv", "libx264"), ("a.webm", "libvpx-vp9")])
def test_matroska_that_begins_late_is_whole_until_it_is_cut(
    tmp_path: Path, name: str, codec: str
) -> None:
    times = [60_000 + 40 * index for index in range(100)]  # as `ffmpeg -f segment` writes it
    options = {"g": "10", "deadline": "realtime", "cpu-used": "8"} if "vp9" in codec else {}
    path = film(tmp_path / name, 100, codec=codec, options=options, times=times)
    assert [time_of(item) for item in items(path, "1s")] == [60, 61, 62, 63]
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    *_, last = list(Pool(path))
    assert isinstance(last, FailedItem)
    assert "of 64.0 seconds" in last.error


@pytest.mark.parametrize("content", [b"", b"no video at all" * 99])
def test_what_is_no_video_is_a_row_beside_others(tmp_path: Path, content: bytes) -> None:
    film(tmp_path / "a.mp4", 5)
    (tmp_path / "b.mp4").write_bytes(content)
    one, other = Pool(f"{tmp_path}/*.mp4")
    assert isinstance(one, PoolItem)
    assert isinstance(other, FailedItem)
    assert other.item.id == "b.mp4#"


def test_a_sound_track_alone_is_no_video(tmp_path: Path) -> None:
    with av.open(tmp_path / "a.mp4", "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    (entry,) = Pool(tmp_path / "a.mp4")
    assert isinstance(entry, FailedItem)
    assert "holds no video" in entry.error


def test_frames_that_are_too_large_say_so(tmp_path: Path) -> None:
    (item,) = items(film(tmp_path / "a.mp4", 2), "1s")
    with pytest.raises(ItemError, match=r"64×48 pixels, more than 100") as caught:
        item.locator.read(100)
    assert caught.value.code == "too_large"


def test_a_film_that_changes_gives_no_wrong_frame(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", 30)
    first, *_ = items(path, "1s")
    pixels(first)
    film(path, 20)
    with pytest.raises(ItemError, match="has changed since"):
        first.locator.read()
    with pytest.raises(ItemError, match="no longer has a frame"):
        read_uri(f"{path}#t=0.999")


def test_without_pyav_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = film(tmp_path / "a.mp4", 2)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(PoolError, match=r"needs PyAV: pip install .*\[video\]"):
        iter(Pool(path))


@pytest.mark.parametrize("text", ["", "1", "0s", "0f", "1.5f", "-1s", "1m", "nan s"])
def test_intervals_that_mean_nothing_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="1s, 10f or keyframe"):
        Reading(every=text)


def test_intervals() -> None:
    assert Every.parse("0.25s") == Every(seconds=Fraction(1, 4))
    assert Every.parse("10f") == Every(frames=10)
    assert Every.parse("keyframe") == Every(keyframes=True)
