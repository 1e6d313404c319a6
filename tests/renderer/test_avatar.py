"""Avatar bundles survive saving and loading; modified ones are refused."""

import dataclasses
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from vast_cli.core.errors import VastError
from vast_cli.renderer import Avatar, find_avatar
from vast_cli.renderer.avatar import WEIGHTS, TemplateFootage, read_card
from vast_cli.store.bundles import CARD

from .conftest import TinyAvatar


@pytest.fixture
def bundle(tiny: TinyAvatar, tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    tiny.avatar.save(folder)
    return folder


def refused(path: Path, *codes: str) -> None:
    with pytest.raises(VastError) as caught:
        Avatar.load(path)
    assert caught.value.code in codes


def test_a_saved_avatar_is_loaded_unchanged(tiny: TinyAvatar, bundle: Path) -> None:
    loaded = Avatar.load(bundle)
    assert loaded.name == "tiny"
    assert loaded.card["subject"] == "nobody"
    assert loaded.region == tiny.avatar.region
    np.testing.assert_array_equal(loaded.subject.identity, tiny.avatar.subject.identity)
    run = tiny.build(tiny.expression[:4], tuple(part[:4] for part in tiny.pose))
    for name in ("lower", "upper"):
        saved, reloaded = (getattr(a.texture, name) for a in (tiny.avatar, loaded))
        before = saved.coefficients(getattr(run, name), run.pose)
        after = reloaded.coefficients(getattr(run, name), run.pose)
        assert np.abs(after - before).max() < 0.02 * np.abs(before).max()
    for a, b in zip(loaded.network.parameters(), tiny.avatar.network.parameters(), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-3)


def test_footage_is_stored_byte_for_byte(tiny: TinyAvatar, footage: TemplateFootage, tmp_path: Path) -> None:
    dataclasses.replace(tiny.avatar, footage=footage).save(tmp_path / "over")
    loaded = Avatar.load(tmp_path / "over").footage
    assert loaded is not None
    assert bytes(loaded.data) == bytes(footage.data)


@pytest.mark.parametrize("position", [0.01, 0.5, 0.99])
def test_a_flipped_byte_is_refused(bundle: Path, position: float) -> None:
    path = bundle / WEIGHTS
    data = bytearray(path.read_bytes())
    data[int(position * len(data))] ^= 0x10
    path.write_bytes(data)
    refused(bundle, "vast_asset_corrupt")


def test_a_truncated_file_is_refused(bundle: Path) -> None:
    path = bundle / WEIGHTS
    path.write_bytes(path.read_bytes()[:-100])
    refused(bundle, "vast_asset_corrupt")


@pytest.mark.parametrize("text", ["", "[]", "{", '{"format": "something else"}'])
def test_an_invalid_card_is_refused(bundle: Path, text: str) -> None:
    (bundle / CARD).write_text(text)
    refused(bundle, "vast_record_invalid", "vast_asset_corrupt")


def test_missing_files_are_named(bundle: Path) -> None:
    (bundle / WEIGHTS).unlink()
    refused(bundle, "vast_input_missing")


def zipped(bundle: Path, target: Path, **more: str) -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for name in (CARD, WEIGHTS):
            archive.write(bundle / name, name)
        for name, text in more.items():
            archive.writestr(name, text)
    return target


def test_a_zip_of_a_bundle_is_a_bundle(bundle: Path, tmp_path: Path) -> None:
    assert Avatar.load(zipped(bundle, tmp_path / "tiny.avatar")).name == "tiny"


@pytest.mark.parametrize("name", ["../evil.txt", "/tmp/evil.txt", "sub/avatar.json", "run.py"])
def test_unknown_members_are_refused(bundle: Path, tmp_path: Path, name: str) -> None:
    refused(zipped(bundle, tmp_path / "evil.avatar", **{name: "x"}), "vast_record_invalid")
    assert not (tmp_path / "evil.txt").exists()


def test_a_file_that_is_no_zip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "no.avatar"
    path.write_bytes(b"not a zip")
    refused(path, "vast_record_invalid")


def test_found_by_name_and_by_path(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAST_AVATARS", str(bundle.parent))
    assert find_avatar("tiny") == bundle
    assert find_avatar(str(bundle)) == bundle
    assert read_card(bundle)["licence"] == "none needed"
    with pytest.raises(VastError) as caught:
        find_avatar("tony")
    assert caught.value.code == "vast_avatar_unknown"
    assert "tiny" in caught.value.hint


def test_card_holds_no_machine_paths(bundle: Path) -> None:
    card = json.loads((bundle / CARD).read_text())
    assert str(bundle.parent) not in json.dumps(card)
