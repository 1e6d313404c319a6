"""Runs a plan: the coordinator feeds a pool of workers from a queue and handles their results."""

from vast_cli.batch.execution.coordinator import Coordinator
from vast_cli.batch.execution.results import Summary
from vast_cli.batch.execution.settings import RunContext, RunSettings

__all__ = ["Coordinator", "RunContext", "RunSettings", "Summary"]
