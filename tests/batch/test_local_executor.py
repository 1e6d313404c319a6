"""Spawned processes pass the suite of all executors."""

import pytest

pytest.register_assert_rewrite("tests.batch.executors_suite")

from tests.batch.executors_suite import ExecutorSuite  # noqa: E402


class TestLocalExecutor(ExecutorSuite):
    """Two processes."""

    NAME = "local"
    SLOTS = 2
