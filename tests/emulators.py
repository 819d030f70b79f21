"""Object stores on this machine: moto's S3 server and gcp-storage-emulator, in threads of this process."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import shutil
import socket
import threading
import urllib.request
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

from jaxgen.storage import objects as stores

SCHEMES = ("s3", "gs")
_numbers = itertools.count()


@contextlib.contextmanager
def emulator(scheme: str) -> Iterator[str]:
    """Gives the URL of an empty bucket, for this process and those that it starts."""
    before = dict(os.environ)
    bucket = f"bucket-{next(_numbers)}"  # a process remembers the buckets that it has seen
    serve = {"s3": _s3, "gs": _gs}[scheme]
    try:
        with serve(bucket):
            yield f"{scheme}://{bucket}"
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextlib.contextmanager
def _s3(bucket: str) -> Iterator[None]:
    from moto.s3.responses import S3Response
    from moto.server import ThreadedMotoServer

    # Amazon's looks whether an object is there and makes it in one step, this one in two.
    put, one_at_a_time = S3Response.put_object, threading.Lock()

    def put_object(self: S3Response) -> Any:
        with one_at_a_time:
            return put(self)

    S3Response.put_object = put_object
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it tells of every request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    os.environ |= {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "me",
                   "AWS_SECRET_ACCESS_KEY": "mine"}  # fmt: skip
    made = urllib.request.Request(f"http://{host}:{port}/{bucket}", method="PUT")
    urllib.request.urlopen(made, timeout=60).close()
    try:
        yield
    finally:
        server.stop()
        S3Response.put_object = put


@contextlib.contextmanager
def _gs(bucket: str) -> Iterator[None]:
    from gcp_storage_emulator import server
    from gcp_storage_emulator.handlers import objects

    logging.getLogger("gcp_storage_emulator").setLevel(logging.CRITICAL)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server.server.HTTPServer.request_queue_size = 128  # or what comes at once waits for a second
    server.server.HTTPServer.handle_error = lambda *_: None  # it tells of clients that were killed
    # Google's does, and this emulator does not: say an object's generation, heed conditions on it, take empty objects.
    upload, download = objects._media_upload, objects.download
    objects._media_upload = lambda *args: _if_same(*args) and upload(*args)
    objects.download = lambda *args: _if_other(*args) and download(*args)
    os.environ |= {"TENSORSTORE_GCS_HTTP_URL": f"http://127.0.0.1:{port}", "GOOGLE_AUTH_TOKEN_FOR_TESTING": "mine"}
    try:
        with server.create_server("127.0.0.1", port, in_memory=True, default_bucket=bucket):
            yield
    finally:
        objects._media_upload, objects.download = upload, download


def _if_same(request: Any, response: Any, storage: Any) -> bool:
    request._data = request.data or b""
    wanted = request.query.get("ifGenerationMatch", [None])[0]
    same = wanted in (None, _generation(storage, request.params["bucket_name"], request.query["name"][0]))
    if not same:
        response.status = HTTPStatus.PRECONDITION_FAILED
    return same


def _if_other(request: Any, response: Any, storage: Any, *_: Any) -> bool:
    generation = _generation(storage, request.params["bucket_name"], request.params["object_id"])
    response["x-goog-generation"] = generation
    other = generation == "0" or request.query.get("ifGenerationNotMatch", [None])[0] != generation
    if not other:
        response.status = HTTPStatus.NOT_MODIFIED
    return other


def _generation(storage: Any, bucket: str, name: str) -> str:
    from gcp_storage_emulator.exceptions import NotFound

    try:
        return str(storage.get_file_obj(bucket, name)["generation"])
    except NotFound:
        return "0"


def forget() -> None:
    """Has this process know as little of what lies in stores as one that has just begun."""
    stores._buckets.clear()
    stores._scratch.cache_clear()


def copy(url: str, to: Path) -> Path:
    """Copies what lies at a URL into a new folder on this disk, as `aws s3 cp --recursive` would."""
    forget()
    there = stores.locate(url)
    stores.fetch(there)
    return Path(shutil.copytree(there, to))
