"""The report of `deal loop` over hand-made files: no training."""

from __future__ import annotations

import json
import math
import shutil

import pytest

from deal.errors import ResultsError, UsageError
from deal.loop.files import write_json
from deal.loop.labeled import Region, write_labeled
from deal.loop.table import read_experiment
from deal.report.loop import report_loop
from deal.report.loop_page import bands, page
from tests.helpers.trials import IDS, VALUES, rows, section


def test_tables_hold_the_numbers_by_hand(folder):
    text = report_loop([folder], full=0.5)[0].to_markdown()
    # mean 0.3, 4.303 · 0.1 / √3; average of rounds 2 and 3 0.35; areas (m1 + 2 m2 + m3) / 4.
    assert rows(text, "mIoU by round")["random"] == [
        "20.0 (0.0…44.8)",
        "30.0 ± 24.8",
        "40.0 ± 24.8",
        "35.0 ± 24.8",
        "30.0 ± 24.8",
    ]
    assert rows(text, "Difference to random")["ds"] == [
        "+3.0 ± 2.5",
        "+1.3 ± 10.3",
        "+2.2 ± 6.1",
        "3",
        "open",
    ]
    assert rows(text, "Wins")["ds"] == ["", "75 % (50 %)"]
    assert rows(text, "Labels needed")["ds"] == [
        "not reached (1 of 3)",
        "not reached (1 of 3)",
        "82.7 ± 37.6",
    ]
    assert rows(text, "IoU by class with 4 labels")["random"] == ["1.0 ± 0.0", "80.0 (30.3…100.0)"]
    assert rows(text, "Overlap of picks")["random"] == ["50 %", ""]
    drives = rows(text, "Drives and scenes among the picks")
    assert drives["ds"] == ["1.0", "1.0", "100 %", "100 %", "0 %"]
    assert drives["random"] == ["2.0", "2.0", "50 %", "50 %", "50 %"]
    assert drives["(whole pool)"] == ["2.0", "2.0", "50 %", "50 %", "50 %"]
    assert "nan" not in text


def test_scenes_are_stretches_of_a_drive_by_the_number_in_the_name(folder):
    text = report_loop([folder], scene_length="2f")[0].to_markdown()
    # Drive a has frames 0, 2, 4 and b 1, 3, 5: every frame is a scene.
    drives = rows(text, "Drives and scenes among the picks")
    assert drives["ds"][:3] == ["1.0", "2.0", "50 %"]
    assert drives["(whole pool)"][:3] == ["2.0", "6.0", "17 %"]
    for length in ("2s", "2"):
        with pytest.raises(UsageError, match=f"scene_length '{length}': .* frames, such as 300f"):
            report_loop([folder], scene_length=length)


def with_shared(folder, **changes):
    """The trial with other tables in its configuration."""
    shared = json.loads((folder / "experiment.json").read_text())
    for section_name, values in changes.items():
        shared[section_name] |= values
    write_json(folder / "experiment.json", shared)


def test_rounds_of_clicks_are_described_as_such(folder):
    clicks = {"regions": "components", "label": "dominant", "sieve": 0.6, "budget": "clicks:100"}
    with_shared(folder, rounds=clicks)
    text = report_loop([folder])[0].to_markdown()
    assert (
        "Then regions, `components`, 100 clicks for each image that a round adds; each gets one "
        "label, the class of most of its pixels, if it has 60 % of them."
    ) in text
    assert "as many pixels" not in text


def test_components_of_different_networks_are_not_compared(folder):
    with_shared(folder, rounds={"regions": "components:9"})
    outline = "POLYGON ((0 0, 1 0, 1 1, 0 0))"
    for seed in range(3):
        path = folder / f"ds-seed{seed}" / "round-3" / "labeled.csv"
        labeled = [IDS[0], IDS[1], Region(IDS[2], 0, (48, 64), outline, 7)]
        write_labeled(path, labeled)
    text = report_loop([folder])[0].to_markdown()
    assert rows(text, "Overlap of picks")["ds"] == ["", "-"]
    overlap = section(text, "Overlap of picks")
    assert "components are those of one network" in overlap
    assert "two random choices" not in overlap


