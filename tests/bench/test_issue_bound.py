"""The bound from machine code, on a listing small enough to count by hand."""

from __future__ import annotations

import pytest

from deal.bench.gpu import issue_bound

# A loop over rows of logits around one over rows of the raster: two classes for certain, a third
# and a fourth if they exist, a division with its slow way, and sums over a warp for regions.
LISTING = """
		Function : _ZN12score_pixelsILi1ELi2ELi4EEvv
        /*0000*/                   MOV R1, c[0x0][0x28] ;
        /*0010*/                   LDG.E.U16 R2, desc[UR4][R4.64] ;
        /*0020*/                   FFMA R3, R2, R2, R2 ;
        /*0030*/                   FFMA R3, R3, R2, R2 ;
        /*0040*/              @!P0 BRA 0x80 ;
        /*0050*/                   FFMA R3, R3, R2, R2 ;
        /*0060*/              @!P1 BRA 0x80 ;
        /*0070*/                   FFMA R3, R3, R2, R2 ;
        /*0080*/                   MUFU.RCP R5, R3 ;
        /*0090*/               @P2 BRA 0xb0 ;
        /*00a0*/                   CALL.REL.NOINC 0x200 ;
        /*00b0*/              @!P3 BRA 0xe0 ;
        /*00c0*/                   REDUX.SUM UR6, R3 ;
        /*00d0*/                   ISETP.NE.AND P4, PT, R0, R1, PT ;
        /*00e0*/                   IADD3 R0, R0, 0x1, RZ ;
        /*00f0*/              @!P5 BRA P6, 0x20 ;
        /*0100*/              @!P6 BRA 0x10 ;
        /*0110*/                   EXIT ;
"""


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_pixel_meets_its_classes_and_neither_slow_ways_nor_regions(missing):
    (code,) = issue_bound._read_sass(LISTING).values()
    around, inside = sorted(issue_bound._loops(code))
    assert (around, inside) == ((1, 16), (2, 15))
    met = issue_bound._walk(code, *inside, missing)
    assert met["FFMA"] == 4 - missing
    assert met["MUFU.RCP"] == met["IADD3"] == 1
    assert not any(name.startswith(("CALL", "REDUX", "ISETP")) for name in met)


def test_the_bound_is_the_slowest_pipe():
    clocks = issue_bound._clocks({"FFMA": 64.0, "MUFU.RCP": 16.0, "FMNMX": 32.0, "BRA": 16.0})
    assert clocks == {"issue": 1.0, "fma": 0.5, "conversion": 1.0, "alu": 0.5}


def test_rows_of_logits_are_loaded_at_every_block_and_where_they_change():
    assert issue_bound._loads_a_row(1, 32) == 2 / 32
    assert issue_bound._loads_a_row(32, 32) == 1.0
    # 17 rows over 33: each is met twice, at its own height and half way to the next.
    assert issue_bound._loads_a_row(17, 33) == 1.0


def test_registers_and_shared_memory_limit_the_blocks():
    resources = issue_bound.Resources(registers=128, spilled=0)
    assert resources.blocks(0) == 4
    assert resources.blocks(100 * 1024) == 2


def test_what_ptxas_says_of_a_kernel():
    text = (
        "ptxas info    : Compiling entry function 'f' for 'sm_90'\n"
        "    8 bytes stack frame, 4 bytes spill stores, 8 bytes spill loads\n"
        "ptxas info    : Used 72 registers, used 1 barriers\n"
    )
    assert issue_bound._read_resources(text) == {"f": issue_bound.Resources(72, 12)}
