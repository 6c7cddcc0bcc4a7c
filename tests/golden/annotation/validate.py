"""Read the golden files with Datumaro's importers, which are CVAT's own.

In an environment of its own, since Datumaro brings along hundreds of packages::

    python -m venv /tmp/datumaro
    /tmp/datumaro/bin/pip install datumaro hypothesis numpy pyarrow Pillow simplejpeg click rich
    /tmp/datumaro/bin/python -m tests.golden.annotation.validate
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import datumaro
import numpy as np
from PIL import Image

from tests.helpers.annotation import NAMES, golden_pictures

GOLDEN = Path(__file__).parent


def check(name: str, kind: str, place: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, place)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(GOLDEN / name, target)
        for picture in golden_pictures():
            height, width = picture.size
            image = Path(folder, "images", picture.file)
            image.parent.mkdir(exist_ok=True)
            Image.new("RGB", (width, height)).save(image)
        found = datumaro.Dataset.import_from(folder, kind)
        labels = [label.name for label in found.categories()[datumaro.AnnotationType.label]]
        places = [labels.index(label) for label in NAMES]
        items = {item.id: item for item in found}
        for picture in golden_pictures():
            item = items[picture.file.removesuffix(".jpg")]
            drawn = np.zeros(picture.size, np.uint8)
            for shape in item.annotations:
                if shape.type == datumaro.AnnotationType.mask:
                    drawn[np.asarray(shape.image, bool)] = places.index(shape.label) + 1
                elif shape.type == datumaro.AnnotationType.polygon:
                    assert kind == "cvat", shape
            if any(shape.type == datumaro.AnnotationType.mask for shape in item.annotations):
                assert (drawn == picture.labels).all(), (name, picture.file)
        shapes = [shape.type.name for item in found for shape in item.annotations]
        counts = ", ".join(f"{shapes.count(kind)} {kind}" for kind in sorted(set(shapes)))
        print(f"{name}: {len(items)} images, {counts}")


if __name__ == "__main__":
    print("datumaro", datumaro.__version__)
    check("cvat.xml", "cvat", "annotations.xml")
    check("cvat-polygons.xml", "cvat", "annotations.xml")
    check("coco.json", "coco", "annotations/instances_default.json")