def test_a_decoder_on_kept_features_is_not_called_a_command(folder):
    for number in (2, 3):
        write_timing(folder, "ds", 0, number, seconds=3.0)
    with_shared(folder, training={"pixels": 1024, "steps": 400, "epochs": None})
    text = report_loop([folder])[0].to_markdown()
    assert "a run trains for 6.0 s" in text
    assert "command" not in text


def test_full_supervision_of_the_experiment_is_compared_seed_by_seed(folder):
    for seed, miou in enumerate([0.5, 0.4, 0.4]):
        metrics = {"miou": miou, "iou": {"road": 2 * miou, "pole": 0.1}}
        write_json(folder / f"full-seed{seed}" / "metrics.json", metrics)
    text = report_loop([folder])[0].to_markdown()
    # random: (1 + 1 + 0.75) / 3 in the last round, 0.683 before; 90 % at 3 + 0.217 / 0.233.
    assert rows(text, "Labels needed")["random"] == [
        "4 (2 of 3)",
        "not reached (2 of 3)",
        "91.7 ± 35.9",
    ]
    assert "43.3 ± 14.3 % mIoU with all 6 labels, 3 seeds" in text
    last = rows(text, "IoU by class with 4 labels")["(all 6 labels)"]
    assert last == ["10.0 ± 0.0", "86.7 (58.0…100.0)"]
    assert "full" not in rows(text, "mIoU by round")


def test_what_rests_on_one_seed_is_said_to_have_no_spread(folder):
    write_json(folder / "full-seed1" / "metrics.json", {"miou": 0.4, "iou": {"road": 1, "pole": 1}})
    whole = report_loop([folder])[0].to_markdown()
    text = section(whole, "Labels needed")
    assert (
        "(40.0 % mIoU with all 6 labels, one seed, so the spread is unknown; each curve is" in text
    )
    assert "in any round. Every curve rests on one seed, so the spread is unknown.\n" in text
    # (0.33 + 0.6 · 0.05) / 0.4 is 90 %, 0.38 / 0.4 is 95 %.
    assert rows(whole, "Labels needed")["ds"] == ["4 (1 of 1)", "4 (1 of 1)", "95.0"]
    shutil.rmtree(folder / "full-seed1")
    for seed in (1, 2):
        shutil.rmtree(folder / f"ds-seed{seed}")
    text = section(report_loop([folder], full=0.5)[0].to_markdown(), "Labels needed")
    assert "(50.0 % mIoU, as given)" in text
    assert "in any round. The curve of ds rests on one seed, so the spread is unknown.\n" in text


def write_timing(folder, method, seed, number, **values):
    write_json(folder / f"{method}-seed{seed}" / f"round-{number}" / "timing.json", values)


def test_how_long_runs_trained_and_what_part_of_it_is_the_network(folder):
    text = report_loop([folder])[0].to_markdown()
    assert "- Time:" not in text
    table = (folder / "results.csv").read_text()
    for seed, seconds in enumerate([(10, 30), (20, 40), (30, 50)]):
        for number, value in enumerate(seconds, 2):
            write_timing(folder, "ds", seed, number, seconds=value, batch_seconds=value / 8)
    write_timing(folder, "random", 0, 2, seconds=1000, batch_seconds=1)  # of a run not whole
    (report,) = report_loop([folder])
    said = (
        "Time: a run trains for 60 s after the first round, which methods share (mean of 3 runs, "
        "40 s to 80 s). 88 % of it is the network, forwards, backwards and the optimizer; the rest "
        "makes batches. Exports, scoring and measuring come on top."
    )
    assert f"- {said}\n" in report.to_markdown()
    assert f"<li>{said}</li>" in page([report]).split("<svg")[0]
    for seed in range(3):
        write_timing(folder, "ds", seed, 3, seconds=0.5, batch_seconds=0.25, device="cuda")
        write_timing(folder, "ds", seed, 2, seconds=0.5, batch_seconds=0.05, device="cpu")
    text = report_loop([folder])[0].to_markdown()
    assert "trains for 1.0 s after" in text
    assert "(mean of 3 runs, 1.0 s to 1.0 s; on cpu and cuda). 70 % of it is the network" in text
    assert (folder / "results.csv").read_text() == table


