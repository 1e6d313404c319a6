"""Manifests: three syntaxes, one model; all faults at once; broken and hostile files are refused."""

import csv
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vast_cli.batch import manifest
from vast_cli.batch.job import Job
from vast_cli.batch.manifest import JobOptions, options, read
from vast_cli.core.errors import VastError

Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a manifest in a folder other than the current one."""
    (tmp_path / "here").mkdir()
    (tmp_path / "jobs").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for name in options.ENVIRONMENT.values():
        monkeypatch.delenv(name, raising=False)

    def call(name: str, text: str) -> Path:
        path = tmp_path / "jobs" / name
        path.write_bytes(text.encode())
        return path

    return call


def faults(path: Path, **arguments: Any) -> list[str]:
    with pytest.raises(VastError) as error:
        manifest.load_manifest(path, **arguments)
    assert error.value.code == "vast_manifest_invalid" and error.value.where == str(path)
    return error.value.message.split("\n")


# --- one model, three syntaxes ---------------------------------------------------------------------------------------

TABLE = (
    "id,audio,prompt,style,crf,sidecar,face,x-lang,segment\n"
    "001,a b/é.wav,p.mp4,,20,yes,1,no,1:30\n"
    ",b.wav,,s.style,,,,,\n"
)
LINES = (
    '{"id": "001", "audio": "a b/é.wav", "prompt": "p.mp4", "crf": 20, "sidecar": true, "face": 1, "x_lang": "no", '
    '"segment": 90}\n\n{"audio": "b.wav", "style": "s.style", "crf": null, "x-lang": ""}\n'
)
DOCUMENT = """version: 1
jobs:
  - {id: 001, audio: a b/é.wav, prompt: p.mp4, crf: 20, sidecar: on, face: 1, x_lang: no, segment: 90s}
  - audio: b.wav
    style: s.style
    crf:
    x_lang: ~
"""
SYNTAXES = {
    "jobs.csv": TABLE, "bom.csv": "\ufeff" + TABLE, "semicolon.csv": TABLE.replace(",", ";"),
    "tab.csv": TABLE.replace(",", "\t"), "jobs.tsv": TABLE.replace(",", "\t"),
    "windows.csv": TABLE.replace("\n", "\r\n"),
    "mac.csv": TABLE.replace("\n", "\r"), "excel.csv": "sep=;\r\n" + TABLE.replace(",", ";"), "JOBS.CSV": TABLE,
    "jobs.jsonl": LINES, "jobs.ndjson": LINES, "windows.jsonl": LINES.replace("\n", "\r\n"),
    "jobs.yaml": DOCUMENT, "jobs.yml": DOCUMENT,
    "jobs.json": json.dumps({"jobs": [json.loads(line) for line in LINES.splitlines() if line]}),
}  # fmt: skip


@pytest.mark.parametrize("name", SYNTAXES)
def test_all_syntaxes_give_the_same_jobs(name: str, write: Write) -> None:
    path = write(name, SYNTAXES[name])
    loaded = manifest.load_manifest(path)
    folder = path.parent
    first, second = loaded.jobs
    assert first == Job(
        id="001", index=1, where=first.where, audio=folder / "a b" / "é.wav", avatar="obama",
        output=folder / "out" / "001.mp4", prompt=folder / "p.mp4", preset="standard",
        options=JobOptions().model_dump() | {"crf": 20, "sidecar": True, "face": "1", "segment": 90.0},
        extra={"x_lang": "no"},
    )  # fmt: skip
    assert (second.id, second.style, second.prompt, second.options["crf"], second.extra) == (
        "b", folder / "s.style", None, 18, {},
    )  # fmt: skip
    assert (loaded.path, loaded.folder, loaded.warnings) == (path, folder, ())


def test_standard_input_starts_at_the_current_folder(write: Write) -> None:
    for path in (None, Path("-")):
        loaded = manifest.load_manifest(path, stdin=io.StringIO(LINES))
        assert loaded.path is None and loaded.folder == Path.cwd()
        assert loaded.jobs[0].audio == Path.cwd() / "a b" / "é.wav"
        assert loaded.jobs[0].output == Path.cwd() / "out" / "001.mp4"
    binary = io.TextIOWrapper(io.BytesIO(LINES.encode()), encoding="ascii")  # whatever the locale says
    assert manifest.load_manifest(None, stdin=binary).jobs[0].audio.name == "é.wav"


def test_the_hash_is_of_the_files_bytes(write: Write) -> None:
    one, two = manifest.load_manifest(write("a.csv", TABLE)), manifest.load_manifest(write("b.csv", "\ufeff" + TABLE))
    assert one.sha256 != two.sha256 and len(one.sha256) == 64


CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20).filter(
    str.strip
)
ROW = st.fixed_dictionaries(
    {"audio": CELL},
    optional={
        "prompt": CELL, "x_note": CELL, "x_b": CELL, "avatar": CELL, "crf": st.integers(0, 51).map(str),
        "style_strength": st.sampled_from(["0", "1.5", "2", "1e0", "1,5"]), "detail": st.sampled_from(["full", "mesh"]),
        "allow_silence": st.sampled_from(["yes", "No", "1", "0", "TRUE", "false"]),
        "seed": st.integers(0, 2**40).map(str),
    },
)  # fmt: skip


@settings(deadline=None, max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ROW, min_size=1, max_size=5))
def test_any_cells_give_the_same_jobs_in_all_syntaxes(tmp_path: Path, rows: list[dict[str, str]]) -> None:
    columns = sorted({key for row in rows for key in row})
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, columns, quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows(rows)
    texts = {
        "a.csv": table.getvalue(),
        "a.jsonl": "\n".join(json.dumps(row, ensure_ascii=False) for row in rows),
        "a.json": json.dumps({"jobs": rows}),
        "a.yaml": yaml.safe_dump({"jobs": rows}, default_style='"'),  # escaped: bare line breaks are folded,
    }
    found = []
    for name, text in texts.items():
        (tmp_path / name).write_bytes(text.encode())
        found.append([replace(job, where="") for job in manifest.load_manifest(tmp_path / name, environment={}).jobs])
    assert found[0] == found[1] == found[2] == found[3]
    assert len({job.id.casefold() for job in found[0]}) == len({job.output for job in found[0]}) == len(rows)
    assert all(job.output.parent == tmp_path / "out" for job in found[0])


# --- documents with structure ----------------------------------------------------------------------------------------


def test_the_example_of_the_documentation(write: Write, tmp_path: Path) -> None:
    voices = tmp_path / "jobs" / "voices"
    voices.mkdir()
    for name in ("b.wav", "a.wav", "old-obituary.wav", ".hidden.wav"):
        (voices / name).touch()
    path = write(
        "jobs.yaml",
        """
