"""The weights file: it is read as it was saved, other files are refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from vast_cli.core.errors import VastError
from vast_cli.records import save_tensors
from vast_cli.speech import CLASSES, AcousticModel, load_acoustic_model, save_acoustic_model


def test_there_are_40_classes_and_silence_is_the_first() -> None:
    assert len(CLASSES) == len(set(CLASSES)) == 40 and CLASSES[0] == "SIL"


def test_a_saved_network_gives_the_same_logits(random_model: AcousticModel, tmp_path: Path) -> None:
    save_acoustic_model(random_model, tmp_path / "a.safetensors")
    loaded = load_acoustic_model(tmp_path / "a.safetensors")
    x = torch.randn(1, 31, 80, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(loaded(x), random_model(x), atol=0.01, rtol=0.01)  # stored in half precision
    assert loaded.config == random_model.config and len(loaded.hash) == 16


def refusal(path: Path) -> str:
    with pytest.raises(VastError) as caught:
        load_acoustic_model(path)
    return str(caught.value.code)


def test_files_that_hold_no_network_are_refused(random_model: AcousticModel, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    assert refusal(path) == "vast_input_missing"
    path.write_bytes(b"not safetensors at all")
    assert refusal(path) == "vast_record_invalid"
    tensors = {"mean": np.zeros(80, np.float32)}
    save_tensors(path, tensors, kind="vast.ppg", version=1, header={})
    assert refusal(path) == "vast_record_invalid"
    save_tensors(path, tensors, kind="vast.acoustic", version=99, header={})
    assert refusal(path) == "vast_record_version"
    huge = json.dumps({"hidden": 10**9, "dilations": [1]})
    for config in ("{}", "[]", "no json", 7, '{"dilations": [[1]]}', huge, random_model.config.to_json()):
        save_tensors(path, tensors, kind="vast.acoustic", version=1, header={"config": config})
        assert refusal(path) == "vast_record_invalid"


def test_weights_that_are_not_numbers_are_refused(random_model: AcousticModel, tmp_path: Path) -> None:
    broken = AcousticModel(random_model.config)
    broken.mean.fill_(float("nan"))
    save_acoustic_model(broken, tmp_path / "a.safetensors")
    assert refusal(tmp_path / "a.safetensors") == "vast_record_invalid"


def test_the_shipped_file_is_small(trained_model: AcousticModel) -> None:
    path = Path(__file__).parents[2] / "weights" / "acoustic.safetensors"
    assert path.stat().st_size < 8 << 20
    assert trained_model.context <= 26  # 0.52 s
