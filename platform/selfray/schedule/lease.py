"""A lease: of all schedulers that share a place, one at a time runs a pipeline, and no date is run twice.

Everything rests on files that can be created only once (`Storage.create`: a link on a disk, `If-None-Match: *` in S3).
A holder makes the file of the next generation, and proves every now and then that it is alive. Who comes later may take
the generation after that once the holder is over, or has been silent for longer than `SILENCE_SECONDS`. Clocks of the
machines must agree to within a fraction of that.
"""

import json
import os
import socket
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from uuid import uuid4

from ..storage import Storage

BEAT_SECONDS, SILENCE_SECONDS = 20.0, 300.0
DONE, BUSY = "done", "busy"


class Leases:
    """The leases of one pipeline.

    Args:
        place: A folder, or a prefix of an object store, that all schedulers reach.
        pipeline: Its name.
    """

    def __init__(self, place: Storage, pipeline: str):
        self.place, self.pipeline = place, pipeline

    def claim(self, date: str) -> "Lease | str":
        """The lease for a logical date; or `done` if it was run before, `busy` while another holds the lease."""
        newest = self._newest()
        if newest and not self._over(newest):
            return BUSY
        holder = {"date": date, "by": f"{socket.gethostname()}:{os.getpid()}", "at": time.time(), "id": uuid4().hex}
        lease = Lease(self, newest + 1, date)
        if not self.place.create(self._name(lease.generation, "held"), json.dumps(holder).encode()):
            return BUSY
        if self.ended(date) is not None:  # asked only now, since another may have ended it between two looks
            lease.release()
            return DONE
        return lease

    def ended(self, date: str) -> dict[str, Any] | None:
        """How a date ended, or None."""
        return self._read(f"{self.pipeline}/ended/{date}.json")

    def holder(self) -> dict[str, Any] | None:
        """Who holds the lease now."""
        newest = self._newest()
        return self._read(self._name(newest, "held")) if newest and not self._over(newest) else None

    def _newest(self) -> int:
        names = self.place.sizes(f"{self.pipeline}/leases")
        return max((int(n.rpartition("/")[2].partition(".")[0]) for n in names if n.endswith(".held.json")), default=0)

    def _over(self, generation: int) -> bool:
        if self._read(self._name(generation, "over")) is not None:
            return True
        held = self._read(self._name(generation, "held")) or {"at": 0.0}
        beat = self._read(self._name(generation, "beat")) or held
        return time.time() - max(beat["at"], held["at"]) > SILENCE_SECONDS

    def _name(self, generation: int, what: str) -> str:
        return f"{self.pipeline}/leases/{generation:08d}.{what}.json"

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = json.loads(self.place.read(name))
        except FileNotFoundError:
            return None
        return found


@dataclass
class Lease:
    """The right to run one date; a context that proves to be alive until it ends."""

    leases: Leases
    generation: int
    date: str

    def __enter__(self) -> "Lease":
        self._stop, self.lost = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._live, name="lease", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join(timeout=BEAT_SECONDS)
        if not self.lost.is_set():
            self.release()

    def end(self, how: dict[str, Any]) -> bool:
        """Note how the date ended, so that it is not run again; False if another noted it first."""
        name = f"{self.leases.pipeline}/ended/{self.date}.json"
        return self.leases.place.create(name, json.dumps({**how, "id": uuid4().hex}).encode())

    def release(self) -> None:
        """Let others have the lease."""
        name = self.leases._name(self.generation, "over")
        self.leases.place.write(name, json.dumps({"at": time.time()}).encode())

    def beat(self) -> bool:
        """Prove to be alive; False if another has taken over, having heard nothing for too long."""
        if self.leases._newest() != self.generation:
            return False
        name = self.leases._name(self.generation, "beat")
        self.leases.place.write(name, json.dumps({"at": time.time()}).encode())
        return True

    def _live(self) -> None:
        heard = time.monotonic()
        while not self._stop.wait(BEAT_SECONDS):
            try:
                if not self.beat():
                    self.lost.set()
                    return
                heard = time.monotonic()
            except Exception:  # the place is away; others may think that this one is
                if time.monotonic() - heard > SILENCE_SECONDS:
                    self.lost.set()
                    return
