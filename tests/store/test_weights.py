"""Weights files: what is saved is built again, and every unusable file is refused with a code."""

from pathlib import Path

import numpy as np
import pytest

from vast_cli import records
from vast_cli.core import files
from vast_cli.core.errors import VastError
from vast_cli.store.weights import Weights, WeightsFormat

FORMAT = WeightsFormat("vast.test", 2, "test network", max_bytes=10_000)
TENSORS = {
    "a.half": np.arange(4, dtype=np.float16),
    "a.count": np.array(7),
    "b.full": np.array([0.1], np.float32),
}


def keep(weights: Weights) -> Weights:
    return weights


def test_what_is_saved_is_built_again(tmp_path: Path) -> None:
    FORMAT.save(tmp_path / "w", TENSORS, {"config": 1})
    weights = FORMAT.load(tmp_path / "w", keep)
    assert weights.header == {"config": 1} and weights.sha256 == files.sha256(tmp_path / "w")
    state = weights.network_state("a.")
    assert {name: value.dtype for name, value in state.items()} == {"half": np.float32, "count": np.int64}
    assert np.array_equal(state["half"], TENSORS["a.half"]) and state["count"] == 7
    assert set(weights.network_state()) == set(TENSORS)


def refused(path: Path, build: object = keep) -> VastError:
    with pytest.raises(VastError) as caught:
        FORMAT.load(path, build)  # type: ignore[arg-type]
    return caught.value


def test_unusable_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w"
    assert refused(path).code == "vast_input_missing"
    path.write_bytes(b"no weights")
    assert refused(path).code == "vast_record_invalid"
    records.save_tensors(path, TENSORS, kind="vast.other", version=2, header={})
    assert refused(path).code == "vast_record_invalid"
    records.save_tensors(path, TENSORS, kind="vast.test", version=1, header={})
    assert refused(path).code == "vast_record_version"
    FORMAT.save(path, {"a": np.zeros(10_000, np.float32)}, {})
    assert "too large for test network weights" in refused(path).message


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(value: float, tmp_path: Path) -> None:
    FORMAT.save(tmp_path / "w", TENSORS | {"c": np.array([0, value], np.float16)}, {})
    error = refused(tmp_path / "w")
    assert error.code == "vast_record_invalid" and "not finite" in error.message


@pytest.mark.parametrize("error", [KeyError("config"), TypeError("x"), ValueError("x"), RuntimeError("shapes differ")])
def test_a_network_that_cannot_be_built_makes_the_file_invalid(error: Exception, tmp_path: Path) -> None:
    def fail(_weights: Weights) -> None:
        raise error

    FORMAT.save(tmp_path / "w", TENSORS, {})
    assert refused(tmp_path / "w", fail).code == "vast_record_invalid"
