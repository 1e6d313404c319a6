"""The local executor passes the tests of all executors."""

import pytest

pytest.register_assert_rewrite("tests.batch.executors_suite")

from tests.batch.executors_suite import ExecutorSuite  # noqa: E402


class TestLocalExecutor(ExecutorSuite):
    """Two spawned processes."""

    NAME = "local"
    N_WORKERS = 2
