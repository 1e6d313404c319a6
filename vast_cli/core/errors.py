"""Every error a user can see: its code, exit status, meaning and hint.

    VastError
      4   gate          vast_gate_failed
      1   internal      vast_internal vast_non_finite
     65   data          vast_no_face vast_face_lost vast_many_faces vast_no_audio vast_no_speech vast_audio_too_short
                        vast_footage_unfit vast_bad_media vast_media_too_large
     66   noinput       vast_input_missing vast_input_unreadable vast_input_changed
     69   unavailable   vast_no_ffmpeg vast_asset_missing vast_asset_corrupt vast_avatar_unknown vast_device_unavailable
                        vast_offline vast_extra_missing
     71   resource      vast_out_of_memory vast_worker_died vast_timeout
     73   cantcreate    vast_output_exists vast_output_unwritable
     74   ioerror       vast_disk_full vast_write_failed vast_encode_failed
     75   locked        vast_locked
     78   config        vast_manifest_invalid vast_preset_unknown vast_style_unknown vast_record_invalid
                        vast_record_version vast_model_mismatch vast_option_invalid vast_journal_corrupt

Codes and exit statuses are public: new ones may be added, existing ones never change. Texts may change at any time.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any


class Exit(IntEnum):
    """Exit statuses of the command line (BSD sysexits where one fits)."""

    OK = 0
    INTERNAL = 1
    USAGE = 2
    PARTIAL = 3
    GATE = 4
    DATA = 65
    NOINPUT = 66
    UNAVAILABLE = 69
    RESOURCE = 71
    CANTCREATE = 73
    IOERROR = 74
    LOCKED = 75
    CONFIG = 78
    SIGINT = 130
    SIGTERM = 143


@dataclass(frozen=True)
class ErrorKind:
    """What an error code means: exit status, meaning, and the hint shown unless the error brings its own."""

    exit: Exit
    meaning: str
    hint: str


ERROR_KINDS: dict[str, ErrorKind] = {
    # gate
    "vast_gate_failed": ErrorKind(
        Exit.GATE, "rendered, but a gate failed", "compare the figures with the limits; change a limit or the input"
    ),
    # internal
    "vast_internal": ErrorKind(Exit.INTERNAL, "a bug in vast", "run again with `--debug` and report what it prints"),
    "vast_non_finite": ErrorKind(
        Exit.INTERNAL, "a network returned NaN or infinity", "run again with `--dtype fp32 --device cpu`"
    ),
    # data
    "vast_no_face": ErrorKind(
        Exit.DATA, "no face in the video", "`vast extract --preview` shows what the tracker detects"
    ),
    "vast_face_lost": ErrorKind(
        Exit.DATA, "too few frames with the face", "cut the video to the part that shows the face"
    ),
    "vast_many_faces": ErrorKind(
        Exit.DATA, "several faces and none selected", "select one with `--face largest|left|right|INDEX`"
    ),
    "vast_no_audio": ErrorKind(Exit.DATA, "no audio in the file", "use a file with an audio stream"),
    "vast_no_speech": ErrorKind(
        Exit.DATA, "no speech in the audio", "check the recording; `--allow-silence` renders it anyway"
    ),
    "vast_audio_too_short": ErrorKind(Exit.DATA, "the audio is too short", "use at least 0.04 s of audio"),
    "vast_footage_unfit": ErrorKind(
        Exit.DATA,
        "the footage is unsuitable for an avatar",
        "film a face at rest and while speaking, 5 s or longer, head 128 px or larger",
    ),
    "vast_bad_media": ErrorKind(
        Exit.DATA, "not a video or audio file that can be decoded", "`ffprobe FILE` shows what it contains"
    ),
    "vast_media_too_large": ErrorKind(Exit.DATA, "larger or longer than vast supports", "scale it down or cut it"),
    # noinput
    "vast_input_missing": ErrorKind(Exit.NOINPUT, "no such file", "check the path"),
    "vast_input_unreadable": ErrorKind(Exit.NOINPUT, "the file cannot be read", "check its permissions"),
    "vast_input_changed": ErrorKind(
        Exit.NOINPUT, "a file changed while it was in use", "run again when nothing writes to it any more"
    ),
    # unavailable
    "vast_no_ffmpeg": ErrorKind(
        Exit.UNAVAILABLE, "no usable ffmpeg", "`python -m pip install imageio-ffmpeg`, or set FFMPEG_PATH"
    ),
    "vast_asset_missing": ErrorKind(
        Exit.UNAVAILABLE,
        "a file that ships with vast is missing",
        "reinstall vast, or set VAST_WEIGHTS to the folder that holds it",
    ),
    "vast_asset_corrupt": ErrorKind(Exit.UNAVAILABLE, "a file that ships with vast was modified", "reinstall vast"),
    "vast_avatar_unknown": ErrorKind(Exit.UNAVAILABLE, "no such avatar", "`vast avatars list` lists the known ones"),
    "vast_device_unavailable": ErrorKind(Exit.UNAVAILABLE, "the device is not available", "use `--device auto`"),
    "vast_extra_missing": ErrorKind(
        Exit.UNAVAILABLE, "an optional package is not installed", "`python -m pip install 'vast-avatar[evaluate]'`"
    ),
    "vast_offline": ErrorKind(Exit.UNAVAILABLE, "needs network access", "run without `--offline`"),
    # resource
    "vast_out_of_memory": ErrorKind(Exit.RESOURCE, "out of memory", "run fewer jobs at once"),
    "vast_worker_died": ErrorKind(Exit.RESOURCE, "a worker process died", "look at its log"),
    "vast_timeout": ErrorKind(Exit.RESOURCE, "took longer than allowed", "raise the limit"),
    # cantcreate
    "vast_output_exists": ErrorKind(Exit.CANTCREATE, "the output exists", "`--overwrite` replaces it"),
    "vast_output_unwritable": ErrorKind(
        Exit.CANTCREATE, "the output cannot be created", "choose another folder with `-o`"
    ),
    # ioerror
    "vast_disk_full": ErrorKind(Exit.IOERROR, "no space left on the disk", "free some space and run again"),
    "vast_write_failed": ErrorKind(Exit.IOERROR, "writing failed", "check the disk and run again"),
    "vast_encode_failed": ErrorKind(
        Exit.IOERROR, "the encoder failed", "run with `--debug` to see the output of ffmpeg"
    ),
    # locked
    "vast_locked": ErrorKind(Exit.LOCKED, "in use by another process", "wait for it to finish"),
    # config
    "vast_manifest_invalid": ErrorKind(
        Exit.CONFIG, "errors in a manifest", "fix the rows listed; no job has been started"
    ),
    "vast_journal_corrupt": ErrorKind(
        Exit.CONFIG,
        "an invalid line in a journal",
        "`--repair` keeps the valid lines and a copy of the original file",
    ),
    "vast_preset_unknown": ErrorKind(Exit.CONFIG, "no such preset", "see the folder `presets`"),
    "vast_style_unknown": ErrorKind(Exit.CONFIG, "no such style", "`vast styles list` lists the known ones"),
    "vast_record_invalid": ErrorKind(
        Exit.CONFIG, "not a valid vast record", "create it again with this version of vast"
    ),
    "vast_record_version": ErrorKind(
        Exit.CONFIG, "a record of another format version", "create it again with this version of vast"
    ),
    "vast_model_mismatch": ErrorKind(
        Exit.CONFIG, "records made with different models", "create them again with this version of vast"
    ),
    "vast_option_invalid": ErrorKind(
        Exit.CONFIG, "an option has an invalid value", "`--help` lists the values it accepts"
    ),
}


class VastError(Exception):
    """A failure reported to the user: what happened, where, and what to do about it.

    Args:
        code: a key of `ERROR_KINDS`.
        message: what happened, in lower case, without a full stop.
        where: file, time or row, if the message does not name it.
        hint: what to do; by default the hint of the code.
    """

    def __init__(self, code: str, message: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        kind = ERROR_KINDS[code]
        self.code = code
        self.exit = kind.exit
        self.message = message
        self.where = where
        self.hint = kind.hint if hint is None else hint

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle with every field, so that errors can cross process boundaries."""
        return _rebuild, (self.code, self.message, self.where, self.hint)

    def as_dict(self) -> dict[str, str | int | None]:
        """The error as JSON output has it."""
        return {
            "code": self.code,
            "exit": int(self.exit),
            "message": self.message,
            "where": self.where,
            "hint": self.hint,
        }


def _rebuild(code: str, message: str, where: str | None, hint: str) -> VastError:
    return VastError(code, message, where=where, hint=hint)
