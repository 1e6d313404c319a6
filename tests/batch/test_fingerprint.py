"""A fingerprint changes with what changes the bytes, and with nothing else; differences have reasons."""

import dataclasses
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from vast_cli.batch.job import Job
from vast_cli.batch.planning.fingerprint import Fingerprint, Fingerprinter
from vast_cli.core.errors import VastError
from vast_cli.store import assets, bundles
from vast_cli.store.hashes import FileHashes

OPTIONS: dict[str, Any] = {
    "style_strength": 1.0, "max_exaggeration": 1.0, "crf": 18, "encoder_preset": "fast", "codec": "h264",
    "detail": "full", "head_motion": 0.0, "face": "largest", "seed": 0, "segment": None, "allow_silence": False,
    "sidecar": False,
    "device": "auto", "dtype": "auto", "threads": 0, "gate": None, "redraw": 0,
}  # fmt: skip
CHANGES = {
    "style_strength": 1.5, "max_exaggeration": 2.0, "crf": 20, "encoder_preset": "slow", "codec": "h265",
    "detail": "mesh", "head_motion": 1.0, "face": "left", "seed": 1, "segment": 60.0,
}  # fmt: skip


@pytest.fixture
def job(tmp_path: Path) -> Job:
    (tmp_path / "a.wav").write_bytes(b"audio")
    (tmp_path / "p.mp4").write_bytes(b"prompt")
    return Job(
        id="one", index=1, where="row 2", audio=tmp_path / "a.wav", prompt=tmp_path / "p.mp4", avatar="obama",
        output=tmp_path / "out.mp4", options=OPTIONS,
    )  # fmt: skip


def fingerprint_of(job: Job) -> Fingerprint:
    return Fingerprinter(FileHashes(None)).fingerprint(job)


def digest(job: Job) -> str:
    return fingerprint_of(job).digest


def changed(job: Job, **options: Any) -> Job:
    return dataclasses.replace(job, options={**job.options, **options})


@pytest.mark.parametrize("name", CHANGES)
def test_options_that_change_the_bytes_count(job: Job, name: str) -> None:
    other = changed(job, **{name: CHANGES[name]})
    assert digest(other) != digest(job)
    assert fingerprint_of(other).difference(fingerprint_of(job)) == f"option_changed:{name}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("device", "cuda"), ("dtype", "bf16"), ("threads", 3), ("sidecar", True), ("allow_silence", True),
        ("gate", "sync>=0.9"), ("redraw", 3), ("something_new", 7),
    ],
)  # fmt: skip
def test_options_that_do_not_change_the_bytes_do_not_count(job: Job, name: str, value: Any) -> None:
    assert digest(changed(job, **{name: value})) == digest(job)


def test_names_paths_and_order_do_not_count(job: Job, tmp_path: Path) -> None:
    away = tmp_path / "a b" / "日本 é'$(x);"
    away.mkdir(parents=True)
    before = digest(job)
    other = dataclasses.replace(
        job,
        id="two",
        index=99,
        where="row 100",
        preset="mine",
        extra={"x_lang": "en"},
        output=away / "other.mov",
        audio=job.audio.rename(away / "-b%.wav"),
        options=dict(reversed(OPTIONS.items())),
    )
    assert digest(other) == before


def test_equal_numbers_count_as_equal(job: Job) -> None:
    assert digest(changed(job, style_strength=1)) == digest(changed(job, style_strength=1.0))


def test_options_of_a_prompt_do_not_count_without_one(job: Job) -> None:
    plain = dataclasses.replace(job, prompt=None)
    assert digest(changed(plain, face="left", style_strength=2.0)) == digest(plain)
    styled = dataclasses.replace(job, prompt=None, style=job.prompt)
    assert digest(changed(styled, face="left")) == digest(styled)
    assert digest(changed(styled, style_strength=2.0)) != digest(styled)


def test_the_tracking_models_count_only_with_a_prompt(job: Job) -> None:
    tracked, plain = fingerprint_of(job), fingerprint_of(dataclasses.replace(job, prompt=None))
    assert "face_mesh_heads" in tracked.models and "face_mesh_heads" not in plain.models
    assert "lagsync" not in tracked.models
    assert set(tracked.models.items()) <= {(name, assets.model_hash(name)) for name in assets.index()}


