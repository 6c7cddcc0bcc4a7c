"""Generated street scenes and drives with exact labels."""

from deal.synthetic.scenes import (
    CLASSES,
    FIRST_SEED,
    PALETTE,
    drives,
    scene,
    write_dataset,
    write_pool,
)

__all__ = ["CLASSES", "FIRST_SEED", "PALETTE", "drives", "scene", "write_dataset", "write_pool"]
