"""The Ray executor passes the tests of all executors, on a cluster of several processes."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

pytest.register_assert_rewrite("tests.batch.executors_suite")

from tests.batch.executors_suite import BatchRunner, ExecutorSuite, Recorder, is_running, wait_until  # noqa: E402
from tests.batch.workspace import ROOT, Workspace  # noqa: E402
from vast_cli.batch.execution import ray_cluster  # noqa: E402
from vast_cli.batch.execution.executors import make_executor  # noqa: E402
from vast_cli.batch.execution.ray_cluster import WorkerResources  # noqa: E402
from vast_cli.batch.job import Died, WorkerSettings  # noqa: E402
from vast_cli.core.errors import VastError  # noqa: E402

START_S = 120
CPUS = 2


class Cluster:
    """A Ray cluster whose machines are all this one, at an address of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{probe.getsockname()[1]}"
        self.environment = {"RAY_ADDRESS": self.address, "RAY_AUTH_MODE": "disabled"}
        self.nodes: list[subprocess.Popen[bytes]] = []

    def add(self, cpus: int) -> "subprocess.Popen[bytes]":
        """Add a machine."""
        program = Path(sys.executable).with_name("ray")
        role = (
            ["--address", self.address]
            if self.nodes
            else ["--head", "--port", self.address.split(":")[1], "--include-dashboard", "false"]
        )
        environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"} | self.environment
        name = f"127.0.0.{len(self.nodes) + 1}"
        log = self.folder / f"{name}.log"
        with log.open("wb") as output:
            node = subprocess.Popen(
                [program, "start", "--block", *role, "--node-ip-address", name, "--temp-dir", self.folder / name[-1],
                 "--num-cpus", str(cpus), "--object-store-memory", str(80 << 20), "--disable-usage-stats"],
                env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        self.nodes.append(node)
        wait_until(lambda: "runtime started" in log.read_text() or node.poll() is not None, "a node starts")
        assert node.poll() is None, log.read_text()
        return node

    def close(self) -> None:
        for node in reversed(self.nodes):
            node.terminate()
        for node in self.nodes:
            try:
                node.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(node.pid, signal.SIGKILL)
                node.wait()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A running cluster that `RAY_ADDRESS` names."""
    pytest.importorskip("ray", reason="Ray is not installed")
    folder = Path(tempfile.mkdtemp(prefix="vray"))  # a short path: it holds sockets
    cluster = Cluster(folder)
    try:
        cluster.add(CPUS)
        with pytest.MonkeyPatch.context() as patch:
            for name, value in cluster.environment.items():
                patch.setenv(name, value)
            yield cluster
    finally:
        cluster.close()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.usefixtures("cluster")
class TestRayExecutor(ExecutorSuite):
    """Two actors."""

    NAME = "ray"
    N_WORKERS = CPUS

    def test_no_more_workers_than_the_cluster_holds(self, workspace: Workspace) -> None:
        executor = make_executor("ray", BatchRunner(workspace, "ray", 9).worker_settings(), 9)
        try:
            assert executor.n_workers == CPUS
        finally:
            executor.close()


def settings(folder: Path) -> WorkerSettings:
    return WorkerSettings(folder / "cache", scratch=folder / "scratch", logs=folder / "logs", device="cpu")


@pytest.mark.slow
def test_workers_on_another_machine(tmp_path: Path) -> None:
    """A task kills a stopped process there; when the machine goes, its worker is reported dead."""
    pytest.importorskip("ray", reason="Ray is not installed")
    folder = Path(tempfile.mkdtemp(prefix="vray"))
    cluster = Cluster(folder)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in cluster.environment.items():
            patch.setenv(name, value)
        try:
            cluster.add(1)
            other = cluster.add(1)
            recorder = Recorder(make_executor("ray", settings(tmp_path), 2))
            pids = [recorder.start(0), recorder.start(1)]
            for worker, pid in enumerate(pids):  # one of them is on the other machine
                os.kill(pid, signal.SIGSTOP)
                recorder.executor.kill(worker)
                assert not is_running(pid)
            recorder.start(0)
            recorder.start(1)
            os.killpg(other.pid, signal.SIGKILL)
            recorder.poll_until(
                lambda: any(isinstance(message, Died) for message in recorder.messages),
                "the message that a worker died",
            )
            recorder.executor.close()
        finally:
            cluster.close()
            shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
def test_a_cluster_that_we_start_ends_with_us(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed")
    code = """
import os, signal, sys, time
from pathlib import Path
from vast_cli.batch.execution.executors import make_executor
from vast_cli.batch.job import Ready, WorkerSettings
signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))
handler = signal.getsignal(signal.SIGTERM)
folder = Path(sys.argv[1])
executor = make_executor("ray", WorkerSettings(folder, scratch=folder / "s", logs=folder / "l", device="cpu"), 1)
assert signal.getsignal(signal.SIGTERM) is handler
executor.start(0)
while not (ready := [m for m in executor.poll(1) if isinstance(m, Ready)]):
    pass
