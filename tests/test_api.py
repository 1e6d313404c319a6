"""`Pipeline` gives the results and errors of the command line, and runs every example of docs/python.md."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vast_cli
from tests.conftest import ROOT, Ffmpeg, Vast
from vast_cli import Pipeline, VastError, api, records
from vast_cli.core import files
from vast_cli.gates.options import GatedOptions
from vast_cli.pipeline.request import RenderRequest

PAGE = ROOT / "docs" / "python.md"


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory, ffmpeg: Ffmpeg, speech: Path, prompt: Path) -> Path:
    """A folder with 1.6 s of speech and of a face: 40 frames."""
    folder = tmp_path_factory.mktemp("clips") / "a b 日本 é'$(x);"
    folder.mkdir()
    ffmpeg("-i", speech, "-t", "1.6", folder / "speech.wav")
    ffmpeg("-i", prompt, "-t", "1.6", folder / "excited.mp4")
    return folder


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """A pipeline that loads its networks once for all tests."""
    return Pipeline(threads=1, cache=tmp_path_factory.mktemp("cache"))


def run_python(code: str, folder: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", code],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=280,
    )


RUN_BLOCKS = """
import json, re, sys
from pathlib import Path
names = {}
for block in re.findall(r"```python\\n(.*?)```", Path(sys.argv[1] if sys.argv[1:] else "page.md").read_text(), re.S):
    print(block.strip().splitlines()[-1], file=sys.stderr)
    exec(block, names)
print(json.dumps(names["document"]["set"]["clips"]))
"""


def test_every_example_of_the_page_runs(clips: Path, tmp_path: Path) -> None:
    for name in ("speech.wav", "excited.mp4"):
        (tmp_path / name).write_bytes((clips / name).read_bytes())
    (tmp_path / "jobs.csv").write_text(
        "id,audio,prompt\nintro,speech.wav,excited.mp4\nbroken,speech.wav,speech.wav\n", encoding="utf-8"
    )
    (tmp_path / "page.md").write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    result = run_python(RUN_BLOCKS, tmp_path, VAST_CACHE=str(tmp_path / "platform"))
    assert result.returncode == 0, result.stderr
    out = result.stdout
    assert "out.mp4 40 1.60 s" in out
    assert "100% of 40 frames show the face" in out
    assert "(80, 40)" in out and "(40, 40)" in out and "(40, 233)" in out and "(40, 52)" in out
    assert "2 of 2" in out and "intro run new" in out and "job_done intro" in out
    assert "1 done 1 failed 3" in out and "broken vast_bad_media" in out
    assert "did you mean `style_strength`?" in out
    assert "listen (s) 1 1" in out
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "two.mp4").read_bytes()
    assert list((tmp_path / "report").glob("*.html"))
    written = {
        "out.mp4", "calm.mp4", "lesson.mp4", "excited.style", "excited.track", "speech.motion", "speech.csv", "out",
        "jobs.vast",
    }  # fmt: skip
    assert written <= {path.name for path in tmp_path.iterdir()}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"intro.mp4", "broken.mp4"}
    assert not (tmp_path / "new.mp4").exists()


def test_importing_and_planning_do_not_import_torch(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "jobs.jsonl").write_text(json.dumps({"audio": str(clips / "speech.wav")}))
    code = """
