"""Reads any video or audio (by timestamp, upright, 25 fps, 16 kHz); writes videos and images, whole or not at all."""

from vast_cli.media.audio import AudioReader, load_audio, read_audio
from vast_cli.media.audio_track import Soundtrack
from vast_cli.media.ffmpeg import find_ffmpeg
from vast_cli.media.image import contact_sheet, write_png
from vast_cli.media.join import VideoJoiner
from vast_cli.media.probe import MediaInfo, probe
from vast_cli.media.read import VideoReader
from vast_cli.media.write import VideoFormat, VideoWriter, check_codec

__all__ = [
    "AudioReader",
    "MediaInfo",
    "Soundtrack",
    "VideoFormat",
    "VideoJoiner",
    "VideoReader",
    "VideoWriter",
    "check_codec",
    "contact_sheet",
    "find_ffmpeg",
    "load_audio",
    "probe",
    "read_audio",
    "write_png",
]
