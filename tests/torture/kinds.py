"""The kinds of torture, by name."""

from __future__ import annotations

from tests.torture.abi import abi, streams
from tests.torture.cases import Kind
from tests.torture.documents import heads, manifests, parts, side_cars
from tests.torture.headers import headers
from tests.torture.images import images
from tests.torture.journals import journals, power_cuts
from tests.torture.kills import calls, kills
from tests.torture.threads import threads
from tests.torture.torn import torn_writes

__all__ = ["KINDS"]

KINDS = {
    "kills": Kind(kills, "commands ended by signals, then run again", 500, share=4),
    "calls": Kind(calls, "commands whose system calls fail, then run again", 2_000, share=4),
    "torn": Kind(torn_writes, "finished runs with a torn file, then run again", 1_000, share=2),
    "journals": Kind(journals, "journals of a rig, cut and flipped, then the trip again", 1_000),
    "power": Kind(power_cuts, "power cuts of a rig at a sync, then the trip again", 1_000),
    "threads": Kind(threads, "eight threads that score at once", 1_000),
    "images": Kind(images, "damaged images, every format", 24_000, share=2, caged=True),
    "headers": Kind(headers, "mutated ONNX files, against protobuf", 1_000_000, 3, caged=True),
    "manifests": Kind(manifests, "edited manifests", 25_000, caged=True),
    "heads": Kind(heads, "edited difficulty heads", 25_000, caged=True),
    "side-cars": Kind(side_cars, "edited side-cars of models", 25_000, caged=True),
    "parts": Kind(parts, "damaged parts of tables", 25_000, caged=True),
    "abi": Kind(abi, "requests to the C interface, under sanitizers", 10_000_000, share=6),
    "streams": Kind(streams, "streams of random rules and frames, in C", 10_000_000, share=6),
}
