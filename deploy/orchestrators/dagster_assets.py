"""One pipeline as Dagster assets, an asset for each stage, as subprocesses of Dagster's worker.

An asset repeats the same command up to its stage. What is done is skipped, and a step that is tried again continues.
On a Ray cluster set RAY_ADDRESS for the worker; nothing else changes.
"""

import json
import subprocess

from dagster import (
    AssetExecutionContext,
    AssetsDefinition,
    Backoff,
    DailyPartitionsDefinition,
    Definitions,
    Failure,
    MaterializeResult,
    RetryPolicy,
    asset,
)

FILE = "pipelines/nightly.yaml"
STAGES = ("corpus", "pretrain", "evaluate", "register")
AGAIN = {75, 130, -15, -9}  # something was away, interrupted, killed
days = DailyPartitionsDefinition(start_date="2026-01-01")


def stage(name: str, after: str | None) -> AssetsDefinition:
    """The asset of one stage, in a run folder of its day."""

    @asset(
        name=name,
        deps=[after] if after else [],
        partitions_def=days,
        retry_policy=RetryPolicy(max_retries=3, delay=60, backoff=Backoff.EXPONENTIAL),
    )
    def work(context: AssetExecutionContext) -> MaterializeResult:
        command = ["selfray", "run", FILE, "--date", context.partition_key, "--until", name, "--json"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise Failure(f"stage {name} ended with status {done.returncode}", allow_retries=done.returncode in AGAIN)
        return MaterializeResult(metadata={"selfray": json.loads(done.stdout)})

    return work


defs = Definitions(assets=[stage(name, after) for after, name in zip((None, *STAGES), STAGES, strict=False)])
