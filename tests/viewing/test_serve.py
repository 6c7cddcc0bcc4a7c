"""``--serve``: the page and the images of its rows, to this machine, and nothing else."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, NamedTuple

import pytest
from PIL import Image

from deal import DealError, UsageError, view
from deal.viewing.serve import Address, make_server, parse_address
from deal.viewing.view import make_page
from tests.helpers.browser import opened

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from deal.viewing.rows import Pool


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Served(NamedTuple):
    port: int
    rows: int
    failed: int

    def get(self, path: str, host: str | None = None, method: str = "GET") -> Answer:
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        line.putrequest(method, path, skip_host=True)
        line.putheader("Host", f"127.0.0.1:{self.port}" if host is None else host)
        line.endheaders()
        answer = line.getresponse()
        found = Answer(answer.status, dict(answer.getheaders()), answer.read())
        line.close()
        return found


@pytest.fixture(scope="module")
def served(scored: Path) -> Iterator[Served]:
    made = make_page(scored, thumbnails=0, maps=0, token="word")
    status = made.pool.table.column("status").to_pylist()
    with make_server(made.text, made.pool, Address("127.0.0.1", 0), "word") as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield Served(server.server_address[1], len(made.pool), status.index("error"))
        server.shutdown()
        thread.join()


def test_the_page_and_the_images_of_its_rows_are_served(served: Served) -> None:
    page = served.get("/")
    assert page.status == 200
    assert page.body.startswith(b"<!DOCTYPE html>")
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    sizes = {}
    for kind in ("thumbnail", "preview"):
        answer = served.get(f"/word/{kind}/0")
        assert (answer.status, answer.headers["Content-Type"]) == (200, "image/webp")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        sizes[kind] = Image.open(BytesIO(answer.body)).size
    assert sizes == {"thumbnail": (256, 192), "preview": (320, 240)}


def test_pictures_of_another_server_have_other_addresses(
    scored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = []

    def serve_page(text: str, pool: Pool, address: Address, token: str, **_: bool) -> None:
        assert f'"token":"{token}"' in text
        tokens.append(token)

    monkeypatch.setattr("deal.viewing.view.serve_page", serve_page)
    for _ in range(2):
        view(scored, serve="0", maps=0)
    assert all(tokens)
    assert tokens[0] != tokens[1]


@pytest.mark.parametrize(
    "path",
    [
        "/word/thumbnail/../../etc/passwd",
        "/word/thumbnail/%2e%2e%2f",
        "/word/thumbnail/0/",
        "/word/thumbnail/-1",
        "/word/thumbnail/0?x=1",
        "/word/thumbnail/99999999",
        "/word/classes/0",
        "/thumbnail/0",
        "/another/thumbnail/0",
        "/selection.csv",
        "//etc/passwd",
        "/../",
    ],
)
def test_no_other_path_leads_anywhere(served: Served, path: str) -> None:
    answer = served.get(path.encode().decode("latin-1"))
    assert (answer.status, answer.body) == (404, b"nothing is here\n")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{}", "", "127.0.0.1"])
def test_other_names_of_this_machine_are_refused(served: Served, host: str) -> None:
    answer = served.get("/", host.format(served.port))
    assert answer.status == 403
    assert b"<" not in answer.body


def test_only_reading_is_possible(served: Served) -> None:
    assert served.get("/", method="POST").status == 501
    head = served.get("/word/thumbnail/0", method="HEAD")
    assert (head.status, head.body) == (200, b"")
    assert int(head.headers["Content-Length"]) > 100


def test_an_image_that_cannot_be_read_is_a_reason(served: Served) -> None:
    answer = served.get(f"/word/thumbnail/{served.failed}")
    assert answer.status == 404
    assert answer.body.startswith(b"decode: ")


@pytest.mark.slow
def test_a_browser_shows_images_that_the_page_does_not_hold(
    browser: Browser, served: Served
) -> None:
    with opened(browser, f"http://127.0.0.1:{served.port}/") as tab:
        tab.keyboard.press("j")
        tab.wait_for_function(
            "(() => { const c = document.querySelector('.card canvas'); return c.getContext('2d')"
            ".getImageData(0, 0, c.width, c.height).data.some((v) => v > 0); })()"
        )


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:8000", "127.0.0.1", 8000),
        ("localhost:0", "localhost", 0),
        ("8000", "127.0.0.1", 8000),
        ("[::1]:81", "::1", 81),
    ],
)
def test_addresses_of_this_machine_are_read(text: str, host: str, port: int) -> None:
    assert parse_address(text) == Address(host, port)


@pytest.mark.parametrize(
    "text", ["0.0.0.0:80", "192.168.0.2:80", "example.org:80", "x", ":", "1e3"]
)
def test_other_addresses_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="on this machine"):
        parse_address(text)


def test_a_port_that_is_taken_is_said(scored: Path) -> None:
    made = make_page(scored, thumbnails=0, maps=0, token="word")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(DealError, match=f"127.0.0.1:{port}.*another port"):
            make_server(made.text, made.pool, Address("127.0.0.1", port), "word")


def test_ctrl_c_ends_the_server_without_a_trace(scored: Path) -> None:
    command = [sys.executable, "-m", "deal", "view", str(scored), "--maps", "0"]
    running = subprocess.Popen(
        [*command, "--serve", "127.0.0.1:0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        cwd=Path(__file__).parents[2],
    )
    assert running.stdout is not None
    line = running.stdout.readline()
    assert line.startswith("serving http://127.0.0.1:")
    port = int(line.split("127.0.0.1:")[1].split("/")[0])
    assert Served(port, 0, 0).get("/").status == 200
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=20)
    assert (running.returncode, out) == (0, "")
    assert err.splitlines()[-1:] == ["ended"]
    assert "Traceback" not in err
