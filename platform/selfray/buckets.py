"""Object stores: S3, whatever speaks its language, and Google Cloud Storage.

A single put appears whole or not at all, but a stream that is closed by an exception between two writes publishes what
it has got so far. Here a stream gets one buffer, so that there is no such moment. Interrupted multipart uploads leave
parts that nobody sees and that cost money: give the bucket a rule that removes them after some days.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
from pyarrow import fs

from .errors import UserError
from .storage import Storage, Unreachable

ATTEMPTS = 10  # three, the default, give up after some three seconds of errors 503
CONNECT_SECONDS, REQUEST_SECONDS = 5.0, 30.0  # without them a store that does not answer is waited for without end


def at(uri: str, scheme: str, bucket: str, prefix: str) -> Storage:
    """The storage at an address that was taken apart."""
    root = f"{bucket}/{prefix}".rstrip("/")
    return S3(uri, _s3(bucket), root) if scheme == "s3" else Objects(uri, fs.GcsFileSystem(), root)


class Objects(Storage):
    """A bucket of an object store, whose single puts are atomic."""

    def write(self, name: str, data: bytes | Path) -> None:
        with self._failing():
            buffer = _buffer(data)
            # Left to itself it would pack what ends in .gz
            stream = self.files.open_output_stream(self._path(name), compression=None)
            stream.write(buffer)  # all of it: however this ends, a half is not published
            stream.close()

    def create(self, name: str, data: bytes) -> bool:
        raise UserError(f"{self.uri} has no exclusive creation here; keep checkpoints on s3:// or a shared file system")

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """Turn what an object store raises into a sentence."""
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            reason = " ".join(str(error).split())
            raise Unreachable(f"{self.uri} cannot be used: {reason}; check address, credentials and network") from error


class S3(Objects):
    """A bucket of S3 or of a store that speaks its language, conditional puts included."""

    def create(self, name: str, data: bytes) -> bool:
        client = self._client
        from botocore.exceptions import BotoCoreError, ClientError

        bucket, _, key = self._path(name).partition("/")
        for attempt in range(ATTEMPTS):
            try:
                client.put_object(Bucket=bucket, Key=key, Body=data, IfNoneMatch="*")
                return True
            except ClientError as error:
                status = error.response["ResponseMetadata"].get("HTTPStatusCode")
                if status == 412:
                    return self.read(name) == data  # ours, if the answer to an earlier attempt was lost
                if status != 409 or attempt == ATTEMPTS - 1:  # 409: somebody else's put is under way
                    raise Unreachable(f"{self.uri}/{name} cannot be created: {error}") from error
            except BotoCoreError as error:
                raise Unreachable(f"{self.uri}/{name} cannot be created: {error}") from error
        raise AssertionError("the last attempt returns or raises")

    @cached_property
    def _client(self) -> Any:
        try:
            import boto3
            from botocore.config import Config
        except ImportError:
            raise UserError(f"writing checkpoints to {self.uri} needs boto3: pip install 'selfray[s3]'") from None
        endpoint = _endpoint()
        config = Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=REQUEST_SECONDS,
            retries={"total_max_attempts": ATTEMPTS, "mode": "standard"},
            s3={"addressing_style": "path" if endpoint else "auto"},
        )
        return boto3.client("s3", endpoint_url=endpoint, config=config)


def _s3(bucket: str) -> fs.FileSystem:
    settings: dict[str, Any] = {}
    if endpoint := _endpoint():
        parts = urlsplit(endpoint)
        settings = {"endpoint_override": parts.netloc, "scheme": parts.scheme}
    elif not (os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")):
        with suppress(OSError):  # the first request will say what is wrong
            settings = {"region": fs.resolve_s3_region(bucket)}
    return fs.S3FileSystem(
        connect_timeout=CONNECT_SECONDS,
        request_timeout=REQUEST_SECONDS,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
        allow_delayed_open=True,  # a small object is one request
        **settings,
    )


def _endpoint() -> str | None:
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None


def _buffer(data: bytes | Path) -> pa.Buffer:
    if isinstance(data, bytes) or data.stat().st_size == 0:  # an empty file cannot be mapped
        return pa.py_buffer(data if isinstance(data, bytes) else b"")
    return pa.memory_map(str(data)).read_buffer()
