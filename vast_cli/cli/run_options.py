"""Options that `vast batch` and `vast retry` share: how a batch is run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vast_cli.batch.options import BatchOptions
from vast_cli.batch.state.folder import OpenBatch
from vast_cli.cli import batch_options as common
from vast_cli.cli import options


@dataclass(frozen=True)
class RunOptions:
    """Each field is an option of both commands (`parameters.expand`)."""

    workers: common.Workers = 0
    threads: common.Threads = 1
    jobs_per_worker: common.JobsPerWorker = None
    device: options.Device = "auto"
    dtype: options.DtypeOption = options.Dtype.auto
    cache: common.Cache = None
    executor: common.Executor = "local"
    retries: common.Retries = 2
    max_failures: common.MaxFailures = None
    fail_fast: common.FailFast = False
    timeout: common.Timeout = None
    stall: common.Stall = "5m"
    state: common.State = None
    shard: common.Shard = None
    repair: common.Repair = False
    wait: common.Wait = False
    report: common.Report = True
    events: common.Events = None
    joblog: common.Joblog = None
    overwrite: options.Overwrite = False

    def opened(
        self,
        manifest: Path,
        output: str | None,
        words: Sequence[str] | None = None,
        given: Mapping[str, Any] | None = None,
        *,
        remember: bool = False,
    ) -> OpenBatch:
        """The batch; raises as `open_batch`."""
        return common.opened(manifest, output, words, given or {}, self.state, self.shard, remember=remember)

    def batch_options(self, **more: Any) -> BatchOptions:
        """As options of the batch, with those that only one of the commands has.

        Raises:
            VastError: `vast_option_invalid`.
        """
        return BatchOptions(
            workers=self.workers, retries=self.retries, jobs_per_worker=self.jobs_per_worker, overwrite=self.overwrite,
            repair=self.repair, wait=self.wait, executor=common.executor(self.executor), cache=self.cache,
            device=self.device, dtype=self.dtype.value, threads=self.threads, report=self.report,
            timeout_s=None if self.timeout is None else common.seconds(self.timeout, "--timeout"),
            stall_s=common.seconds(self.stall, "--stall"), events=None if self.events is None else Path(self.events),
            joblog=self.joblog, **common.failures(self.max_failures, fail_fast=self.fail_fast), **more,
        )  # fmt: skip
