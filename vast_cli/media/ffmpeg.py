"""Find ffmpeg, build its command lines, run it to its end or feed it frames.

Commands are lists built by ffmpeg-python; `core/process.py` starts them. ffmpeg may open files only, and the last lines
of its standard error go into our messages.
"""

import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

from vast_cli.core import process
from vast_cli.core.errors import VastError

log = logging.getLogger(__name__)

# Demuxers that read nothing but the file they are given: no playlists, no lists of other files, no devices.
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,flv,asf,ogg,nut,mxf,dv,rm,ivf,h264,hevc,m4v,obu,av1,"
    "wav,w64,aiff,au,caf,flac,mp3,aac,ac3,eac3,amr,opus,wv,ape,tta,gif,apng,yuv4mpegpipe"
)
PROTOCOLS = "file,pipe"
QUERY_S = 30  # time limit for a question to ffmpeg
EXPLAIN_S = 30  # time for an ffmpeg that closed its input to say why
START_QUIET = ("-hide_banner", "-nostats", "-loglevel", "warning")


def find_ffmpeg() -> str:
    """The ffmpeg to use: FFMPEG_PATH, else the system's, else that of imageio-ffmpeg.

    A system's ffmpeg that lacks what we need (libx264, or `-movie_timescale`, so older than 5.0) is not used.

    Raises:
        VastError: `vast_no_ffmpeg`.
    """
    configured = os.environ.get("FFMPEG_PATH")
    if configured:
        binary = shutil.which(configured)
        if binary is None:
            raise VastError("vast_no_ffmpeg", f"FFMPEG_PATH names `{configured}`, which cannot be run")
        if lacks := _lacks(binary):
            raise VastError("vast_no_ffmpeg", f"FFMPEG_PATH names `{configured}`, which {lacks}")
        return str(Path(binary).absolute())
    system = shutil.which("ffmpeg")
    if system is not None:
        lacks = _lacks(system)
        if not lacks:
            return str(Path(system).absolute())
        log.debug("`%s` is not used: it %s", system, lacks)
    try:
        import imageio_ffmpeg

        bundled = str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError) as error:
        raise VastError("vast_no_ffmpeg", "no usable ffmpeg on this machine") from error
    if lacks := _lacks(bundled):
        raise VastError("vast_no_ffmpeg", f"the ffmpeg of imageio-ffmpeg {lacks}")
    return bundled


@lru_cache(maxsize=8)
def _lacks(binary: str) -> str:
    """What makes `binary` unusable, or an empty string."""
    for question, answers in ((["-encoders"], ("libx264", " aac ")), (["-h", "muxer=mp4"], ("movie_timescale",))):
        try:
            output = process.run([binary, "-hide_banner", *question], timeout_s=QUERY_S).stdout
        except OSError as error:  # a time-out is one, too
            return f"does not run ({error})"
        for answer in answers:
            if answer not in output:
                return f"has no {answer.strip()}"
    return ""


def safe_path(path: Path) -> str:
    """`path` as ffmpeg cannot misread it: absolute, so that it is neither an option nor a protocol."""
    return str(path.absolute())


def command(graph: Any, *, metadata: Mapping[str, str] | None = None) -> list[str]:
    """The command line of an ffmpeg-python output node.

    Args:
        graph: result of `ffmpeg.output(...)`.
        metadata: written into the file; ffmpeg-python cannot repeat an option.
    """
    args: list[str] = graph.compile(cmd=[find_ffmpeg(), *START_QUIET, "-y"])
    tags = [word for key, value in (metadata or {}).items() for word in ("-metadata", f"{_clean(key)}={_clean(value)}")]
    return [*args[:-1], *tags, args[-1]]


def _clean(text: str) -> str:
    return text.replace("\0", "")  # the only character that a command line cannot carry


class FfmpegProcess:
    """A running ffmpeg that reads from a pipe.

    Args:
        args: command line.
        target: the file that the user asked for, for messages.

    Raises:
        VastError: `vast_no_ffmpeg` if it does not start.
    """

    def __init__(self, args: Sequence[str], *, target: Path) -> None:
        self.target = target
        try:
            self._process = process.FedProcess(args)
        except OSError as error:
            raise VastError("vast_no_ffmpeg", f"ffmpeg does not start: {error}") from error

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether ffmpeg has not ended yet."""
        return self._process.is_running

    def write(self, data: memoryview | bytes) -> None:
        """Send bytes; waits while ffmpeg is busy.

        Raises:
            VastError: `vast_encode_failed`, `vast_disk_full`, when ffmpeg has ended.
        """
        try:
            self._process.write(data)
        except OSError:
            self._fail()

    def finish(self, *, timeout_s: float) -> None:
        """Close the pipe and wait for the end.

        Raises:
            VastError: `vast_encode_failed`, `vast_disk_full`, `vast_timeout`.
        """
        try:
            self._process.close_input()
        except OSError:
            self._fail()
        try:
            status = self._process.wait(timeout_s=timeout_s)
        except TimeoutError:
            raise VastError("vast_timeout", f"ffmpeg did not end `{self.target}` within {timeout_s:.0f} s") from None
        if status != 0:
            raise failure(self._process.stderr_lines, status, target=self.target)

    def kill(self) -> None:
        """End ffmpeg at once and wait until it is gone."""
        self._process.kill()

    def _fail(self) -> NoReturn:
        """Raise what made ffmpeg close its input."""
        try:
            status = self._process.wait(timeout_s=EXPLAIN_S)
        except TimeoutError:
            log.debug("ffmpeg closed its input but did not end; it was killed")
            status = self._process.kill()
        raise failure(self._process.stderr_lines, status, target=self.target)


def failure(lines: Sequence[str], status: int, *, target: Path) -> VastError:
    """The error for an ffmpeg that ended with `status` after writing `lines` to its standard error."""
    text = "\n".join(lines).lower()
    if "no space left on device" in text or "disk quota exceeded" in text or "not enough space" in text:
        return VastError("vast_disk_full", f"no space left while writing `{target}`")
    reason = lines[-1] if lines else "no message"
    return VastError("vast_encode_failed", f"ffmpeg ended with status {status} while writing `{target}`: {reason}")


def run(args: Sequence[str], *, target: Path, timeout_s: float) -> None:
    """Run a command to its end, with its input closed.

    Raises:
        VastError: as `FfmpegProcess.finish`.
    """
    ffmpeg = FfmpegProcess(args, target=target)
    try:
        ffmpeg.finish(timeout_s=timeout_s)
    except BaseException:
        ffmpeg.kill()
        raise