def test_contents_count_by_role(job: Job) -> None:
    before = fingerprint_of(job)
    job.audio.write_bytes(b"other audio")
    assert fingerprint_of(job).difference(before) == "input_changed:audio"
    swapped = dataclasses.replace(job, audio=job.prompt, prompt=job.audio)
    assert digest(swapped) != digest(job)
    assert (
        fingerprint_of(dataclasses.replace(job, prompt=None)).difference(fingerprint_of(job)) == "input_changed:prompt"
    )  # before the options and models that depend on it


def test_reasons_of_the_other_differences() -> None:
    old = Fingerprint(inputs={"audio": "a"}, options={"crf": 18}, models={"style": "s"}, avatar="o", format=1)
    assert old.difference(old) is None
    assert dataclasses.replace(old, models={"style": "t"}).difference(old) == "model_changed:style"
    assert dataclasses.replace(old, avatar="p").difference(old) == "avatar_changed"
    assert dataclasses.replace(old, format=2, avatar="p").difference(old) == "format_changed"
    assert dataclasses.replace(old, options={}).difference(old) == "option_changed:crf"
    each = {old.digest, *(dataclasses.replace(old, **{key: value}).digest for key, value in [
        ("inputs", {"audio": "b"}), ("options", {"crf": 19}), ("models", {"style": "t"}), ("avatar", "p"), ("format", 2)
    ])}  # fmt: skip
    assert len(each) == 6


def test_the_journal_gives_back_what_it_was_given(job: Job) -> None:
    fingerprint = fingerprint_of(job)
    back = Fingerprint.from_dict(json.loads(json.dumps(fingerprint.as_dict())))
    assert back == fingerprint and back.digest == fingerprint.digest


def test_the_digest_is_that_of_earlier_versions() -> None:
    fixed = Fingerprint(
        inputs={"audio": "a" * 64}, options={"crf": 18, "seed": 0, "segment": None}, models={"style": "b" * 16},
        avatar="c" * 64, format=1,
    )  # fmt: skip
    assert fixed.digest == "39e270e253c82190d36c021ae77529be98edfbb4aeabdfe202fc8ccaedbcf3c7"


def test_an_unset_option_changes_nothing(job: Job) -> None:
    lacking = {name: value for name, value in OPTIONS.items() if name != "segment"}
    assert digest(dataclasses.replace(job, options=lacking)) == digest(job)


def test_each_file_and_avatar_is_looked_up_once(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    lookups: list[Path] = []
    find = bundles.find

    class Counting(FileHashes):
        def digest(self, path: Path) -> str:
            lookups.append(path)
            return super().digest(path)

    monkeypatch.setattr(bundles, "find", lambda name: lookups.append(Path(name)) or find(name))
    many = Fingerprinter(Counting(None))
    assert len({many.fingerprint(dataclasses.replace(job, id=str(k), index=k)).digest for k in range(1, 50)}) == 1
    assert sorted(lookups) == sorted([job.audio, job.prompt, Path("obama")])


# --- avatars --------------------------------------------------------------------------------------------------------


def test_an_avatar_counts_by_its_weights(job: Job, tmp_path: Path) -> None:
    shipped = fingerprint_of(job)
    assert shipped.avatar == assets.index()["avatar/obama"].sha256
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    card = {"format": "vast.avatar", "sha256": shipped.avatar, "subject": "ann"}
    (bundle / "avatar.json").write_text(json.dumps(card))
    assert digest(dataclasses.replace(job, avatar=str(bundle))) == shipped.digest
    (bundle / "avatar.json").write_text(json.dumps(card | {"sha256": "f" * 64}))
    assert fingerprint_of(dataclasses.replace(job, avatar=str(bundle))).difference(shipped) == "avatar_changed"


def test_a_packed_avatar_counts_by_its_bytes(job: Job, tmp_path: Path) -> None:
    path = tmp_path / "b.avatar"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("avatar.json", "{}")
    packed = dataclasses.replace(job, avatar=str(path))
    before = fingerprint_of(packed)
    assert before.avatar == FileHashes(None).digest(path)
    path.write_bytes(path.read_bytes() + b"x")
    assert fingerprint_of(packed).difference(before) == "avatar_changed"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"sha256": 3}', "\udcff"])
def test_an_invalid_card(job: Job, tmp_path: Path, text: str) -> None:
    (tmp_path / "avatar.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(VastError) as error:
        fingerprint_of(dataclasses.replace(job, avatar=str(tmp_path)))
    assert error.value.code == "vast_record_invalid"


def test_a_missing_input_is_named(job: Job) -> None:
    job.audio.unlink()
    with pytest.raises(VastError) as error:
        fingerprint_of(job)
    assert error.value.code == "vast_input_missing" and str(job.audio) in error.value.message