version: 1
defaults: {avatar: ann, output: "out/{x_lang|none}/{id}.mp4"}
jobs:
  - {id: intro, audio: intro.wav, prompt: warm.mp4, x_lang: en}
matrix:
  audio: ["voices/*.wav"]
  prompt: [calm.mp4, more/excited.mp4]
zip:
  audio: [c.wav, d.wav]
  style: [c.style, d.style]
exclude: [{prompt: excited.mp4, audio: "*obituary*"}]
""",
    )
    loaded = manifest.load_manifest(path)
    assert [job.id for job in loaded.jobs] == [
        "intro", "a-calm", "a-excited", "b-calm", "b-excited", "old-obituary", "c", "d",
    ]  # fmt: skip
    assert (
        loaded.jobs[1].audio == voices / "a.wav" and loaded.jobs[2].prompt == tmp_path / "jobs" / "more" / "excited.mp4"
    )
    assert loaded.jobs[6].style == tmp_path / "jobs" / "c.style" and loaded.jobs[6].prompt is None
    assert loaded.jobs[0].output == tmp_path / "jobs" / "out" / "en" / "intro.mp4"
    assert {job.avatar for job in loaded.jobs} == {"ann"}
    assert loaded.jobs[0].where == "jobs[0] (line 5)" and loaded.jobs[1].where == "matrix[0]"
    assert loaded.warnings == ()
    jsonschema.validate(yaml.safe_load(path.read_text()), manifest.manifest_schema())


def test_a_matrix_may_hold_options(write: Write) -> None:
    text = (
        "defaults: {audio: a.wav}\nmatrix: {style-strength: [0.5, 1], crf: 20, avatar: [x, y]}\n"
        "exclude: [{style_strength: 1.0, avatar: y}]"
    )
    loaded = manifest.load_manifest(write("jobs.yaml", text))
    assert [(job.options["style_strength"], job.avatar, job.id) for job in loaded.jobs] == [
        (0.5, "x", "a-x"), (0.5, "y", "a-y"), (1.0, "x", "a-x-2"),
    ]  # fmt: skip


def test_a_file_with_a_star_in_its_name_is_not_a_glob(write: Write, tmp_path: Path) -> None:
    (tmp_path / "jobs" / "a[1]*.wav").touch()
    loaded = manifest.load_manifest(write("jobs.json", json.dumps({"matrix": {"audio": ["a[1]*.wav"]}})))
    assert [job.audio.name for job in loaded.jobs] == ["a[1]*.wav"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("jobs: []", "the manifest has no jobs"),
        ("", "must be a table"),
        ("- a\n- b", "must be a table"),
        ("jobs: {a: b}", "jobs: must be a list"),
        ("jobs: [a.wav]", "jobs[0]: must be a table"),
        ("job: [{audio: a}]", "did you mean `jobs`"),
        ("version: 2\njobs: [{audio: a}]", "key version: is not 1"),
        ("jobs:\n- {audio: a.wav}\n- {audio: b.wav, crf: 99}", "jobs[1] (line 3), key crf: 99 is more than 51"),
        ("jobs:\n- {audio: a.wav,\n   audio: b.wav}", "key `audio` is given twice (line 3)"),
        ("jobs:\n- {audio: a.wav, style-strength: 1, style_strength: 2}", "with `-` and with `_`"),
        ("jobs: [{audio: [a.wav, b.wav]}]", "holds a list"),
        ("jobs: [{audio: {a: b}}]", "holds a table"),
        ("jobs: [{audio: a.wav, crf: true}]", "`true` is no whole number"),
        ("defaults: {id: x}\njobs: [{audio: a}]", "defaults, key `id`: is unknown"),
        ("defaults: {crf: x}\njobs: [{audio: a}, {audio: b}]", "defaults, key crf: `x` is no whole number"),
        ("defaults: [a]\njobs: [{audio: a}]", "defaults: must be a table"),
        ("defaults: {prompt: p, style: s}\njobs: [{audio: a}]", "exclude each other"),
        ("matrix: {audio: [nothing/*.wav]}", "matrix, key audio: `nothing/*.wav` matches no file"),
        ("matrix: {audio: []}", "an empty list"),
        ("matrix: [a]", "matrix: must be a table of lists"),
        ("matrix: {audio: [a], id: [x]}", "key `id`: is unknown"),
        ("zip: {audio: [a, b], prompt: [c]}", "unequal lengths: audio 2, prompt 1"),
        ("matrix: {audio: [a], x_b: [" + "1," * 400 + "], x_c: [" + "1," * 400 + "]}", "160,000 combinations"),
        ("matrix: {audio: [a], crf: [20, 99, 98]}", "99 is more than 51"),
        ("jobs: [{audio: a}]\nexclude: [{promt: b}]", "did you mean `prompt`"),
        ("jobs: [{audio: a.wav}]\nexclude: {prompt: b}", "exclude: must be a list"),
        ("matrix: {audio: [a]}\nexclude: [{audio: a}]", "the manifest has no jobs"),
        ("? [a, b]\n: c", "a key is not text (line 1)"),
        ("a: !!python/object/apply:os.system [ls]", "is not supported (line 1)"),
        ("a: !mine b", "the tag `!mine` is not supported"),
        ("a: 1\n---\na: 2", "a second document begins (line 2)"),
        ("jobs: [*a]", "is not defined before"),
        ("d: &a {crf: 1}\njobs:\n- {<<: *a, audio: b}", "`<<` is not supported; use `defaults` for all jobs (line 3)"),
        ("jobs:\n\t- audio: a", "invalid YAML: "),
        ("jobs: [{audio: 'a}", "invalid YAML: "),
    ],
)
def test_faults_of_documents(text: str, expected: str, write: Write) -> None:
    lines = faults(write("jobs.yaml", text))
    assert any(expected in line for line in lines), lines
    assert len(lines) <= 3


def test_an_exclusion_that_matches_nothing_gives_a_warning(write: Write) -> None:
    loaded = manifest.load_manifest(write("a.yaml", "matrix: {audio: [a, b]}\nexclude:\n- {audio: a}\n- {audio: c}"))
    assert [job.id for job in loaded.jobs] == ["b"]
    assert loaded.warnings == ("exclude[1] (line 4) matches no combination",)


# --- faults ----------------------------------------------------------------------------------------------------------


def test_all_faults_of_a_table_are_reported_in_the_order_of_its_rows(write: Write) -> None:
    text = (
        "id,audio,crf,crff,device,prompt,style,avatar,output,gate\n"
        "intro,a.wav,99,,,,,,,\n"
        '"two\nlines",b.wav,x,,,,,,,\n'
        "\n"
        "INTRO,c.wav,,,,p,s,,,\n"
        ",,,,,,,,,\n"
        "-x,,,1,cuda,,,,,\n"
        "y,d.wav,,,,,,,{nme}.mp4,\n"
        "z,e.wav,,,,,,,out/Intro.MP4,shrpness>=1\n"
        "v,f.wav,,,,,,,,,extra\n"
        "w,w.mp4,,,,,,,w.mp4,\n"
    )
    assert faults(write("jobs.csv", text)) == [
        "column `crff`: is unknown; did you mean `crf`?",
        "column `device`: belongs on the command line (`--device`): it is the machine's, not the job's",
        "row 2, column crf: 99 is more than 51",
        "row 3, column id: `two\\nlines` is not a valid id: A-Z a-z 0-9 . _ - only, at most 128, not starting with "
        ". or -; try `two_lines`",
        "row 3, column crf: `x` is no whole number",
        "row 5, column style: `prompt` and `style` exclude each other",
        "row 5, column id: `INTRO` is the id of row 2 too",
        "row 7, column id: `-x` is not a valid id: A-Z a-z 0-9 . _ - only, at most 128, not starting with . or -; "
        "try `x`",
        "row 7, column audio: is missing",
        "row 8, column output: `{nme}.mp4`: no field `{nme}`; there are id, audio, prompt, style, avatar, preset, "
        "hash, ext, index, total, seed, date, x_...",
        "row 9, column gate: `shrpness` is no gate; did you mean `sharpness`?",
        f"row 9, column output: `{Path(write('x', '')).parent}/out/Intro.MP4` is the output of row 2 too",
        "row 10: 11 cells, but 10 columns; quote cells that hold a separator",
        f"row 11, column audio: `{Path(write('x', '')).parent}/w.mp4` is the output of row 11",
    ]


def test_the_number_of_printed_faults_is_limited(write: Write) -> None:
    lines = faults(write("jobs.csv", "audio,crf\n" + "a.wav,99\n" * 80))
    assert lines[0] == "row 2, column crf: 99 is more than 51" and len(lines) == 51 and lines[-1] == "and 30 more"


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ({"style_strength": "3.1"}, "3.1 is more than 2"),
        ({"style_strength": "nan"}, "`nan` is no number"),
        ({"style_strength": "1,5,2"}, "`1,5,2` is no number"),
        ({"max_exaggeration": 0}, "0 is less than 0.1"),
        ({"crf": "18.5"}, "`18.5` is no whole number"),
        ({"crf": "0x12"}, "`0x12` is no whole number"),
        ({"crf": True}, "`true` is no whole number"),
        ({"crf": [1, 2]}, "is no whole number"),
        ({"encoder_preset": "fastest"}, "`fastest` is none of ultrafast"),
        ({"codec": "av1"}, "`av1` is none of h264 or h265"),
        ({"face": "middle"}, "none of largest, left, right"),
        ({"sidecar": "maybe"}, "`maybe` is neither yes nor no"),
        ({"seed": -1}, "-1 is less than 0"),
        ({"segment": "0.5s"}, "less than 1"),
        ({"segment": "24:00:01"}, "more than 86400"),
        ({"segment": "soon"}, "`soon` is no time"),
        ({"redraw": 6}, "6 is more than 5"),
        ({"gate": [["a"]]}, "table where one value"),
        ({"preset": "standart"}, "did you mean `standard`"),
        ({"Audio": "a"}, "did you mean `audio`"),
        ({"workers": 2}, "belongs on the command line (`--workers`)"),
        ({"x_": 2}, "letters, digits"),
        ({"x_a": "\x00"}, "NUL"),
        ({"x_a": "\ud800"}, "half of a character"),
        ({"\ud800": "1"}, "is unknown"),
        ({"x_a": "x" * 10_001}, "10,001 characters"),
        ({"id": ""}, None),
        ({"id": "a" * 129}, "at most 128"),
        ({"id": ".."}, "not starting with"),
        ({"id": "é"}, "try `e`"),
        ({"output": "out/{x_lang}.mp4"}, "the job has no `x_lang`; `{x_lang|none}` gives"),
        ({"output": "{id}.avi"}, "`.avi` is not a supported video format"),
    ],
)
def test_faults_of_cells(cells: dict[str, Any], expected: str | None, write: Write) -> None:
    path = write("jobs.jsonl", json.dumps({"audio": "a.wav"} | cells))
    if expected is None:
        assert len(manifest.load_manifest(path).jobs) == 1
        return
    lines = faults(path)
    assert len(lines) == 1 and lines[0].startswith("line 1, key ") and expected in lines[0], lines
    lines[0].encode()  # can be printed


@pytest.mark.parametrize(
    ("name", "raw", "expected"),
    [
        ("a.csv", "audio\né.wav".encode("latin-1"), "line 2 is not UTF-8"),
        ("a.csv", "audio\na.wav".encode("utf-16"), "UTF-16"),
        ("a.csv", b"audio\na\0.wav", "line 2 holds a NUL byte"),
        ("a.csv", b"", "no job"),
        ("a.csv", b"audio\n", "no job"),
        ("a.csv", b"audio,prompt\na.wav,\"p\n\nb.wav,p\n", "row 2 (line 2 of the file): broken quotes"),
        ("a.csv", b'audio,prompt\na.wav,"p"x\n', "row 2 (line 2 of the file): broken quotes"),
        ("a.csv", b"audio" + b",x_a" * 2000 + b"\na\n", "2,001 columns; 1,000 at most"),
        ("a.csv", b"audo\na\nb\n", "column audio: is missing in all jobs"),
        ("a.csv", b"audio,audio\na,b\n", "is in the header twice"),
        ("a.csv", b"audio,,\na,,b\n", "row 2: `b` is in a column without a name"),
        ("a.csv", b"audio\n" + b"x" * 200_000, "broken quotes or cells: field larger"),
        ("a.jsonl", b'{"audio": "a"}\n{"audio": }\n[1]\n', "line 2: invalid JSON: Expecting value (column 11)"),
        ("a.jsonl", b'{"audio": "a", "audio": "b"}', "line 1: key `audio` is given twice"),
        ("a.jsonl", b'{"audio": "a", "crf": NaN}', "`NaN` is not a number"),
        ("a.jsonl", b"[1]", "not a JSON object"),
        ("a.jsonl", b"[" * 200_000, "nested too deeply"),
        ("a.json", b'{"jobs": [\n}', "invalid JSON: Expecting value (line 2, column 1)"),
        ("a.json", b'{"a":' * 200_000, "nested too deeply"),
        ("a.yaml", b"[" * 200_000, "nested too deeply"),
        ("a.yaml", b"- " * 200_000, "nested too deeply"),
        ("a.yaml", b"a: &a [*a]", "`*a` is not defined before"),
        ("a.yaml", b"a: \x07", "invalid YAML"),
        ("a.xlsx", b"PK", "`.xlsx` is not a format of manifests"),
        ("jobs", b"audio", "`` is not a format of manifests"),
    ],
)  # fmt: skip
def test_broken_and_hostile_files(name: str, raw: bytes, expected: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(raw)
    lines = faults(path)
    assert any(expected in line for line in lines), lines


def test_empty_cells_and_columns_of_spreadsheets(write: Write) -> None:
    text = 'audio;prompt;style_strength;;\n" a.wav ";;1,5;;;;\n;;;;\nb.wav\n'
    loaded = manifest.load_manifest(write("jobs.csv", text))
    assert [(job.id, job.where, job.options["style_strength"]) for job in loaded.jobs] == [
        ("a", "row 2", 1.5), ("b", "row 4", 1.0),
    ]  # fmt: skip


def test_a_bomb_of_aliases_costs_nothing(write: Write) -> None:
    bomb = "".join(f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9) if k else 'lol'}]\n" for k in range(10))
    started = time.process_time()
    assert len(faults(write("jobs.yaml", bomb + "jobs: *a9\nmatrix: {audio: *a9}\n"))) < 50
    assert time.process_time() - started < 2


def test_aliases_are_read(write: Write) -> None:
    loaded = manifest.load_manifest(
        write("a.yaml", "jobs:\n- {audio: a.wav, prompt: &p long/p.mp4}\n- {audio: b.wav, prompt: *p}")
    )
    assert loaded.jobs[0].prompt == loaded.jobs[1].prompt


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([".csv", ".tsv", ".jsonl", ".yaml", ".json"]),
    st.one_of(
        st.binary(max_size=200), st.text(alphabet="audio,;:\t\n\r\"'{}[]&*!-#|>01\\", max_size=80).map(str.encode)
    ),
    st.integers(0, 400),
)
def test_no_file_crashes(tmp_path: Path, suffix: str, noise: bytes, at: int) -> None:
    whole = SYNTAXES[f"jobs{suffix}"].encode()
    path = tmp_path / f"jobs{suffix}"
    path.write_bytes(whole[:at] + noise + whole[at:])
    try:
        assert manifest.load_manifest(path, environment={}).jobs
    except VastError as error:
        assert error.code == "vast_manifest_invalid"
        error.message.encode()


def test_missing_files(tmp_path: Path) -> None:
    for path, code in ((tmp_path / "no.csv", "vast_input_missing"), (tmp_path, "vast_input_unreadable")):
        with pytest.raises(VastError) as error:
            manifest.load_manifest(path)
        assert error.value.code == code


def test_large_files_and_many_jobs_are_refused(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read, "MAX_BYTES", 100)
    assert "make several" in faults(write("a.csv", "audio\n" + "a.wav\n" * 20))[0]
    with pytest.raises(VastError, match="make several"):
        manifest.load_manifest(None, stdin=io.StringIO("x" * 200))
    monkeypatch.undo()
    monkeypatch.setattr("vast_cli.batch.manifest.tables.MAX_JOBS", 3)
    assert "more than 3 jobs" in faults(write("b.csv", "audio\n" + "a.wav\n" * 5))[0]


# --- ids -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "ids"),
    [
        (["a.wav,,", "b.wav,p.mp4,x"], ["a", "b"]),
        (["a.wav,p.mp4,", "a.wav,q.mp4,", "b.wav,q.mp4,"], ["a-p", "a-q", "b"]),
        (["a.wav,p.mp4,x", "a.wav,p.mp4,y", "A.WAV,q.mp4,"], ["a-p-x", "a-p-y", "A-q"]),
        (["a.wav,p.mp4,", "a.wav,p.mp4,", "a.mp3,p.mp4,"], ["a-p-obama", "a-p-obama-2", "a-p-obama-3"]),
        (["a.wav,b.mp4,", "a.wav,c.mp4,", "a-b.wav,,"], ["a-b-obama", "a-c", "a-b"]),
        (["Änne & Söhne.wav,,", ".-x.wav,,", "日本.wav,,"], ["Anne_Sohne", "x", "_"]),
        (["a.wav,,./dir/new.avatar", "a.wav,,/abs/dir"], ["a-new", "a-dir"]),
        (["a.wav,,", "a.wav,p.mp4,"], ["a", "a-p"]),
    ],
)
def test_ids_are_as_long_as_needed(rows: list[str], ids: list[str], write: Write) -> None:
    path = write("jobs.csv", "audio,prompt,avatar\n" + "\n".join(rows))
    assert [job.id for job in manifest.load_manifest(path).jobs] == ids


def test_derived_ids_avoid_given_ones(write: Write) -> None:
    loaded = manifest.load_manifest(write("jobs.csv", "id,audio\n,a.wav\nA,b.wav\n,c.wav\na-obama,d.wav\n"))
    assert [job.id for job in loaded.jobs] == ["a-obama-2", "A", "c", "a-obama"]


def test_long_names(write: Write) -> None:
    loaded = manifest.load_manifest(write("jobs.csv", "audio\n" + f"{'x' * 200}.wav\n" * 3))
    assert [len(job.id) for job in loaded.jobs] == [128, 122, 122]
    assert len({job.id for job in loaded.jobs}) == 3


def test_thousands_of_equal_rows(write: Write) -> None:
    started = time.process_time()
    loaded = manifest.load_manifest(write("jobs.csv", "audio\n" + "a.wav\n" * 5000))
    assert loaded.jobs[-1].id == "a-obama-5000" and time.process_time() - started < 3


# --- precedence ----------------------------------------------------------------------------------------------------


def test_precedence_of_values(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    presets = tmp_path / "presets"
    presets.mkdir()
    (presets / "mine.yaml").write_text("description: d\nseed: 2\ncrf: 2\ndevice: cpu\ngate: [sharpness>=0.5]\n")
    (presets / "bad.yaml").write_text("crf: 99\n")
    monkeypatch.setenv("VAST_PRESETS", str(presets))
    environment = {"VAST_SEED": "1", "VAST_PRESET": "mine", "VAST_AVATAR": "ann"}

    def seeds(defaults: str, job: str, **arguments: Any) -> list[Any]:
        path = write("jobs.yaml", f"defaults: {{{defaults}}}\njobs: [{{audio: a.wav, {job}}}]")
        return [job.options["seed"] for job in manifest.load_manifest(path, environment=environment, **arguments).jobs]

    (presets / "standard.yaml").write_text("crf: 3\n")
    assert seeds("preset: standard", "") == [1]  # environment
    assert seeds("", "") == [2]  # preset
    assert seeds("seed: 3", "") == [3]
    assert seeds("seed: 3", "", command_line={"seed": 4}) == [4]
    assert seeds("seed: 3", "seed: 5", command_line={"seed": 4}) == [5]
    assert seeds("seed: 3", "seed: 5", command_line={"seed": 4}, overrides={"seed": "6"}) == [6]

    loaded = manifest.load_manifest(write("a.csv", "audio,preset\na.wav,\nb.wav,standard\n"), environment=environment)
    assert [(job.preset, job.options["crf"], job.avatar) for job in loaded.jobs] == [
        ("mine", 2, "ann"), ("standard", 3, "ann"),
    ]  # fmt: skip
    assert loaded.jobs[0].options["gate"] == ("sharpness>=0.5",)
    assert loaded.warnings == ("preset `mine`: `device` is taken from the command line only",)
    assert faults(write("b.csv", "audio,preset\na.wav,bad\n")) == [
        "row 2, column preset: preset `bad`, crf: 99 is more than 51"
    ]


def test_where_relative_paths_start(write: Write, tmp_path: Path) -> None:
    here, jobs = tmp_path / "here", tmp_path / "jobs"
    path = write("a.yaml", "defaults: {prompt: p.mp4}\njobs: [{audio: a.wav}, {audio: b.wav, avatar: x/y}]")
    loaded = manifest.load_manifest(
        path, output="o/{id}.mp4", command_line={"prompt": Path("q.mp4")}, overrides={"avatar": "./z"}
    )
    assert [job.audio for job in loaded.jobs] == [jobs / "a.wav", jobs / "b.wav"]
    assert {job.prompt for job in loaded.jobs} == {here / "q.mp4"}
    assert {Path(job.avatar) for job in loaded.jobs} == {here / "z"}
    assert [job.output for job in loaded.jobs] == [here / "o" / "a.mp4", here / "o" / "b.mp4"]
    plain = manifest.load_manifest(path)
    assert [job.prompt for job in plain.jobs] == [jobs / "p.mp4"] * 2
    assert plain.jobs[1].avatar == str(jobs / "x" / "y")


def test_a_style_replaces_a_weaker_prompt_and_the_other_way_round(write: Write) -> None:
    path = write("a.yaml", "defaults: {prompt: p.mp4}\njobs: [{audio: a.wav}, {audio: b.wav, style: s.style}]")
    one, two = manifest.load_manifest(path).jobs
    assert one.prompt is not None and one.style is None
    assert two.prompt is None and two.style is not None
    path = write("b.yaml", "defaults: {style: s.style}\njobs: [{audio: a.wav, prompt: p.mp4}]")
    assert manifest.load_manifest(path).jobs[0].style is None
    path = write("a.yaml", path.read_text().replace("style: s.style", "prompt: q.mp4"))
    both = manifest.load_manifest(path, overrides={"style": "t.style"}).jobs
    assert all(job.prompt is None and job.style == Path.cwd() / "t.style" for job in both)


@pytest.fixture
def styles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of shipped styles with `happy`."""
    folder = tmp_path / "presets" / "styles"
    folder.mkdir(parents=True)
    (folder / "happy.style").write_bytes(b"style")
    (folder.parent / "standard.yaml").write_text("crf: 18\n")
    monkeypatch.setenv("VAST_PRESETS", str(folder.parent))
    return folder


