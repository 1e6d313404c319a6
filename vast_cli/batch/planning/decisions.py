"""Decides for each job whether it runs, is skipped, adopted or refused, and why.

Looks only at sizes and times of files; hashes of contents are cached.
"""

import contextlib
import json
import logging
import wave
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vast_cli.batch.job import Job
from vast_cli.batch.planning.fingerprint import Fingerprint, Fingerprinter
from vast_cli.batch.state.journal_replay import BatchState, DoneRecord, JobState
from vast_cli.core.errors import VastError
from vast_cli.store.hashes import FileHashes

Action = Literal["skip", "adopt", "run", "refuse"]
FINGERPRINT_TAG = "fingerprint"  # key in the container's metadata and in the sidecar

# `--rerun-on`: the class of each reason. New and interrupted jobs always run
RERUN_CLASSES = {
    "output_missing": "missing",
    "input_changed": "input",
    "option_changed": "option",
    "model_changed": "model",
    "avatar_changed": "model",
    "format_changed": "model",
    "failed": "failed",
}
RERUN_ON = ("missing", "input", "option", "model", "failed")  # the default
RERUN_CHOICES = (*RERUN_ON, "all", "none")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PlannedJob:
    """A job and what a run would do with it.

    Attributes:
        job: the job.
        action: `skip`: nothing to do; `adopt`: finished, but the journal does not know; `run`; `refuse`: it fails with
            `error` without being started.
        reason: `done`, `adopt`, `new`, `failed`, `interrupted`, `output_missing`, `output_changed`, `output_exists`,
            `input_changed:ROLE`, `option_changed:NAME`, `model_changed:NAME`, `avatar_changed`, `format_changed`,
            `forced`; of `refuse` the error's code, unless an existing output is the obstacle. A job that is skipped
            for another reason than `done` would run for it, but `rerun_on` leaves it out.
        fingerprint: of its result; None if it cannot be taken.
        error: why it is refused.
        audio_s: length of the audio in seconds, if known.
    """

    job: Job
    action: Action
    reason: str
    fingerprint: Fingerprint | None = None
    error: VastError | None = None
    audio_s: float | None = None


def parse_rerun_on(text: str) -> frozenset[str]:
    """The option `--rerun-on`: a comma-separated list in place of `missing,input,option,model,failed`.

    `all` includes finished jobs, as `--force` does; `none` leaves only new and interrupted ones.

    Raises:
        VastError: `vast_option_invalid`.
    """
    words = frozenset(word.strip() for word in text.split(",") if word.strip())
    if unknown := sorted(words - set(RERUN_CHOICES)) or ([text] if not words else []):
        raise VastError(
            "vast_option_invalid", f"`--rerun-on {unknown[0]}` is unknown", hint=f"of {', '.join(RERUN_CHOICES)}"
        )
    return words


def plan_jobs(
    jobs: Iterable[Job],
    state: BatchState,
    hashes: FileHashes,
    *,
    overwrite: bool = False,
    force: bool = False,
    rerun_on: Collection[str] = RERUN_ON,
    audio_lengths: bool = True,
) -> list[PlannedJob]:
    """Decide for every job what a run does with it.

    A job is done if its fingerprint is that of a result in the journal, and the file at its output is that result: by
    size and time, or else by hash (copies lose times). Where the file lies does not matter, so a moved folder stays
    done. An outdated file that this batch made is replaced; any other file is refused unless `overwrite`, or adopted
    if it carries the job's fingerprint.

    Args:
        jobs: of the manifest, or of a shard.
        state: replay of the journals.
        hashes: hashes of file contents.
        overwrite: replace files that this batch did not make.
        force: run everything again.
        rerun_on: classes of reasons to run for, see `parse_rerun_on`.
        audio_lengths: look up the audio lengths of the jobs that run, for the estimate.
    """
    planner = _Planner(state, hashes, overwrite=overwrite, force=force or "all" in rerun_on, rerun_on=rerun_on)
    return [planner.plan(job, audio_lengths=audio_lengths) for job in jobs]


def count_actions(planned: Iterable[PlannedJob]) -> dict[str, int]:
    """Jobs by action and reason, for tables and events: `run:new`, `skip:done`, most frequent first."""
    return dict(Counter(f"{one.action}:{one.reason}" for one in planned).most_common())