def test_a_command_does_not_say_what_part_is_the_network(folder):
    with_shared(folder, training={"command": ["train"]})
    for number in (2, 3):
        write_timing(folder, "ds", 0, number, seconds=40.0)
    text = report_loop([folder])[0].to_markdown()
    assert "(mean of 1 run, 80 s to 80 s). How much of that is the network, a command does" in text


def test_equal_runs_that_took_other_times_are_one(folder, tmp_path):
    other = tmp_path / "copy"
    shutil.copytree(folder, other)
    write_timing(folder, "ds", 0, 2, seconds=40.0, batch_seconds=1.0)
    assert len(report_loop([folder, other])[0].experiment.runs) == 6


def test_hard_classes_are_those_of_street_scenes_where_the_data_have_them(folder):
    for name in ("experiment.json", *(str(p.relative_to(folder)) for p in folder.rglob("met*"))):
        text = (folder / name).read_text()
        (folder / name).write_text(text.replace('"road"', '"bicyclist"'))
    assert report_loop([folder])[0].hard == ("pole", "bicyclist")


def test_what_few_seeds_leave_open_is_said_with_the_seeds_it_would_take(folder):
    text = section(report_loop([folder])[0].to_markdown(), "What these runs decide")
    # Differences 1, 0.5, 5 points: sd 2.47; 1.96 · 2.47 = 4.83, and 4.83² = 23.4, by t 26.
    assert "*Open* against random" in text
    assert "ds (+2.2 ± 6.1)" in text
    assert "About 26 seeds" in text
    for seed, curve in VALUES["ds"].items():
        for number in range(2, len(curve) + 1):
            path = folder / f"ds-seed{seed}" / f"round-{number}" / "metrics.json"
            values = json.loads(path.read_text())
            write_json(path, {**values, "miou": VALUES["random"][seed][number - 1] + 0.02})
    text = section(report_loop([folder])[0].to_markdown(), "What these runs decide")
    assert "*Above* random: ds (+2.0 ± 0.0)." in text
    assert "Open" not in text


def test_a_difference_that_is_known_to_a_point_asks_for_no_more_seeds(folder):
    def shift(method, by):
        for seed, difference in enumerate(by):
            shutil.copytree(folder / f"random-seed{seed}", folder / f"{method}-seed{seed}")
            path = folder / f"{method}-seed{seed}" / "run.json"
            write_json(path, {**json.loads(path.read_text()), "method": method})
            for path in folder.glob(f"{method}-seed{seed}/round-[23]/metrics.json"):
                values = json.loads(path.read_text())
                write_json(path, {**values, "miou": values["miou"] + difference})

    # sd 0.001, 4.303 · 0.001 / √3 = 0.0025; sd 0.004, and so 0.0099.
    shift("near", [-0.001, 0.0, 0.001])
    shift("nearer", [-0.004, 0.0, 0.004])
    text = section(
        report_loop([folder], baselines=["random"])[0].to_markdown(), "What these runs decide"
    )
    assert (
        "- *Open* against random, but already known to ± 1.0 points: near (+0.0 ± 0.2), nearer "
        "(+0.0 ± 1.0)." in text
    )
    wide = next(line for line in text.splitlines() if "About 26 seeds" in line)
    assert "ds (+2.2 ± 6.1)." in wide
    assert "near" not in wide


def test_labels_that_do_not_help_the_baseline_are_said_to_decide_nothing(folder):
    text = section(report_loop([folder])[0].to_markdown(), "What these runs decide")
    assert "- From 2 to 4 labels, random gains +20.0 ± 0.0 points.\n" in text
    for seed, curve in VALUES["random"].items():
        path = folder / f"random-seed{seed}" / "round-3" / "metrics.json"
        write_json(path, {**json.loads(path.read_text()), "miou": curve[0] + (seed - 1) / 10})
    text = section(report_loop([folder])[0].to_markdown(), "What these runs decide")
    said = "random gains +0.0 ± 24.8 points, which may be nothing."
    assert f"{said} These surely gain: ds (" in text
    for seed, curve in VALUES["ds"].items():
        path = folder / f"ds-seed{seed}" / "round-3" / "metrics.json"
        write_json(path, {**json.loads(path.read_text()), "miou": curve[0] - (seed - 1) / 10})
    text = section(report_loop([folder])[0].to_markdown(), "What these runs decide")
    assert f"{said} As long as more labels do not help" in text


