"""A run on several Ray nodes of one machine, of which one is taken away: `nodes.py WHAT RECIPE OUT CORPUS`."""

import sys
import threading
import time
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from selfray import cluster as own
from selfray.recipe import load
from selfray.train import launch
from selfray.train.loop import Job
from selfray.train.trace import read

from .scenarios import AIM

NOTICE_MS = 12_000
CPUS = 3  # of a node, logical: room for one worker of 1.6 and for reading


def main(what: str, recipe: str, out: str, corpus: str) -> None:
    """Train in a thread; nodes come and go from here, as Ray wants it."""
    for name, value in own.RECOVERY.items():
        own.os.environ.setdefault(name, value)
    own.os.environ["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] = "15"
    # how fast Ray itself finds out that a node is gone
    system = {"health_check_period_ms": 1000, "health_check_timeout_ms": 1000, "health_check_failure_threshold": 3}
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "_system_config": system, "include_dashboard": False}
    )
    nodes = [cluster.add_node(num_cpus=CPUS) for _ in range(2)]
    ray.init(address=cluster.address, log_to_driver=False)
    launch.RESIZE_SECONDS = 5.0
    job, failed = Job(load(recipe), corpus, out), []

    def work() -> None:
        try:
            rows = Path(out) / "metrics.jsonl"
            from selfray.stages import Rows

            launch.pretrain(job, [Rows(rows)])
        except BaseException as error:
            failed.append(error)

    Path(out).mkdir(parents=True, exist_ok=True)
    training = threading.Thread(target=work)
    training.start()
    records = _until(lambda: [r for r in read(out) if r.step >= AIM and r.rank == r.world - 1], training, failed)
    lost = nodes[_node_of(records[-1].pid, nodes)]
    Path(recipe).with_name("struck").write_text(str(time.time()))
    if what == "drain":
        from ray._raylet import GcsClient

        client = GcsClient(address=cluster.address)
        deadline = int(time.time() * 1000) + NOTICE_MS
        client.drain_node(lost.node_id, 2, "taken away", deadline)
        time.sleep(NOTICE_MS / 1000)
    cluster.remove_node(lost, allow_graceful=False)
    if what == "replace":
        _until(lambda: [r for r in read(out) if r.world == 1], training, failed)
        cluster.add_node(num_cpus=CPUS)
    training.join()
    if failed:
        raise failed[0]
    ray.shutdown()
    cluster.shutdown()


def _until(found, training, failed):
    while training.is_alive():
        if records := found():
            return records
        time.sleep(0.2)
    raise failed[0] if failed else RuntimeError("the run ended before anything could be done to it")


def _node_of(pid: int, nodes) -> int:
    """Which of the nodes a worker's process belongs to: its raylet's process group and session directory tell."""
    import psutil

    parents = {parent.pid for parent in psutil.Process(pid).parents()}
    for number, node in enumerate(nodes):
        for infos in node.all_processes.values():
            if any(info.process.pid in parents for info in infos):
                return number
    raise RuntimeError(f"process {pid} belongs to none of the nodes")


if __name__ == "__main__":
    main(*sys.argv[1:])