@pytest.mark.usefixtures("styles")
def test_a_style_may_be_a_name(write: Write, tmp_path: Path) -> None:
    named = tmp_path / "presets" / "styles" / "happy.style"
    path = write("a.csv", "audio,style\na.wav,happy\nb.wav,\nc.wav,./happy\nd.wav,happy.style\n")
    loaded = manifest.load_manifest(path, command_line={"style": "happy"}, output="{style}-{id}.mp4")
    assert [job.style for job in loaded.jobs] == [
        named, named, tmp_path / "jobs" / "happy", tmp_path / "jobs" / "happy.style",
    ]  # fmt: skip
    assert loaded.jobs[0].id == "a" and loaded.jobs[0].output.name == "happy-a.mp4"
    matrix = write("a.yaml", "matrix: {audio: [a.wav], style: [happy, s.style]}\nexclude: [{style: happy}]")
    assert [job.style for job in manifest.load_manifest(matrix).jobs] == [tmp_path / "jobs" / "s.style"]
    (tmp_path / "jobs" / "happy").write_bytes(b"a file beside the manifest goes first")
    assert manifest.load_manifest(path).jobs[0].style == tmp_path / "jobs" / "happy"


@pytest.mark.usefixtures("styles")
def test_an_unknown_style_is_a_fault_of_its_row(write: Write) -> None:
    assert faults(write("a.csv", "audio,style\na.wav,hapy\nb.wav,none.style\nc.wav,xyz\n")) == [
        "row 2, column style: no style `hapy`; did you mean `happy`? `vast styles list` lists them",
        "row 4, column style: no style `xyz`; `vast styles list` lists them",
    ]  # a missing file fails its own job only
    with pytest.raises(VastError, match="`--set style`: no style `hapy`"):
        manifest.load_manifest(write("a.csv", "audio\na.wav\n"), overrides={"style": "hapy"})


