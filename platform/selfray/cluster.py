"""The Ray cluster of this process: the one that $RAY_ADDRESS names, else a quiet local one."""

import logging
import os
import warnings
from functools import partial

_NOTICES = {  # told by Ray at every start, about what is as it should be: logger -> beginning
    "ray._private.authentication.authentication_token_setup": "Token authentication is enabled",
    "ray.data._internal.progress": "Progress bars disabled",
}


RECOVERY = {
    "RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S": "60",  # of a worker that hangs; 600 by default
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "30",  # what a stale view of lost nodes costs; 60 by default
    "RAY_TRAIN_COLLECTIVE_TIMEOUT_S": "120",  # of Ray Train's own barriers; for ever by default
    "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "1",  # 5 by default
}
"""What makes recovery fast; variables that are set already are left alone (docs/reliability.md)."""


def start(cpus: int | None = None) -> None:
    """Connect to Ray, or start it here; nothing happens if this process is connected already.

    Args:
        cpus: logical CPUs of a local cluster; by default as many as the machine has. A cluster that $RAY_ADDRESS
            names keeps its own.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray Train polls its workers this often; at its default of 2 s every report and the end of a run wait for it
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
    for name, value in RECOVERY.items():
        os.environ.setdefault(name, value)
    # Ray starts workers at nice 15: on a busy machine training would stand behind everything else
    os.environ.setdefault("RAY_worker_niceness", "0")
    import ray
    from ray.data import DataContext

    if not ray.is_initialized():
        for name, notice in _NOTICES.items():
            logging.getLogger(name).addFilter(partial(_other_than, notice))
        address = os.environ.get("RAY_ADDRESS")
        ray.init(
            address=address or "local",
            num_cpus=None if address else cpus,
            include_dashboard=None if address else False,
            log_to_driver=False,
            logging_level=logging.WARNING,
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Ray warns of a default of its own
        context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.WARNING)


def _other_than(notice: str, record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(notice)
