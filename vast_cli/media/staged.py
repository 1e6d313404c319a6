"""What all written videos have in common, encoded or joined: a hidden name until whole, audio that fits, a check."""

import logging
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.frame import VideoFrame

from vast_cli.core import timebase
from vast_cli.core.errors import VastError
from vast_cli.core.files import atomic_write, part_path
from vast_cli.core.formats import CONTAINERS
from vast_cli.core.timebase import HALF_FRAME_S
from vast_cli.media.audio_track import BITEXACT, ROUNDING_S, Soundtrack, make_soundtrack, timescale
from vast_cli.media.probe import audio_stream, bad_media, duration_of, open_media, video_stream

log = logging.getLogger(__name__)

VIDEO_TIMESCALE = 12_800


class StagedVideo:
    """A video under its hidden name: `begin`, then `finish` (check, fsync, rename) or `abandon` (nothing is left).

    Args:
        path: `.mp4`, `.m4v` or `.mov`.
        audio: file whose audio goes in; silent if None.
        n_frames: frames there will be, if known.
        n_samples: length of the audio at 16 kHz as `read_audio` counted it; counted here if not given.
        overwrite: replace an existing file.

    Attributes:
        part: the hidden name, after `begin`.
        soundtrack: the finished audio, after `begin`; None without audio.

    Raises:
        VastError: `vast_option_invalid`.
    """

    def __init__(
        self, path: Path, *, audio: Path | None, n_frames: int | None, n_samples: int | None, overwrite: bool
    ) -> None:
        if path.suffix.lower() not in CONTAINERS:
            raise VastError("vast_option_invalid", f"`{path}` does not end in {', '.join(CONTAINERS)}")
        self.path = path
        self.n_frames = n_frames
        self.soundtrack: Soundtrack | None = None
        self.part = path
        self._audio, self._n_samples, self._overwrite = audio, n_samples, overwrite
        self._stack = ExitStack()

    def begin(self) -> None:
        """Reserve the hidden name and write the audio, before the first frame.

        Raises:
            VastError: `vast_output_exists`, `vast_output_unwritable`, `vast_encode_failed`, those of reading `audio`.
        """
        with ExitStack() as stack:
            self.part = stack.enter_context(atomic_write(self.path, overwrite=self._overwrite))
            if self._audio is not None:
                audio_part = part_path(self.path.with_suffix(".mp4"))
                stack.callback(audio_part.unlink, missing_ok=True)
                self.soundtrack = make_soundtrack(self._audio, audio_part, target=self.path, n_samples=self._n_samples)
                self._check_lengths(self.n_frames)
            self._stack = stack.pop_all()

    def muxing(self) -> dict[str, Any]:
        """Options of the container, the same for every output."""
        options: dict[str, Any] = {
            "format": CONTAINERS[self.path.suffix.lower()],
            "movflags": "+faststart+use_metadata_tags",
            "video_track_timescale": VIDEO_TIMESCALE,
            "movie_timescale": VIDEO_TIMESCALE,
            "map_metadata": -1,
            **BITEXACT,
        }
        if self.soundtrack is not None:
            options |= {"c:a": "copy", "movie_timescale": timescale(self.soundtrack.sample_rate)}
        return options

    def finish(self, n_frames: int) -> None:
        """Check what was written, fsync it and give it its name.

        Args:
            n_frames: frames that were written.

        Raises:
            VastError: `vast_encode_failed`, `vast_output_exists`, `vast_disk_full`, `vast_write_failed`.
        """
        if self.n_frames is not None and n_frames != self.n_frames:
            message = f"{n_frames} frames came for `{self.path}`, {self.n_frames} were announced"
            raise VastError("vast_encode_failed", message)
        self._check_lengths(n_frames)
        try:
            _check(self.part, n_frames, target=self.path, soundtrack=self.soundtrack)
        except (av.FFmpegError, VastError) as error:
            if isinstance(error, VastError) and error.code == "vast_encode_failed":
                raise
            raise VastError("vast_encode_failed", f"what was written for `{self.path}` does not decode") from error
        self._stack.close()

    def abandon(self) -> None:
        """Leave nothing behind."""
        try:  # `atomic_write` removes the part file; it must not see the caller's exception, which it would translate
            self._stack.__exit__(_AbandonedError, _AbandonedError(), None)
        except _AbandonedError:
            log.debug("`%s` was abandoned", self.path)

    def _check_lengths(self, n_frames: int | None) -> None:
        if self.soundtrack is None or n_frames is None:
            return
        apart = abs(self.soundtrack.duration_s - timebase.seconds(n_frames))
        if apart > HALF_FRAME_S + ROUNDING_S:
            message = f"video and audio of `{self.path}` would end {apart:.3f} s apart"
            audio_s = self.soundtrack.duration_s
            hint = f"{audio_s:.3f} s of audio need {timebase.frame_at(audio_s)} frames"
            raise VastError("vast_encode_failed", message, hint=hint)


def _check(part: Path, n_frames: int, *, target: Path, soundtrack: Soundtrack | None) -> None:
    """Check the file as a player sees it: frame k at k/25 s for every k, first and last frames decode, ends agree."""
    with open_media(part) as container:
        video, audio = video_stream(container), audio_stream(container)
        if video is None or video.time_base is None or (soundtrack is not None and audio is None):
            raise bad_media(part)
        video_s = duration_of(container, video)
        shown = np.zeros(n_frames, np.bool_)
        n_packets, n_decoded = 0, 0
        tail: list[Any] = []  # packets since the last key frame; decoding all would take as long as encoding again
        for packet in container.demux(video):
            if packet.size == 0:
                continue
            n_packets += 1
            frame = -1 if packet.pts is None else timebase.to_frames(packet.pts * video.time_base)
            if 0 <= frame < n_frames and frame.denominator == 1:
                shown[int(frame)] = True
            if packet.is_keyframe:
                if n_packets > 1 and n_decoded == 0:
                    n_decoded = _decode(video.codec_context, tail)  # the first group of frames
                tail = []
            tail.append(packet)
        if n_packets != n_frames or abs(video_s - timebase.seconds(n_frames)) > ROUNDING_S:
            message = f"`{target}`: {n_packets} frames, {video_s:.3f} s; it should be {n_frames}"
            raise VastError("vast_encode_failed", message)
        if not shown.all():
            at_s = timebase.seconds(int(np.argmin(shown)))
            raise VastError("vast_encode_failed", f"`{target}`: no frame at {at_s:.2f} s, where one should be")
        video.codec_context.flush_buffers()
        if _decode(video.codec_context, tail) != len(tail):
            raise VastError("vast_encode_failed", f"the last frames of `{target}` do not decode")
        if audio is not None and soundtrack is not None:
            audio_s = duration_of(container, audio)
            if abs(audio_s - soundtrack.duration_s) > ROUNDING_S:
                message = f"the audio of `{target}` lasts {audio_s:.3f} s, not {soundtrack.duration_s:.3f} s"
                raise VastError("vast_encode_failed", message)


def _decode(context: Any, packets: list[Any]) -> int:
    """Count the frames that come out of `packets`."""
    decoded = 0
    for packet in [*packets, None]:
        decoded += sum(isinstance(frame, VideoFrame) for frame in context.decode(packet))
    context.flush_buffers()
    return decoded


class _AbandonedError(Exception):
    """Makes `atomic_write` clean up, and nothing else."""
