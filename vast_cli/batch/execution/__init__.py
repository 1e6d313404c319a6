"""The one who owns the queue: `loop` turns, `crew` are its workers, `results` what became of the jobs.

`backlog` says which job comes next, `policy` what a failure means for its job and for the batch.
"""

from vast_cli.batch.execution.coordinator import run
from vast_cli.batch.execution.results import Summary
from vast_cli.batch.execution.settings import RunSettings

__all__ = ["RunSettings", "Summary", "run"]
