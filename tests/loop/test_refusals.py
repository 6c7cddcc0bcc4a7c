"""What a loop refuses, and how it goes on beside damaged files and other processes."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
from PIL import Image

import deal.loop.by_recipe as by_recipe
import deal.loop.files as files
import deal.loop.learner as learner
from deal.errors import (
    ModelError,
    OutputError,
    PoolError,
    ResultsError,
    TooManyErrorsError,
    UsageError,
)
from deal.loop.experiment import run_loop
from deal.loop.files import hold, write_json
from deal.loop.labeled import write_labeled as write_list
from deal.loop.pool import Pool, open_data


def test_a_file_is_shared_beside_what_a_killed_process_of_the_same_number_left(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_text("here")
    os.link(source, tmp_path / f"_target.{os.getpid()}.tmp")
    files.share(source, target)
    assert target.read_text() == "here"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source", "target"]


def test_a_run_that_another_process_has_is_left_to_it(make_config):
    config = make_config(rounds__labeled=[3, 5], training__epochs=1)
    with hold(config.folder / "random-seed0", wait=False) as held:
        assert held
        report = run_loop(config, methods=["random"])
    assert (report.finished, report.elsewhere) == ((), ("random-seed0",))


@pytest.mark.parametrize(
    ("name", "text", "wrong"),
    [
        ("labeled.csv", "id\nscene-1.png\n", "1 rows instead of 3"),
        ("metrics.json", "{}", "lacks m"),
    ],
)
def test_a_damaged_first_round_is_given_to_no_run(make_config, untrained, name, text, wrong):
    config = make_config(rounds__labeled=[3, 5], training__epochs=1)
    pool, _ = open_data(config)
    common = config.folder / "common" / "seed0"
    write_list(common / "labeled.csv", pool.initial(0))
    write_json(common / "metrics.json", {"miou": 0.5})
    (common / name).write_text(text)
    with pytest.raises(ResultsError, match=rf"common/seed0/{name} is damaged .*{wrong}"):
        run_loop(config, methods=["random"])
    assert not (config.folder / "random-seed0" / "round-1").exists()


def test_a_damaged_network_is_trained_again_once_it_is_deleted(make_config, untrained):
    config = make_config(rounds__labeled=[3, 5], training__epochs=1)
    pool, _ = open_data(config)
    common = config.folder / "common" / "seed0"
    write_list(common / "labeled.csv", pool.initial(0))
    checkpoint = common / "checkpoint.pt"
    checkpoint.write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(ModelError, match=r"damaged: delete .*checkpoint\.pt, and the next start"):
        run_loop(config, methods=["random"])
    checkpoint.unlink()
    with pytest.raises(AssertionError, match="a training began"):
        run_loop(config, methods=["random"])


@pytest.mark.slow
def test_a_round_whose_list_was_cut_off_is_not_trained(make_config, monkeypatch):
    config = make_config(rounds__labeled=[3, 5, 7], training__epochs=1)
    run_loop(config, methods=["random"])
    second = config.folder / "random-seed0" / "round-2"
    shutil.rmtree(second.with_name("round-3"))
    (second / "metrics.json").unlink()
    path = second / "labeled.csv"
    whole = path.read_text()
    path.write_text("".join(whole.splitlines(keepends=True)[:-1]))
    with pytest.raises(ResultsError, match="it has 4 rows instead of 5"):
        run_loop(config, methods=["random"])
    shutil.rmtree(second)
    run_loop(config, methods=["random"])
    assert path.read_text() == whole


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"rounds__labeled": [1, 5]}, PoolError, "fewer than a batch of 2"),
        ({"rounds__labeled": [3, 50]}, UsageError, "training split has 12"),
        ({"rounds__labeled": [5, 3]}, UsageError, "must grow"),
        (
            {"rounds__labeled": [3, 9], "rounds__pool_subset": "20%"},
            PoolError,
            "less than the 6 to pick",
        ),
        ({"data__evaluate": "train"}, UsageError, "val or test"),
    ],
)
def test_what_cannot_work_is_refused_before_training(
    make_config, untrained, changes, error, message
):
    rounds = {k: v for k, v in changes.items() if k.startswith("rounds__")}
    config = make_config(
        rounds={"labeled": [3, 5], **{k[8:]: v for k, v in rounds.items()}},
        **{k: v for k, v in changes.items() if k not in rounds},
    )
    with pytest.raises(error, match=message):
        run_loop(config)


def test_counts_and_percentages_may_be_mixed_where_they_grow(make_config, untrained):
    with pytest.raises(UsageError, match="must grow in every round, not 6, 5"):
        run_loop(make_config(rounds__labeled=["50%", 5]))
    with pytest.raises(UsageError, match=r"asks for 10000000000 images, but .* has 12"):
        run_loop(make_config(rounds__labeled=[3, 10**10]))
    with pytest.raises(AssertionError, match="a training began"):
        run_loop(make_config(rounds__labeled=["20%", 5]))


def test_generated_images_are_those_of_the_configuration_that_runs(make_config):
    """A configuration that was refused before any training has left its own."""
    for size in ([32, 48], [64, 96]):
        pool, data = open_data(make_config(data__size=size))
        with Image.open(pool.images[0]) as file:
            assert np.array_equal(np.asarray(file), data.train[0].image)


def test_a_generated_image_that_was_cut_off_is_written_again(make_config):
    config = make_config()
    pool, _ = open_data(config)
    (config.folder / "experiment.json").write_text("{}")
    whole = pool.images[0].read_bytes()
    for part in (b"", whole[:40], whole[: len(whole) // 2]):
        pool.images[0].write_bytes(part)
        open_data(config)
        assert pool.images[0].read_bytes() == whole


@pytest.mark.slow
def test_scores_that_a_round_cannot_use_are_told_with_what_helps_in_a_loop(make_config):
    config = make_config(rounds__labeled=[3, 5], training__epochs=1)
    run_loop(config, methods=["random"])
    run = config.folder / "random-seed0"
    picks = (run / "round-2" / "labeled.csv").read_text()
    shutil.rmtree(run / "round-2")
    other = make_config(
        rounds__labeled=[3, 5], training__epochs=1, scoring={"engine": "ort", "device": "cpu"}
    )
    with pytest.raises(OutputError, match="engine was changed, change it back; else delete that"):
        run_loop(other, methods=["random"])
    run_loop(config, methods=["random"])
    assert (run / "round-2" / "labeled.csv").read_text() == picks


def test_images_that_cannot_be_scored_are_told_without_options_of_another_command(
    tmp_path, monkeypatch
):
    def fail(*arguments, **options):
        raise TooManyErrorsError("1 of 2 images failed, more than --max-errors 0 allows")

    monkeypatch.setattr(learner, "score_pool", fail)
    pool = Pool(classes=(), ids=(), drives=(), images=(), counts=())
    with pytest.raises(TooManyErrorsError, match=r"column error in .*/images says why. Mend them"):
        learner.score_model(pool, tmp_path / "model.onnx", tmp_path / "results", {})


def test_names_that_the_configuration_lacks_are_refused(make_config, untrained):
    with pytest.raises(UsageError, match="no method 'best': the methods are random, ds"):
        run_loop(make_config(), methods=["best"])
    with pytest.raises(UsageError, match="seed 4"):
        run_loop(make_config(), seeds=[4])


@pytest.mark.slow
def test_a_folder_of_another_configuration_is_refused(make_config, monkeypatch):
    config = make_config(rounds__labeled=[3, 5], training__epochs=1)
    run_loop(config, methods=["random"])
    monkeypatch.setattr(by_recipe, "_Round", None)
    with pytest.raises(OutputError, match=r"another \[training\] lr: choose another"):
        run_loop(make_config(rounds__labeled=[3, 5], training__epochs=1, training__lr=0.2))
    other = {"random": {"acquisition": "random", "flip": True}}
    with pytest.raises(OutputError, match=r"another \[methods.random\]"):
        run_loop(make_config(rounds__labeled=[3, 5], training__epochs=1, methods=other))
