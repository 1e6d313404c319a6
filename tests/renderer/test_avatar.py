"""Avatar bundles: what is saved comes back; what was tampered with is refused."""

import dataclasses
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from vast_cli.core.errors import VastError
from vast_cli.renderer import Avatar, find_avatar
from vast_cli.renderer.avatar import WEIGHTS, Footage, read_card
from vast_cli.store.bundles import CARD

from .conftest import Sitter


@pytest.fixture
def bundle(sitter: Sitter, tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    sitter.avatar.save(folder)
    return folder


def refused(path: Path, *codes: str) -> None:
    with pytest.raises(VastError) as caught:
        Avatar.load(path)
    assert caught.value.code in codes


def test_what_is_saved_comes_back(sitter: Sitter, bundle: Path) -> None:
    loaded = Avatar.load(bundle)
    assert loaded.name == "tiny"
    assert loaded.card["subject"] == "nobody"
    assert loaded.region == sitter.avatar.region
    np.testing.assert_array_equal(loaded.subject.identity, sitter.avatar.subject.identity)
    run = sitter.build(sitter.expression[:4], tuple(part[:4] for part in sitter.pose))
    for name in ("lower", "upper"):
        ours, theirs = (getattr(a.texture, name) for a in (sitter.avatar, loaded))
        coefficients = ours.mix(getattr(run, name), run.pose)
        again = theirs.mix(getattr(run, name), run.pose)
        assert np.abs(again - coefficients).max() < 0.02 * np.abs(coefficients).max()
    for a, b in zip(loaded.network.parameters(), sitter.avatar.network.parameters(), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-3)


def test_footage_is_kept_byte_for_byte(sitter: Sitter, footage: Footage, tmp_path: Path) -> None:
    dataclasses.replace(sitter.avatar, footage=footage).save(tmp_path / "over")
    loaded = Avatar.load(tmp_path / "over").footage
    assert loaded is not None
    assert bytes(loaded.data) == bytes(footage.data)


@pytest.mark.parametrize("place", [0.01, 0.5, 0.99])
def test_flipped_byte_is_refused(bundle: Path, place: float) -> None:
    path = bundle / WEIGHTS
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= 0x10
    path.write_bytes(data)
    refused(bundle, "vast_asset_corrupt")


def test_cut_file_is_refused(bundle: Path) -> None:
    path = bundle / WEIGHTS
    path.write_bytes(path.read_bytes()[:-100])
    refused(bundle, "vast_asset_corrupt")


@pytest.mark.parametrize("text", ["", "[]", "{", '{"format": "something else"}'])
def test_broken_card_is_refused(bundle: Path, text: str) -> None:
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


def test_zip_of_a_bundle_is_a_bundle(bundle: Path, tmp_path: Path) -> None:
    assert Avatar.load(zipped(bundle, tmp_path / "tiny.avatar")).name == "tiny"


@pytest.mark.parametrize("name", ["../evil.txt", "/tmp/evil.txt", "sub/avatar.json", "run.py"])
def test_strange_members_are_refused(bundle: Path, tmp_path: Path, name: str) -> None:
    refused(zipped(bundle, tmp_path / "evil.avatar", **{name: "x"}), "vast_record_invalid")
    assert not (tmp_path / "evil.txt").exists()


def test_no_zip_is_refused(tmp_path: Path) -> None:
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