def test_the_hash_field_holds_the_name_of_a_style(
    styles: Path, write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def name(style: str) -> str:
        path = write("a.csv", f"id,audio,style\na,a.wav,{style}\n")
        return manifest.load_manifest(path, output="{hash}.mp4").jobs[0].output.stem

    before, other = name("happy"), name("happy.style")
    styles.parent.rename(tmp_path / "installed elsewhere")
    monkeypatch.setenv("VAST_PRESETS", str(tmp_path / "installed elsewhere"))
    assert name("happy") == before != other


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"overrides": {"crf": "99"}}, "`--set crf`: 99 is more than 51"),
        ({"overrides": {"crff": "9"}}, "`--set crff`: is unknown; did you mean `crf`?"),
        ({"overrides": {"id": "x"}}, "`--set id`: is the name of one job"),
        ({"overrides": {"prompt": "a", "style": "b"}}, "exclude each other"),
        ({"command_line": {"style_strength": 9.0}}, "`--style-strength`: 9.0 is more than 2"),
        ({"output": "{x"}, "`--output`: `{x`: a lone `{`"),
        ({"overrides": {"preset": "drft"}}, "no preset `drft`"),
        ({"command_line": {"preset": "drft"}}, "no preset `drft`"),
        ({"environment": {"VAST_SEED": "x"}}, "`VAST_SEED`: `x` is no whole number"),
    ],
)
def test_faults_of_the_command_line(arguments: dict[str, Any], expected: str, write: Write) -> None:
    with pytest.raises(VastError) as error:
        manifest.load_manifest(write("jobs.csv", TABLE), **arguments)
    assert error.value.code in ("vast_option_invalid", "vast_preset_unknown") and expected in error.value.message


