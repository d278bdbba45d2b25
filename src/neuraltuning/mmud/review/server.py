"""Runs the review page on this computer's loopback address, until Ctrl-C.

neuraltuning mmud review WORK --port 8765 --reviewer ada
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

from neuraltuning.errors import InputError
from neuraltuning.mmud.review.queue import ReviewQueue, reviewer_name

HOST = "127.0.0.1"


def serve(queue: ReviewQueue, port: int, reviewer: str, ready: Callable[[str], None]) -> None:
    """Serves until the process is interrupted.

    Args:
        queue: what is up for review.
        port: to listen on; 0 takes a free one.
        reviewer: the name that the page takes; empty: it asks.
        ready: called with the page's address when the page can be opened.

    Raises:
        InputError: the server's packages are missing, the port is taken, or the name can't be used.
    """
    name = reviewer_name(reviewer) if reviewer else ""
    try:
        import uvicorn

        from neuraltuning.mmud.review.app import create_app
    except ImportError as error:
        raise InputError(
            f"The review page needs the package {error.name}; install it with: pip install 'neuraltuning[mmud]'."
        ) from error
    try:
        listening = socket.create_server((HOST, port))
    except OSError as error:
        why = os.strerror(error.errno or 0)
        raise InputError(f"Port {port} can't be used ({why}); choose another one with --port.") from error
    with listening:
        config = uvicorn.Config(create_app(queue, name), log_level="warning", access_log=False)
        ready(f"http://{HOST}:{listening.getsockname()[1]}/")
        uvicorn.Server(config).run(sockets=[listening])
