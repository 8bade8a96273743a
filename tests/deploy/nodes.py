"""A Ray cluster of several nodes on this machine, told by standard input what to do.

It says its address first. `spare` makes it name a worker's node that no driver is attached to; where all nodes are on
one machine, Ray attaches a driver to any of them. Every other line is a node to remove.
"""

import json
import sys

from ray._raylet import GcsClient
from ray.cluster_utils import Cluster

CPUS = 3  # of a worker's node, logical: room for one worker of 1.6 and for reading


def main() -> None:
    """Serve until standard input ends."""
    # how fast Ray itself finds out that a node is gone
    system = {"health_check_period_ms": 1000, "health_check_timeout_ms": 1000, "health_check_failure_threshold": 3}
    head = {"num_cpus": 0, "_system_config": system, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    nodes = {node.node_id: node for node in (cluster.add_node(num_cpus=CPUS) for _ in range(2))}
    print(json.dumps({"address": cluster.address}), flush=True)
    for line in sys.stdin:
        if line.strip() == "spare":
            jobs = GcsClient(address=cluster.address).get_all_job_info().values()
            taken = {job.driver_address.node_id.hex() for job in jobs}
            print(next(node for node in nodes if node not in taken), flush=True)
            continue
        cluster.remove_node(nodes.pop(line.strip()), allow_graceful=False)
    cluster.shutdown()


if __name__ == "__main__":
    main()
