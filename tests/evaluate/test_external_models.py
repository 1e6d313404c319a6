"""External models that the user brings give measures under their own names; without them these are null."""

import sys
from pathlib import Path

import pytest
import torch

from vast_cli.evaluate import engine
from vast_cli.evaluate.external.models import ExternalModelOptions
from vast_cli.evaluate.observation.clip import Pair


@pytest.fixture(scope="module")
def clip(prompt: Path, tmp_path_factory: pytest.TempPathFactory, ffmpeg: object) -> Path:
    """Two seconds and a bit of the example that this project rendered."""
    assert callable(ffmpeg)
    made = tmp_path_factory.mktemp("clip") / "clip.mp4"
    ffmpeg("-i", prompt, "-t", "2.2", "-vf", "scale=320:-2", "-c:v", "libx264", "-crf", "8", "-c:a", "aac", made)
    return made


def program(folder: Path, name: str, prints: str) -> str:
    """A command that prints a line about a video."""
    script = folder / f"{name}.py"
    checks = "assert sys.argv[1] == '--version' or pathlib.Path(sys.argv[1]).is_file()"
    script.write_text(f"import pathlib, sys\n{checks}\nprint({prints!r})\n")
    return f"{sys.executable} {script} {{video}}"


def test_programs(clip: Path, tmp_path: Path) -> None:
    reader = program(tmp_path, "reader", "Bin blue AT f two, now!")
    emotion = program(tmp_path, "emotion", '{"happy": 0.7, "sad": 0.3}')
    settings = engine.Settings(controls=False, external=ExternalModelOptions(lip_reader=reader, emotion_model=emotion))
    pair = Pair("a", clip, clip, transcript="bin blue at f three now", style_reference=clip)
    document = engine.evaluate([pair], settings)
    measures = document["measures"]
    assert measures["wer"]["value"] == pytest.approx(1 / 6)
    assert measures["wer"]["controls"] == {"total": 6.0, "truth": pytest.approx(1 / 6)}
    low, high = measures["wer"]["ci95"]
    assert 0 < low < 1 / 6 < high < 1
    assert measures["emotion_acc"]["value"] == 1
    assert measures["emotion_posterior"]["value"] == pytest.approx(0.7)
    assert set(document["set"]["models"]) == {"lagsync", "lip_reader", "emotion_model"}
    assert measures["sync_conf"]["reason"] == measures["fid"]["reason"] == "no_weights"


def test_a_reader_without_a_transcript(clip: Path, tmp_path: Path) -> None:
    settings = engine.Settings(
        controls=False, external=ExternalModelOptions(lip_reader=program(tmp_path, "reader", "bin"))
    )
    assert engine.evaluate([Pair("a", clip)], settings)["measures"]["wer"]["reason"] == "no_transcript"


def test_published_weights_of_syncnet(clip: Path, tmp_path: Path) -> None:
    from vast_cli.evaluate.external.syncnet import SyncNetwork

    torch.manual_seed(0)
    weights = tmp_path / "syncnet_v2.model"
    torch.save(SyncNetwork().state_dict(), weights)
    settings = engine.Settings(controls=False, external=ExternalModelOptions(syncnet_weights=weights))
    measures = engine.evaluate([Pair("a", clip, clip)], settings)["measures"]
    for name in ("sync_dist", "sync_conf", "sync_offset", "sync_dist_lag0"):
        assert measures[name]["value"] == pytest.approx(measures[name]["controls"]["truth"]), name
    assert measures["sync_dist"]["value"] <= measures["sync_dist_lag0"]["value"]
