"""Scripts that are written beside the tasks; deal itself imports none of these tools."""

from __future__ import annotations

__all__ = ["SCRIPTS"]

_LOAD_FIFTYONE = '''\
"""Load these images into FiftyOne, in rank order: python load_fiftyone.py [NAME]"""

import csv
import json
import sys
from pathlib import Path

import fiftyone as fo

here = Path(__file__).resolve().parent
labels = json.loads((here / "classes.json").read_text(encoding="utf-8"))["labels"]
dataset = fo.Dataset(sys.argv[1] if len(sys.argv) > 1 else "deal", persistent=True)
dataset.default_mask_targets = dict(enumerate(labels, 1))
samples = []
with open(here / "tasks.csv", newline="", encoding="utf-8") as file:
    rows = [row for row in csv.DictReader(file) if row["file"]]
for row in rows:
    sample = fo.Sample(str(here / "images" / row["file"]), tags=["deal", "batch " + row["batch"]])
    sample["deal_id"], sample["deal_rank"] = row["id"], int(row["rank"])
    sample["deal_score"] = float(row["score"]) if row["score"] else None
    mask = here / "masks" / row["mask"]
    if row["mask"] and mask.exists():
        sample["prediction"] = fo.Segmentation(mask_path=str(mask))
    for name in ("difficulty", "entropy"):
        heat = here / name / row["mask"]
        if row["mask"] and heat.exists():
            sample[name] = fo.Heatmap(map_path=str(heat), range=[0, 255])
    samples.append(sample)
dataset.add_samples(samples)
print(f"{len(samples)} images; look at them: fiftyone app launch {dataset.name}")
'''

_LOAD_LIGHTLY = '''\
"""Load these images into LightlyStudio: python load_lightly.py [NAME]"""

import csv
import json
import sys
from pathlib import Path

import lightly_studio as ls

here = Path(__file__).resolve().parent
labels = json.loads((here / "classes.json").read_text(encoding="utf-8"))["labels"]
dataset = ls.ImageDataset.create(sys.argv[1] if len(sys.argv) > 1 else "deal")
if (here / "masks").is_dir():
    dataset.add_samples_from_pascal_voc_segmentations(
        images_path=here / "images",
        masks_path=here / "masks",
        class_id_to_name=dict(enumerate(["unlabeled", *labels])),
        embed=False,
        annotation_source="deal",
    )
else:
    dataset.add_images_from_path(here / "images", embed=False)
with open(here / "tasks.csv", newline="", encoding="utf-8") as file:
    rows = {row["file"]: row for row in csv.DictReader(file) if row["file"]}
metadata = []
for sample in dataset:
    row = rows[Path(sample.file_path_abs).name]
    known = {"deal_id": row["id"], "deal_rank": int(row["rank"]), "deal_batch": int(row["batch"])}
    if row["score"]:
        known["deal_score"] = float(row["score"])
    metadata.append((sample.sample_id, known))
dataset.update_metadata(metadata)
print(f"{len(metadata)} images; their rank and score are metadata: deal_rank, deal_score")
ls.start_gui()
'''

_LOAD_LABEL_STUDIO = '''\
"""Import these tasks into Label Studio, in rank order.

    python load_label_studio.py --token TOKEN [--url http://localhost:8080] [--title NAME]

TOKEN is an access token of Account & Settings. Needs nothing but Python.
"""

import argparse
import json
import urllib.error
import urllib.request
from pathlib import Path

here = Path(__file__).resolve().parent
parser = argparse.ArgumentParser(description="Import these tasks into Label Studio.")
parser.add_argument("--token", required=True)
parser.add_argument("--url", default="http://localhost:8080")
parser.add_argument("--title", default="deal")
given = parser.parse_args()


def post(path, value, scheme="Token", token=given.token):
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = scheme + " " + token
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    request = urllib.request.Request(given.url.rstrip("/") + path, body, headers)
    try:
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        reason = error.read().decode(errors="replace")[:500]
        raise SystemExit(f"error: {path}: {error.code} {reason}")
    except urllib.error.URLError as error:
        raise SystemExit(f"error: {given.url}: {error.reason}; start Label Studio")


# A personal access token has three parts and is exchanged for a short one; others are used as is.
access = ("Token", given.token)
if given.token.count(".") == 2:
    access = ("Bearer", post("/api/token/refresh/", {"refresh": given.token}, token=None)["access"])
config = (here / "config.xml").read_text(encoding="utf-8")
for tasks in [here / "tasks.json"] + sorted(here.glob("batch-*/tasks.json")):
    if not tasks.exists():
        continue
    batch = tasks.parent.name if tasks.parent != here else ""
    settings = {
        "title": f"{given.title} {batch}".strip()[:50],
        "label_config": config,
        "sampling": "Sequential sampling",
        "show_collab_predictions": True,
        "model_version": "deal",
    }
    project = post("/api/projects/", settings, *access)["id"]
    images = tasks.parent / "images"
    if images.is_dir():
        storage = {"project": project, "title": "deal", "path": str(images), "use_blob_urls": False}
        post("/api/storages/localfiles/", storage, *access)
    done = post(f"/api/projects/{project}/import", tasks.read_bytes(), *access)
    print(f"{given.url.rstrip('/')}/projects/{project}/data: {done['task_count']} tasks, "
          f"{done['prediction_count']} predictions")
'''

SCRIPTS = {
    "fiftyone": ("load_fiftyone.py", [_LOAD_FIFTYONE]),
    "label-studio": ("load_label_studio.py", [_LOAD_LABEL_STUDIO]),
    "lightly": ("load_lightly.py", [_LOAD_LIGHTLY]),
}
"""Name and text of the script of each tool that has one."""
