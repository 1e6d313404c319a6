"""Workers as actors of a Ray cluster: warm, one job in flight in each, never restarted by Ray. Paths go, never frames.

Ray's answers are hints, the journal is the truth: a call whose answer is an error may have been carried out, so its
worker is given up and what it wrote is thrown away. No `ActorPool`: it waits for ever for a dead actor. `ray.kill`
takes seconds to reach a stopped process, so workers are ended by their process number, here or by a task over there.
"""

import contextlib
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from vast_cli.batch.execution import ray_cluster
from vast_cli.batch.execution.ray_cluster import END_FAR_S, Home, end_process
from vast_cli.batch.execution.ray_worker import RayWorker
from vast_cli.batch.job import Alive, Died, Done, Failed, Message, Ready, Task, WorkerSettings
from vast_cli.core.errors import VastError

log = logging.getLogger(__name__)

PEEK_EVERY_S = 1.0
LIFE = "life"  # the group of methods that answer while a job runs


@dataclass
class _Actor:
    handle: Any
    calls: dict[str, Any]  # name of the method -> what Ray will answer
    home: Home | None = None
    ready: bool = False
    peek_at: float = 0.0
    told: bool = False  # `Died` was given


class RayExecutor:
    """Actors of a Ray cluster; see `Executor`.

    Args:
        settings: what all workers share. Its folders must be the same on all machines.
        slots: workers wanted; fewer if the cluster does not hold so many.

    Raises:
        VastError: `vast_extra_missing`, `vast_device_unavailable`.
    """

    def __init__(self, settings: WorkerSettings, slots: int) -> None:
        self._ray = ray_cluster.import_ray()
        self._joined = ray_cluster.join(self._ray, settings, slots)
        share = ray_cluster.share(self._ray, settings)
        try:
            room = ray_cluster.capacity(self._ray, share)
        except VastError:
            self._leave()
            raise
        if room < slots:
            log.warning("the Ray cluster holds %d workers of %d CPUs, not %d", room, share.cpus, slots)
        self.slots = min(slots, room)
        # a worker sees its own GPU only, as number 0
        self._settings = replace(settings, device="cuda") if settings.device.startswith("cuda") else settings
        self._environment = ray_cluster.environment()
        self._class = self._ray.remote(
            num_cpus=share.cpus,
            num_gpus=share.gpus,
            max_restarts=0,
            max_task_retries=0,
            concurrency_groups={LIFE: 1},
            runtime_env=self._environment,
        )(RayWorker)
        self._here = self._ray.get_runtime_context().get_node_id()
        self._actors: dict[int, _Actor] = {}

    def start(self, slot: int) -> None:
        """Begin a fresh worker in an empty slot."""
        assert slot not in self._actors, f"slot {slot} is taken"
        handle = self._class.remote(slot, self._settings)
        calls = {"hello": self._ask(handle.hello), "warm_up": handle.warm_up.remote()}
        self._actors[slot] = _Actor(handle, calls)

    def _ask(self, method: Any) -> Any:
        return method.options(concurrency_group=LIFE).remote()

    def submit(self, slot: int, task: Task) -> None:
        """Give the worker of a slot a job."""
        actor = self._actors[slot]
        with contextlib.suppress(self._ray.exceptions.RayError):
            actor.calls["run"] = actor.handle.run.remote(task)

    # --- hearing ----------------------------------------------------------------------------------------------------

    def poll(self, timeout_s: float) -> list[Message]:
        """Messages that came, `Died` once for a worker that is gone."""
        deadline = time.monotonic() + timeout_s
        while True:
            due = self._peek()
            waiting = {call: slot for slot, actor in self._actors.items() for call in actor.calls.values()}
            left_s = max(0.0, min(deadline, due) - time.monotonic())
            if waiting:
                answered, _ = self._ray.wait(list(waiting), num_returns=1, timeout=left_s)
                if answered:  # and whatever else is there
                    answered, _ = self._ray.wait(list(waiting), num_returns=len(waiting), timeout=0)
            else:
                time.sleep(left_s)
                answered = []
            slots = sorted({waiting[call] for call in answered})
            messages = [message for slot in slots for message in self._hear(slot, answered)]
            if messages or time.monotonic() >= deadline:
                return messages

    def _peek(self) -> float:
        """Ask those who were not asked for a while; gives when the next one is due."""
        now = time.monotonic()
        due = now + PEEK_EVERY_S
        for actor in self._actors.values():
            if actor.ready and not actor.told and "peek" not in actor.calls:
                if actor.peek_at <= now:
                    actor.calls["peek"] = self._ask(actor.handle.peek)
                    actor.peek_at = now + PEEK_EVERY_S
                else:
                    due = min(due, actor.peek_at)
        return due

    def _hear(self, slot: int, answered: list[Any]) -> Iterator[Message]:
        actor = self._actors[slot]
        for name, call in sorted(actor.calls.items(), key=lambda item: item[0] == "run"):  # progress before the end
            if call not in answered or actor.told:
                continue
            del actor.calls[name]
            try:
                answer = self._ray.get(call)
            except self._ray.exceptions.RayError as error:
                if name == "peek" and isinstance(error, self._ray.exceptions.ActorUnavailableError):
                    continue  # its machine cannot be reached just now; silence is timed elsewhere
                actor.told = True
                actor.calls.clear()
                yield Died(slot, _reason(error))
            else:
                yield from self._understand(slot, actor, name, answer)

    def _understand(self, slot: int, actor: _Actor, name: str, answer: Any) -> Iterator[Message]:
        if name == "hello":
            actor.home = answer
        elif name == "warm_up":
            actor.ready = True
        elif name == "peek":
            yield Alive(slot)
            yield from answer
        else:
            assert isinstance(answer, Done | Failed)
            yield answer
        if actor.ready and actor.home is not None and name in ("hello", "warm_up"):
            yield Ready(slot, actor.home.pid)

    # --- ending -----------------------------------------------------------------------------------------------------

    def kill(self, slot: int) -> None:
        """End the worker of a slot at once and wait until it is gone."""
        actor = self._actors.pop(slot, None)
        if actor is not None:
            self._dismiss(actor)
            self._end(actor)

    def _dismiss(self, actor: _Actor) -> None:
        with contextlib.suppress(Exception):  # it may be dead, or its cluster
            self._ray.kill(actor.handle, no_restart=True)

    def _end(self, actor: _Actor) -> None:
        home = actor.home
        if home is None:  # still starting; Ray ends it when it is born
            return
        try:
            if home.node == self._here:
                gone = end_process(home.pid, home.birth)
            else:
                gone = self._end_far(home)
        except Exception as error:  # the machine is gone, and the process with it
            log.info("nobody on the machine of process %d: %s", home.pid, error)
            return
        if not gone:
            log.warning("process %d of a worker does not end", home.pid)

    def _end_far(self, home: Home) -> bool:
        ray = self._ray
        there = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(home.node, soft=False)
        end = ray.remote(end_process).options(
            num_cpus=0, max_retries=0, scheduling_strategy=there, runtime_env=self._environment
        )
        return bool(ray.get(end.remote(home.pid, home.birth), timeout=END_FAR_S))

    def close(self) -> None:
        """End all workers; leave the cluster, or end it if it is ours."""
        actors = list(self._actors.values())
        self._actors.clear()
        for actor in actors:
            self._dismiss(actor)
        for actor in actors:
            self._end(actor)
        self._leave()

    def _leave(self) -> None:
        if self._joined:
            self._joined = False
            self._ray.shutdown()


def _reason(error: Exception) -> str:
    """What Ray says of a dead worker, in a few words that go on from `its worker`."""
    text = str(error)
    if "error raised in its creation task" in text or not isinstance(getattr(error, "cause", None), type(None)):
        return f"could not start: {text.strip().splitlines()[-1]}"
    if "node" in text.lower() and "terminated" in text.lower():
        return "is gone with its machine"
    detail = text.partition("Worker exit detail:")[2].partition(". Some")[0].strip() or text.strip().splitlines()[-1]
    return f"died (Ray says: {detail[:200].rstrip('.')})"
