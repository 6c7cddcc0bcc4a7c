"""``deal view --serve``: the page and the images of its pool, to this machine alone."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from deal.errors import DealError, ItemError, UsageError
from deal.pool.decode import decode
from deal.viewing.pictures import shrunk, webp

if TYPE_CHECKING:
    from deal.viewing.rows import Pool

__all__ = ["Address", "make_server", "open_in_browser", "parse_address", "serve_page"]

_SIDES = {"thumbnail": (256, 62), "preview": (1600, 80)}
_KEPT = 4096  # small pictures that are not drawn twice: some tens of megabytes


@dataclass(frozen=True)
class Address:
    """Where to serve: a loopback address and a port; port 0 takes a free one."""

    host: str
    port: int


def parse_address(text: str) -> Address:
    """Read ``127.0.0.1:8000``, ``localhost:8000``, ``[::1]:8000`` or ``8000``.

    Raises UsageError for what is not a port on this machine: the images of a pool are not for
    others in the network.
    """
    host, _, port = text.rpartition(":")
    host = (host or "127.0.0.1").removeprefix("[").removesuffix("]")
    try:
        number = int(port)
        loopback = host == "localhost" or ip_address(host).is_loopback
        if loopback and 0 <= number <= 65_535:
            return Address(host, number)
    except ValueError:
        pass
    raise UsageError(
        f"--serve {text!r}: give a port on this machine, such as 127.0.0.1:8000; to show the page "
        "to others write it with --output and send the file"
    )


def make_server(text: str, pool: Pool, address: Address, token: str) -> ThreadingHTTPServer:
    """Make a server of a page and of the images in its rows; it serves nothing else.

    Pictures lie under ``/token/``, a word of this server alone: browsers keep pictures for an hour,
    and another server on the same port may show another pool.

    Raises
    ------
    DealError
        The port is taken.
    """
    page = text.encode()
    pattern = re.compile(rf"/{token}/(thumbnail|preview)/([0-9]{{1,9}})")

    @lru_cache(_KEPT)
    def picture(kind: str, row: int) -> bytes:
        side, quality = _SIDES[kind]
        (item,) = pool.items([row])
        return webp(shrunk(decode(item, at_least=(side, side)).image, side), quality)

    class Handler(BaseHTTPRequestHandler):
        server_version, sys_version = "deal", ""
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            """Answer with the page or a picture; to other hosts' names with 403."""
            self._answer(body=True)

        def do_HEAD(self) -> None:
            """Answer without the content."""
            self._answer(body=False)

        def _answer(self, *, body: bool) -> None:
            # A foreign site whose name leads here (DNS rebinding) asks under its own name.
            if self.headers.get("Host") not in hosts:
                self._send(HTTPStatus.FORBIDDEN, "text/plain", b"another host\n", body)
                return
            match = pattern.fullmatch(self.path)
            if self.path in ("/", "/index.html"):
                self._send(HTTPStatus.OK, "text/html; charset=utf-8", page, body)
            elif match is not None and int(match[2]) < len(pool):
                try:
                    data = picture(match[1], int(match[2]))
                except ItemError as error:
                    reason = f"{error.code}: {error.message}\n".encode()
                    self._send(HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", reason, body)
                else:
                    self._send(HTTPStatus.OK, "image/webp", data, body, "private, max-age=3600")
            else:
                self._send(HTTPStatus.NOT_FOUND, "text/plain", b"nothing is here\n", body)

        def _send(
            self,
            status: HTTPStatus,
            kind: str,
            data: bytes,
            body: bool,
            cached: str = "no-store",
        ) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Cache-Control", cached)
            self.send_header("X-Content-Type-Options", "nosniff")
            self.send_header("Cross-Origin-Resource-Policy", "same-origin")
            self.send_header("X-Frame-Options", "DENY")
            self.end_headers()
            if body:
                self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (its name there)
            """Say nothing: a grid asks for hundreds of pictures."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        address_family = _family(address.host)

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Say nothing of a browser that closed the line."""
            if not isinstance(sys.exception(), (ConnectionError, TimeoutError)):
                super().handle_error(request, client_address)

    try:
        server = Server((address.host, address.port), Handler)
    except OSError as error:
        raise DealError(
            f"cannot serve on {address.host}:{address.port}: {error.strerror}; give another port"
        ) from error
    port = server.server_address[1]
    names = ("127.0.0.1", "localhost", "[::1]", _written(address.host))
    hosts = {f"{name}:{port}" for name in names} | (set(names) if port == 80 else set())
    return server


def serve_page(
    text: str, pool: Pool, address: Address, token: str, *, open_page: bool = False
) -> None:
    """Serve a page until Ctrl-C."""
    with make_server(text, pool, address, token) as server:
        where = f"http://{_written(address.host)}:{server.server_address[1]}/"
        try:
            print(f"serving {where}  (Ctrl-C ends)", flush=True)
            if open_page:
                open_in_browser(where)
            server.serve_forever()
        except KeyboardInterrupt:
            print("ended", file=sys.stderr)


def open_in_browser(address: str) -> None:
    """Open an address in the user's browser."""
    import webbrowser

    webbrowser.open(address)


def _written(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _family(host: str) -> Any:
    import socket

    return socket.AF_INET6 if ":" in host else socket.AF_INET
