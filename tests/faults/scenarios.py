"""Every fault as a function: do it to a run, repeat the command if need be, and say what came of it."""

import itertools
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from selfray.train.trace import Record

from . import runs, stores
from .invariants import violations
from .runs import STEPS, Run, recipe

AIM = 55  # the step at which a fault strikes


@dataclass(frozen=True)
class Outcome:
    """What a fault cost.

    Args:
        recovery: seconds from the fault to the first new step; NaN if there is none to wait for.
        replayed: steps that were done again.
        same: whether the final parameters are those of a run without the fault.
        broken: violated invariants.
        note: what else there is to say.
    """

    recovery: float
    replayed: int
    same: bool
    broken: tuple[str, ...]
    note: str = ""


def kill_worker(folder: Path, corpus: Path, workers: int = 2) -> Outcome:
    """SIGKILL of one worker; Ray Train starts the group again."""
    run = Run(recipe(folder, corpus, workers), folder / "run")
    with _ended(run):
        run.start()
        os.kill(_pid(run.until_step(AIM), rank=1), signal.SIGKILL)
        return _finished(run, corpus, time.time())


def stop_worker(folder: Path, corpus: Path) -> Outcome:
    """SIGSTOP of one worker: nothing fails, it only hangs; found by the health check (here after 8 s, else 60)."""
    run = Run(recipe(folder, corpus, 2), folder / "run", {"RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S": "8"})
    with _ended(run):
        run.start()
        os.kill(_pid(run.until_step(AIM), rank=1), signal.SIGSTOP)
        return _finished(run, corpus, time.time())


def kill_driver(folder: Path, corpus: Path, workers: int = 2) -> Outcome:
    """SIGKILL of the driver; the same command goes on."""
    run = Run(recipe(folder, corpus, workers), folder / "run")
    with _ended(run):
        run.start()
        run.until_step(AIM)
        run.kill()
        struck = time.time()
        run.start()
        return _finished(run, corpus, struck)


