"""Any audio as mono 16 kHz, streamed in blocks, aligned to the sample at its start and exact in length."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from numpy.typing import NDArray

from vast_cli.core import timebase
from vast_cli.core.errors import VastError
from vast_cli.core.timebase import SAMPLE_RATE
from vast_cli.media.decode import SLACK_S, StreamDecoder
from vast_cli.media.probe import MAX_DURATION_S, audio_stream, check_duration, duration_of, endless, open_media

GAP = Fraction(1, 20)  # s; timestamps of some containers jitter, and those of encoders are wrong, by less
MAX_GAP = Fraction(600)  # s; a larger step is a reset clock
MAX_PADDING = 8192  # source samples; the last frame of an encoder holds no more silence than this
MARGIN = 64  # samples held back until the exact length is known
MIN_RATE, MAX_RATE = 1000, 768_000  # Hz
# Weights of a mono mix (ITU-R BS.775): front 0.71, centre 1, surround 0.5, no subwoofer; then their sum is made 1
_WEIGHTS = {"FC": 1.0, "FL": 0.7071, "FR": 0.7071, "FLC": 0.7071, "FRC": 0.7071, "LFE": 0.0, "LFE2": 0.0}
_SURROUND = {"BL", "BR", "BC", "SL", "SR", "TC", "TFL", "TFC", "TFR", "TBL", "TBC", "TBR", "TSL", "TSR", "WL", "WR"}


class AudioReader:
    """Stream audio as float32 mono at 16 kHz, [n] values in [-1, 1] (the resampler may overshoot a little).

    Priming samples and edit lists are honoured: sample 0 is the first one a player would play. The length is the
    duration times 16000, rounded. Gaps in the timestamps become silence, values that are not numbers become 0.

    May be iterated more than once; each pass opens the file anew.

    Args:
        path: any audio, or a video with audio.
        block_s: seconds of audio in a block; the last one is shorter.
        start_s: container time at which sample 0 lies (`VideoReader.start_s` to align with the frames); the first
            audio sample if not given. Silence is added in front, or audio cut off, as needed.

    Attributes:
        source_rate: Hz of the file.
        channels: of the file.
        duration_s: as the header says, 0 if it does not; exact after a pass.
        n_samples: at 16 kHz, exact after a pass, 0 before.
        truncated: after a pass, whether the file broke off.

    Raises:
        VastError: `vast_input_missing`, `vast_input_unreadable`, `vast_bad_media`, `vast_no_audio`,
            `vast_media_too_large`; at the end of a pass `vast_audio_too_short` if there was no sample.
    """

    sample_rate = SAMPLE_RATE

    def __init__(self, path: Path, *, block_s: float = 10.0, start_s: float | None = None) -> None:
        self.path = path
        self.block = max(timebase.sample_near(block_s), 1)
        self.start_s = start_s
        self.n_samples = 0
        self.truncated = False
        with open_media(path) as container:
            stream = _need_audio(container, path)
            self.duration_s = duration_of(container, stream)
            check_duration(path, self.duration_s)
            self.source_rate = stream.codec_context.sample_rate
            self.channels = len(stream.codec_context.layout.channels)

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        self.truncated = False
        resampler = _Resampler()
        waiting: list[NDArray[np.float32]] = []
        n_waiting = n_yielded = 0
        with open_media(self.path) as container:
            stream = _need_audio(container, self.path)
            for source, rate in self._aligned(container, stream):
                if resampler.total > MAX_DURATION_S:
                    raise endless(self.path)
                for piece in resampler.push(source, rate=rate):
                    waiting.append(piece)
                    n_waiting += len(piece)
                while n_waiting >= self.block + MARGIN:
                    joined = np.concatenate(waiting)
                    yield joined[: self.block].copy()
                    n_yielded += self.block
                    waiting, n_waiting = [joined[self.block :]], len(joined) - self.block
        waiting += resampler.push(None, rate=0)
        self.n_samples = int(timebase.to_samples(resampler.total) + Fraction(1, 2))
        self.duration_s = float(resampler.total)
        if self.n_samples == 0:
            raise VastError("vast_audio_too_short", f"`{self.path}` holds no sample of audio")
        left = self.n_samples - n_yielded
        tail = np.concatenate([*waiting, np.zeros(MARGIN, np.float32)])
        tail = np.pad(tail, (0, max(left - len(tail), 0)))[:left]
        for start in range(0, left, self.block):
            yield tail[start : start + self.block].copy()

    def _aligned(self, container: InputContainer, stream: AudioStream) -> Iterator[tuple[NDArray[np.float32], int]]:
        """Mono source samples with their rate: gaps filled, start aligned, encoder padding cut off."""
        limit = _edit_end(container, stream)
        held: list[tuple[NDArray[np.float32], int]] = []  # may turn out to be padding
        n_held = 0
        first: Fraction | None = None
        end = Fraction(0)  # where the audio so far ends, in container time
        skip = Fraction(0)  # seconds still to be cut off at the start
        for samples, rate, stamp in self._decoded(container, stream):
            if first is None:
                first = end = stamp if stamp is not None else Fraction(0)
                if self.start_s is not None:
                    ahead = first - Fraction(self.start_s)
                    if ahead > 0:
                        yield np.zeros(round(min(ahead, MAX_GAP) * rate), np.float32), rate
                    skip = max(-ahead, Fraction(0))
            step = stamp - end if stamp is not None else Fraction(0)
            if GAP < step <= MAX_GAP:
                held.append((np.zeros(round(step * rate), np.float32), rate))
                n_held += len(held[-1][0])
            elif -MAX_GAP <= step < -GAP:
                samples = samples[round(-step * rate) :]  # the same time twice: keep the first
            elif stamp is not None and abs(step) > MAX_GAP:
                end = stamp
            end += Fraction(len(samples), rate) + (step if GAP < step <= MAX_GAP else 0)
            held.append((samples, rate))
            n_held += len(samples)
            while held and n_held - len(held[0][0]) >= (MAX_PADDING if limit is not None else 0):
                piece, piece_rate = held.pop(0)
                n_held -= len(piece)
                cut = min(round(skip * piece_rate), len(piece))
                skip -= Fraction(cut, piece_rate)
                yield piece[cut:], piece_rate
        if first is None:
            return
        surplus = end - limit if limit is not None else Fraction(0)
        rest = np.concatenate([piece for piece, _ in held]) if held else np.zeros(0, np.float32)
        if held:
            rate = held[-1][1]
            n_surplus = round(surplus * rate)
            if 0 < n_surplus <= min(MAX_PADDING, len(rest)):
                rest = rest[: len(rest) - n_surplus]
            cut = min(round(skip * rate), len(rest))
            yield rest[cut:], rate
        if stream.duration and stream.time_base:
            missing = float(stream.duration * stream.time_base - (end - first))
            self.truncated = self.truncated or missing > SLACK_S

    def _decoded(
        self, container: InputContainer, stream: AudioStream
    ) -> Iterator[tuple[NDArray[np.float32], int, Fraction | None]]:
        """(mono samples, rate, timestamp in s) of everything that can be decoded."""
        to_float: dict[tuple[str, str, int], AudioResampler] = {}
        decoder = StreamDecoder(container, stream, self.path)
        for frame in decoder:
            if not isinstance(frame, AudioFrame) or frame.samples == 0:
                continue
            rate = frame.sample_rate
            if not MIN_RATE <= rate <= MAX_RATE:
                raise VastError("vast_bad_media", f"`{self.path}` claims a sample rate of {rate} Hz")
            stamp = frame.pts * frame.time_base if frame.pts is not None and frame.time_base else None
            key = (frame.format.name, frame.layout.name, rate)
            if key not in to_float:
                to_float[key] = AudioResampler(format="flt", layout=frame.layout, rate=rate)
            names = [channel.name for channel in frame.layout.channels]
            frame.pts = None
            for part in to_float[key].resample(frame):
                # packed, because PyAV 18 reads beyond its planes with more than 8 channels
                samples = part.to_ndarray().astype(np.float32, copy=False).reshape(-1, len(names)).T
                yield mix_to_mono(samples, names), rate, stamp
                stamp = None
        self.truncated = self.truncated or decoder.broke_off


class _Resampler:
    """To 16 kHz without a shift in time: 0.002 samples at most, measured on impulses at 8 - 96 kHz."""

    def __init__(self) -> None:
        self.total = Fraction(0)  # seconds of input
        self._rate = 0
        self._engine: AudioResampler | None = None

    def push(self, samples: NDArray[np.float32] | None, *, rate: int) -> list[NDArray[np.float32]]:
        """Take mono samples at `rate`, or None at the end; return what is ready."""
        out: list[AudioFrame | None] = []
        if self._engine is not None and (samples is None or rate != self._rate):
            out += self._engine.resample(None)
            self._engine = None
        if samples is not None and len(samples):
            if self._engine is None:
                self._engine, self._rate = AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE), rate
            self.total += Fraction(len(samples), rate)
            frame = AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
            frame.sample_rate = rate
            out += self._engine.resample(frame)
        return [frame.to_ndarray()[0].astype(np.float32) for frame in out if frame is not None]


def mix_to_mono(samples: NDArray[np.float32], names: list[str]) -> NDArray[np.float32]:
    """Mix [C, n] to [n]; a voice in all channels keeps its level, values that are not numbers become 0.

    Args:
        samples: one row a channel.
        names: ffmpeg's names of the channels; if any is unknown, all have the same weight.
    """
    clean = np.nan_to_num(samples, nan=0.0, posinf=1.0, neginf=-1.0)
    np.clip(clean, -1, 1, out=clean)  # as players do
    if len(clean) == 1:
        return np.array(clean[0])
    weights = [_WEIGHTS.get(name, 0.5 if name in _SURROUND else -1.0) for name in names]
    if len(weights) != len(clean) or min(weights) < 0 or sum(weights) == 0:
        weights = [1.0] * len(clean)
    share = np.array(weights, np.float32) / np.float32(sum(weights))
    mixed: NDArray[np.float32] = share @ clean
    return mixed


def _edit_end(container: InputContainer, stream: AudioStream) -> Fraction | None:
    """Where the audio ends by an MP4's header; the decoder does not cut off the padding of the last frame."""
    if "mp4" not in container.format.name or not stream.duration or stream.time_base is None:
        return None
    return (stream.duration + (stream.start_time or 0)) * stream.time_base


def _need_audio(container: InputContainer, path: Path) -> AudioStream:
    stream = audio_stream(container)
    if stream is None:
        if not container.streams.video:
            raise VastError("vast_bad_media", f"`{path}` holds no audio that can be decoded")
        raise VastError("vast_no_audio", f"`{path}` has no audio")
    return stream


def read_audio(path: Path, *, block_s: float = 10.0, start_s: float | None = None) -> AudioReader:
    """Audio of `path` in blocks of `block_s` seconds; see `AudioReader`."""
    return AudioReader(path, block_s=block_s, start_s=start_s)


def load_audio(path: Path, *, start_s: float | None = None) -> NDArray[np.float32]:
    """All audio of `path`: float32 [n_samples], mono, 16 kHz (230 MB an hour)."""
    return np.concatenate(list(read_audio(path, start_s=start_s)))
