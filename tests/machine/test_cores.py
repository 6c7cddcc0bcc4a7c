"""Cores by affinity and by the control groups of fake systems."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from deal.kernel import statistics as regions
from deal.machine import cores
from deal.machine.cores import available_cores, cpu_quota

V2 = "30 23 0:26 {root} {point} rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = "32 31 0:29 {root} {point} rw,relatime - cgroup cgroup rw,{controllers}\n"


@pytest.fixture
def system(tmp_path: Path):
    """Write a fake /proc/self and files below a fake /sys/fs/cgroup; returns the quota found."""

    def quota(groups: str, mounts: str, files: dict[str, str], root: str = "/") -> float | None:
        process = tmp_path / "self"
        process.mkdir()
        point = tmp_path / "cgroup tree"
        escaped = str(point).replace(" ", "\\040")
        names = {"root": root, "point": escaped, "controllers": "cpu,cpuacct"}
        (process / "cgroup").write_text(groups, encoding="utf-8")
        (process / "mountinfo").write_text(
            "22 1 8:1 / / rw - ext4 /dev/sda rw\n" + mounts.format(**names), encoding="utf-8"
        )
        for name, text in files.items():
            (point / name).parent.mkdir(parents=True, exist_ok=True)
            (point / name).write_text(text, encoding="ascii")
        return cpu_quota(process)

    return quota


@pytest.mark.parametrize(
    ("text", "expected"),
    [("150000 100000\n", 1.5), ("max 100000\n", None), ("", None), ("50000 100000\n", 0.5)],
)
def test_version_2_of_a_container_that_sees_itself_as_the_root(system, text, expected):
    assert system("0::/\n", V2, {"cpu.max": text}) == expected


def test_version_2_takes_the_least_of_all_groups_above(system):
    files = {
        "a.slice/cpu.max": "200000 100000",
        "a.slice/b/cpu.max": "800000 100000",
        "a.slice/b/c/cpu.max": "max 100000",
        "other/cpu.max": "1000 100000",
    }
    assert system("0::/a.slice/b/c\n", V2, files) == 2


@pytest.mark.parametrize("groups", ["0::/pod/one/inner\n", "0::/../elsewhere\n"])
def test_version_2_with_another_root(system, groups):
    files = {"cpu.max": "300000 100000", "inner/cpu.max": "100000 100000"}
    assert system(groups, V2, files, root="/pod/one") == (1 if "inner" in groups else 3)


@pytest.mark.parametrize(("quota", "expected"), [("250000\n", 2.5), ("-1\n", None)])
def test_version_1(system, quota, expected):
    files = {"cpu.cfs_quota_us": quota, "cpu.cfs_period_us": "100000\n"}
    # the path of the group is the host's; inside there is only the mount
    groups = "5:memory:/docker/ab\n4:cpu,cpuacct:/docker/ab\n0::/\n"
    assert system(groups, V1, files) == expected


def test_controllers_of_version_1_beside_an_empty_version_2(system):
    files = {"g/cpu.cfs_quota_us": "100000", "g/cpu.cfs_period_us": "50000"}
    mounts = V1.replace("{controllers}", "memory") + V1 + V2.replace("{point}", "/nowhere")
    assert system("2:cpu:/g\n1:cpuset:/\n0::/\n", mounts, files) == 2


def test_without_control_groups_there_is_no_limit(tmp_path):
    assert cpu_quota(tmp_path / "missing") is None


@pytest.mark.parametrize(
    ("affinity", "quota", "expected"),
    [(8, None, 8), (8, 2.0, 2), (8, 1.5, 2), (8, 0.2, 1), (2, 16.0, 2), (1, 0.5, 1)],
)
def test_the_lesser_of_affinity_and_quota_counts(monkeypatch, affinity, quota, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(affinity)))
    monkeypatch.setattr(cores, "_own_quota", lambda: quota)
    assert available_cores() == expected


def test_the_affinity_of_this_process_counts():
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
        "from deal.machine.cores import available_cores; print(available_cores())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


def test_the_kernel_is_given_the_cores_that_count(monkeypatch):
    asked = []
    monkeypatch.setattr(regions, "available_cores", lambda: asked.append(1) or 3)
    logits = np.zeros((1, 2, 3, 4), np.float32)
    regions.score_logits(logits, size=(6, 8))
    assert asked == [1]
    regions.score_logits(logits, size=(6, 8), threads=2)
    assert asked == [1]
