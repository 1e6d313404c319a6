"""Every error a user can meet: code, exit status, what it means, what to do.

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
     78   config        vast_manifest_invalid vast_preset_unknown vast_record_invalid vast_record_version
                        vast_model_mismatch vast_option_invalid vast_journal_corrupt

Codes and exit statuses are API: only added to. Texts may change at any time.
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
class Kind:
    """A row of the table: how an error code ends the program and what helps as a rule."""

    exit: Exit
    meaning: str
    hint: str


KINDS: dict[str, Kind] = {
    "vast_gate_failed": Kind(
        Exit.GATE, "made, but below the limits asked", "look at the figures, lower the limit or change the input"
    ),
    "vast_internal": Kind(Exit.INTERNAL, "a bug in vast", "run again with `--debug` and report what it prints"),
    "vast_non_finite": Kind(
        Exit.INTERNAL, "a network gave values that are not numbers", "run again with `--dtype fp32 --device cpu`"
    ),
    "vast_no_face": Kind(Exit.DATA, "no face in the video", "`vast extract --preview` shows what the tracker sees"),
    "vast_face_lost": Kind(Exit.DATA, "too few frames with the face", "cut the video to the part that shows the face"),
    "vast_many_faces": Kind(
        Exit.DATA, "several faces, none chosen", "choose one with `--face largest|left|right|INDEX`"
    ),
    "vast_no_audio": Kind(Exit.DATA, "no sound in the file", "give a file with an audio stream"),
    "vast_no_speech": Kind(
        Exit.DATA, "the sound holds no speech", "check the recording; `--allow-silence` goes on anyway"
    ),
    "vast_audio_too_short": Kind(Exit.DATA, "the sound is too short", "give at least 0.04 s of sound"),
    "vast_footage_unfit": Kind(
        Exit.DATA,
        "footage unfit for an avatar",
        "film a face at rest and in speech, 5 s or more, head 128 px or larger",
    ),
    "vast_bad_media": Kind(Exit.DATA, "not a video or sound that can be decoded", "`ffprobe FILE` shows what is in it"),
    "vast_media_too_large": Kind(Exit.DATA, "beyond the bounds of vast", "scale it down or cut it"),
    "vast_input_missing": Kind(Exit.NOINPUT, "no such file", "check the path"),
    "vast_input_unreadable": Kind(Exit.NOINPUT, "the file cannot be read", "check its permissions"),
    "vast_input_changed": Kind(
        Exit.NOINPUT, "a file changed while it was used", "run again when whatever writes it has ended"
    ),
    "vast_no_ffmpeg": Kind(
        Exit.UNAVAILABLE, "no usable ffmpeg", "`python -m pip install imageio-ffmpeg`, or set FFMPEG_PATH"
    ),
    "vast_asset_missing": Kind(
        Exit.UNAVAILABLE,
        "a file that ships with vast is missing",
        "install vast again, or set VAST_WEIGHTS to the folder that holds it",
    ),
    "vast_asset_corrupt": Kind(Exit.UNAVAILABLE, "a file that ships with vast was changed", "install vast again"),
    "vast_avatar_unknown": Kind(Exit.UNAVAILABLE, "no such avatar", "`vast avatars list` shows the known ones"),
    "vast_device_unavailable": Kind(Exit.UNAVAILABLE, "the device is not there", "use `--device auto`"),
    "vast_extra_missing": Kind(
        Exit.UNAVAILABLE, "an optional package is not installed", "`python -m pip install 'vast-avatar[evaluate]'`"
    ),
    "vast_offline": Kind(Exit.UNAVAILABLE, "this would need the network", "run without `--offline`"),
    "vast_out_of_memory": Kind(Exit.RESOURCE, "out of memory", "run fewer jobs at once"),
    "vast_worker_died": Kind(Exit.RESOURCE, "a worker process died", "look at its log"),
    "vast_timeout": Kind(Exit.RESOURCE, "took longer than allowed", "raise the limit"),
    "vast_output_exists": Kind(Exit.CANTCREATE, "the output exists", "`--overwrite` replaces it"),
    "vast_output_unwritable": Kind(Exit.CANTCREATE, "the output cannot be created", "choose another folder with `-o`"),
    "vast_disk_full": Kind(Exit.IOERROR, "no space left", "free some space and run again"),
    "vast_write_failed": Kind(Exit.IOERROR, "writing failed", "check the disk and run again"),
    "vast_encode_failed": Kind(Exit.IOERROR, "the encoder failed", "run with `--debug` to see what ffmpeg said"),
    "vast_locked": Kind(Exit.LOCKED, "another run holds it", "wait for it to end"),
    "vast_manifest_invalid": Kind(Exit.CONFIG, "faults in a manifest", "mend the rows named; nothing was started"),
    "vast_journal_corrupt": Kind(
        Exit.CONFIG, "a broken line in a journal", "`--repair` keeps the good lines; the old file is kept beside it"
    ),
    "vast_preset_unknown": Kind(Exit.CONFIG, "no such preset", "see the folder `presets`"),
    "vast_record_invalid": Kind(Exit.CONFIG, "not a valid vast record", "make it again with this version of vast"),
    "vast_record_version": Kind(
        Exit.CONFIG, "a record of another format version", "make it again with this version of vast"
    ),
    "vast_model_mismatch": Kind(
        Exit.CONFIG, "records made with different models", "make them again with this version of vast"
    ),
    "vast_option_invalid": Kind(Exit.CONFIG, "an option has a value that does not fit", "`--help` shows what it takes"),
}


class VastError(Exception):
    """One failure a user can understand: what happened, where, what to do.

    Args:
        code: a key of `KINDS`.
        message: what happened, lower case, no full stop.
        where: file, time or row, if the message does not name it.
        hint: what to do; the table's hint if not given.
    """

    def __init__(self, code: str, message: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        kind = KINDS[code]
        self.code = code
        self.exit = kind.exit
        self.message = message
        self.where = where
        self.hint = kind.hint if hint is None else hint

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors travel between processes whole."""
        return _again, (self.code, self.message, self.where, self.hint)

    def as_dict(self) -> dict[str, str | int | None]:
        """The error as it appears in JSON output."""
        return {
            "code": self.code,
            "exit": int(self.exit),
            "message": self.message,
            "where": self.where,
            "hint": self.hint,
        }


def _again(code: str, message: str, where: str | None, hint: str) -> VastError:
    return VastError(code, message, where=where, hint=hint)
