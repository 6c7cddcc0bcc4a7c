"""Peers of the benchmarks compute what they are timed for; each question runs end to end."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import deal
from deal.bench import head as head_bench
from deal.bench import scale
from deal.bench.child import run_child
from deal.bench.failed import FailedCheckError
from deal.bench.graphs import attention_graph, tiny_model, whole_graph
from deal.bench.sessions import Sessions, network_costs
from deal.cli.bench import command
from deal.errors import UsageError
from deal.kernel.statistics import difficulty_grid
from deal.synthetic.scenes import scene
from tests.helpers.models import MEAN, STD, metadata, save_model
from tests.helpers.openvino import skip_without_openvino

SIZE = (64, 96)


@pytest.fixture
def pngs(tmp_path):
    paths = [tmp_path / f"{seed}.png" for seed in range(3)]
    for seed, path in enumerate(paths):
        Image.fromarray(scene(seed, SIZE)[0]).save(path)
    return paths


@pytest.fixture
def tiny(tmp_path):
    path = tmp_path / "tiny.onnx"
    path.write_bytes(tiny_model())
    return path


@pytest.mark.parametrize("gamma", [0.8, -0.005, -0.5])
@pytest.mark.parametrize("acquisition", ["ds", "ds:entropy", "de"])
def test_the_released_loop_scores_as_the_kernel_does(pngs, gamma, acquisition):
    torch = pytest.importorskip("torch")
    from deal.bench.released import ReleasedNetwork, released_scores
    from deal.training.difficulty import WithDifficulty
    from deal.training.networks import build_network

    torch.manual_seed(0)
    trained = WithDifficulty(build_network("light", 4, width=0.25), 4, grid=(12, 18)).eval()
    with torch.no_grad():
        trained.difficulty.gamma.fill_(gamma)
        images = np.stack([np.asarray(Image.open(path)) for path in pngs])
        classifier = trained.module.decoder.classifier
        batch = torch.from_numpy(images).permute(0, 3, 1, 2)
        classifier.weight *= 2 / trained.module(batch).std()
        logits = trained.module(batch).numpy()
    found = released_scores(ReleasedNetwork(trained).eval(), pngs, SIZE, acquisition, workers=0)
    # The released module leaves attention out below −0.01, which is a gamma of 0.
    head = trained.head()
    effective = gamma if gamma >= -0.01 else 0.0
    head = deal.DifficultyHead(effective, head.weight, head.bias, head.grid)
    images = deal.score_logits(logits, size=SIZE, head=head).images
    expected = deal.acquisition_scores(images, acquisition)
    # A pixel that float32 puts one level beside moves an entropy of 6144 pixels by this much.
    np.testing.assert_allclose(found, expected, atol=1e-2 if acquisition == "de" else 1e-5)


@pytest.mark.parametrize("fused", [False, True])
def test_attention_graphs_compute_the_head(fused):
    import onnxruntime

    rng = np.random.default_rng(0)
    z = rng.normal(0, 3, (2, 5, 7, 9)).astype(np.float32)
    head = deal.DifficultyHead(0.8, rng.normal(size=5), -0.4, (7, 9))
    session = onnxruntime.InferenceSession(
        attention_graph(head, (7, 9), fused=fused), providers=["CPUExecutionProvider"]
    )
    found = session.run(None, {"z": z})[0]
    assert found.shape == (2, 1, 7, 9)
    np.testing.assert_allclose(
        found[:, 0], difficulty_grid(z, head), atol=1e-5 * np.ptp(head.weight)
    )
    exact = head_bench.exact_rows(z[1], head, np.array([0, 17, 62]))
    np.testing.assert_allclose(found[1, 0].reshape(-1)[[0, 17, 62]], exact, atol=1e-5)


def test_the_whole_graph_gives_what_the_kernel_gives(tiny):
    import onnxruntime

    image = scene(0, SIZE)[0][None]
    head = deal.DifficultyHead(0.8, (0.5, -1.0, 2.0, 0.3), -0.4, (10, 13))
    session = onnxruntime.InferenceSession(
        whole_graph(tiny, head, SIZE), providers=["CPUExecutionProvider"]
    )
    p, d = session.run(["probabilities", "difficulty"], {"image": image})
    logits = Sessions(tiny, 1, 1).logits(image)
    expected = deal.score_logits(logits, size=SIZE, head=head, align_corners=True).images
    np.testing.assert_allclose(d.mean(), expected["difficulty_mean"][0], atol=1e-5)
    np.testing.assert_allclose(
        (1 - p.max(axis=1)).mean(), expected["least_confidence_mean"][0], atol=1e-5
    )


def test_the_cost_of_a_network_is_that_of_its_convolutions(tiny, tmp_path):
    macs, quantised = network_costs(tiny, scene(0, SIZE)[0], tmp_path)
    assert macs == 16 * 24 * 4 * (3 * 4 * 4)
    assert not quantised


def test_sessions_run_every_batch_and_pass_failures_on(tiny):
    batches = [scene(seed, SIZE)[0][None] for seed in range(5)]
    sessions = Sessions(tiny, 2, 1)
    sessions.run(batches)
    with pytest.raises(UsageError, match="engines take uint8"):
        sessions.run([*batches, np.zeros((1, 8, 8), np.uint8)])


def test_a_timed_command_may_keep_compiled_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    told = tmp_path / "told"
    code = "import sys; open(sys.argv[1], 'w').write(str(sys.dont_write_bytecode))"
    run_child([sys.executable, "-c", code, str(told)])
    assert told.read_text() == "False"


@pytest.mark.slow
def test_a_child_has_its_own_peak_and_says_why_it_failed():
    ballast = np.ones(2**25)  # 256 MiB that are not the child's
    child = run_child([sys.executable, "-S", "-c", "pass"])
    assert 0 < child.peak < 2**27 < ballast.nbytes
    assert child.seconds > 0
    with pytest.raises(RuntimeError, match=r"status 3: .*because"):
        run_child(
            [sys.executable, "-c", "import sys; print('because', file=sys.stderr); sys.exit(3)"]
        )


@pytest.mark.slow
def test_selections_of_made_up_rows_are_checked_and_kept(tmp_path):
    found = [
        scale.run(rows=1000, part_rows=300, rounds=1, acquisition=("ds", "de"), keep=str(tmp_path))
        for _ in range(2)
    ]
    ways = [row.name for row in found[1].rows if row.unit == "GB"]
    assert ways == [
        f"deal select {way}, peak memory"
        for way in ("ds, only printed", "ds", "de", "ds --stochastic power", "ds --spread auto")
    ]
    table = deal.read_results([str(tmp_path / "scored-1000-300")])
    for name in ("ds", "entropy", "de"):
        expected = np.load(tmp_path / "scored-1000-300" / f"scores-{name}.npy")
        np.testing.assert_allclose(deal.acquisition_scores(table, name), expected, atol=1e-12)
        assert len(np.unique(expected)) > 990
    (tmp_path / "selection-ds" / "selection.csv").write_text(
        "rank,id,score\n1,x/frame_000000001.jpg,0.5\n"
    )
    with pytest.raises(FailedCheckError, match="not what the scores of ds select"):
        scale._check(tmp_path / "selection-ds", "ds", tmp_path / "scored-1000-300")


@pytest.fixture
def drawn(tmp_path):
    """Writes selections of some made-up rows, each with its score; returns their folders."""
    scores = np.random.default_rng(0).random(20_000)
    np.save(tmp_path / "scores-ds.npy", scores)

    def write(rows, name="drawn", shift=0.0):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        lines = [
            f"{i},x/frame_{row:09}.jpg,{float(scores[row] + shift)!r}" for i, row in enumerate(rows)
        ]
        (folder / "selection.csv").write_text("\n".join(["rank,id,score", *lines, ""]))
        return folder

    return scores, write


def test_a_draw_by_scores_passes_the_check_of_draws_and_others_do_not(drawn, tmp_path):
    scores, write = drawn
    rng = np.random.default_rng(1)

    def check(rows, again=None, shift=0.0):
        first = write(rows, shift=shift)
        second = write(rows if again is None else again, "again", shift)
        scale._check_drawn(first, second, "ds", tmp_path)

    def draw(weights):
        return rng.choice(len(scores), 2000, replace=False, p=weights / weights.sum())

    fair = draw(scores)
    check(fair)
    for weights in (np.ones_like(scores), scores**2):
        with pytest.raises(FailedCheckError, match="that of draws by the scores of ds"):
            check(draw(weights))
    with pytest.raises(FailedCheckError, match="that of draws by"):
        check(np.argsort(-scores)[:2000])
    with pytest.raises(FailedCheckError, match="comes out otherwise"):
        check(fair, fair[::-1])
    with pytest.raises(FailedCheckError, match="repeats a row or has another score"):
        check(np.append(fair[:-1], fair[0]))
    with pytest.raises(FailedCheckError, match="repeats a row or has another score"):
        check(fair, shift=1e-6)


@pytest.mark.slow
def test_the_head_is_timed_beside_both_peers(monkeypatch):
    monkeypatch.setitem(head_bench.GRIDS, "camvid", (5, (12, 16)))
    report = head_bench.run(rounds=1)
    assert [row.unit for row in report.rows] == ["ms/image"] * 3 + ["ratio"] * 2 + [
        report.rows[-1].unit
    ]
    assert report.rows[-1].reached
    assert set(report.settings["errors"]) == {
        "native head", "native head, all pairs", "MatMul, Softmax, MatMul", "MultiHeadAttention"
    }  # fmt: skip
    monkeypatch.setattr(head_bench, "MATRIX_BYTES", 1000)
    assert "left out" in head_bench.run(rounds=1).notes[0]


@pytest.mark.slow
def test_memory_of_a_tiny_network_is_measured():
    result = CliRunner().invoke(
        command, ["memory", "--small", "4", "--large", "8", "--tiny", "--json"]
    )
    assert result.exit_code == 0, result.output
    report = json.loads(result.output)
    assert report["command"] == "deal bench memory --small 4 --large 8 --tiny"
    values = {row["name"]: row["value"]["median"] for row in report["rows"]}
    for count in (4, 8):
        assert 0 < values[f"peak once scored, {count} images"] <= values[f"peak, {count} images"]
    assert values["8 images / 4 images, once scored"] > 0


@pytest.mark.slow
def test_frames_are_timed_in_c_without_allocations(tmp_path, monkeypatch):
    from deal.bench.checkout import programs_folder
    from deal.bench.latency import run

    root = Path(deal.__file__).resolve().parent.parent
    if not (root / "build" / "libdeal.so.1").exists():
        pytest.skip("the C library is not built (make libdeal)")
    monkeypatch.setenv("DEAL_CACHE", str(tmp_path))
    programs_folder(root).mkdir(parents=True)
    (programs_folder(root) / "build").symlink_to(root / "build")  # spares compiling it again
    report = run(frames=3)
    assert report.rows[-1].name == "allocations while scoring"
    assert report.rows[-1].value.median == 0


def test_a_stream_is_timed_in_c_without_allocations(tmp_path, monkeypatch):
    from deal.bench.checkout import programs_folder
    from deal.bench.stream import run

    root = Path(deal.__file__).resolve().parent.parent
    if not (root / "build" / "libdeal.so.1").exists():
        pytest.skip("the C library is not built (make libdeal)")
    monkeypatch.setenv("DEAL_CACHE", str(tmp_path))
    programs_folder(root).mkdir(parents=True)
    (programs_folder(root) / "build").symlink_to(root / "build")  # spares compiling it again
    report = run(frames=2000)
    values = {row.name: row.value.median for row in report.rows}
    assert [value for name, value in values.items() if name.startswith("allocations")] == [0, 0, 0]
    assert values["memory, budget"] < values["memory, gap"]


@pytest.fixture
def light_only(light, tmp_path, monkeypatch):
    """The light network and its graph, in place of those of random weights, at their size."""
    from deal.bench import engine, networks, pipeline
    from deal.training.checkpoint import load_checkpoint

    trained, meta = load_checkpoint(light.checkpoint)
    trained.eval()
    model = tmp_path / "light.onnx"  # converted networks are written beside it
    shutil.copy(light.model, model)
    for module in (engine, networks, pipeline):
        monkeypatch.setattr(module, "_SIZE", meta.input_size)
        monkeypatch.setattr(module, "random_network", lambda *_: (trained, model))


@pytest.mark.slow
@pytest.mark.usefixtures("light_only")
@pytest.mark.parametrize(
    ("precision", "raster", "least"), [("fp32", "input", 10), ("int8", "half", 18)]
)
def test_a_pool_is_scored_beside_its_peers(monkeypatch, precision, raster, least):
    from deal.bench import pipeline

    monkeypatch.setattr(pipeline, "_PRODUCT", 64)
    sizes = {"images": 6, "peer_images": 3, "rounds": 1}
    report = pipeline.run(
        network="light", precision=precision, raster=raster, screened=raster == "half", **sizes
    )
    targets = {row.name: row.target for row in report.rows if row.target}
    screened = targets.pop("deal-score, 5 % of a screened pool / released loop", None)
    assert screened == (">= 60" if precision == "int8" else None)
    assert targets == {
        "deal-score / released loop": f">= {least}",
        "deal-score / bare sessions": ">= 0.95" if precision == "fp32" else ">= 0.92",
    }
    assert report.settings["quantised"] == (precision == "int8")
    assert report.settings["agreement"]["released"]["spearman"] > 0.99
    assert (report.rows[-1].name == "deal-score / FMA bound") == (precision == "fp32")
    assert "released loop with this network" in [row.name for row in report.rows]


@pytest.mark.slow
@pytest.mark.usefixtures("light_only")
def test_a_pool_is_scored_on_openvino_in_the_same_turns(monkeypatch):
    from deal.bench import pipeline

    skip_without_openvino()
    monkeypatch.setattr(pipeline, "_PRODUCT", 64)
    monkeypatch.setattr(pipeline, "has_bfloat16", lambda: False)
    report = pipeline.run(network="light", images=4, peer_images=3, rounds=1, openvino=True)
    values = {row.name: row.value.median for row in report.rows}
    ours, theirs = values["deal-score"], values["deal-score, OpenVINO fp32"]
    assert values["deal-score, OpenVINO fp32 / deal-score"] == pytest.approx(theirs / ours)
    assert "deal-score, OpenVINO bf16" not in values


def test_bf16_and_int8_on_openvino_have_their_targets():
    from deal.bench.pipeline_rows import openvino_rows

    rates = {"whole": [10.0], "released": [1.0], "OpenVINO bf16": [21.0], "OpenVINO int8": [29.0]}
    rows = {row.name: row for row in openvino_rows(rates, "light")}
    assert rows["deal-score, OpenVINO bf16 / deal-score"].target == ">= 2"
    assert rows["deal-score, OpenVINO bf16 / deal-score"].reached
    assert rows["deal-score, OpenVINO bf16 / released loop"].reached
    assert rows["deal-score, OpenVINO int8 / released loop"].target == ">= 30"
    assert not rows["deal-score, OpenVINO int8 / released loop"].reached


def test_fidelity_is_told_for_each_engine_that_runs_here(tmp_path, monkeypatch):
    from deal.bench import fidelity

    skip_without_openvino()
    monkeypatch.setattr("deal.engines.openvino.has_bfloat16", lambda: False)
    model = save_model(tmp_path / "m.onnx", props=metadata(input_size=[48, 64]))
    other = save_model(tmp_path / "other.onnx", seed=8, props=metadata(input_size=[48, 64]))
    report = fidelity.run(str(model), also=[str(other)], scenes=20)
    values = {row.name: row.value.median for row in report.rows}
    assert values["OpenVINO fp32: ds Spearman"] == 1
    assert values["OpenVINO fp32: ds top 10% shared"] == 1
    assert values["OpenVINO fp32: logit error / deviation"] < 1e-3  # kept in float16
    assert values["ONNX Runtime, other.onnx: same class"] < 0.9
    assert report.notes[0].startswith("OpenVINO bf16 is left out: model ")


@pytest.mark.usefixtures("light_only")
def test_a_pool_is_not_scored_beside_peers_that_see_other_images(tmp_path):
    from deal.bench import pipeline

    fixed = save_model(tmp_path / "fixed.onnx", size=(40, 56), props=metadata())
    with pytest.raises(UsageError, match="measure it with deal bench model"):
        pipeline.run(model=str(fixed), network="light", images=2, peer_images=1, rounds=1)


@pytest.mark.parametrize(
    ("size", "reason"), [(None, "has no input_size"), ((900, 1600), "900×1600 is too large")]
)
def test_frames_that_are_not_decoded_to_scale_are_refused(tmp_path, size, reason):
    from deal.bench import decode

    model = save_model(tmp_path / "m.onnx", size=size, props=metadata())
    with pytest.raises(UsageError, match=f"{reason}.*measure it with deal bench model"):
        decode.run(model=str(model), images=2, rounds=1)


@pytest.mark.parametrize("network", ["paper", "light"])
def test_random_networks_have_no_probabilities_that_slow_arithmetic_down(network):
    torch = pytest.importorskip("torch")
    from deal.bench.networks import random_module

    module, _ = random_module(network, size=(96, 128))
    unseen = np.stack([scene(seed, (96, 128))[0] for seed in (50, 51)])
    with torch.no_grad():
        z = module.module(torch.from_numpy(unseen).permute(0, 3, 1, 2))
    assert torch.softmax(z, dim=1).min() >= torch.finfo(torch.float32).tiny
    assert 1 < z.std() < 10


@pytest.mark.slow
@pytest.mark.usefixtures("light_only")
def test_runtimes_are_timed_on_one_network(monkeypatch, tiny, tmp_path):
    from deal.bench import engine

    props = metadata(input_format="float-rgb", mean=MEAN, std=STD)
    fixed = save_model(tmp_path / "fixed.onnx", floating=True, size=(40, 56), props=props)
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.delitem(sys.modules, "deal.engines.openvino", raising=False)
    report = engine.run(
        network="light",
        model=[str(tiny), str(fixed)],
        images=2,
        rounds=1,
        compiled=False,
        int8=False,
    )
    assert [row.name for row in report.rows[:6]] == [
        "ONNX Runtime, a session a core",
        "deal export --static, a session a core",
        "ONNX Runtime, one session of all cores",
        "PyTorch eager",
        "tiny.onnx, a session a core",
        "fixed.onnx, a session a core, 40×56",
    ]
    ratios = [row.name for row in report.rows[6:]]
    assert "ONNX Runtime, a session a core / tiny.onnx, a session a core" in ratios
    assert not any("fixed" in name for name in ratios)  # of other images
    assert report.notes[0] == "torch.compile is left out: --no-compiled"
    left = [note for note in report.notes if "OpenVINO" in note]
    assert len(left) >= 3
    assert all("needs OpenVINO" in note for note in left)
    assert "the network in 8 bits is left out: --no-int8" in report.notes
