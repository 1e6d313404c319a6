"""Evaluates pairs of videos into one document: every clip measured, the set summarised, the controls checked."""

import multiprocessing
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from vast_cli.core.errors import VastError
from vast_cli.core.progress import Progress, silent
from vast_cli.evaluate.documents import ClipResult, clip_document, failed_document, set_document
from vast_cli.evaluate.external.models import ExternalModelOptions, ExternalModels
from vast_cli.evaluate.measures import registry
from vast_cli.evaluate.observation.clip import Pair
from vast_cli.evaluate.observation.observe import Tools, load_networks, observe
from vast_cli.pipeline.models import Models


@dataclass(frozen=True)
class Settings:
    """How to evaluate; see `Tools` and `ExternalModelOptions`."""

    seed: int = 0
    threads: int = 2
    controls: bool = True
    styles: bool = False
    face_name: str = "largest"
    external: ExternalModelOptions = field(default_factory=ExternalModelOptions)


def make_tools(settings: Settings) -> Tools:
    """Load what all clips share."""
    return Tools(
        models=Models(),
        networks=load_networks(),
        external=ExternalModels.load(settings.external),
        threads=settings.threads,
        controls=settings.controls,
        styles=settings.styles,
        face_name=settings.face_name,
    )


def measure(
    pair: Pair,
    tools: Tools,
    *,
    only: Collection[str] | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> ClipResult:
    """Measure one clip.

    Args:
        pair: the clip.
        tools: networks; `tools.parts` must hold what the measures in `only` read.
        only: names of measures; all, and what sets of clips need, if None.
        seed: of everything random.
        progress: called after every frame.

    Raises:
        VastError: files that are missing or no media.
    """
    clip = observe(pair, tools, seed=seed, progress=progress)
    readings = registry.read(clip, only)
    return ClipResult(clip_document(clip, readings), readings, registry.collect(clip) if only is None else {})


def evaluate(
    pairs: Sequence[Pair],
    settings: Settings,
    *,
    workers: int = 1,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Measure all clips and summarise the set.

    A clip that cannot be read is in the document with its error; the others go on. A single one raises.

    Args:
        pairs: what to evaluate.
        settings: how.
        workers: processes; with more than one, each works on a clip of its own.
        progress: called after every clip; with a single clip, after every frame.

    Returns:
        The document of `vast evaluate --json`.

    Raises:
        VastError: of a single pair; of the external models' files.
    """
    results: list[ClipResult] = []
    documents: list[dict[str, Any]] = []
    for done, (pair, result) in enumerate(_results(pairs, settings, workers, progress), start=1):
        if isinstance(result, VastError):
            if len(pairs) == 1:
                raise result
            documents.append(failed_document(pair, result))
        else:
            results.append(result)
            documents.append(result.document)
        if len(pairs) > 1:
            progress("evaluate", done, len(pairs))
    return set_document(results, documents, seed=settings.seed)


# --- workers --------------------------------------------------------------------------------------------------------


def _results(
    pairs: Sequence[Pair], settings: Settings, workers: int, progress: Progress
) -> Iterator[tuple[Pair, ClipResult | VastError]]:
    """Results in the order of the pairs."""
    if workers == 1 or len(pairs) == 1:
        tools = make_tools(settings)
        torch.set_num_threads(settings.threads)
        frame_progress = progress if len(pairs) == 1 else silent
        for pair in pairs:
            yield pair, _result_or_error(partial(measure, pair, tools, seed=settings.seed, progress=frame_progress))
        return
    make_tools(settings)  # a fault in external models is reported once, here
    pending = list(pairs)
    while pending:
        with _worker_pool(settings, min(workers, len(pending))) as pool:
            futures = [pool.submit(_measure_in_worker, pair) for pair in pending]
            for i, future in enumerate(futures):
                try:
                    yield pending[i], future.result()
                except BrokenProcessPool:  # a worker died, and the work of the others is lost with it
                    suspect, pending = pending[i], pending[i + 1 :]
                    break
            else:
                return
        yield suspect, _measure_alone(suspect, settings)


@contextmanager
def _worker_pool(settings: Settings, workers: int) -> Iterator[ProcessPoolExecutor]:
    context = multiprocessing.get_context("spawn")  # torch and threads do not survive a fork
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(settings,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _measure_alone(pair: Pair, settings: Settings) -> ClipResult | VastError:
    """Measure a clip in a process that may die."""
    with _worker_pool(settings, 1) as pool:
        try:
            return pool.submit(_measure_in_worker, pair).result()
        except BrokenProcessPool:
            return VastError("vast_worker_died", f"the process that measured `{pair.output}` died")


def _result_or_error(work: Callable[[], ClipResult]) -> ClipResult | VastError:
    try:
        return work()
    except VastError as error:
        return error


_worker_tools: tuple[Tools, int] | None = None  # and the seed


def _start_worker(settings: Settings) -> None:
    """Runs once in every worker."""
    global _worker_tools
    torch.set_num_threads(1)
    _worker_tools = make_tools(settings), settings.seed


def _measure_in_worker(pair: Pair) -> ClipResult | VastError:
    assert _worker_tools is not None
    tools, seed = _worker_tools
    return _result_or_error(partial(measure, pair, tools, seed=seed))