def test_experiments_of_one_configuration_become_one_report(folder, tmp_path):
    other = tmp_path / "later"
    shutil.copytree(folder, other)
    for path in other.glob("random-*"):
        shutil.rmtree(path)
    for seed in range(3):
        (other / f"ds-seed{seed}").rename(other / f"new-seed{seed}")
        path = other / f"new-seed{seed}" / "run.json"
        write_json(path, {**json.loads(path.read_text()), "method": "new"})
    shutil.copytree(folder / "random-seed0", other / "random-seed0")  # the same run: no conflict
    (report,) = report_loop([folder, other])
    assert report.experiment.methods() == ("ds", "new", "random")
    assert len(report.experiment.runs) == 9
    path = other / "random-seed0" / "round-2" / "metrics.json"
    write_json(path, {**json.loads(path.read_text()), "miou": 0.9})
    with pytest.raises(ResultsError, match="different runs of random with seed 0"):
        report_loop([folder, other])
    shared = json.loads((other / "experiment.json").read_text())
    write_json(other / "experiment.json", {**shared, "rounds": {"pool_subset": "50%"}})
    assert len(report_loop([folder, other])) == 2


def test_full_supervision_that_differs_between_folders_is_refused(folder, tmp_path):
    other = tmp_path / "later"
    shutil.copytree(folder, other)
    for root in (folder, other):
        metrics = {"miou": 0.5, "iou": {"road": 0.9, "pole": 0.1}}
        write_json(root / "full-seed0" / "metrics.json", metrics)
    assert report_loop([folder, other])[0].experiment.full == {0: metrics}
    write_json(other / "full-seed0" / "metrics.json", {**metrics, "miou": 0.6})
    with pytest.raises(ResultsError, match="different runs of full with seed 0"):
        report_loop([folder, other])


def test_copies_that_are_kept_beside_runs_do_not_count(folder):
    write_json(folder / "full-seed0" / "metrics.json", {"miou": 0.5, "iou": {"road": 1, "pole": 0}})
    before = read_experiment(folder)
    for run in ("full-seed0", "ds-seed0"):
        shutil.copytree(folder / run, folder / f"{run}.bak")
    for path in folder.glob("*.bak/**/metrics.json"):
        write_json(path, {**json.loads(path.read_text()), "miou": 0.9})
    assert read_experiment(folder) == before


def test_runs_that_are_not_finished_are_named_and_counted_as_far_as_they_are(folder):
    (folder / "ds-seed2" / "round-3" / "metrics.json").unlink()
    assert len(read_experiment(folder).runs[2].rounds) == 2
    text = report_loop([folder])[0].to_markdown()
    assert "Unfinished runs, whose finished rounds count: ds-seed2." in text
    assert "Finished runs: ds 2, random 3." in text


def test_a_run_that_has_only_begun_leaves_the_comparisons_of_the_others(folder):
    before = report_loop([folder], full=0.5)[0].to_markdown()
    for method in VALUES:
        begun = folder / f"{method}-seed3"
        shutil.copytree(folder / f"{method}-seed0", begun)
        values = json.loads((begun / "run.json").read_text())
        write_json(begun / "run.json", {**values, "seed": 3})
        for number in (2, 3):
            shutil.rmtree(begun / f"round-{number}")
    text = report_loop([folder], full=0.5)[0].to_markdown()
    for heading in ("What these runs decide", "Difference to random", "Wins"):
        assert section(text, heading) == section(before, heading)
    needed, needed_before = (rows(each, "Labels needed")["ds"] for each in (text, before))
    assert needed == [cell.replace("of 3", "of 4") for cell in needed_before]


