"""Records survive saving and loading; damaged, foreign and hostile files are refused with a code."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from vast_cli import records
from vast_cli.core.arrays import Float32
from vast_cli.core.errors import VastError
from vast_cli.records import FaceTrack, Motion, Posteriorgram, Record, Style


def examples() -> list[Record]:
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> Float32:
        return rng.standard_normal(shape).astype(np.float32)

    return [
        FaceTrack(
            valid=np.ones(3, bool), score=np.ones(3, np.float32), segment=np.zeros(3, np.int16),
            expression=normal(3, 233),
            rotation=normal(3, 3), scale=normal(3), translation=normal(3, 3), identity=normal(478, 3),
            height=256, width=200, source="a.mp4", model_hash="m", report={"frames": 3},
        ),
        Posteriorgram(values=np.full((5, 40), 1 / 40, np.float32), n_samples=1600, model_hash="m"),
        Style(
            mean=normal(8), log_std=normal(8), flow_seed=normal(8), moments=normal(3), moments_std=normal(3),
            vector=normal(11), head=normal(2, 3), source="a", n_frames=4,
            speech_known=True, model_hash="m",
        ),
        Motion(
            expression=normal(4, 233), n_samples=2560, avatar="obama", limited_share=0.0,
            face_model_hash="f", model_hash="m",
        ),
    ]  # fmt: skip


@pytest.mark.parametrize("record", examples(), ids=lambda r: r.FORMAT)
def test_round_trip(record: Record, tmp_path: Path) -> None:
    path = tmp_path / "record"
    record.save(path)
    loaded = records.load(type(record), path)
    for f in dataclasses.fields(record):
        before, after = getattr(record, f.name), getattr(loaded, f.name)
        assert np.array_equal(before, after) and type(before) is type(after)


@pytest.mark.parametrize("record", examples(), ids=lambda r: r.FORMAT)
def test_the_same_record_has_the_same_bytes(record: Record, tmp_path: Path) -> None:
    contents = set()
    for k in range(5):
        record.save(tmp_path / f"{k}")
        contents.add((tmp_path / f"{k}").read_bytes())
    assert len(contents) == 1


def test_record_of_another_model_is_refused(tmp_path: Path) -> None:
    examples()[1].save(tmp_path / "a.ppg")
    with pytest.raises(VastError) as error:
        records.load(Posteriorgram, tmp_path / "a.ppg", model_hash="other")
    assert error.value.code == "vast_model_mismatch"


def test_record_of_another_kind_is_refused(tmp_path: Path) -> None:
    examples()[1].save(tmp_path / "a.ppg")
    with pytest.raises(VastError) as error:
        records.load(Style, tmp_path / "a.ppg")
    assert error.value.code == "vast_record_invalid"


def test_a_later_format_is_refused(tmp_path: Path) -> None:
    values = np.zeros((2, 40), np.float32)
    metadata = {"format": "vast.ppg", "format_version": "99", "header": json.dumps({})}
    save_file({"values": values}, tmp_path / "a.ppg", metadata=metadata)
    with pytest.raises(VastError) as error:
        records.load(Posteriorgram, tmp_path / "a.ppg")
    assert error.value.code == "vast_record_version"


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((2, 39), np.float32),
        np.zeros((2, 40), np.float64),
        np.full((2, 40), np.nan, np.float32),
        np.zeros(40, np.float32),
    ],
)
def test_wrong_arrays_are_refused(values: np.ndarray) -> None:
    with pytest.raises(VastError) as error:
        Posteriorgram(values=values, n_samples=640, model_hash="m")
    assert error.value.code == "vast_record_invalid"


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_damaged_files_never_crash(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("damaged") / "a.ppg"
    examples()[1].save(path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, 300))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        records.load(Posteriorgram, path)
    except VastError as error:
        assert error.code in {"vast_record_invalid", "vast_record_version", "vast_input_unreadable"}
