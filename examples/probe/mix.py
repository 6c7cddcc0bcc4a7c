"""CamVid split anew: ``mix.py ROOT OUTPUT`` takes every fourth frame of all drives for val.

``OUTPUT/{train,val}/{images,labels}`` are links to the files of ``ROOT/{train,val,test}``. There
has to be a test split: it is val again.
"""

from __future__ import annotations

import sys
from pathlib import Path


def main(root: str, output: str) -> None:
    """Make the folders."""
    images = (
        path for split in ("train", "val", "test") for path in Path(root).glob(f"{split}/images/*")
    )
    for number, image in enumerate(sorted(images, key=lambda path: path.name)):
        split = Path(output, "val" if number % 4 == 3 else "train")
        label = image.parent.parent / "labels" / f"{image.stem}.png"
        for file in (image, label):
            link = split / file.parent.name / file.name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(file.resolve())
    Path(output, "test").symlink_to("val")


if __name__ == "__main__":
    main(*sys.argv[1:])
