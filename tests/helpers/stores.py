"""An S3 server on loopback, and one between that fails on purpose."""

from __future__ import annotations

import http.client
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

__all__ = ["NUMBERS", "Between", "Bucket", "s3_server", "serving", "store_environment"]


NUMBERS = count()
"""For names of buckets: the servers of one process share them."""

# The server wants a signature and does not look at it.
_SIGNED = (
    "AWS4-HMAC-SHA256 Credential=key/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, "
    "Signature=0"
)


class Bucket:
    """A bucket of the server, filled and emptied over HTTP as any client would."""

    def __init__(self, endpoint: str, name: str) -> None:
        self.endpoint = endpoint
        self.name = name
        self._request("PUT", f"/{name}")

    def put(self, key: str, data: bytes) -> None:
        self._request("PUT", f"/{self.name}/{quote(key)}", data)

    def delete(self, key: str) -> None:
        self._request("DELETE", f"/{self.name}/{quote(key)}")

    def fill(self, folder: Path, prefix: str = "") -> None:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.put(prefix + str(path.relative_to(folder)), path.read_bytes())

    def _request(self, method: str, path: str, data: bytes = b"") -> None:
        connection = http.client.HTTPConnection(urlsplit(self.endpoint).netloc)
        connection.request(method, path, data, {"Authorization": _SIGNED})
        reply = connection.getresponse()
        reply.read()
        connection.close()
        assert reply.status < 300, (method, path, reply.status)


def store_environment(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    """Credentials and address as the environment gives them."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@contextmanager
def s3_server() -> Iterator[str]:
    """Address of moto's server, which keeps buckets in memory."""
    server = pytest.importorskip("moto.server", reason="moto[s3] and flask are not installed")
    pytest.importorskip("obstore", reason="obstore is not installed")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        running.stop()


class Between:
    """Passes requests on to a server; ``refuse`` says which are answered otherwise.

    Attributes
    ----------
    refuse : callable (method, path, count) → status or None
        ``count`` is how many requests of this method had this path, this one included.
    seen : list of (method, path)
    """

    def __init__(self, target: str) -> None:
        self.target = urlsplit(target).netloc
        self.refuse: Any = lambda method, path, count: None
        self.seen: list[tuple[str, str]] = []
        self.lock = threading.Lock()
        self.address = ""


@contextmanager
def serving(between: Between) -> Iterator[Between]:
    """Run the server between on a port of its own."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            with between.lock:
                between.seen.append((self.command, self.path))
                times = between.seen.count((self.command, self.path))
            status = between.refuse(self.command, self.path, times)
            if status == 0:
                self.close_connection = True
                self.connection.close()
                return
            if status is not None:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            upstream = http.client.HTTPConnection(between.target)
            headers = {"Authorization": _SIGNED, **dict(self.headers)}
            upstream.request(self.command, self.path, headers=headers)
            reply = upstream.getresponse()
            data = reply.read()
            self.send_response(reply.status)
            for name, value in reply.getheaders():
                if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            length = reply.getheader("Content-Length") if self.command == "HEAD" else len(data)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(data)
            upstream.close()

        do_GET = do_HEAD = answer  # noqa: N815

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    between.address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield between
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
