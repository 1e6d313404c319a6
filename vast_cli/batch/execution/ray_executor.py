"""Runs workers as actors of a Ray cluster, one task in flight in each, never restarted by Ray. Only paths are sent.

The journal decides, not Ray: a call that ends with an error may have been carried out, so its worker is ended and its
output discarded. `ActorPool` is of no use because it waits for ever for a dead actor. `ray.kill` takes seconds to reach
a stopped process, so workers are killed by process id, on this machine or by a task on theirs.
"""

import contextlib
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from vast_cli.batch.execution import ray_cluster
from vast_cli.batch.execution.ray_cluster import KILL_REMOTE_S, WorkerProcess, kill_process
from vast_cli.batch.execution.ray_worker import RayWorker
from vast_cli.batch.job import Alive, Died, Done, Failed, Message, Ready, Task, WorkerSettings
from vast_cli.core.errors import VastError

log = logging.getLogger(__name__)

PROGRESS_EVERY_S = 1.0
STATUS_GROUP = "status"  # concurrency group of the methods that answer while a job runs


@dataclass
class _Actor:
    handle: Any
    calls: dict[str, Any]  # name of the method -> reference to its result
    process: WorkerProcess | None = None
    ready: bool = False
    next_progress_call: float = 0.0
    reported_dead: bool = False


