"""What the processor can do, by the flags that the system names."""

from __future__ import annotations

import pytest

from deal.machine.processor import emulates_bfloat16


@pytest.mark.parametrize(
    ("flags", "machine", "expected"),
    [
        ("fpu avx2 vaes", "x86_64", True),
        ("fpu avx2 avx512f", "x86_64", False),
        ("fpu asimd", "aarch64", False),
    ],
)
def test_bfloat16_is_emulated_on_x86_without_avx512(
    tmp_path, monkeypatch, flags, machine, expected
):
    monkeypatch.setattr("platform.machine", lambda: machine)
    (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags\t\t: {flags}\n")
    assert emulates_bfloat16(tmp_path / "cpuinfo") is expected
    assert emulates_bfloat16(tmp_path / "none") is False