print(ready[0].pid, flush=True)
time.sleep(600)
"""
    variables = {"RAY_ADDRESS": "local", "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}  # Ray keeps a token there
    for end in (signal.SIGKILL, signal.SIGTERM):
        command = [sys.executable, "-c", code, str(tmp_path)]
        with subprocess.Popen(command, env=os.environ | variables, stdout=subprocess.PIPE, text=True) as driver:
            assert driver.stdout is not None
            pid = int(driver.stdout.readline())
            assert is_running(pid)
            driver.send_signal(end)
        assert driver.returncode == (-9 if end == signal.SIGKILL else 5)
        wait_until(lambda pid=pid: not is_running(pid), "the worker ends")  # type: ignore[misc]


def test_without_ray(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(VastError) as caught:
        make_executor("ray", settings(tmp_path), 1)
    assert caught.value.code == "vast_extra_missing"
    assert caught.value.hint == "`python -m pip install 'vast-avatar[ray]'`"


class FakeRay:
    """The machines of a cluster, as Ray describes them."""

    def __init__(self, *nodes: dict[str, float], alive: bool = True) -> None:
        self._nodes = [{"Alive": alive, "Resources": resources} for resources in nodes]

    def nodes(self) -> list[dict[str, object]]:
        return list(self._nodes)

    def cluster_resources(self) -> dict[str, float]:
        names = {name for node in self._nodes for name in node["Resources"]}  # type: ignore[attr-defined]
        return {name: sum(node["Resources"].get(name, 0) for node in self._nodes) for name in names}  # type: ignore[attr-defined]


def test_capacity_counts_workers_machine_by_machine() -> None:
    """A worker does not spread over machines: what is left over on two of them holds none."""
    ray = FakeRay({"CPU": 7.0}, {"CPU": 3.0}, {"CPU": 16.0, "GPU": 2.0}, {})
    assert ray_cluster.capacity(ray, WorkerResources(cpus=4, gpus=0)) == 1 + 0 + 4
    assert ray_cluster.capacity(ray, WorkerResources(cpus=4, gpus=1)) == 2
    with pytest.raises(VastError) as caught:
        ray_cluster.capacity(ray, WorkerResources(cpus=32, gpus=0))
    assert caught.value.code == "vast_device_unavailable"
    with pytest.raises(VastError):
        ray_cluster.capacity(FakeRay({"CPU": 7.0}, alive=False), WorkerResources(cpus=1, gpus=0))


@pytest.mark.parametrize(
    ("device", "gpus", "expected"), [("auto", 2.0, 1), ("auto", 0.0, 0), ("cpu", 2.0, 0), ("cuda:1", 0.0, 1)]
)
def test_a_worker_takes_a_gpu_where_there_is_one(tmp_path: Path, device: str, gpus: float, expected: int) -> None:
    needs = ray_cluster.worker_resources(
        FakeRay({"CPU": 8.0, "GPU": gpus}), replace(settings(tmp_path), device=device, threads=2)
    )
    assert needs == WorkerResources(cpus=2, gpus=expected)