class RayExecutor:
    """Actors of a Ray cluster; see `Executor`.

    Args:
        settings: what all workers share. Its folders must be the same on all machines.
        n_workers: workers wanted; fewer if the cluster does not hold so many.

    Raises:
        VastError: `vast_extra_missing`, `vast_device_unavailable`.
    """

    def __init__(self, settings: WorkerSettings, n_workers: int) -> None:
        self._ray = ray_cluster.import_ray()
        self._connected = ray_cluster.connect(self._ray, settings, n_workers)
        needs = ray_cluster.worker_resources(self._ray, settings)
        try:
            capacity = ray_cluster.capacity(self._ray, needs)
        except VastError:
            self._disconnect()
            raise
        if capacity < n_workers:
            log.warning("the Ray cluster holds %d workers of %d CPUs, not %d", capacity, needs.cpus, n_workers)
        self.n_workers = min(n_workers, capacity)
        # a worker sees its own GPU only, as number 0
        self._settings = replace(settings, device="cuda") if settings.device.startswith("cuda") else settings
        self._environment = ray_cluster.runtime_environment()
        self._class = self._ray.remote(
            num_cpus=needs.cpus,
            num_gpus=needs.gpus,
            max_restarts=0,
            max_task_retries=0,
            concurrency_groups={STATUS_GROUP: 1},
            runtime_env=self._environment,
        )(RayWorker)
        self._this_node = self._ray.get_runtime_context().get_node_id()
        self._actors: dict[int, _Actor] = {}

    def start(self, worker: int) -> None:
        """Start the actor of a worker."""
        assert worker not in self._actors, f"worker {worker} runs already"
        handle = self._class.remote(worker, self._settings)
        calls = {"describe": self._call_status(handle.describe), "warm_up": handle.warm_up.remote()}
        self._actors[worker] = _Actor(handle, calls)

    def _call_status(self, method: Any) -> Any:
        return method.options(concurrency_group=STATUS_GROUP).remote()

    def submit(self, worker: int, task: Task) -> None:
        """Send a worker a task."""
        actor = self._actors[worker]
        with contextlib.suppress(self._ray.exceptions.RayError):
            actor.calls["run"] = actor.handle.run.remote(task)

    # --- messages ---------------------------------------------------------------------------------------------------

    def poll(self, timeout_s: float) -> list[Message]:
        """Return the messages that arrived, with one `Died` for each worker that is gone."""
        deadline = time.monotonic() + timeout_s
        while True:
            next_call = self._request_progress()
            pending = {call: worker for worker, actor in self._actors.items() for call in actor.calls.values()}
            left_s = max(0.0, min(deadline, next_call) - time.monotonic())
            if pending:
                done, _ = self._ray.wait(list(pending), num_returns=1, timeout=left_s)
                if done:  # and all others that are done by now
                    done, _ = self._ray.wait(list(pending), num_returns=len(pending), timeout=0)
            else:
                time.sleep(left_s)
                done = []
            workers = sorted({pending[call] for call in done})
            messages = [message for worker in workers for message in self._receive(worker, done)]
            if messages or time.monotonic() >= deadline:
                return messages

    def _request_progress(self) -> float:
        """Call `take_progress` of the actors where it is due; returns when the next call is due."""
        now = time.monotonic()
        due = now + PROGRESS_EVERY_S
        for actor in self._actors.values():
            if actor.ready and not actor.reported_dead and "take_progress" not in actor.calls:
                if actor.next_progress_call <= now:
                    actor.calls["take_progress"] = self._call_status(actor.handle.take_progress)
                    actor.next_progress_call = now + PROGRESS_EVERY_S
                else:
                    due = min(due, actor.next_progress_call)
        return due

    def _receive(self, worker: int, done: list[Any]) -> Iterator[Message]:
        actor = self._actors[worker]
        for name, call in sorted(actor.calls.items(), key=lambda item: item[0] == "run"):  # progress before the end
            if call not in done or actor.reported_dead:
                continue
            del actor.calls[name]
            try:
                result = self._ray.get(call)
            except self._ray.exceptions.RayError as error:
                if name == "take_progress" and isinstance(error, self._ray.exceptions.ActorUnavailableError):
                    continue  # its machine cannot be reached just now; the coordinator times the silence
                actor.reported_dead = True
                actor.calls.clear()
                yield Died(worker, _death_reason(error))
            else:
                yield from self._messages(worker, actor, name, result)

    def _messages(self, worker: int, actor: _Actor, name: str, result: Any) -> Iterator[Message]:
        if name == "describe":
            actor.process = result
        elif name == "warm_up":
            actor.ready = True
        elif name == "take_progress":
            yield Alive(worker)
            yield from result
        else:
            assert isinstance(result, Done | Failed)
            yield result
        if actor.ready and actor.process is not None and name in ("describe", "warm_up"):
            yield Ready(worker, actor.process.pid)

    # --- the end of workers -----------------------------------------------------------------------------------------

    def kill(self, worker: int) -> None:
        """Kill the process of a worker and wait until it is gone."""
        actor = self._actors.pop(worker, None)
        if actor is not None:
            self._kill_actor(actor)
            self._kill_process(actor)

    def _kill_actor(self, actor: _Actor) -> None:
        with contextlib.suppress(Exception):  # it may be dead, or its cluster
            self._ray.kill(actor.handle, no_restart=True)

    def _kill_process(self, actor: _Actor) -> None:
        process = actor.process
        if process is None:  # still starting; Ray ends it as soon as it runs
            return
        try:
            if process.node == self._this_node:
                gone = kill_process(process.pid, process.start_time)
            else:
                gone = self._kill_remote(process)
        except Exception as error:  # the machine is gone, and the process with it
            log.info("the machine of process %d does not answer: %s", process.pid, error)
            return
        if not gone:
            log.warning("process %d of a worker does not end", process.pid)

    def _kill_remote(self, process: WorkerProcess) -> bool:
        ray = self._ray
        there = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(process.node, soft=False)
        kill = ray.remote(kill_process).options(
            num_cpus=0, max_retries=0, scheduling_strategy=there, runtime_env=self._environment
        )
        return bool(ray.get(kill.remote(process.pid, process.start_time), timeout=KILL_REMOTE_S))

    def close(self) -> None:
        """End all workers; disconnect from the cluster, which ends one that `connect` started."""
        actors = list(self._actors.values())
        self._actors.clear()
        for actor in actors:
            self._kill_actor(actor)
        for actor in actors:
            self._kill_process(actor)
        self._disconnect()

    def _disconnect(self) -> None:
        if self._connected:
            self._connected = False
            self._ray.shutdown()


def _death_reason(error: Exception) -> str:
    """What Ray says of a dead worker, in words that continue `its worker`."""
    text = str(error)
    if "error raised in its creation task" in text or not isinstance(getattr(error, "cause", None), type(None)):
        return f"could not start: {text.strip().splitlines()[-1]}"
    if "node" in text.lower() and "terminated" in text.lower():
        return "is gone with its machine"
    detail = text.partition("Worker exit detail:")[2].partition(". Some")[0].strip() or text.strip().splitlines()[-1]
    return f"died (Ray says: {detail[:200].rstrip('.')})"