# --- outputs ---------------------------------------------------------------------------------------------------------


def test_two_jobs_with_one_output_are_a_fault(write: Write, tmp_path: Path) -> None:
    (tmp_path / "jobs" / "real").mkdir()
    (tmp_path / "jobs" / "link").symlink_to("real")
    rows = ["a.wav,real/é.mp4", "b.wav,real/x/../É.mp4", "c.wav,link/e\u0301.mp4", "d.wav,link/other"]
    (tmp_path / "jobs" / "real" / "x").mkdir()
    lines = faults(write("jobs.csv", "audio,output\n" + "\n".join(rows)))
    assert [line.split(":")[0] for line in lines] == ["row 3, column output", "row 4, column output"]
    assert all(line.endswith("is the output of row 2 too") for line in lines)
    lines = faults(write("jobs.csv", "audio\na.wav\nb.wav\n"), output="all.mp4")
    assert len(lines) == 1 and "all.mp4` is the output of row 2 too" in lines[0]


def test_an_output_that_is_an_input_is_a_fault(write: Write) -> None:
    lines = faults(write("jobs.csv", "audio,prompt,output\na.wav,b.mp4,x.mp4\nc.wav,x.mp4,y.mp4\n"))
    assert len(lines) == 1 and lines[0].startswith("row 3, column prompt") and "is the output of row 2" in lines[0]


