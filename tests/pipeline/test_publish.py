"""Names of staged files, and the step that gives a finished file its final name and sidecar."""

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vast_cli.core.errors import VastError
from vast_cli.pipeline import publish


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=200))
def test_staging_names_are_hidden_and_at_most_255_bytes(stem: str) -> None:
    output = Path("/out") / f"{stem}.mp4"
    staging = publish.staging_path(output, "0123abcd.10000.12")
    assert staging.parent == output.parent and staging.suffix == ".mp4"
    assert staging.name.startswith(".") and ".part" in staging.name
    assert len(staging.name.encode()) <= 255


def test_a_published_file_has_a_sidecar_that_names_it(tmp_path: Path) -> None:
    output, staging = tmp_path / "a.mp4", tmp_path / ".a.part.mp4"
    staging.write_bytes(b"video")
    sha256 = hashlib.sha256(b"video").hexdigest()
    sidecar = {"output": {"file": staging.name, "sha256": "x"}, "made": "now"}
    record = publish.give_name(staging, output, size=5, sha256=sha256, sidecar=sidecar, replace=False)
    assert json.loads((tmp_path / "a.mp4.json").read_text()) == {
        "output": {"file": "a.mp4", "sha256": "x"},
        "made": "now",
    }
    assert output.read_bytes() == b"video" and not staging.exists()
    assert record == {"size": 5, "mtime_ns": output.stat().st_mtime_ns, "sha256": sha256}
    with pytest.raises(VastError) as caught:
        publish.give_name(staging, output, size=5, sha256=sha256, sidecar=sidecar, replace=False)
    assert caught.value.code == "vast_output_exists"
    with pytest.raises(VastError):  # the staged file is gone
        publish.give_name(staging, output, size=5, sha256=sha256, sidecar=sidecar, replace=True)