def torn_checkpoint(folder: Path, corpus: Path) -> Outcome:
    """The newest checkpoint loses its second half while nobody looks; the one before is used."""
    return _damaged(folder, corpus, lambda file: os.truncate(file, file.stat().st_size // 2))


def flipped_bit(folder: Path, corpus: Path) -> Outcome:
    """One bit of the newest checkpoint's weights is another; the one before is used."""

    def flip(file: Path) -> None:
        data = bytearray(file.read_bytes())
        data[-17] ^= 4
        file.write_bytes(data)

    return _damaged(folder, corpus, flip)


def disk_full(folder: Path, corpus: Path) -> Outcome:
    """The checkpoints' disk has no room for another one; space appears, the same command goes on."""
    run = Run(recipe(folder, corpus, 0), folder / "run")
    (run.out / "checkpoints").mkdir(parents=True)
    with _tiny_disk(run.out / "checkpoints", "2m"), _ended(run):
        run.start()
        run.until_step(AIM)
        filler = run.out / "checkpoints" / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(b"\0" * 4096):
                pass
        struck, status = time.time(), run.wait()
        sentence = " ".join(run.log().split())
        assert status == 2, f"status {status}: {run.log()[-2000:]}"
        assert "could not be written" in sentence, run.log()[-2000:]
        filler.unlink(missing_ok=True)
        run.start()
        outcome = _finished(run, corpus, struck)
        shutil.copytree(run.out / "checkpoints", folder / "kept")
    return outcome


def store_out(folder: Path, corpus: Path) -> Outcome:
    """The object store of the checkpoints answers nothing but errors for 15 s, while two are due; training goes on."""
    with stores.server() as proxy:
        run = stores.stored(folder, corpus, pause=0.2)
        with _ended(run):
            run.start()
            run.until_step(AIM)
            struck = time.time()
            stores.out(proxy)
            outcome = _finished(run, corpus, struck)
        times = [record.time for record in run.records() if record.time > struck]
        longest = max(later - earlier for earlier, later in itertools.pairwise(times))
        failed, note = proxy.fired["busy"], f"the longest step of the outage and after it took {longest:.1f} s"
        assert failed, "no request met the outage"
        assert longest < stores.OUTAGE / 2, note
    return Outcome(times[0] - struck, 0, outcome.same, outcome.broken, f"{failed} requests failed; {note}")


def cut_uploads(folder: Path, corpus: Path) -> Outcome:
    """A third of all uploads to the object store is cut, and SIGKILL of the driver; the same command goes on."""
    with stores.server() as proxy:
        run = stores.stored(folder, corpus, pause=0.2)
        with _ended(run):
            stores.cutting(proxy)
            run.start()
            run.until_step(AIM)
            run.kill()
            struck = time.time()
            run.start()
            outcome = _finished(run, corpus, struck)
        cut = proxy.fired["half_request"]
        assert cut, "no upload was cut"
    return replace(outcome, note=f"{cut} uploads cut")


def drained(folder: Path, corpus: Path) -> Outcome:
    """A node is announced to be taken away, and is taken away: a checkpoint at once, then one worker less."""
    return _on_nodes(folder, corpus, "drain")


def node_lost(folder: Path, corpus: Path) -> Outcome:
    """A node vanishes; the run goes on with the workers that are left."""
    return _on_nodes(folder, corpus, "lose")


def node_added(folder: Path, corpus: Path) -> Outcome:
    """A node vanishes and another one joins: two workers, one, two."""
    return _on_nodes(folder, corpus, "replace")


def damaged_shard(folder: Path, corpus: Path) -> Outcome:
    """A shard of the corpus was damaged after it was prepared: one sentence that names it, no retries."""
    copy = folder / "corpus"
    shutil.copytree(corpus, copy)
    shard = sorted((copy / "train").glob("*.parquet"))[0]
    os.truncate(shard, shard.stat().st_size // 2)
    run = Run(recipe(folder, copy, 0), folder / "run")
    with _ended(run):
        run.start()
        begun, status = time.monotonic(), run.wait()
        said = " ".join(run.log().split())
        assert status == 2, said
        assert shard.name in said, said
        assert "damaged" in said, said
    return Outcome(float("nan"), 0, True, (), f"refused in one sentence after {time.monotonic() - begun:.0f} s")


def stalled_source(folder: Path, corpus: Path) -> Outcome:
    """Reading a shard never returns: one sentence instead of waiting for ever."""
    copy = folder / "corpus"
    shutil.copytree(corpus, copy)
    shard = sorted((copy / "train").glob("*.parquet"))[0]
    shard.unlink()
    os.mkfifo(shard)
    run = Run(recipe(folder, copy, 0, stall_seconds=5), folder / "run")
    with _ended(run):
        run.start()
        begun, status = time.monotonic(), run.wait(90)
        said = " ".join(run.log().split())
        assert status == 2, said
        assert "no data arrived for 5 s" in said, said
    return Outcome(float("nan"), 0, True, (), f"refused in one sentence after {time.monotonic() - begun:.0f} s")


def at_random(folder: Path, corpus: Path, seed: int = 0, count: int = 30) -> Outcome:
    """A schedule of faults drawn from a seed: kills at random moments, damage while the run is down."""
    draw = random.Random(seed)
    steps = 40 * count
    run = Run(recipe(folder, corpus, 0, steps=steps), folder / "run")
    done: list[str] = []
    with _ended(run):
        while len(done) < count:
            run.start()
            before = len(run.records())
            more = draw.randrange(5, 60)
            try:
                run.until(lambda records, n=before + more: len(records) >= n)
            except AssertionError:
                if run.process is not None and run.process.poll() == 0:
                    break
                raise
            time.sleep(draw.random() * 0.2)
            run.kill()
            done.append("killed")
            if run.checkpoints and draw.random() < 0.4 and len(run.checkpoints) > 1:
                file = draw.choice(sorted(p for p in run.checkpoints[-1].iterdir() if p.stat().st_size))
                data = bytearray(file.read_bytes())
                if draw.random() < 0.5:
                    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
                    done.append(f"flipped a bit of {file.name}")
                else:
                    del data[draw.randrange(len(data)) :]
                    done.append(f"tore {file.name}")
                file.write_bytes(data)
        run.start()
        outcome = _finished(run, corpus, time.time(), steps)
    assert len(done) >= count, f"the run ended after {len(done)} faults: {done}"
    kinds = {kind: sum(word.startswith(kind) for word in done) for kind in ("killed", "flipped", "tore")}
    note = ", ".join(f"{number} {kind}" for kind, number in kinds.items())
    return Outcome(outcome.recovery, outcome.replayed, outcome.same, outcome.broken, f"{len(done)} faults: {note}")


ALL: dict[str, Callable[[Path, Path], Outcome]] = {
    scenario.__name__: scenario
    for scenario in (
        *(kill_worker, kill_driver, stop_worker, drained, node_lost, node_added),
        *(store_out, cut_uploads, disk_full, torn_checkpoint, flipped_bit, damaged_shard, stalled_source, at_random),
    )
}

_references: dict[tuple[Path, int, int], str] = {}


def reference(folder: Path, corpus: Path, workers: int, steps: int = STEPS) -> str:
    """The digest of a run that nothing happened to."""
    key = (corpus, workers, steps)
    if key not in _references:
        place = folder / f"reference-{workers}-{steps}"
        place.mkdir()
        quick = {"name": "tests.faults.slow", "pause": 0.0}
        run = Run(recipe(place, corpus, workers, steps=steps, objective=quick), place / "run")
        with _ended(run):
            run.start()
            assert run.wait() == 0, run.log()[-2000:]
        _references[key] = run.digest()
    return _references[key]


def _finished(run: Run, corpus: Path, struck: float, steps: int = STEPS) -> Outcome:
    """Wait for the end; what it cost."""
    status = run.wait()
    assert status == 0, f"status {status}: {run.log()[-3000:]}"
    records = run.records()
    later = [r for r in records if r.time > struck and r.start > 0]
    first = later[0] if later else None
    recovery = first.time - struck if first else float("nan")
    before = max((r.step for r in records if r.time <= struck), default=-1)
    replayed = max(0, before + 1 - first.start) if first else 0
    workers = max(r.world for r in records)
    same = run.digest() == reference(run.file.parent, corpus, workers, steps)
    return Outcome(recovery, replayed, same, tuple(violations(run, corpus)))


def _damaged(folder: Path, corpus: Path, damage: Callable[[Path], None]) -> Outcome:
    run = Run(recipe(folder, corpus, 0), folder / "run")
    with _ended(run):
        run.start()
        run.until_step(AIM)
        run.kill()
        damage(run.checkpoints[-1] / "objective.safetensors")
        struck = time.time()
        run.start()
        return _finished(run, corpus, struck)


def _on_nodes(folder: Path, corpus: Path, what: str) -> Outcome:
    """A run on a cluster of several nodes on this machine; see nodes.py."""
    failures = 0 if what == "drain" else 3
    slow = {"name": "tests.faults.slow", "pause": 0.4 if what == "replace" else 0.05}  # a new node takes a while
    settings = {"min_workers": 1, "cpus_per_worker": 1.6, "max_failures": failures, "objective": slow}
    run = Run(recipe(folder, corpus, 2, **settings), folder / "run")
    with _ended(run):
        environment = {**os.environ, "PYTHONPATH": str(runs.ROOT), "MLFLOW_DISABLE_TELEMETRY": "true"}
        log = folder / "run.log"
        command = [runs.sys.executable, "-m", "tests.faults.nodes", what, str(run.file), str(run.out), str(corpus)]
        with log.open("ab") as file:
            done = subprocess.run(command, env=environment, stdout=file, stderr=file, timeout=400, cwd=folder)
        assert done.returncode == 0, run.log()[-3000:]
        struck = float((folder / "struck").read_text())
    records = run.records()
    later = [r for r in records if r.time > struck and r.start > 0]
    assert later, "no new step after the fault"
    # what was consumed after the fault by workers that were still there is not lost work, only redone
    first = later[0]
    before = max(r.step for r in records if r.time < first.time and r.start < first.start)
    worlds: list[int] = []
    for record in records:
        if not worlds or worlds[-1] != record.world:
            worlds.append(record.world)
    assert worlds == ([2, 1, 2] if what == "replace" else [2, 1]), worlds
    note = "workers " + " -> ".join(map(str, worlds))
    return Outcome(first.time - struck, max(0, before + 1 - first.start), False, tuple(violations(run, corpus)), note)


def _pid(records: list[Record], rank: int) -> int:
    return next(record.pid for record in reversed(records) if record.rank == rank)


@contextmanager
def _ended(run: Run) -> Iterator[None]:
    try:
        yield
    finally:
        run.end()
        for process in psutil.process_iter(["cmdline"]):
            if str(run.out) in " ".join(process.info["cmdline"] or []):
                process.kill()


@contextmanager
def _tiny_disk(folder: Path, size: str) -> Iterator[None]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
