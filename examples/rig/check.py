"""Build examples/rig and hold it to deal: scores, kept frames, kill -9, a full disk.

    python examples/rig/check.py [--kills 100] [--seed 0] [--onnxruntime-headers DIR]

Needs deal in this environment, a C++ compiler, CMake and libjpeg-turbo's headers. OpenVINO comes
from PyPI into build/rig/venv. Where it cannot be installed, the check is skipped: exit code 0, and
one line says why. With the folder of onnxruntime_c_api.h the rig is also built with the library of
ONNX Runtime that deal uses here, and has to give the same bits.
"""

from __future__ import annotations

import argparse
import csv
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import deal
from deal.rig.journal import END, FRAME, RECORD_BYTES, Record
from deal.selection.stream import Stream, number_of
from deal.selection.stream_rules import StreamRules

HERE = Path(__file__).resolve().parent
BUILD = HERE.parents[1] / "build" / "rig"
DEMO = Path(deal.__file__).parent / "demo"
FRAMES, BUDGET, FPS = 120, 12, 10
GAP, NEAR = 0.2, 0.5
RULES = ["--budget", str(BUDGET), "--min-gap", str(GAP), "--fps", str(FPS)]


def build() -> str | None:
    """Make build/rig/rig; return why not, if OpenVINO or libjpeg-turbo cannot be had."""
    for tool in ("cmake", "c++"):
        if shutil.which(tool) is None:
            return f"{tool} is missing: apt-get install cmake g++"
    python = BUILD / "venv" / "bin" / "python"
    where = "import openvino, os; print(os.path.dirname(openvino.__file__))"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", BUILD / "venv"], check=True)
    found = told(python, "-c", where)
    if found.returncode != 0:
        installed = told(python, "-m", "pip", "install", "--quiet", "openvino")
        if installed.returncode != 0:
            return f"pip cannot install openvino: {installed.stderr.strip().splitlines()[-1]}"
        found = told(python, "-c", where)
    return configured(BUILD, f"-DOpenVINO_DIR={found.stdout.strip()}/cmake")


def configured(folder: Path, *settings: str, prefixes: Sequence[Path] = ()) -> str | None:
    """Compile libdeal and the rig into a folder; return what is missing, if something is."""
    cache = ["-DCMAKE_CXX_COMPILER_LAUNCHER=ccache"] if shutil.which("ccache") else []
    library, prefix = BUILD / "libdeal", BUILD / "prefix"
    needed("cmake", "-S", HERE.parents[1], "-B", library, "-DBUILD_SHARED_LIBS=OFF", *cache)
    needed("cmake", "--build", library, "--parallel", "2")
    needed("cmake", "--install", library, "--prefix", prefix)
    places = f"-DCMAKE_PREFIX_PATH={';'.join(map(str, (prefix, *prefixes)))}"
    done = told("cmake", "-S", HERE, "-B", folder, places, *settings, *cache)
    if done.returncode != 0:
        if "Could NOT find JPEG" in done.stderr:
            return "libjpeg-turbo is missing: apt-get install libjpeg62-turbo-dev"
        raise SystemExit(done.stderr)
    needed("cmake", "--build", folder, "--parallel", "2")
    return None


