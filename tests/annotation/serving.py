"""A real Label Studio server on the loopback: it takes our tasks, and serves them in rank order.

Run by hand, or weekly: ``make label-studio`` installs Label Studio into an environment of its own
and runs this module. The server's data lie in a temporary folder.
"""

from __future__ import annotations

import http.cookiejar
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import deal

ROOT = Path(__file__).parents[2]
COUNT, BATCH = 8, 5
_USER, _PASSWORD = "deal@example.com", "not-a-secret-here"
_START = 900.0  # seconds; the first start makes the database, on two busy cores in minutes


class Server:
    """The server's API, with a personal access token as a user makes one."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.token = self._new_token()
        answer = self.call("/api/token/refresh/", {"refresh": self.token})
        self._access = answer["access"]

    def call(self, path: str, value: Any = None) -> Any:
        """The answer to GET, or to POST of a value."""
        body = None if value is None else json.dumps(value).encode()
        with self.open(path, body) as answer:
            return json.loads(answer.read() or b"null")

    def open(self, path: str, body: bytes | None = None) -> Any:
        """Open a path of the server."""
        headers = {"Content-Type": "application/json"}
        if hasattr(self, "_access"):
            headers["Authorization"] = f"Bearer {self._access}"
        return urllib.request.urlopen(urllib.request.Request(self.url + path, body, headers))

    def _new_token(self) -> str:
        jar = http.cookiejar.CookieJar()
        browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
        page = browser.open(f"{self.url}/user/login/").read().decode()
        guard = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
        assert guard is not None
        form = {"csrfmiddlewaretoken": guard[1], "email": _USER, "password": _PASSWORD}
        browser.open(f"{self.url}/user/login/", urllib.parse.urlencode(form).encode())
        cookies = {cookie.name: cookie.value or "" for cookie in jar}
        headers = {"Content-Type": "application/json", "X-CSRFToken": cookies["csrftoken"]}
        request = urllib.request.Request(f"{self.url}/api/token/", b"{}", headers)
        return str(json.loads(browser.open(request).read())["token"])


@contextmanager
def serving(folder: Path, data: Path) -> Iterator[Server]:
    """Label Studio, told to serve the files of a folder."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {
        "LABEL_STUDIO_BASE_DATA_DIR": str(data),
        "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(folder),
        "COLLECT_ANALYTICS": "false",
    }
    program = Path(sys.executable).with_name("label-studio")
    command = [program, "start", "--no-browser", "--internal-host", "127.0.0.1"]
    command += ["--port", port, "--username", _USER, "--password", _PASSWORD]
    log = data / "server.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            list(map(str, command)), env=environment, stdout=file, stderr=subprocess.STDOUT
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait(url, process, log)
        yield Server(url)
    finally:
        process.terminate()
        process.wait(60)


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _START
    while time.monotonic() < end and process.poll() is None:
        try:
            urllib.request.urlopen(f"{url}/health")
            return
        except OSError:
            time.sleep(1)
    raise SystemExit(f"Label Studio did not start:\n{log.read_text(errors='replace')[-2000:]}")


def _check(server: Server, project: int, ranks: list[int]) -> None:
    tasks = server.call(f"/api/tasks?project={project}&fields=all")["tasks"]
    assert [task["data"]["deal_rank"] for task in tasks] == ranks
    with server.open(tasks[0]["data"]["image"]) as answer:
        assert answer.headers["Content-Type"] == "image/jpeg", "the server does not show the image"
    served = []
    for _ in ranks:  # as an annotator: accept what the model predicts, and go on
        task = server.call(f"/api/projects/{project}/next")
        served.append(task["data"]["deal_rank"])
        (prediction,) = task["predictions"]
        annotation = {"result": prediction["result"], "lead_time": 1.0}
        server.call(f"/api/tasks/{task['id']}/annotations/", annotation)
    print(f"project {project}: label stream serves ranks {served}")
    assert served == ranks


def main() -> None:
    """Import, serve, label, export and collect; the labels are the predictions, bit for bit."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        (work / "data").mkdir()
        out, demo = work / "out", ROOT / "deal" / "demo"
        deal.score_pool(demo / "pool", model=demo / "model.onnx", output=out, budget=COUNT)
        deal.annotate(out, to="label-studio", output=work / "tasks", batch=BATCH)
        deal.annotate(out, to="masks", output=work / "masks")
        with serving(work / "tasks", work / "data") as server:
            script = [sys.executable, work / "tasks" / "load_label_studio.py"]
            arguments = ["--url", server.url, "--token", server.token, "--title", "picks"]
            subprocess.run([*script, *arguments], check=True)
            projects = server.call("/api/projects/")["results"]
            exported = []
            for project in sorted(projects, key=lambda found: found["id"]):
                first = BATCH * len(exported) + 1
                ranks = list(range(first, min(first + BATCH, COUNT + 1)))
                _check(server, project["id"], ranks)
                file = work / f"export{project['id']}.json"
                with server.open(f"/api/projects/{project['id']}/export?exportType=JSON") as answer:
                    file.write_bytes(answer.read())
                exported.append(file)
        found = deal.collect(
            exported, from_="label-studio", output=work / "labeled", tasks=work / "tasks"
        )
        assert (found.count, found.problems) == (COUNT, ())
        for label in sorted((work / "labeled").glob("*/labels/*.png")):
            (mask,) = (work / "masks" / "masks").glob(f"????_{label.name}")
            drawn, predicted = np.asarray(Image.open(label)), np.asarray(Image.open(mask))
            assert (drawn + np.uint8(1) == predicted).all(), label.name
        print(f"{found.count} of {COUNT} label maps came back bit for bit")


if __name__ == "__main__":
    main()
