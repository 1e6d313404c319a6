"""The settings of a run take every limit from the options of its batch."""

from dataclasses import fields

import pytest

from vast_cli.batch.execution import RunSettings
from vast_cli.batch.options import BatchOptions, RunLimits


@pytest.mark.parametrize(
    ("max_failures", "max_failed_share", "expected"),
    [(None, None, None), (3, None, 3), (None, 0.1, 2), (1, 0.1, 1), (5, 0.1, 2), (0, 0.1, 0), (None, 0.0, 1)],
)
def test_the_smaller_limit_of_failures_counts(
    max_failures: int | None, max_failed_share: float | None, expected: int | None
) -> None:
    options = BatchOptions(max_failures=max_failures, max_failed_share=max_failed_share)
    assert RunSettings.of(options, n_workers=1, n_jobs=12, all_jobs=True).max_failures == expected


def test_all_other_limits_are_those_of_the_options() -> None:
    limits = RunLimits(retries=7, timeout_s=11.0, stall_s=13.0, jobs_per_worker=17, overwrite=True)
    values = {field.name: getattr(limits, field.name) for field in fields(RunLimits)}
    defaults = RunLimits()
    assert all(value != getattr(defaults, name) for name, value in values.items() if name != "max_failures")
    settings = RunSettings.of(BatchOptions(workers=9, **values), n_workers=2, n_jobs=12, all_jobs=False)
    assert {name: getattr(settings, name) for name in values} == values
    assert (settings.n_workers, settings.all_jobs) == (2, False)
