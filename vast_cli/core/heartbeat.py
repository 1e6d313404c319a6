"""Stand-in for locks on file systems without them (Lustre mounted without `flock`): a file that its holder touches."""

import logging
import os
import threading
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from vast_cli.core import files

log = logging.getLogger(__name__)

BEAT_S = 10.0  # how often the holder touches the file
STALE_S = 60.0  # a file untouched for longer belongs to a dead holder


@dataclass
class Heartbeat:
    """A held lock: `FILE.held`, created exclusively and touched every `BEAT_S` by a thread."""

    file: Path
    token: str
    stop: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def try_acquire(cls, path: Path) -> "Heartbeat | None":
        """Take the lock `path`; None if another process holds it.

        Raises:
            OSError: the file cannot be created.
        """
        file = path.with_name(path.name + ".held")
        heartbeat = cls(file, uuid.uuid4().hex)
        try:
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            _remove_stale(file)
            return None
        with os.fdopen(descriptor, "w") as stream:
            stream.write(heartbeat.token)
        threading.Thread(target=heartbeat._run, name="vast-lock", daemon=True).start()
        return heartbeat

    def _run(self) -> None:
        while not self.stop.wait(BEAT_S):
            try:
                if self.file.read_text() != self.token:
                    log.warning("another process took `%s`: this process was suspended for too long", self.file)
                    return
                os.utime(self.file)
            except OSError as error:
                log.warning("`%s` cannot be touched: %s", self.file, error)

    def release(self, *, keep_file: bool) -> None:
        """Release the lock; unless `keep_file`, the lock file itself is removed, too."""
        self.stop.set()
        with suppress(OSError):
            if self.file.read_text() == self.token:
                self.file.unlink()
                if not keep_file:
                    self.file.with_suffix("").unlink()


def _remove_stale(file: Path) -> None:
    """Remove the file of a holder that no longer touches it. Its age is measured by the file server's clock."""
    probe, grave = files.part_path(file), files.part_path(file)
    try:
        token, touched = file.read_text(), file.stat().st_mtime
        probe.touch()
        age_s = probe.stat().st_mtime - touched
        probe.unlink()
        if age_s <= STALE_S:
            return
        file.rename(grave)  # succeeds for one of several processes
        if grave.read_text() != token:  # a new holder's, created in the meantime: put it back
            os.link(grave, file)
        grave.unlink()
    except OSError as error:
        log.debug("`%s`: %s", file, error)
    finally:
        for path in (probe, grave):
            with suppress(OSError):
                path.unlink(missing_ok=True)