def told(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command and keep what it prints."""
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)


def needed(*command: str | Path) -> None:
    """Run a command that has to succeed; else what it printed is shown."""
    done = told(*command)
    if done.returncode != 0:
        raise SystemExit(done.stdout + done.stderr)


def command(
    frames: Path, output: Path, *rules: str, model: Path = DEMO / "model.onnx"
) -> list[str]:
    """The command line of the rig."""
    return [str(BUILD / "rig"), str(model), str(frames), str(output), *rules]


def rig(frames: Path, output: Path, *rules: str) -> None:
    """Run the rig to its end."""
    subprocess.run(command(frames, output, *rules), check=True, stdout=subprocess.DEVNULL)


def records(output: Path) -> list[Record]:
    """The whole records of a journal, which is not touched."""
    data = (output / "journal.bin").read_bytes()
    found: list[Record] = []
    for at in range(0, len(data), RECORD_BYTES):
        record = Record.decoded(data[at : at + RECORD_BYTES], len(found))
        if record is None:
            break
        found.append(record)
    return found


def kept_by(journal: list[Record], **options: object) -> set[int]:
    """What the selector of Python keeps of the frames in a journal."""
    stream = Stream.of(StreamRules.of(budget=BUDGET, **options))  # type: ignore[arg-type]
    for record in journal:
        if record.kind == END:
            stream.finish()
        elif record.kind == FRAME:
            stream.take(record.frame, str(record.frame.number))
    return stream.kept_numbers()


def files(output: Path) -> dict[str, bytes]:
    """The kept files: those with final names."""
    folder = output / "frames"
    found = folder.iterdir() if folder.exists() else ()
    return {path.name: path.read_bytes() for path in found if path.suffix != ".new"}


def check_scores(work: Path) -> str:
    """The scores of the rig against deal's, in float32 by OpenVINO and by ONNX Runtime."""
    pool, worst = DEMO / "pool", {}
    resizing = HERE.parents[1] / "models" / "camvid-lite0.onnx"
    for model, names in (
        (DEMO / "model.onnx", ("entropy", "ds:entropy", "tail:entropy")),
        (resizing, ("entropy",)),
    ):
        scored = work / f"scored-{model.stem}"
        results = deal.score_pool(pool, model=model, output=scored, threads=1)
        table = deal.read_results(results.output).table
        numbers = [number_of(frame) for frame in table["id"].to_pylist()]
        thumbnails = map(bytes, table["thumbnail"].to_pylist())
        signatures = dict(zip(numbers, thumbnails, strict=True))
        for name in names:
            output = work / f"{model.stem}-{name.replace(':', '-')}"
            needed(*command(pool, output, "--budget", "5", "--acquisition", name, model=model))
            expected = dict(zip(numbers, deal.acquisition_scores(table, name), strict=True))
            frames = [record.frame for record in records(output) if record.kind == FRAME]
            assert {frame.number: frame.signature for frame in frames} == signatures
            worst[model.stem, name] = max(abs(f.score - expected[f.number]) for f in frames)
    assert all(worst[key] <= 1e-5 for key in worst if key[1] == "entropy"), worst
    told = ", ".join(f"{name} ({stem}) {most:.0e}" for (stem, name), most in worst.items())
    return f"24 frames: the same signatures; scores of deal score within: {told}"


def check_kept(drive: Path, work: Path) -> str:
    """The kept frames against `deal stream` over the same frames."""
    manifest = work / "trip.csv"
    lines = [
        f"{path},{path.name},{round(1e9 / FPS * index)}"
        for index, path in enumerate(sorted(drive.iterdir()))
    ]
    manifest.write_text("\n".join(["uri,id,timestamp_ns", *lines]) + "\n")
    desk = ["--acquisition", "entropy", "--budget", str(BUDGET), "--min-gap", f"{GAP}s"]
    model = ["--model", str(DEMO / "model.onnx"), "--output", str(work / "desk")]
    near = ["--near-duplicates", str(NEAR)]
    stream = [sys.executable, "-m", "deal", "stream", str(manifest), *desk, *near, *model]
    subprocess.run(stream, check=True, stdout=subprocess.DEVNULL)
    rig(drive, work / "near", *RULES, *near)
    assert files(work / "near") == files(work / "desk")
    tables = []
    for folder in ("near", "desk"):
        with (work / folder / "selection.csv").open(newline="") as file:
            tables.append([(row["rank"], row["id"]) for row in csv.DictReader(file)])
    assert tables[0] == tables[1]
    return f"{len(tables[0])} of {FRAMES} frames kept, as deal stream does, in the same order"


def check_kills(drive: Path, work: Path, kills: int, seed: int) -> str:
    """Kill it at any moment: never above budget, and the same files after a restart."""
    rng = random.Random(seed)
    started = time.monotonic()
    rig(drive, work / "whole", *RULES)
    seconds = time.monotonic() - started
    whole = files(work / "whole")
    assert len(whole) == BUDGET
    done, folders, midway = 0, 0, 0
    while done < kills:
        output = work / f"killed-{folders}"
        folders += 1
        for _ in range(min(rng.randint(1, 3), kills - done)):
            # Also while a restart reads the journal, so the moment is any of the whole run.
            process = subprocess.Popen(
                command(drive, output, *RULES), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            time.sleep(rng.uniform(0, seconds))
            process.kill()
            process.wait()
            done += 1
            found = files(output)
            assert len(found) <= BUDGET, "above budget"
            assert all((drive / name).read_bytes() == data for name, data in found.items())
            if (output / "journal.bin").exists():
                midway += 0 < len(records(output)) <= FRAMES
        rig(drive, output, *RULES)
        assert files(output) == whole, f"other files after a kill: {output}"
        kept = kept_by(records(output), min_gap=f"{GAP}s")
        assert kept == {number_of(name) for name in whole}
        assert {path.suffix for path in (output / "frames").iterdir()} == {".jpg"}
    return f"{done} x kill -9, {midway} midway: files == journal == budget {BUDGET}"


def check_full_disk(drive: Path, work: Path) -> str:
    """Files that cannot be written whole: a reason, a running program, and all of it later."""
    output = work / "full"
    # Python ignores the signal of this limit, and so do programs that inherit its signals.
    limited = subprocess.run(
        command(drive, output, *RULES),
        capture_output=True,
        text=True,
        check=False,
        restore_signals=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000)),
    )
    assert limited.returncode == 1, limited
    assert "File too large; what is kept so far is safe" in limited.stderr
    assert len(files(output)) <= BUDGET
    rig(drive, output, *RULES)
    assert files(output) == files(work / "whole")
    return "a full disk: told, nothing lost, and the same files once there is room"


