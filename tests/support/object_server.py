"""A real server that speaks S3 (moto's), in this process, with a fault proxy before it; buckets of a test's own."""

from __future__ import annotations

import contextlib
import itertools
import logging
import warnings
from collections.abc import Iterator
from typing import Any

from tests.support.fault_proxy import FaultProxy

from audio_pool.cache.objects.place import ObjectPlace
from audio_pool.object_settings import ObjectsConfig

KEYS = {"AWS_ACCESS_KEY_ID": "tested", "AWS_SECRET_ACCESS_KEY": "never-to-be-told"}
_numbers = itertools.count(1)


class ObjectServer:
    """``place`` gives a bucket that nobody else has; ``bucket_of`` its objects as boto3 sees them."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of libraries that tests alone use
            import boto3
            from moto.server import ThreadedMotoServer
        logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
        self._server: Any = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        self.host, self.port = self._server.get_host_and_port()
        self.proxy = FaultProxy(self.host, self.port)
        self._resource: Any = boto3.resource(
            "s3",
            endpoint_url=f"http://{self.host}:{self.port}",
            region_name="us-east-1",
            aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
        )
        # its first object takes a second, and more on a machine that does much else: longer than a client may wait
        first = self._resource.create_bucket(Bucket="first").put_object(Key="first", Body=b"")
        first.get()["Body"].read()
        first.delete()

    def place(self, **settings: Any) -> ObjectPlace:
        """Return a new bucket, behind the proxy, with short time-outs."""
        name = f"sounds-{next(_numbers)}"
        self._resource.create_bucket(Bucket=name)
        return ObjectPlace(url=f"s3://{name}/cache", settings=self.settings(**settings), grace_s=0.0)

    def settings(self, **changed: Any) -> ObjectsConfig:
        known = {
            "endpoint": self.proxy.url,
            "allow_http": True,
            "region": "us-east-1",
            "connect_timeout_s": 1.0,
            "read_timeout_s": 2.0,
            "retries": 1,
            "retry_s": 2.0,
            "fetch_s": 8.0,
        }
        return ObjectsConfig(**{**known, **changed})

    def bucket_of(self, place: ObjectPlace) -> Any:
        return self._resource.Bucket(place.url.split("/")[2])

    def keys(self, place: ObjectPlace, folder: str = "") -> set[str]:
        """Return the keys beneath the prefix."""
        prefix = f"{place.url.split('/', 3)[3]}/"
        return {
            one.key.removeprefix(prefix)
            for one in self.bucket_of(place).objects.filter(Prefix=f"{prefix}{folder}")
        }

    def close(self) -> None:
        self.proxy.close()
        self._server.stop()


@contextlib.contextmanager
def served() -> Iterator[ObjectServer]:
    """Yield a server; closed afterwards."""
    server = ObjectServer()
    try:
        yield server
    finally:
        server.close()