import sys
import vast_cli
assert not {"torch", "numpy", "pydantic", "vast_cli.api"} & set(sys.modules)
assert vast_cli.Pipeline is __import__("vast_cli.api").api.Pipeline
plan = vast_cli.Pipeline().plan("jobs.jsonl", "{id}.mp4")
assert plan.to_run == 1, plan
assert "torch" not in sys.modules
"""
    result = run_python(code, tmp_path, VAST_CACHE=str(tmp_path / "cache"))
    assert result.returncode == 0, result.stderr


def test_the_package_exports_its_public_names() -> None:
    assert vast_cli.Pipeline is Pipeline and vast_cli.VastError is VastError
    with pytest.raises(AttributeError, match="Pipelin"):
        _ = vast_cli.Pipelin
    assert {name for name in vast_cli.__all__ if hasattr(vast_cli, name)} == set(vast_cli.__all__)


def test_render_writes_the_bytes_of_the_command_line(
    pipeline: Pipeline, clips: Path, tmp_path: Path, vast: Vast
) -> None:
    inputs = {"audio": clips / "speech.wav", "prompt": clips / "excited.mp4"}
    result = pipeline.render(**inputs, output=tmp_path / "-é.mp4", preset="draft", style_strength=1.5)
    arguments = [
        *(f"--{name}={path}" for name, path in inputs.items()), "--preset=draft", "--style-strength=1.5", "--threads=1",
    ]  # fmt: skip
    process = vast("render", *arguments, "-o", tmp_path / "b.mp4")
    assert process.returncode == 0, process.stderr
    assert files.sha256(tmp_path / "-é.mp4") == files.sha256(tmp_path / "b.mp4")
    assert result.n_frames == 40 and result.output == tmp_path / "-é.mp4"


def test_the_cache_answers_the_second_call(pipeline: Pipeline, clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    track, ppg = pipeline.extract(clips / "excited.mp4"), pipeline.ppg(str(clips / "speech.wav"))
    monkeypatch.delattr("vast_cli.face.track_video")
    monkeypatch.delattr("vast_cli.speech.extract_ppg")
    assert np.array_equal(pipeline.extract(clips / "excited.mp4").expression, track.expression)
    assert np.array_equal(pipeline.ppg(clips / "speech.wav").values, ppg.values)


def test_without_a_cache_no_file_is_written(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAST_CACHE", str(tmp_path / "cache"))
    Pipeline(cache=False).ppg(clips / "speech.wav")
    assert list(tmp_path.iterdir()) == []
    Pipeline().ppg(clips / "speech.wav")
    assert any(path.is_file() for path in (tmp_path / "cache").rglob("*"))


def test_a_style_its_file_and_its_name_give_the_same_motion(
    pipeline: Pipeline, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAST_STYLES", str(tmp_path))
    style = pipeline.encode_style(clips / "excited.mp4")
    style.save(tmp_path / "a.style")
    motion, of_file, of_name, own_style = (
        pipeline.predict(clips / "speech.wav", style=s) for s in (style, tmp_path / "a.style", "a", None)
    )
    assert np.array_equal(motion.expression, of_file.expression)
    assert np.array_equal(motion.expression, of_name.expression)
    assert not np.array_equal(motion.expression, own_style.expression)
    motion.save(tmp_path / "a.motion")
    loaded = records.load(records.Motion, tmp_path / "a.motion")
    assert loaded.n_samples == motion.n_samples and np.array_equal(loaded.expression, motion.expression)


def raised(call: Callable[[], Any]) -> tuple[str, str, str]:
    """Code, message and hint of the error that the call raises."""
    with pytest.raises(VastError) as error:
        call()
    return error.value.code, error.value.message, error.value.hint


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        ({"style_strenght": 1.0}, "vast_option_invalid", "did you mean `style_strength`?"),
        ({"nonsense": 1}, "vast_option_invalid", "style_strength"),
        ({"gate": "synk>=0.5"}, "vast_option_invalid", "did you mean `sync`?"),
        ({"redraw": 1}, "vast_option_invalid", "no option `redraw`"),
        ({"crf": 99}, "vast_option_invalid", "99 is more than 51"),
        ({"detail": "none"}, "vast_option_invalid", "full"),
        ({"seed": 0.5}, "vast_option_invalid", "`seed`"),
        ({"preset": "drafd"}, "vast_preset_unknown", "did you mean `draft`?"),
        ({"prompt": "a", "style": "b"}, "vast_option_invalid", "exclude each other"),
        ({"avatar": "obana"}, "vast_avatar_unknown", "obama"),
        ({"prompt": "none.mp4"}, "vast_input_missing", "none.mp4"),
        ({"style": "none.style"}, "vast_input_missing", "none.style"),
        ({"style": "nonesuch"}, "vast_style_unknown", "`nonesuch`"),
    ],
)
def test_wrong_options_of_render_are_rejected(
    pipeline: Pipeline, clips: Path, tmp_path: Path, options: dict[str, Any], code: str, text: str
) -> None:
    error = raised(lambda: pipeline.render(clips / "speech.wav", output=tmp_path / "a.mp4", **options))
    assert error[0] == code and text in " ".join(error)
    assert list(tmp_path.iterdir()) == []


def test_wrong_options_of_a_batch_are_rejected(tmp_path: Path, clips: Path) -> None:
    manifest = tmp_path / "jobs.csv"
    manifest.write_text(f"audio\n{clips / 'speech.wav'}\n")
    vast = Pipeline(cache=tmp_path / "cache")
    assert "did you mean `retries`?" in raised(lambda: vast.batch(manifest, retrys=1))[2]
    assert raised(lambda: vast.plan(manifest, "x.mp4", crf=99))[0] == "vast_option_invalid"
    assert raised(lambda: vast.plan(manifest, "x.mp4", shard="0/0"))[0] == "vast_option_invalid"
    assert raised(lambda: vast.plan(manifest, "x.mp4", rerun_on="nothing"))[0] == "vast_option_invalid"
    assert raised(lambda: vast.plan(manifest, "x.mp4", avatar=None, set={"crf": "x"}))[0] == "vast_option_invalid"
    assert raised(lambda: vast.retry(manifest, ids={"none"}))[0] == "vast_option_invalid"
    assert raised(lambda: vast.plan(tmp_path / "none.csv"))[0] == "vast_input_missing"


def test_render_takes_every_option_of_vast_render(tmp_path: Path, clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[RenderRequest, tuple[str, ...]]] = []

    def render(request: RenderRequest, gates: tuple[str, ...], **_: Any) -> tuple[None, dict[str, float]]:
        calls.append((request, gates))
        return None, {}

    monkeypatch.setattr("vast_cli.gates.render.render", render)
    values = {
        "style_strength": 1.5, "max_exaggeration": 2.0, "allow_silence": True, "seed": 3, "crf": 30, "codec": "h265",
        "encoder_preset": "slow", "detail": "mesh", "head_motion": 0.5, "face": "left", "sidecar": True,
        "segment": 90.0,
    }  # fmt: skip
    assert set(values) | {"gate"} == set(GatedOptions.model_fields)
    api.Pipeline().render(clips / "speech.wav", output=tmp_path / "a.mp4", gate="frames=exact", **values)
    request, gates = calls[0]
    assert request.options.model_dump() == values and gates == ("frames=exact",)


def test_settings_of_the_pipeline_win_over_those_of_a_preset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "vast" / "presets").mkdir(parents=True)
    (tmp_path / "vast" / "presets" / "mine.yaml").write_text("dtype: bf16\nthreads: 3\ncrf: 30\n")
    values = Pipeline(dtype="fp32")._preset("mine")
    assert {name: values[name] for name in ("dtype", "threads", "device", "crf")} == {
        "dtype": "fp32", "threads": 3, "device": "auto", "crf": 30,
    }  # fmt: skip