class _Planner:
    def __init__(
        self, state: BatchState, hashes: FileHashes, *, overwrite: bool, force: bool, rerun_on: Collection[str]
    ) -> None:
        self.state, self.hashes, self.fingerprinter = state, hashes, Fingerprinter(hashes)
        self.overwrite, self.force, self.rerun_on = overwrite, force, rerun_on
        self.audio_lengths: dict[Path, float | None] = {}

    def plan(self, job: Job, *, audio_lengths: bool) -> PlannedJob:
        try:
            fingerprint = self.fingerprinter.fingerprint(job)
            action, reason = self._decide(job, fingerprint)
        except VastError as error:
            return PlannedJob(job, "refuse", error.code, error=error)
        if action == "refuse":
            return PlannedJob(job, action, reason, fingerprint, _output_error(job.output, reason))
        audio_s = self._audio_length(job.audio) if audio_lengths and action != "skip" else None
        return PlannedJob(job, action, reason, fingerprint, audio_s=audio_s)

    def _audio_length(self, audio: Path) -> float | None:
        if audio not in self.audio_lengths:
            try:
                self.audio_lengths[audio] = self.hashes.audio_s(audio, measure=header_seconds)
            except VastError as error:  # the file has just disappeared; the job will report it
                log.info("%s", error.message)
                self.audio_lengths[audio] = None
        return self.audio_lengths[audio]

    def _decide(self, job: Job, fingerprint: Fingerprint) -> tuple[Action, str]:
        past = self.state.job(job.id)
        record = past.records.get(fingerprint.digest)
        output = job.output
        stat = _stat(output)
        if stat is None:
            lost = past.done and past.status == "done"
            return self._run("output_missing" if lost else _rerun_reason(past, fingerprint))
        if record is not None and self._is_result(output, stat, record):
            return self._run("forced") if self.force else ("skip", "done")
        if self._is_ours(output, stat):
            return self._run(_rerun_reason(past, fingerprint))
        # The journal does not know the file. If it carries the job's fingerprint, a run died between renaming the file
        # and writing its line
        if (record is None or past.dangling) and embedded_fingerprint(output, self.hashes) == fingerprint.digest:
            return ("adopt", "adopt") if not self.force else self._run("forced")
        if past.done is not None:
            return self._replace_foreign("output_changed", "output_changed")
        return self._replace_foreign("output_exists", _rerun_reason(past, fingerprint))

    def _run(self, reason: str) -> tuple[Action, str]:
        if self.force:
            return "run", "forced"
        rerun_class = RERUN_CLASSES.get(reason.split(":")[0])
        return ("run", reason) if rerun_class is None or rerun_class in self.rerun_on else ("skip", reason)

    def _replace_foreign(self, obstacle: str, reason: str) -> tuple[Action, str]:
        """The decision where a file that this batch did not make has the output's name."""
        if not self.overwrite:
            return "refuse", obstacle
        return self._run(reason)

    def _is_result(self, path: Path, stat: tuple[int, int], record: DoneRecord) -> bool:
        if stat[0] != record.size:
            return False
        return stat[1] == record.mtime_ns or self.hashes.digest(path) == record.sha256

    def _is_ours(self, path: Path, stat: tuple[int, int]) -> bool:
        """Whether this batch made the file, for any job."""
        if self.state.made(*stat):
            return True
        return self.state.made_size(stat[0]) and self.state.made_content(self.hashes.digest(path))


def _rerun_reason(past: JobState, fingerprint: Fingerprint) -> str:
    """Why a job without a valid result runs."""
    if past.status in ("failed", "interrupted"):
        return past.status
    if past.status == "started":
        return "interrupted"
    done = past.done
    if done is None:
        return "new"
    # no difference: its result has another name, or another job's result is there
    return fingerprint.difference(done.fingerprint) or "output_missing"


def _stat(path: Path) -> tuple[int, int] | None:
    """Size and modification time; None if there is no file."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise VastError("vast_output_unwritable", f"`{path}`: {error.strerror or error}") from error
    return status.st_size, status.st_mtime_ns


def _output_error(output: Path, obstacle: str) -> VastError:
    if obstacle == "output_changed":
        return VastError("vast_output_exists", f"`{output}` was changed since it was made")
    return VastError("vast_output_exists", f"`{output}` exists already, and this batch did not make it")


def embedded_fingerprint(video: Path, hashes: FileHashes) -> str | None:
    """The fingerprint that a finished video carries: in its sidecar if that describes this very file, or its container.

    None if there is none, or if the file is not a video.
    """
    from vast_cli.pipeline import sidecar

    try:
        document = json.loads(sidecar.path_of(video).read_bytes())
        if isinstance(document.get(FINGERPRINT_TAG), str) and document["output"]["sha256"] == hashes.digest(video):
            return str(document[FINGERPRINT_TAG])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    if not video.is_file():
        return None
    import av  # few plans need it

    from vast_cli.media.probe import open_media

    try:
        with open_media(video) as container:
            return dict(container.metadata).get(FINGERPRINT_TAG)
    except (VastError, av.FFmpegError, OSError) as error:
        log.info("`%s` has no readable fingerprint: %s", video, error)
        return None


def header_seconds(path: Path) -> float | None:
    """Seconds of audio by the file's headers; None if it has no audio, or they do not say."""
    if path.suffix.lower() == ".wav":  # a hundred times as fast, and most large manifests are short WAV files
        with contextlib.suppress(wave.Error, EOFError, OSError), wave.open(str(path), "rb") as file:
            if file.getnframes() and file.getframerate():
                return file.getnframes() / file.getframerate()
    from vast_cli import media  # loads PyAV

    try:
        info = media.probe(path)
    except VastError as error:
        log.debug("the length of `%s` is unknown: %s", path, error.message)
        return None
    return info.duration_s if info.has_audio and info.duration_s > 0 else None