def test_an_output_with_the_name_of_a_rejected_one_is_a_fault(write: Write) -> None:
    lines = faults(write("jobs.csv", "audio,output\na.wav,x.rejected.mp4\nb.wav,x.mp4\n"))
    assert lines == ["row 3, column output: below a gate it would be named `x.rejected.mp4`, the output of row 2"]


def test_unstable_fields_give_a_warning(write: Write) -> None:
    loaded = manifest.load_manifest(write("jobs.csv", "audio\na.wav\nb.wav\n"), output="{index}-{date}-{id}.mp4")
    assert len(loaded.warnings) == 2 and any("`{date}`" in text for text in loaded.warnings)
    assert not manifest.load_manifest(write("jobs.csv", "audio\na.wav\n"), output="{hash:.8}-{seed}-{id}.mp4").warnings


def test_the_hash_field_depends_on_the_jobs_own_settings(write: Write, tmp_path: Path) -> None:
    def name(text: str, **arguments: Any) -> str:
        return manifest.load_manifest(write("a.csv", text), output="{hash}.mp4", **arguments).jobs[0].output.stem

    first = name("id,audio,crf\na,a.wav,20\n")
    assert len(first) == 64
    assert first == name("crf,id,audio,x_a\n20,a,./a.wav,\nb,b,b.wav,\n".replace("\nb,b", "\n,b"))
    assert len({first, name("id,audio,crf\na,a.wav,21\n"), name("id,audio,crf\na,b.wav,20\n")}) == 3
    elsewhere = tmp_path / "moved"
    (tmp_path / "jobs").rename(elsewhere)
    assert (
        manifest.load_manifest(elsewhere / "a.csv", output="{hash}.mp4").jobs[0].output.stem != first
    )  # the last one written
    (elsewhere / "a.csv").write_text("id,audio,crf\na,a.wav,20\n")
    assert manifest.load_manifest(elsewhere / "a.csv", output="{hash}.mp4").jobs[0].output.stem == first


