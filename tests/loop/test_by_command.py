"""Loops that train by a command: what it gets, what becomes of its model, and how it may fail."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from deal._install import pip_install
from deal.errors import DealError, ModelError, OutputError, PoolError, UsageError
from deal.labeled.labels import LabelClasses, pair_files
from deal.loop.config import parse_config
from deal.loop.evaluation import evaluate_model
from deal.loop.experiment import run_loop
from deal.loop.labeled import read_labeled
from deal.loop.table import read_experiment
from deal.report.loop import report_loop
from tests.helpers.checkpoints import small_meta
from tests.helpers.labeled import colour_fields, write_labeled

pytest.importorskip("onnx")
torch = pytest.importorskip("torch")

SCRIPT = Path(__file__).with_name("train_colours.py")
COMMAND = [sys.executable, str(SCRIPT), "{labeled}", "{output}"]


@pytest.fixture
def root(tmp_path):
    """Twelve images to train on and four to measure on, three colours each, with noise."""
    root = tmp_path / "data"
    rng = np.random.default_rng(3)

    write_labeled(root, "train", colour_fields(rng, 12, (4, 6), 8))
    write_labeled(root, "val", colour_fields(rng, 4, (4, 6), 8))
    (root / "classes.json").write_text('{"classes": ["road", "sky", "car"]}')
    return root


@pytest.fixture
def make(tmp_path, root):
    def make(command=COMMAND, **changes):
        values = {
            "experiment": "own",
            "output": str(tmp_path / "runs"),
            "data": {"dataset": "folder", "root": str(root)},
            "training": {"command": command},
            "rounds": {"labeled": [2, 4, 6]},
            "scoring": {"device": "cpu", "sessions": 1, "threads": 1},
            "methods": {"random": {"acquisition": "random"}, "ds": {"acquisition": "ds"}},
        }
        return parse_config({**values, **changes})

    return make


def python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", code, "{labeled}", "{output}", *arguments]


@pytest.mark.slow
def test_a_command_trains_every_round_on_the_files_labeled_so_far(make, root):
    config = make()
    said = []
    run_loop(config, say=said.append)
    run = config.folder / "ds-seed0"
    for number, count in ((1, 2), (2, 4), (3, 6)):
        folder = config.folder / "common/seed0" if number == 1 else run / f"round-{number}"
        with open(folder / "training/labeled.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        assert sorted(row["id"] for row in rows) == sorted(read_labeled(folder / "labeled.csv"))
        assert len(rows) == count
        assert rows[0]["image"] == str(root / "train/images" / rows[0]["id"])
        assert rows[0]["label"] == str(root / "train/labels" / rows[0]["id"])
        assert f"read {rows[0]['id']}" in (folder / "training/log.txt").read_text()
        metrics = json.loads((folder / "metrics.json").read_text())
        assert 0.5 < metrics["miou"] < 1
        assert list(metrics["iou"]) == ["road", "sky", "car"]
        assert 0.5 < metrics["auroc"]["entropy"] < 1
        assert 0 < metrics["auroc"]["difficulty"] < 1
    assert any("train_colours.py" in line for line in said)
    assert json.loads((run / "round-2/selection.json").read_text())["acquisition"] == "ds:none"
    # Models of later rounds are deleted; what the command printed stays.
    assert [path.parts[-4] for path in config.folder.rglob("*.onnx")] == ["common"]
    text = report_loop([config.folder])[0].to_markdown()
    assert f"Training: by the command `{sys.executable} {SCRIPT} {{labeled}} {{output}}`" in text


@pytest.mark.slow
def test_a_loop_that_was_killed_does_not_train_again_what_is_trained(make, tmp_path):
    counter = tmp_path / "trainings"
    code = (
        "import runpy, sys; open(sys.argv.pop(), 'a').write('x');"
        f"sys.argv[0] = {str(SCRIPT)!r}; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    config = make(python(code, str(counter)), rounds={"labeled": [2, 4]})
    run_loop(config)
    trained = counter.read_text()
    assert len(trained) == 3
    before = read_experiment(config.folder).runs
    for name in ("common/seed0/metrics.json", "random-seed0/round-1/metrics.json", "results.csv"):
        (config.folder / name).unlink()
    run_loop(config)
    assert counter.read_text() == trained
    assert read_experiment(config.folder).runs == before
    for name in ("metrics.json", "timing.json"):
        (config.folder / "random-seed0/round-2" / name).unlink()
    run_loop(config)
    assert counter.read_text() == trained + "x"
    assert read_experiment(config.folder).runs == before


@pytest.mark.slow
def test_a_round_that_was_deleted_comes_back_the_same(make_regions):
    """Its picks need the model of the round before, which is trained once more."""
    config = make_regions()
    run_loop(config)
    before = read_experiment(config.folder).runs
    shutil.rmtree(config.folder / "ds-seed0/round-3")
    run_loop(config)
    assert read_experiment(config.folder).runs == before


def test_a_command_goes_on_in_the_folder_where_it_failed(make):
    code = (
        "import os, sys, runpy; mark = os.path.dirname(sys.argv[2]) + '/mark'\n"
        "if not os.path.exists(mark): open(mark, 'w'); print('no memory left'); sys.exit(3)\n"
        f"sys.argv[0] = {str(SCRIPT)!r}; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    config = make(python(code), rounds={"labeled": [2, 4]}, methods={"ds": {"acquisition": "ds"}})
    with pytest.raises(DealError, match=r"status 3.*The end of .*log\.txt:") as failed:
        run_loop(config)
    assert failed.value.__notes__ == ["no memory left"]
    with pytest.raises(DealError, match="round-2"):
        run_loop(config)
    assert run_loop(config).finished == ("ds-seed0",)


def test_the_end_of_a_log_is_shown_line_by_line(deal, root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = "print('first'); print('a \\x1b[31m red line'); raise SystemExit(4)"
    Path("loop.toml").write_text(
        f'experiment = "e"\n[data]\ndataset = "folder"\nroot = "{root}"\n'
        f"[training]\ncommand = {json.dumps(python(code))}\n"
        '[rounds]\nlabeled = [2, 4]\n[methods.random]\nacquisition = "random"\n'
    )
    status, _, text = deal("loop", "loop.toml")
    assert status == 1
    said, *lines = text[text.index("error: ") :].splitlines()
    assert said.startswith("error: [training] command ended with status 4; correct it")
    assert lines == ["first", r"a \x1b[31m red line"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "error", "message"),
    [
        ("", ModelError, "ended with status 0 but did not write .*model.onnx"),
        (
            "import os; os.kill(os.getpid(), 9)",
            DealError,
            "ended by signal 9.*It printed nothing to .*log.txt",
        ),
        (
            f"import sys; sys.path.insert(0, {str(SCRIPT.parent)!r}); import train_colours as t\n"
            "t.NAMES = ('sky', 'road', 'car'); t.main(*sys.argv[1:])",
            ModelError,
            "the classes of the labels in another order",
        ),
        (
            f"import sys; sys.path.insert(0, {str(SCRIPT.parent)!r}); import train_colours as t\n"
            "t.NAMES, t.HEAD['weight'] = ('road', 'sky'), [1, 2]; t.main(*sys.argv[1:])",
            ModelError,
            "has 2 classes, but the labels have 3",
        ),
        (
            f"import sys; sys.path.insert(0, {str(SCRIPT.parent)!r}); import train_colours as t\n"
            "import json, onnx; t.main(*sys.argv[1:]); model = onnx.load(sys.argv[2])\n"
            "contract = json.loads(model.metadata_props[0].value)\n"
            "contract.update(resize='letterbox', input_size=[32, 48])\n"
            "onnx.helper.set_model_props(model, dict(deal=json.dumps(contract)))\n"
            "onnx.save(model, sys.argv[2])",
            ModelError,
            "resize letterbox.*the same deal loop then runs it again",
        ),
    ],
)
def test_what_a_command_does_wrong_is_said(make, code, error, message):
    rounds = {"labeled": [2, 4]}
    config, mended = make(python(code), rounds=rounds), make(rounds=rounds)
    with pytest.raises(error, match=f"(?s){message}"):
        run_loop(config)
    assert not list(config.folder.rglob("metrics.json"))
    assert run_loop(mended).finished == ("random-seed0", "ds-seed0")
    with pytest.raises(OutputError, match=r"another \[training\] command"):  # and others are not it
        run_loop(config)


@pytest.mark.slow
def test_a_command_that_is_corrected_while_its_model_is_measured_trains_again(
    make, monkeypatch, tmp_path
):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    one = {"rounds": {"labeled": [2, 4]}, "methods": {"random": {"acquisition": "random"}}}
    with monkeypatch.context() as patch:
        patch.setattr("deal.loop.by_command.evaluate_model", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_loop(make(**one))
    counter = tmp_path / "trainings"
    code = (
        f"import runpy, sys; open({str(counter)!r}, 'a').write('x')\n"
        f"sys.argv[0] = {str(SCRIPT)!r}; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    run_loop(make(python(code), **one))
    assert counter.read_text() == "xx"


def test_the_seed_reaches_the_command(make):
    code = "import sys; print('seed', sys.argv[3]); sys.exit(1)"
    config = make(python(code, "{seed}"), seeds=[7])
    with pytest.raises(DealError, match="seed 7"):
        run_loop(config)


@pytest.mark.slow
def test_a_model_without_difficulty_has_no_area_of_it(make):
    code = (
        f"import sys; sys.path.insert(0, {str(SCRIPT.parent)!r}); import train_colours as t\n"
        "t.HEAD = None; t.main(*sys.argv[1:])"
    )
    config = make(
        python(code), rounds={"labeled": [2, 4]}, methods={"entropy": {"acquisition": "entropy"}}
    )
    run_loop(config)
    metrics = json.loads((config.folder / "entropy-seed0/round-2/metrics.json").read_text())
    assert metrics["auroc"]["difficulty"] is None
    more = {"acquisition": "random", "dropout_passes": 2}
    for method, message in (({"acquisition": "ds"}, "picks by difficulty"), (more, "for masks")):
        config = make(python(code), methods={"other": method}, experiment=message.split()[-1])
        with pytest.raises(ModelError, match=rf"\[methods.other\] .*{message}.*runs it again"):
            run_loop(config)


@pytest.mark.slow
def test_a_training_that_outlived_its_loop_is_not_begun_twice(make):
    config = make(rounds={"labeled": [2, 4]})
    work = config.folder / "common/seed0/training"
    work.mkdir(parents=True)
    code = (
        "import fcntl, sys, time; file = open(sys.argv[1] + '/_lock', 'w');"
        "fcntl.flock(file, fcntl.LOCK_EX); print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(work)], stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        said = []
        report = run_loop(config, say=said.append)
        other.kill()
    assert report.elsewhere == ("random-seed0", "ds-seed0")
    assert "still runs in" in said[-1]
    assert run_loop(config).finished == ("random-seed0", "ds-seed0")


def test_the_lock_is_inherited_by_the_command(make):
    # The command's own child outlives it, as a command does a loop that was killed.
    code = "import os, sys, time; child = os.fork() or time.sleep(60); print(child); sys.exit(1)"
    config = make(python(code))
    with pytest.raises(DealError, match="status 1"):
        run_loop(config)
    child = int((config.folder / "common/seed0/training/log.txt").read_text())
    try:
        assert run_loop(config).finished == ()
    finally:
        os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"command": []}, UsageError, "command is empty"),
        ({"command": ["train", "{labeled}"]}, UsageError, "lacks {output}"),
        ({"command": ["train", "{output}"]}, UsageError, "lacks {labeled}"),
        ({"command": [*COMMAND, "{round}"]}, UsageError, "'{round}' .* use {labeled}"),
        ({"command": [*COMMAND, "{seed:03d}"]}, UsageError, "'{seed:03d}' .* use {labeled}"),
        ({"command": [*COMMAND, "{seed!r}"]}, UsageError, "'{seed!r}' .* use {labeled}"),
        ({"command": [*COMMAND, "{"]}, UsageError, "write a literal brace twice"),
        ({"command": ["no-such-program", "{labeled}{output}"]}, UsageError, "'no-such-program'"),
        ({"command": "train.py {labeled} {output}"}, UsageError, "give a list of text"),
        (
            {"training": {"command": COMMAND, "lr": 0.1}},
            UsageError,
            "lr cannot be used with command",
        ),
        (
            {"methods": {"ds": {"acquisition": "ds", "difficulty_loss": False}}},
            UsageError,
            "difficulty_loss works only with deal's own training",
        ),
        ({"scoring": {"engine": "torch"}}, UsageError, "command writes ONNX"),
        ({"scoring": {"device": "gpu"}}, UsageError, "gpu"),
        ({"data": {"dataset": "camvidd", "root": "."}}, UsageError, "'camvidd' is unknown"),
        ({"data": {"dataset": "synthetic"}}, UsageError, "has no files .* to read: write"),
        ({"data": {"dataset": "folder", "size": [32, 48]}}, UsageError, "size cannot be used with"),
        ({"rounds": {"labeled": [2, 20]}}, UsageError, "but the training split has 12"),
        (
            {"data": {"dataset": "folder"}},
            UsageError,
            r"needs a folder: --data ROOT, or root in \[data\]",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(make, changes, error, message):
    with pytest.raises(error, match=message):
        run_loop(make(**changes))


@pytest.mark.parametrize(
    "name",
    ["train/labels/frame_003.png", "train/images/frame_011.png", "val/images/frame_001.png"],
)
def test_every_file_is_read_before_anything_runs(make, root, name):
    whole = (root / name).read_bytes()
    (root / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(PoolError, match=f"{Path(name).name} cannot be read"):
        run_loop(make())


def test_a_name_that_no_list_can_hold_is_refused_before_anything_runs(make, root):
    for kind in ("images", "labels"):
        path = root / "train" / kind / "frame_004.png"
        path.rename(os.fsdecode(os.fsencode(path.parent) + b"/frame\xff.png"))
    with pytest.raises(PoolError, match=r"is not UTF-8, .* rename it"):
        run_loop(make())


@pytest.mark.slow
def test_an_interrupted_command_is_waited_for(make):
    code = (
        "import os, signal, sys, time; os.kill(os.getppid(), signal.SIGINT)\n"
        "time.sleep(1); print('saved', flush=True)"
    )
    config = make(python(code))
    with pytest.raises(KeyboardInterrupt):
        run_loop(config)
    assert (config.folder / "common/seed0/training/log.txt").read_text() == "saved\n"


def test_a_model_is_measured_as_its_network_in_pytorch(tmp_path):
    from deal.training.checkpoint import build_module, save_checkpoint
    from deal.training.data import Sample
    from deal.training.evaluation import evaluate

    rng = np.random.default_rng(1)
    torch.manual_seed(0)
    meta, checkpoint = small_meta(), tmp_path / "c.pt"
    module = build_module(meta).eval()
    save_checkpoint(checkpoint, module, meta)
    pairs = []
    for _ in range(2):
        image = rng.integers(0, 256, (48, 64, 3), np.uint8)
        label = rng.integers(0, 5, (48, 64), np.uint8)
        label[:9] = 255
        with torch.no_grad():
            logits, _ = module(torch.from_numpy(image).permute(2, 0, 1)[None])
        logits = torch.nn.functional.interpolate(
            logits, (48, 64), mode="bilinear", align_corners=True
        )
        first, second = logits[0].topk(2, dim=0).values
        # Both round in float32, each its own way: they agree on a class that is ahead by more.
        label[(first - second < 1e-3 * logits.std()).numpy()] = 255
        assert (label < 5).mean() > 0.75
        pairs.append((image, label))
    write_labeled(tmp_path, "val", pairs)
    expected = evaluate(
        module, [Sample("", *pair) for pair in pairs], ignore_index=255, align_corners=True
    ).to_dict(meta.classes)
    found = evaluate_model(
        checkpoint,
        pair_files(tmp_path / "val"),
        LabelClasses(meta.classes, meta.palette, 255),
        engine="torch",
        device="cpu",
        threads=1,
    )
    assert found["iou"] == expected["iou"]
    assert (found["miou"], found["accuracy"]) == (expected["miou"], expected["accuracy"])
    assert found["auroc"] == pytest.approx(expected["auroc"], abs=1e-3)
    assert 0.4 < found["auroc"]["difficulty"] != 0.5


@pytest.mark.slow
def test_pytorch_is_needed_by_deals_own_training_alone(root, tmp_path):
    text = (
        f'output = "{tmp_path}/plain"\n'
        f'[data]\ndataset = "folder"\nroot = "{root}"\n[rounds]\nlabeled = [2, 4]\n'
        '[scoring]\ndevice = "cpu"\n[methods.ds]\nacquisition = "ds"\n[training]\n'
    )
    (tmp_path / "command.toml").write_text(
        f'experiment = "one"\n{text}command = {json.dumps(COMMAND)}\n'
    )
    (tmp_path / "recipe.toml").write_text(f'experiment = "two"\n{text}steps = 2\n')
    code = (
        "import sys; sys.modules['torch'] = None; from deal import cli;"
        "sys.exit(cli.run(cli.deal, ['loop', sys.argv[1]], 'deal'))"
    )
    done = [
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / name)], capture_output=True, text=True
        )
        for name in ("command.toml", "recipe.toml")
    ]
    assert "1 runs finished" in done[0].stdout, done[0].stderr
    assert done[1].returncode == 1
    assert f"{pip_install('train')}, or give [training] command" in done[1].stderr