def test_a_comparison_of_two_baselines_is_counted_once(folder):
    text = report_loop([folder], baselines=["random", "ds"])[0].to_markdown()
    assert "There is 1 comparison;" in text


def test_one_run_has_no_intervals_and_no_band(folder):
    for path in folder.glob("*/run.json"):
        if not path.parent.name.endswith("seed0"):
            path.unlink()
    report = report_loop([folder])[0]
    text = report.to_markdown()
    assert rows(text, "mIoU by round")["ds"][:3] == ["30.0", "42.0", "50.0"]
    assert rows(text, "Difference to random")["ds"] == ["+2.0", "+0.0", "+1.0", "1", "-"]
    assert "nan" not in text
    assert "<polygon" not in bands(report)


def test_two_seeds_have_no_intervals_and_are_not_compared(folder):
    for method in VALUES:
        shutil.rmtree(folder / f"{method}-seed2")
    report = report_loop([folder])[0]
    text = report.to_markdown()
    assert rows(text, "mIoU by round")["random"][:3] == ["25.0", "35.0", "45.0"]
    assert rows(text, "Difference to random")["ds"][-2:] == ["2", "-"]
    assert "because they share fewer than 3 seeds: ds (" in text
    assert "<polygon" not in bands(report)


@pytest.mark.parametrize(
    ("file", "change", "wrong"),
    [
        ("experiment.json", {"data": None}, "data has a value of another kind"),
        ("experiment.json", {"training": {"lr": 1}}, "it lacks training network"),
        ("experiment.json", {"rounds": {}}, "it lacks rounds pool_subset"),
        ("experiment.json", {"counts": [3, "4"]}, "counts has a value of another kind"),
        ("ds-seed0/run.json", {"settings": []}, "settings has a value of another kind"),
        ("ds-seed0/round-2/metrics.json", {"miou": math.inf}, "miou has a value of another kind"),
        ("ds-seed0/round-2/metrics.json", {"miou": True}, "miou has a value of another kind"),
        ("ds-seed0/round-2/metrics.json", {"iou": {}}, "it lacks iou road"),
        ("ds-seed0/round-2/timing.json", {"seconds": None}, "seconds has a value of another kind"),
        ("full-seed0/metrics.json", {"miou": 0.5}, "it lacks iou"),
    ],
)
def test_a_file_with_values_of_another_kind_is_named(folder, file, change, wrong):
    path = folder / file
    write_json(path, {**(json.loads(path.read_text()) if path.exists() else {}), **change})
    with pytest.raises(ResultsError, match=rf"{path.name} is damaged \({wrong}\): delete it"):
        report_loop([folder])


def test_a_list_of_labels_that_was_cut_off_is_no_smaller_round(folder):
    path = folder / "ds-seed0" / "round-2" / "labeled.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(ResultsError, match=r"labeled\.csv is damaged .*rows instead of"):
        report_loop([folder])


def test_what_is_not_there_is_an_error(folder, tmp_path):
    with pytest.raises(ResultsError, match="give a folder of `deal loop`"):
        report_loop([tmp_path])
    with pytest.raises(UsageError, match="has no 'sky': there are road, pole"):
        report_loop([folder], classes=["sky"])
    with pytest.raises(UsageError, match=r"a fraction such as 0.55, not 55"):
        report_loop([folder], full=55)
    (folder / "ds-seed0" / "run.json").write_text(json.dumps({})[:1])
    with pytest.raises(ResultsError, match=r"run\.json is damaged .*delete it, and the same deal"):
        report_loop([folder])
    for text, what in (("[]", "no object"), ("{}", "it lacks method")):
        (folder / "ds-seed0" / "run.json").write_text(text)
        with pytest.raises(ResultsError, match=rf"run\.json is damaged .*{what}"):
            report_loop([folder])
    (folder / "ds-seed0" / "run.json").unlink()
    (folder / "experiment.json").write_text("{}")
    with pytest.raises(ResultsError, match=r"experiment\.json is damaged .*it lacks data"):
        report_loop([folder])