def test_a_folder_of_every_character(tmp_path: Path) -> None:
    folder = tmp_path / "a b" / "日本 é'$(x);"
    folder.mkdir(parents=True)
    (folder / "-j %s.csv").write_text("audio\n-a {id}.wav\n", encoding="utf-8")
    job = manifest.load_manifest(folder / "-j %s.csv").jobs[0]
    assert (job.id, job.audio, job.output) == ("a_id_.wav"[:-4], folder / "-a {id}.wav", folder / "out" / "a_id_.mp4")


# --- changing some jobs ----------------------------------------------------------------------------------------------


def test_set_options_of_some_jobs(write: Write) -> None:
    loaded = manifest.load_manifest(
        write("jobs.csv", "audio,prompt,seed\na.wav,p.mp4,1\na.wav,q.mp4,2\n"), overrides={"crf": 30}
    )
    changed = manifest.set_options(loaded, {"seed": "9", "preset": "draft", "prompt": "r.mp4"}, ids=["a-q"])
    assert changed.jobs[0] == loaded.jobs[0]
    job = changed.jobs[1]
    assert (job.id, job.output) == ("a-q", loaded.jobs[1].output)
    assert job.prompt == Path.cwd() / "r.mp4" and job.preset == "draft"
    assert (job.options["seed"], job.options["detail"], job.options["crf"]) == (9, "mesh", 30)
    assert [job.options["seed"] for job in manifest.set_options(loaded, {"seed": 7}).jobs] == [7, 7]
    for settings_, ids, expected in (
        ({"crf": 99}, None, "99 is more"), ({}, ["a-r"], "no job `a-r`"), ({"preset": "drft"}, None, "no preset"),
    ):  # fmt: skip
        with pytest.raises(VastError, match=expected):
            manifest.set_options(loaded, settings_, ids=ids)
    with pytest.raises(VastError, match="is the output of row 2 too"):
        manifest.set_options(loaded, {"output": "one.mp4"})


