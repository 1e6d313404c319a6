"""Writes are atomic, and every failure of the disk has its code."""

import errno
import os
from pathlib import Path

import pytest

from vast_cli.core import files
from vast_cli.core.errors import VastError


def test_nothing_remains_when_the_writer_fails(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), files.atomic_write(tmp_path / "a.bin") as part:
        part.write_bytes(b"half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_survives_a_failure(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), files.atomic_write(tmp_path / "a.bin") as part:
        part.write_bytes(b"new")
        raise KeyboardInterrupt
    assert (tmp_path / "a.bin").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_outputs_are_not_replaced_without_overwrite(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"old")
    with pytest.raises(VastError) as error, files.atomic_write(tmp_path / "a.bin", overwrite=False):
        pass
    assert error.value.code == "vast_output_exists"


@pytest.mark.parametrize("name", ["a b'\"%.bin", "-dash.bin", "صوت.bin", "x" * 200 + ".bin"])
def test_unusual_names(tmp_path: Path, name: str) -> None:
    with files.atomic_write(tmp_path / name) as part:
        part.write_bytes(b"whole")
    assert (tmp_path / name).read_bytes() == b"whole"


@pytest.mark.parametrize(
    ("number", "code"),
    [(errno.ENOSPC, "vast_disk_full"), (errno.EACCES, "vast_output_unwritable"), (errno.EIO, "vast_write_failed")],
)
def test_disk_errors_have_codes(tmp_path: Path, number: int, code: str) -> None:
    with pytest.raises(VastError) as error, files.atomic_write(tmp_path / "a.bin"):
        raise OSError(number, os.strerror(number))
    assert error.value.code == code
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(VastError) as error:
        files.check_output(tmp_path / "a" / "b.mp4", overwrite=False)
    assert error.value.code in {"vast_output_unwritable", "vast_output_exists"}


def test_files_have_the_mode_of_the_umask(tmp_path: Path) -> None:
    with files.atomic_write(tmp_path / "a.bin") as part:
        part.chmod(0o600)
    (tmp_path / "b").touch()
    assert (tmp_path / "a.bin").stat().st_mode == (tmp_path / "b").stat().st_mode
