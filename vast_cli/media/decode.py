"""Decode one stream of a file that may be damaged: as far as it goes, without the packets that are broken."""

import logging
from collections.abc import Iterator
from pathlib import Path

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

log = logging.getLogger(__name__)

SLACK_S = 0.25  # a file that ends this much before its header says was cut off


class StreamDecoder:
    """Iterate over the frames of a stream, once.

    Attributes:
        broke_off: the file could not be read to its end.
        last_broken: the last packets could not be decoded.
    """

    def __init__(self, container: InputContainer, stream: VideoStream | AudioStream, path: Path) -> None:
        self.broke_off = False
        self.last_broken = False
        self._container, self._stream, self._path = container, stream, path

    def __iter__(self) -> Iterator[VideoFrame | AudioFrame]:
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except (av.FFmpegError, OSError) as error:
                log.debug("`%s` breaks off: %s", self._path, error)
                self.broke_off = True
                packet = None
            try:
                frames = packet.decode() if packet is not None else self._stream.codec_context.decode(None)
                self.last_broken = self.last_broken and not frames
            except av.EOFError:
                frames = []
            except av.FFmpegError as error:
                log.debug("a packet of `%s` is broken: %s", self._path, error)
                frames, self.last_broken = [], True
            for frame in frames:
                if isinstance(frame, VideoFrame | AudioFrame):
                    yield frame
            if packet is None or (packet.dts is None and packet.size == 0):  # the flushing packet is the last
                return
