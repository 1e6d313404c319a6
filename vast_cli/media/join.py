"""Join finished segments and the source's audio to one MP4 by copying packets: no frame is encoded again.

ffmpeg's concat demuxer keeps every timestamp: at a border timestamps go on by 1/25 s with any number of B-frames, for
segments of one frame and more, in H.264 and H.265 (`tests/media/test_join.py`). The list it reads is ours and names
absolute paths: it resolves relative ones as URLs, and a folder called `a#b` would send it to another file.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import av
import ffmpeg

from vast_cli.core.errors import VastError
from vast_cli.core.files import part_path, write_error
from vast_cli.media.audio_track import Soundtrack
from vast_cli.media.ffmpeg import FORMATS, PROTOCOLS, command, run, safe_path
from vast_cli.media.probe import open_media, video_stream
from vast_cli.media.staged import StagedVideo
from vast_cli.media.write import FINISH_S

TAGS = {"hevc": "hvc1"}  # as `VideoWriter` writes them; players of one maker refuse ffmpeg's default


class VideoJoiner:
    """Join video-only segments made by `VideoWriter`, with the guarantees of `VideoWriter` itself.

    A context manager: entering reserves the output and writes its audio, so that neither can fail after hours of work;
    then make the segments; call `join` once, last.

    Args:
        path: `.mp4`, `.m4v` or `.mov`.
        audio: file whose audio goes in; silent if None.
        n_frames: of all segments together.
        n_samples: length of the audio at 16 kHz as `read_audio` counted it; counted here if not given.
        overwrite: replace an existing file.
        metadata: written into the file, any keys.

    Raises:
        VastError: as `VideoWriter`.
    """

    def __init__(
        self,
        path: Path,
        *,
        audio: Path | None,
        n_frames: int,
        n_samples: int | None = None,
        overwrite: bool = False,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self.path = path
        self.n_frames = n_frames
        self.metadata = dict(metadata or {})
        self._staged = StagedVideo(path, audio=audio, n_frames=n_frames, n_samples=n_samples, overwrite=overwrite)
        self._joined = False

    @property
    def soundtrack(self) -> Soundtrack | None:
        """How the audio goes in; None without audio."""
        return self._staged.soundtrack

    def __enter__(self) -> "VideoJoiner":
        self._staged.begin()
        return self

    def join(self, segments: Sequence[Path]) -> None:
        """Write the output; leaving the context gives it its name.

        Args:
            segments: in order, of one codec and size, each from a `VideoWriter` without audio.

        Raises:
            VastError: `vast_input_missing`, `vast_encode_failed`, `vast_disk_full`, `vast_timeout`.
        """
        codec = _common_codec(segments, target=self.path)
        list_path = part_path(segments[0].with_name("list.ffconcat"))
        try:
            try:
                list_path.write_text(_listing(segments), encoding="utf-8")
            except OSError as error:
                raise write_error(error, list_path) from error
            concat = {"format": "concat", "safe": 0, "auto_convert": 0}
            allowed = {"format_whitelist": f"concat,{FORMATS}", "protocol_whitelist": PROTOCOLS}
            streams = [ffmpeg.input(safe_path(list_path), **concat, **allowed).video]
            if self.soundtrack is not None:
                streams.append(ffmpeg.input(safe_path(self.soundtrack.path), protocol_whitelist=PROTOCOLS).audio)
            options = self._staged.muxing() | {"c:v": "copy", "map_metadata:s:v": "0:s:v"}
            options |= {"tag:v": TAGS[codec]} if codec in TAGS else {}
            output = ffmpeg.output(*streams, safe_path(self._staged.part), **options)
            run(command(output, metadata=self.metadata), target=self.path, timeout_s=FINISH_S)
        finally:
            list_path.unlink(missing_ok=True)
        self._joined = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._staged.abandon()
            return
        try:
            assert self._joined, "call `join` before leaving a VideoJoiner"
            self._staged.finish(self.n_frames)
        except BaseException:
            self._staged.abandon()
            raise


def _listing(segments: Sequence[Path]) -> str:
    lines = [f"file '{_quoted(path)}'\n" for path in segments]
    return "".join(["ffconcat version 1.0\n", *lines])


def _quoted(path: Path) -> str:
    text = safe_path(path)
    if "\n" in text or "\r" in text:
        raise VastError("vast_output_unwritable", f"the folder of `{path}` has a line break in its name")
    return text.replace("'", "'\\''")


def _common_codec(segments: Sequence[Path], *, target: Path) -> str:
    """The codec of all segments; each must be an MP4, because ffmpeg would also open a list of other files.

    Raises:
        VastError: `vast_input_missing`, `vast_encode_failed`.
    """
    formats = set()
    for path in segments:
        try:
            with open_media(path) as container:
                video = video_stream(container)
                if video is not None and container.format.name.startswith("mov"):
                    context = video.codec_context
                    formats.add((context.name, context.width, context.height, context.extradata))
                    continue
        except av.FFmpegError:
            pass
        raise VastError("vast_encode_failed", f"segment `{path}` of `{target}` is not a video")
    if len(formats) != 1:
        raise VastError("vast_encode_failed", f"the segments of `{target}` were not encoded alike")
    return next(iter(formats))[0]
