"""An S3 server (moto) on loopback that answers late, in a process of its own: ``bench sources``."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any


def serve(latency: float) -> None:
    """Serve until standard input ends; prints the port. Every GET waits ``latency`` seconds."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    store = DomainDispatcherApplication(create_backend_app)

    def late(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] == "GET":
            time.sleep(latency)
        answer: Iterable[bytes] = store(environ, start)
        return answer

    server = make_server("127.0.0.1", 0, late, threaded=True)
    print(server.server_port, flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    serve(float(sys.argv[1]))
