"""The checkpoints of a run: saved beside training, verified before use, written by one process at a time.

What is stored is described in `snapshot.py`, how it becomes visible in `publish.py`, who may write in `fence.py`, and
what is deleted in `retention.py`.
"""

import errno
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from torch.optim import Optimizer

from ..errors import UserError
from ..objectives.objective import Objective
from ..storage import Storage, full
from . import fence, publish, retention, snapshot
from .fence import FencedOut

if TYPE_CHECKING:
    from .. import recipe

FAILURES = 3  # in a row end the run
FETCHED = ".fetched"


def warn(sentence: str) -> None:
    """Say it on the standard error stream."""
    print(f"warning: {sentence}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class _Pending:
    step: int
    needed: bool
    outcome: Future[None]


class Checkpoints:
    """The checkpoints of one run.

    A save copies the state and returns; a thread writes. While it writes, further saves are left out, so that a slow
    or absent store does not hold up training and only one copy is in memory; saves that are needed (the last step, an
    interruption, multiples of `keep_every`) wait for it instead. What the thread found is said at the next call.

    Args:
        where: A folder, an address or a `Storage`.
        keep: How many of the newest are kept.
        keep_every: Steps of which multiples are kept for ever.
        keep_best: A number given to `save`, of which the lowest is kept, or with a minus before it the highest.
        asynchronous: Whether `save` returns before all is written.
        cache: Where a checkpoint of an object store is copied to when it is loaded.
        warn: Told in a sentence of a save that failed while training can go on.
    """

    def __init__(
        self,
        where: str | Path | Storage,
        keep: int = 2,
        keep_every: int | None = None,
        keep_best: str | None = None,
        asynchronous: bool = False,
        cache: Path | None = None,
        warn: Callable[[str], None] = warn,
    ):
        self.storage = Storage.at(where)
        self.keep, self.keep_every, self.keep_best = keep, keep_every, keep_best
        self.asynchronous, self.cache, self.warn = asynchronous, cache, warn
        self.failures = 0  # of saves, all in all
        self._in_a_row = 0
        self._safe = False  # whether there is a checkpoint to fall back to
        self._fence: fence.Fence | None = None
        self._pending: _Pending | None = None
        self._thread = ThreadPoolExecutor(1, "checkpoint")

    @classmethod
    def of(cls, settings: "recipe.Checkpoints", run: str | Path) -> "Checkpoints":
        """The checkpoints of the run in a folder, where the recipe wants them."""
        folder = Path(run) / "checkpoints"
        where = Storage.at(settings.storage) / Path(run).resolve().name if settings.storage else Storage.at(folder)
        return cls(where, settings.keep, settings.keep_every, settings.keep_best, settings.asynchronous, folder)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            self.wait()
        except (UserError, OSError) as problem:
            if error is None:
                raise
            self.warn(str(problem))  # what ended the block matters more
        finally:
            self._thread.shutdown()

    def own(self) -> None:
        """Become the only process that may save here; an older one is refused from now on."""
        self._fence = fence.take(self.storage)

    def save(
        self,
        step: int,
        objective: Objective,
        optimizer: Optimizer,
        notes: Mapping[str, Any],
        metrics: Mapping[str, float] | None = None,
        needed: bool = False,
    ) -> bool:
        """Save the state after `step` steps.

        Args:
            step: How many steps were taken.
            objective: Its parameters and buffers are saved.
            optimizer: Its state is saved.
            notes: Plain values for the manifest.
            metrics: Numbers of which `keep_best` may name one.
            needed: Return only when it is stored, and raise if that fails.

        Returns:
            False if it was left out because the one before is still being written.

        Raises:
            UserError: a needed one failed, the first one did, or three in a row; FencedOut if this is not the owner.
        """
        must_wait = needed or bool(self.keep_every and step % self.keep_every == 0)
        if self._pending and not self._pending.outcome.done() and not must_wait:
            return False
        self.wait()
        if self._fence is None:
            self.own()
        state = snapshot.take(objective, optimizer)
        outcome = self._thread.submit(self._store, step, state, dict(notes), dict(metrics or {}))
        self._pending = _Pending(step, needed, outcome)
        if needed or not self.asynchronous:
            self.wait()
        return True

    def wait(self) -> None:
        """Wait for the save that is being written, and raise or warn as `save` says if it failed."""
        pending, self._pending = self._pending, None
        if pending is None:
            return
        error = pending.outcome.exception()
        if error is None:
            self._in_a_row, self._safe = 0, True
            return
        if isinstance(error, FencedOut) or not isinstance(error, OSError | UserError):
            raise error
        self.failures, self._in_a_row = self.failures + 1, self._in_a_row + 1
        reason = getattr(error, "strerror", None) or error
        sentence = f"the checkpoint of step {pending.step} could not be written to {self.storage}: {reason}"
        if pending.needed or not self._safe or self._in_a_row >= FAILURES:
            raise UserError(f"{sentence}; free some space and run the same command again to resume") from error
        self.warn(f"{sentence}; training goes on, the checkpoint before it is still there")

    def newest(self) -> Path | None:
        """The folder of the newest checkpoint whose every file is as it was written; damaged ones are set aside.

        Raises:
            UserError: the storage cannot be reached, or holds checkpoints of another version.
        """
        found, wrong = publish.committed(self.storage)
        for name in wrong:
            publish.set_aside(self.storage, name)
        for saved in found:
            try:
                folder = self._fetch(saved)
            except publish.Damaged:
                publish.set_aside(self.storage, saved.name)
                continue
            self._safe = True
            return folder
        return None

    def restore(self, folder: Path, objective: Objective, optimizer: Optimizer | None) -> int:
        """Load what `newest` found in place; returns its step."""
        snapshot.put_back(folder, objective, optimizer)
        return int(json.loads((folder / publish.MANIFEST).read_text())["step"])

    def clear(self) -> None:
        """Delete every checkpoint; the numbers of the owners stay, so that an older one cannot come back."""
        for saved in publish.committed(self.storage)[0]:
            publish.retire(self.storage, saved)
        for folder in {name.split("/")[0] for name in self.storage.sizes()} - {fence.FOLDER}:
            self.storage.delete_tree(folder)

    def _fetch(self, saved: publish.Saved) -> Path:
        """The folder of a checkpoint on this machine, verified."""
        local = self.storage.local(saved.folder)
        if local is not None:
            publish.verify(self.storage, saved)
            return local
        self.cache = self.cache or Path(tempfile.mkdtemp(prefix="selfray-"))
        copies = self.cache / FETCHED
        with suppress(publish.Damaged):
            copy = publish.read(Storage.at(copies), saved.name)
            if copy.digest == saved.digest:
                publish.verify(Storage.at(copies), copy)
                return copies / saved.name
        shutil.rmtree(copies, ignore_errors=True)
        publish.copy(self.storage, saved, copies / saved.name)
        return copies / saved.name

    # In the thread

    def _store(self, step: int, state: snapshot.Snapshot, notes: dict[str, Any], metrics: dict[str, float]) -> None:
        try:
            saved = self._put(step, state, notes, metrics)
        except OSError as error:
            if not full(error) or not self._make_room():
                raise
            saved = self._put(step, state, notes, metrics)
        with suppress(OSError, UserError):  # it is saved; what should go now goes the next time
            self._retire(saved, self.keep)
            assert self._fence is not None
            publish.sweep(self.storage, self._fence.number)

    def _put(
        self, step: int, state: snapshot.Snapshot, notes: dict[str, Any], metrics: dict[str, float]
    ) -> publish.Saved:
        assert self._fence is not None
        free, size = self.storage.free_bytes(), state.size()
        if free is not None and free < size:
            raise OSError(errno.ENOSPC, f"{free:,} bytes are free of the {size:,} that it takes")
        files, number = state.files(), self._fence.number
        return publish.put(self.storage, step, number, files, notes, metrics, self._fence.check)

    def _retire(self, newest: publish.Saved | None, keep: int) -> bool:
        """Delete what is kept for no reason, if the newest is known to be as it was written; whether there was any."""
        found, _ = publish.committed(self.storage)
        extra = retention.surplus(found, keep, self.keep_every, self.keep_best)
        if not extra:
            return False
        if newest is None or found[0].digest != newest.digest:
            try:
                publish.verify(self.storage, found[0])
            except publish.Damaged:
                return False
        for saved in extra:
            publish.retire(self.storage, saved)
        return True

    def _make_room(self) -> bool:
        """Remove what is left of earlier attempts, and all but the newest checkpoint; whether there was any."""
        assert self._fence is not None
        free = self.storage.free_bytes()
        publish.sweep(self.storage, self._fence.number)
        swept = free is not None and (self.storage.free_bytes() or 0) > free
        return self._retire(None, 1) or swept
