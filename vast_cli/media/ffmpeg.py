"""The only place that starts processes: find ffmpeg, run it to its end, feed it pictures.

Commands are lists built by ffmpeg-python, there is no shell. Every process has its input closed or piped, keeps the
last lines of what it says for our messages, may open files only, and lives in a session of its own, so that Ctrl-C
reaches the parent alone, which then cleans up.
"""

import logging
import os
import shlex
import shutil
import subprocess
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

from vast_cli.core.errors import VastError

log = logging.getLogger(__name__)

# Demuxers that read nothing but the file they are given: no playlists, no lists of other files, no devices.
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,flv,asf,ogg,nut,mxf,dv,rm,ivf,h264,hevc,m4v,obu,av1,"
    "wav,w64,aiff,au,caf,flac,mp3,aac,ac3,eac3,amr,opus,wv,ape,tta,gif,apng,yuv4mpegpipe"
)
PROTOCOLS = "file,pipe"
MAX_LINES = 50  # of stderr kept
MAX_LINE = 400  # characters of each kept
ASK_S = 30  # time limit for questions to ffmpeg
START_QUIET = ("-hide_banner", "-nostats", "-loglevel", "warning")


def find_ffmpeg() -> str:
    """The ffmpeg to use: FFMPEG_PATH, else the system's, else that of imageio-ffmpeg.

    A system's ffmpeg that lacks what we need (libx264, or `-movie_timescale`, so older than 5.0) is passed over.

    Raises:
        VastError: `vast_no_ffmpeg`.
    """
    given = os.environ.get("FFMPEG_PATH")
    if given:
        found = shutil.which(given)
        if found is None:
            raise VastError("vast_no_ffmpeg", f"FFMPEG_PATH names `{given}`, which cannot be run")
        if lacks := _lacks(found):
            raise VastError("vast_no_ffmpeg", f"FFMPEG_PATH names `{given}`, which {lacks}")
        return str(Path(found).absolute())
    system = shutil.which("ffmpeg")
    if system is not None:
        lacks = _lacks(system)
        if not lacks:
            return str(Path(system).absolute())
        log.debug("`%s` is passed over: it %s", system, lacks)
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
            said = subprocess.run(
                [binary, "-hide_banner", *question],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=ASK_S,
                check=False,
            ).stdout.decode(errors="replace")
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"does not run ({error})"
        for answer in answers:
            if answer not in said:
                return f"has no {answer.strip()}"
    return ""


def safe_path(path: Path) -> str:
    """`path` as ffmpeg cannot misread it: absolute, so that it is neither an option nor a protocol."""
    return str(path.absolute())


def command(graph: Any, *, metadata: Mapping[str, str] | None = None) -> list[str]:
    """The command line of an ffmpeg-python output node.

    Args:
        graph: result of `ffmpeg.output(...)`.
        metadata: written into the file; ffmpeg-python has no way to say the same option twice.
    """
    args: list[str] = graph.compile(cmd=[find_ffmpeg(), *START_QUIET, "-y"])
    said = [word for key, value in (metadata or {}).items() for word in ("-metadata", f"{_clean(key)}={_clean(value)}")]
    return [*args[:-1], *said, args[-1]]


def _clean(text: str) -> str:
    return text.replace("\0", "")  # the only character that a command line cannot carry


class Process:
    """A running ffmpeg whose input is a pipe.

    Args:
        args: command line.
        target: the file that the user asked for, for messages.
    """

    def __init__(self, args: Sequence[str], *, target: Path) -> None:
        log.debug("%s", shlex.join(args))
        self.target = target
        self._lines: deque[str] = deque(maxlen=MAX_LINES)
        own_group: dict[str, Any] = (
            {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
            if os.name == "nt"
            else {"start_new_session": True}
        )
        try:
            self._process = subprocess.Popen(
                list(args), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **own_group
            )
        except OSError as error:
            raise VastError("vast_no_ffmpeg", f"ffmpeg does not start: {error}") from error
        self._reader = threading.Thread(target=self._drain, daemon=True)
        self._reader.start()

    def _drain(self) -> None:
        stream = self._process.stderr
        assert stream is not None
        while line := stream.readline(1 << 16):
            text = line.decode(errors="replace").strip()
            if text:
                self._lines.append(text[:MAX_LINE])

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def write(self, data: memoryview | bytes) -> None:
        """Send bytes; waits while ffmpeg is busy.

        Raises:
            VastError: `vast_encode_failed`, `vast_disk_full`, when ffmpeg has ended.
        """
        stream = self._process.stdin
        assert stream is not None
        try:
            stream.write(data)
        except OSError:  # a broken pipe; on Windows EINVAL
            self._fail()

    def finish(self, *, timeout_s: float) -> None:
        """Close the pipe and wait for the end.

        Raises:
            VastError: `vast_encode_failed`, `vast_disk_full`, `vast_timeout`.
        """
        stream = self._process.stdin
        assert stream is not None
        try:
            stream.close()
        except OSError:
            self._fail()
        try:
            status = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise VastError("vast_timeout", f"ffmpeg did not end `{self.target}` within {timeout_s:.0f} s") from None
        if status != 0:
            self._fail()
        self._close()

    def kill(self) -> None:
        """End the process at once and wait until it is gone."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._close()

    def _close(self) -> None:
        self._reader.join(ASK_S)
        for stream in (self._process.stdin, self._process.stderr):
            if stream is not None:
                try:
                    stream.close()
                except OSError:  # bytes that a dead process never took
                    log.debug("unsent bytes for ffmpeg were dropped")

    def _fail(self) -> NoReturn:
        try:
            self._process.wait(ASK_S)  # it closed its input: let it say why
        except subprocess.TimeoutExpired:
            log.debug("ffmpeg closed its input and goes on; it is killed")
        self.kill()
        raise failure(self._lines, self._process.returncode, target=self.target)


def failure(lines: Sequence[str], status: int, *, target: Path) -> VastError:
    """The error for an ffmpeg that ended with `status` after saying `lines`."""
    text = "\n".join(lines).lower()
    if "no space left on device" in text or "disk quota exceeded" in text or "not enough space" in text:
        return VastError("vast_disk_full", f"no space left while writing `{target}`")
    reason = lines[-1] if lines else "it said nothing"
    return VastError("vast_encode_failed", f"ffmpeg ended with status {status} while writing `{target}`: {reason}")


def run(args: Sequence[str], *, target: Path, timeout_s: float) -> None:
    """Run a command to its end, with its input closed.

    Raises:
        VastError: as `Process.finish`.
    """
    process = Process(args, target=target)
    try:
        process.finish(timeout_s=timeout_s)
    except BaseException:
        process.kill()
        raise