def check_files_of_others(drive: Path, work: Path) -> str:
    """A folder whose frames no trip kept: refused, and nothing removed."""
    own = work / "own" / "frames" / "holiday.jpg"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"mine")
    done = subprocess.run(
        command(drive, work / "own", *RULES), capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done
    assert "holds files that no trip kept" in done.stderr
    assert own.read_bytes() == b"mine"
    return "a folder with files of someone else: refused, nothing removed"


def check_refused(work: Path) -> str:
    """Options that mean nothing, and a folder that was begun with others: an error, no change."""
    pool, output = DEMO / "pool", work / "refused"
    begun = ["--budget", "5"]
    cases = {
        "whole number": (["--budget", "5.9"], ["--budget", "0"], [*begun, "--max-bytes", "0.5"]),
        "--fps": ([*begun, "--fps", "1e-300"], [*begun, "--fps", "0"], [*begun, "--fps", "1e15"]),
        "the most": ([*begun, "--min-gap", "1e15"],),
        "which is NULL": ([*begun, "--acquisition", "bald"],),  # of committees
    }

    def refused(reason: str, *rules: str, frames: Path = pool) -> None:
        done = told(*command(frames, output, *rules))
        assert done.returncode == 2, done
        assert reason in done.stderr, done

    for reason, lines in cases.items():
        for rules in lines:
            refused(reason, *rules)
    (work / "empty").mkdir()
    refused("no .jpg", *begun, frames=work / "empty")
    assert not output.exists()
    rig(pool, output, *begun)
    before = files(output)
    refused("another model or function", *begun, "--acquisition", "ds:entropy")
    refused("times of another rate", *begun, "--fps", "5")
    assert files(output) == before
    return "options that mean nothing, and a folder of other scores: refused, nothing changed"


def check_onnxruntime(headers: Path, work: Path) -> str:
    """The bundled int8 model through ONNX Runtime's C API: every score has the bits of deal's."""
    import onnxruntime
    from PIL import Image

    from deal.synthetic import scene

    (library,) = (Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*")
    (work / "release" / "lib").mkdir(parents=True)
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):
        (work / "release" / "lib" / name).symlink_to(library)
    (work / "release" / "include").symlink_to(headers.resolve())
    folder = work / "build"
    missing = configured(folder, "-DRIG_RUNTIME=onnxruntime", prefixes=[work / "release"])
    assert missing is None, missing
    frames = work / "scenes"
    frames.mkdir()
    for seed in range(50):
        Image.fromarray(scene(seed, (300, 400))[0]).save(frames / f"{seed:02}.jpg", quality=90)
    model, name = HERE.parents[1] / "models" / "camvid-light-int8.onnx", "ds:entropy"
    output = work / "int8"
    needed(folder / "rig", model, frames, output, "--budget", "5", "--acquisition", name)
    results = deal.score_pool(frames, model=model, output=work / "scored-int8", threads=1)
    table = deal.read_results(results.output).table
    expected = {
        number_of(frame): score
        for frame, score in zip(
            table["id"].to_pylist(), deal.acquisition_scores(table, name), strict=True
        )
    }
    found = {r.frame.number: r.frame.score for r in records(output) if r.kind == FRAME}
    assert found == expected, "other bits than those of deal score"
    return f"ONNX Runtime's C API: {len(found)} of 50 int8 scores have the bits of deal score"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all checks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--onnxruntime-headers", type=Path, metavar="DIR")
    given = parser.parse_args(arguments)
    missing = build()
    if missing is not None:
        print(f"skipped: {missing}")
        return
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        drive = work / "drive"
        drive.mkdir()
        images = sorted((DEMO / "pool").glob("*.jpg"))
        for index in range(FRAMES):
            shutil.copy(images[index % len(images)], drive / f"{index:03}.jpg")
        print(check_scores(work))
        print(check_kept(drive, work))
        print(check_kills(drive, work, given.kills, given.seed))
        print(check_full_disk(drive, work))
        print(check_files_of_others(drive, work))
        print(check_refused(work))
        if given.onnxruntime_headers is None:
            print("skipped: ONNX Runtime's C API, whose headers no wheel has; they are in its")
            print("releases: --onnxruntime-headers onnxruntime-linux-x64-1.27.0/include")
        else:
            print(check_onnxruntime(given.onnxruntime_headers, work))


if __name__ == "__main__":
    main()
