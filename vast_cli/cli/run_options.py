"""Options that `vast batch` and `vast retry` share: how a run goes and what it says, written once."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vast_cli.batch.options import BatchOptions
from vast_cli.batch.state.folder import Batch
from vast_cli.cli import batch_options as common
from vast_cli.cli import console, options
from vast_cli.cli.settings import as_command


@dataclass(frozen=True)
class RunOptions:
    """What stands on the command line; `with_run_options` makes an option of each field."""

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
    json: options.Json = False
    progress: options.Progress = options.ProgressMode.auto
    quiet: options.Quiet = False
    verbose: options.Verbose = False
    debug: options.Debug = False
    log_file: options.LogFile = None

    def ui(self) -> AbstractContextManager[console.Ui]:
        """Everything around the command's work."""
        return console.run(
            json=self.json, progress=self.progress, quiet=self.quiet, verbose=self.verbose, debug=self.debug,
            log_file=self.log_file,
        )  # fmt: skip

    def opened(
        self,
        manifest: Path,
        output: str | None,
        words: Sequence[str] | None = None,
        given: Mapping[str, Any] | None = None,
        *,
        remember: bool = False,
    ) -> Batch:
        """The batch; raises as `open_batch`."""
        return common.opened(manifest, output, words, given or {}, self.state, self.shard, remember=remember)

    def asked(self, **more: Any) -> BatchOptions:
        """How the batch is run, with what only one of the commands knows.

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


def with_run_options(command: Callable[..., None]) -> Callable[..., None]:
    """Put the fields of `RunOptions` in the place of a command's parameter of that type."""
    own = inspect.signature(command, eval_str=True).parameters
    shared = inspect.signature(RunOptions, eval_str=True).parameters
    (collected,) = (name for name, parameter in own.items() if parameter.annotation is RunOptions)

    def run(**values: Any) -> None:
        command(**{collected: RunOptions(**{name: values.pop(name) for name in shared})}, **values)

    parameters: list[inspect.Parameter] = []
    for name, parameter in own.items():
        inserted = shared.values() if name == collected else [parameter]
        parameters += [one.replace(kind=one.KEYWORD_ONLY) for one in inserted]
    return as_command(run, command, parameters)
