"""Runs the API in this process: listens, loads the models meanwhile, serves, and drains when it is told to stop.

neuraltuning serve runs/quickstart --port 8000
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn
from fastapi import FastAPI

from neuraltuning.errors import InputError
from neuraltuning.memory import keep_memory_steady
from neuraltuning.serving.api.access import OPEN_PATHS
from neuraltuning.serving.api.app import create_app
from neuraltuning.serving.api.limits import Limits
from neuraltuning.serving.api.pictures import Pictures
from neuraltuning.serving.api.service import ModelCard, Service

if TYPE_CHECKING:
    from neuraltuning.serving.engine import Engine
    from neuraltuning.serving.engine_types import EarlierTurns

logger = logging.getLogger(__name__)

CLOSING_SECONDS = 5
"""In which connections end after their replies were broken off."""


@dataclass(frozen=True)
class ServerSettings:
    """What the operator chooses.

    Attributes:
        host: to listen on.
        port: to listen on; 0 takes a free one.
        key: what clients have to send; needed on other addresses than loopback's.
        limits: of one request.
        batch_size: requests that are answered at once.
        queue: requests that may wait beside them.
        earlier: when the earlier turns of a conversation are read.
        image_hosts: from which pictures may be fetched.
        origins: sites whose pages may call the API.
        open_paths: paths that take no key.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    key: str | None = None
    limits: Limits = field(default_factory=Limits)
    batch_size: int = 8
    queue: int = 32
    earlier: EarlierTurns = "referred"
    image_hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    open_paths: tuple[str, ...] = OPEN_PATHS


def serve(
    folders: Mapping[str, Path],
    settings: ServerSettings,
    ready: Callable[[str], None],
    extend: Callable[[FastAPI, Service], None] = lambda app, service: None,
) -> None:
    """Serves until SIGTERM or Ctrl-C.

    Args:
        folders: of the models, by the names that requests call them by.
        settings: how.
        ready: called with the server's address once requests are taken.
        extend: adds endpoints of a caller's own.

    Raises:
        InputError: the address can't be used or needs a key, a host can't be allowed, or a model can't be loaded.
    """
    keep_memory_steady()
    listening = _listen(settings)
    host, port = listening.getsockname()[:2]
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    with listening:
        service = make_service(settings)
        app = create_app(service, key=settings.key, origins=settings.origins, open_paths=settings.open_paths)
        extend(app, service)
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            lifespan="off",
            timeout_graceful_shutdown=CLOSING_SECONDS,
        )
        server = DrainingServer(config, service)
        loading = _Loading(folders, settings, service, server, lambda: ready(address))
        loading.start()
        server.run(sockets=[listening])
        loading.finish()


def make_service(settings: ServerSettings) -> Service:
    """A service that still has no engine.

    Raises:
        InputError: a host can't be allowed.
    """
    remote = None
    if settings.image_hosts:
        from neuraltuning.serving.api.remote_pictures import RemotePictures

        remote = RemotePictures(settings.image_hosts, settings.limits)
    pictures = Pictures(settings.limits.pixels, remote)
    return Service(limits=settings.limits, places=settings.batch_size + settings.queue, pictures=pictures)


class DrainingServer(uvicorn.Server):
    """Told to stop, it answers running requests to their end and new ones with 503. Told twice, it stops at once."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        self.break_off: Callable[[], None] = lambda: None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The handler of SIGTERM and SIGINT."""
        if self._service.gate.closed_at is not None:
            self.should_exit = self.force_exit = True
        self._service.gate.close()

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second."""
        gate = self._service.gate
        if gate.closed_at is not None and not self.should_exit:
            late = time.monotonic() > gate.closed_at + self._service.limits.drain_seconds
            if late and gate.taken:
                logger.warning("%d requests were not answered in time and are broken off.", gate.taken)
                await asyncio.to_thread(self.break_off)
            self.should_exit = late or not gate.taken
        return await super().on_tick(counter)


class _Loading:
    """Loads the models in a thread, while the server answers that it is not ready yet."""

    def __init__(
        self,
        folders: Mapping[str, Path],
        settings: ServerSettings,
        service: Service,
        server: DrainingServer,
        ready: Callable[[], None],
    ) -> None:
        self._folders, self._settings, self._service, self._server = folders, settings, service, server
        self._ready = ready
        self._engine: Engine | None = None
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._load, name="loading", daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def finish(self) -> None:
        """Ends the engine.

        Raises:
            Exception: what the loading failed of.
        """
        if self._engine is not None:
            self._engine.close(0.0)
        if self._error is not None:
            raise self._error

    def _load(self) -> None:
        try:
            from neuraltuning.serving.engine import Engine
            from neuraltuning.serving.models import load_models

            models = load_models(self._folders)
            settings = self._settings
            engine = Engine(models, max_batch=settings.batch_size, max_waiting=settings.queue, earlier=settings.earlier)
            now = int(time.time())
            cards = {name: ModelCard(name, now, tuple(model.decoders_by_token)) for name, model in models.items()}
        except Exception as error:
            self._error = error
            self._server.should_exit = True
            return
        self._engine = engine
        self._server.break_off = lambda: engine.close(0.0)
        self._service.open(engine, cards)
        self._ready()


def _listen(settings: ServerSettings) -> socket.socket:
    """A socket at the address.

    Raises:
        InputError: there is no such address, it needs a key, or the port is taken.
    """
    try:
        infos = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise InputError(f"The address {settings.host} is not known here; choose another one with --host.") from None
    family, _, _, _, where = infos[0]
    if settings.key is None and not ipaddress.ip_address(str(where[0]).partition("%")[0]).is_loopback:
        raise InputError(
            f"Others can reach {settings.host}: set an API key in NEURALTUNING_API_KEY or --api-key-file, or leave "
            "--host out to serve this computer alone."
        )
    try:
        listening = socket.create_server(where[:2], family=family)
    except OSError as error:
        why = os.strerror(error.errno or 0)
        raise InputError(f"Port {settings.port} can't be used ({why}); choose another one with --port.") from error
    # Its connections inherit this; asyncio sees to it only for sockets that it opened itself. Without it the second
    # packet of an answer waits for the client's acknowledgement of the first, which comes after 40 ms.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening
