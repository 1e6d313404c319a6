"""What a batch would do with each job, and why. Looks at files' sizes and times only; hashes are remembered."""

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
from vast_cli.batch.planning.fingerprint import Hashes, Origin, Origins
from vast_cli.batch.state.replay import DoneRecord, JobState, State
from vast_cli.core.errors import VastError

Action = Literal["skip", "adopt", "run", "refuse"]
TAG = "fingerprint"  # key in the container's metadata and in the sidecar

# `--rerun-on`: the class of each reason. New and interrupted jobs always run
CLASSES = {
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
class Planned:
    """What becomes of a job.

    Attributes:
        job: it.
        action: `skip`: nothing to do; `adopt`: finished, only the journal does not know; `run`; `refuse`: it fails
            with `error` without being started.
        reason: `done`, `adopt`, `new`, `failed`, `interrupted`, `output_missing`, `output_changed`, `output_exists`,
            `input_changed:ROLE`, `option_changed:NAME`, `model_changed:NAME`, `avatar_changed`, `format_changed`,
            `forced`; of `refuse` the error's code, unless the output is what stands in the way. A job that is skipped
            for another reason than `done` would have run for it, had `rerun_on` not left it out.
        origin: what its bytes depend on; None if that cannot be told.
        error: why it is refused.
        sound_s: length of the sound, if known.
    """

    job: Job
    action: Action
    reason: str
    origin: Origin | None = None
    error: VastError | None = None
    sound_s: float | None = None


def parse_rerun_on(text: str) -> frozenset[str]:
    """The option `--rerun-on`: a list with commas, in place of `missing,input,option,model,failed`.

    `all` takes in finished jobs too, as `--force` does; `none` leaves only new and interrupted ones.

    Raises:
        VastError: `vast_option_invalid`.
    """
    words = frozenset(word.strip() for word in text.split(",") if word.strip())
    if unknown := sorted(words - set(RERUN_CHOICES)) or ([text] if not words else []):
        raise VastError(
            "vast_option_invalid", f"`--rerun-on {unknown[0]}` is unknown", hint=f"of {', '.join(RERUN_CHOICES)}"
        )
    return words


def make_plan(
    jobs: Iterable[Job],
    state: State,
    hashes: Hashes,
    *,
    overwrite: bool = False,
    force: bool = False,
    rerun_on: Collection[str] = RERUN_ON,
    sounds: bool = True,
) -> list[Planned]:
    """Decide for every job.

    A job is done if its fingerprint is that of a result in the journal, and the file at its output is that result: by
    size and time, or else by hash (copies lose times). Where the file lies does not matter, so a moved folder stays
    done. A stale file that this batch made is replaced; any other file is refused unless `overwrite`, or adopted if it
    carries the job's fingerprint.

    Args:
        jobs: of the manifest, or of a shard.
        state: replay of the journals.
        hashes: content hashes.
        overwrite: replace files that are not ours.
        force: run everything anew.
        rerun_on: classes of reasons to run for, see `parse_rerun_on`.
        sounds: look up how long the sounds are of jobs that run, for the estimate.
    """
    planner = _Planner(state, hashes, overwrite=overwrite, force=force or "all" in rerun_on, rerun_on=rerun_on)
    return [planner.plan(job, sounds=sounds) for job in jobs]


def counts(planned: Iterable[Planned]) -> dict[str, int]:
    """Jobs by action and reason, for tables and events: `run:new`, `skip:done`, most frequent first."""
    return dict(Counter(f"{one.action}:{one.reason}" for one in planned).most_common())


class _Planner:
    def __init__(
        self, state: State, hashes: Hashes, *, overwrite: bool, force: bool, rerun_on: Collection[str]
    ) -> None:
        self.state, self.hashes, self.origins = state, hashes, Origins(hashes)
        self.overwrite, self.force, self.rerun_on = overwrite, force, rerun_on
        self.sounds: dict[Path, float | None] = {}

    def plan(self, job: Job, *, sounds: bool) -> Planned:
        try:
            origin = self.origins.of(job)
            action, reason = self._decide(job, origin)
        except VastError as error:
            return Planned(job, "refuse", error.code, error=error)
        if action == "refuse":
            return Planned(job, action, reason, origin, _in_the_way(job.output, reason))
        sound_s = self._sound(job.audio) if sounds and action != "skip" else None
        return Planned(job, action, reason, origin, sound_s=sound_s)

    def _sound(self, audio: Path) -> float | None:
        if audio not in self.sounds:
            try:
                self.sounds[audio] = self.hashes.audio_s(audio, measure=header_seconds)
            except VastError as error:  # it went away meanwhile; the job will say so
                log.info("%s", error.message)
                self.sounds[audio] = None
        return self.sounds[audio]

    def _decide(self, job: Job, origin: Origin) -> tuple[Action, str]:
        past = self.state.job(job.id)
        record = past.records.get(origin.fingerprint)
        output = job.output
        stat = _stat(output)
        if stat is None:
            return self._run("output_missing" if past.done and past.status == "done" else _why(past, origin))
        if record is not None and self._is(output, stat, record):
            return self._run("forced") if self.force else ("skip", "done")
        if self._ours(output, stat):
            return self._run(_why(past, origin))
        # a file that the journal does not know. The same fingerprint twice means a crash between its name and its line
        if (record is None or past.dangling) and tag_of(output, self.hashes) == origin.fingerprint:
            return ("adopt", "adopt") if not self.force else self._run("forced")
        if past.done is not None:
            return self._foreign("output_changed", "output_changed")
        return self._foreign("output_exists", _why(past, origin))

    def _run(self, reason: str) -> tuple[Action, str]:
        if self.force:
            return "run", "forced"
        kind = CLASSES.get(reason.split(":")[0])
        return ("run", reason) if kind is None or kind in self.rerun_on else ("skip", reason)

    def _foreign(self, obstacle: str, reason: str) -> tuple[Action, str]:
        """A file that is not ours has the output's name."""
        if not self.overwrite:
            return "refuse", obstacle
        return self._run(reason)

    def _is(self, path: Path, stat: tuple[int, int], record: DoneRecord) -> bool:
        if stat[0] != record.size:
            return False
        return stat[1] == record.mtime_ns or self.hashes.digest(path) == record.sha256

    def _ours(self, path: Path, stat: tuple[int, int]) -> bool:
        """Whether this batch made the file, for whichever job."""
        if self.state.made(*stat):
            return True
        return self.state.made_size(stat[0]) and self.state.made_content(self.hashes.digest(path))


def _why(past: JobState, origin: Origin) -> str:
    """Why a job without a valid result runs."""
    if past.status in ("failed", "interrupted"):
        return past.status
    if past.status == "started":
        return "interrupted"
    done = past.done
    if done is None:
        return "new"
    return origin.difference(done.origin) or "output_missing"  # its result has another name, or another job's is there


def _stat(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise VastError("vast_output_unwritable", f"`{path}`: {error.strerror or error}") from error
    return status.st_size, status.st_mtime_ns


def _in_the_way(output: Path, obstacle: str) -> VastError:
    if obstacle == "output_changed":
        return VastError("vast_output_exists", f"`{output}` was changed since it was made")
    return VastError("vast_output_exists", f"`{output}` exists already, and this batch did not make it")


def tag_of(video: Path, hashes: Hashes) -> str | None:
    """The fingerprint a finished video carries: of its sidecar if that is of this very file, else of its container.

    None if there is none, or if the file is no video.
    """
    from vast_cli.pipeline import sidecar

    try:
        document = json.loads(sidecar.path_of(video).read_bytes())
        if isinstance(document.get(TAG), str) and document["output"]["sha256"] == hashes.digest(video):
            return str(document[TAG])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    if not video.is_file():
        return None
    import av  # a plan needs it in this case only

    from vast_cli.media.probe import open_media

    try:
        with open_media(video) as container:
            return dict(container.metadata).get(TAG)
    except (VastError, av.FFmpegError, OSError) as error:
        log.info("`%s` tells no fingerprint: %s", video, error)
        return None


def header_seconds(path: Path) -> float | None:
    """Seconds of audio by the file's headers; None if it has no audio, or they do not say."""
    if path.suffix.lower() == ".wav":  # a hundred times as fast, and most large manifests are short WAV files
        with contextlib.suppress(wave.Error, EOFError, OSError), wave.open(str(path), "rb") as file:
            if file.getnframes() and file.getframerate():
                return file.getnframes() / file.getframerate()
    from vast_cli import media  # PyAV only when a length is asked for

    try:
        info = media.probe(path)
    except VastError as error:
        log.debug("the length of `%s` is not known: %s", path, error.message)
        return None
    return info.duration_s if info.has_audio and info.duration_s > 0 else None
