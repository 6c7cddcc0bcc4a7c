"""The kept frames as an MCAP log: read again, they have the same scores."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

import deal
from deal import cli
from deal.errors import OutputError, UsageError
from deal.rig import log
from deal.rig.recorder import Recorder

pytest.importorskip("mcap_ros2")

DEMO = Path(deal.__file__).parent / "demo"
MODEL = str(DEMO / "model.onnx")
START = 1_700_000_000_123_456_789


def messages(path: Path) -> list[tuple[str, int, object]]:
    from mcap.reader import make_reader
    from mcap_ros2.decoder import DecoderFactory

    with path.open("rb") as file:
        reader = make_reader(file, decoder_factories=[DecoderFactory()])
        return [
            (channel.topic, message.log_time, decoded)
            for _, channel, message, decoded in reader.iter_decoded_messages()
        ]


def test_a_trip_as_a_log_has_the_same_scores(tmp_path, capsys):
    manifest = tmp_path / "trip.csv"
    lines = ["uri,id,camera,timestamp_ns"]
    for index, path in enumerate(sorted((DEMO / "pool").glob("*.jpg"))[:9]):
        camera = ("front", "rear")[index % 2]
        lines.append(f"{path},{path.name},{camera},{START + index * 10**9}")
    manifest.write_text("\n".join(lines) + "\n")
    kept, path = tmp_path / "kept", tmp_path / "logs/kept.mcap"
    command = ["stream", str(manifest), "--model", MODEL, "--budget", "4", "-o", str(kept)]
    command += ["--acquisition", "ds:entropy", "--mcap", str(path)]
    assert cli.run(cli.deal, command, "deal") == 0
    assert "kept.mcap" in capsys.readouterr().out
    picks = json.loads((kept / "selection.json").read_text())["selection"]
    deal.score_pool(path, model=MODEL, output=tmp_path / "scored", threads=1)
    again = deal.select(tmp_path / "scored", acquisition="ds:entropy", spread="off", budget=9)
    assert again.scores.tolist() == [pick["score"] for pick in picks]
    assert [row["why"] for row in again.records()] == [pick["why"] for pick in picks]
    stored = deal.read_results(tmp_path / "scored").table.to_pylist()
    times = {line.split(",")[1]: line.split(",")[2:] for line in lines[1:]}
    expected = sorted((camera, int(time)) for camera, time in (times[p["id"]] for p in picks))
    assert sorted((row["camera"], row["timestamp_ns"]) for row in stored) == expected
    found = messages(path)
    told = [json.loads(decoded.data) for topic, _, decoded in found if topic == log.DECISIONS]
    assert {d["id"]: d["score"] for d in told} == {p["id"]: p["score"] for p in picks}
    images = [decoded for topic, _, decoded in found if topic != log.DECISIONS]
    assert {t for t, _, _ in found} <= {
        log.DECISIONS,
        "/front/image/compressed",
        "/rear/image/compressed",
    }
    files = {(DEMO / "pool" / p["id"]).read_bytes() for p in picks}
    assert {bytes(image.data) for image in images} == files
    # Cameras outlive a restart without the frames.
    with Recorder(kept, budget=4, seed=0, again=True) as recorder:
        assert {recorder.place_of(p["id"])[1] for p in picks} == {c for c, _ in expected}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
def test_messages_name_the_format_of_their_image(tmp_path, kind):
    file = BytesIO()
    Image.new("RGB", (4, 4)).save(file, kind)
    with Recorder(tmp_path / "kept", budget=2) as recorder:
        recorder.push("a", file.getvalue(), score=1.0, timestamp_ns=START)
        recorder.push("b", b"of a plugin", score=2.0, timestamp_ns=START + 1)
        log.write_log(tmp_path / "x.mcap", recorder, {})
    told = [decoded for topic, _, decoded in messages(tmp_path / "x.mcap") if "image" in topic]
    assert [image.format for image in told] == [kind.lower(), ""]


def test_times_that_no_stamp_holds_are_an_error_and_leave_no_log(tmp_path):
    with Recorder(tmp_path / "kept", budget=2) as recorder:
        recorder.push("a", b"data", score=1.0, timestamp_ns=-1)
        with pytest.raises(OutputError, match="give times from 1970 to 2038"):
            log.write_log(tmp_path / "x.mcap", recorder, {})
    assert not list(tmp_path.glob("*x.mcap*"))


def test_missing_libraries_are_named(tmp_path, monkeypatch):
    def refuse(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(log.importlib, "import_module", refuse)
    with pytest.raises(UsageError, match=r"needs two packages: .*mcap"):
        log.require_writer()