# --- consistency -----------------------------------------------------------------------------------------------------


def test_the_schema_accepts_what_is_read(write: Write) -> None:
    schema = manifest.manifest_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    check = jsonschema.Draft202012Validator(schema)
    for line in LINES.split("\n"):
        if line:
            check.validate(json.loads(line))
    check.validate(yaml.safe_load(DOCUMENT))
    check.validate({"audio": "a.wav", "style-strength": 1.5, "gate": ["sync>=0.8"], "segment": "1:30", "x-a": 1})
    for wrong in (
        {"audio": "a", "crff": 1}, {"audio": "a", "crf": 99}, {"jobs": [{"audio": "a", "device": "cpu"}]},
        {"version": 2}, {"matrix": {"audo": ["a"]}}, {"zip": {"audio": []}}, {"audio": "a", "codec": "av1"},
    ):  # fmt: skip
        assert not check.is_valid(wrong), wrong
    assert {job["title"] for job in schema["$defs"].values()} == {"Job", "Manifest"}


def test_reading_loads_no_heavy_library() -> None:
    script = (
        "import sys; from vast_cli.batch.manifest import manifest_schema; manifest_schema(); "
        "print({'torch', 'cv2', 'av', 'scipy'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, env=dict(os.environ)
    )
    assert done.stdout.strip() == "set()", done.stderr


def test_ten_thousand_rows_are_read_fast(write: Write) -> None:
    rows = (f"job{k:05d},voices/v{k}.wav,prompts/p{k % 7}.mp4,ann,{k % 3},{k % 40},l{k % 5}" for k in range(10_000))
    path = write("jobs.csv", "id,audio,prompt,avatar,style_strength,crf,x_lang\n" + "\n".join(rows))
    started = time.process_time()
    assert len(manifest.load_manifest(path, output="out/{x_lang|en}/{id}-{hash:.8}.mp4").jobs) == 10_000
    assert time.process_time() - started < 3  # 0.65 s measured
