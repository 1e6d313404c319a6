"""Labels from text and audio, and their second alignment by the network."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from vast_cli.speech.acoustic import CLASSES, SIL, AcousticModel
from vast_cli.training.acoustic.align import align, arpabet, words
from vast_cli.training.acoustic.bundles import TranscribedUtterance, write_corpus
from vast_cli.training.acoustic.realign import old_phones, viterbi


def test_words_are_normalised_as_in_the_dictionary() -> None:
    assert words("Don't -- he said, “stop”; it’s 'now'!") == ["don't", "he", "said", "stop", "it's", "now"]


@pytest.mark.parametrize(
    ("ipa", "phones"),
    [("ɹᵻsˈaɪɾɚ", "R IH S AY T ER"), ("wɪðˈæl", "W IH DH AE L"), ("dʒˈuːdʒə", "JH UW JH AH"), ("ʘa", "")],
)
def test_ipa_becomes_classes(ipa: str, phones: str) -> None:
    assert " ".join(arpabet(ipa)) == phones


def test_the_best_path_has_the_true_borders_and_skips_a_missing_pause() -> None:
    truth = [1] * 5 + [2] * 4 + [SIL] * 6 + [3] * 5
    scores = np.log(np.eye(5)[truth] * 0.9 + 0.02)
    phones = np.array([SIL, 1, SIL, 2, SIL, 3])
    starts = viterbi(scores[:, phones].astype(np.float32), phones)
    assert starts is not None and starts.tolist() == [-1, 0, -1, 5, 9, 15]


def test_a_phone_lasts_two_steps_and_too_short_audio_has_no_path() -> None:
    phones = np.array([1, 2, 3])
    scores = np.log(np.eye(5)[[1, 1, 1, 1, 3, 3, 3]] * 0.9 + 0.02)[:, phones].astype(np.float32)
    starts = viterbi(scores, phones)
    assert starts is not None and (np.diff([*starts, 7]) >= 2).all()
    assert viterbi(scores[:5], phones) is None


def test_old_borders_give_the_phone_of_each_step() -> None:
    assert old_phones(np.array([0, 40, 60]), 6).argmax(axis=1).tolist() == [0, 0, 1, 1, 2, 2]


def test_known_speech_is_aligned_and_bundled(speech_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("pocketsphinx")
    import soundfile

    from vast_cli.training.acoustic.corpus import PLAIN, load_utterances, utterance_audio

    audio, _ = soundfile.read(speech_data / "example.flac", dtype="float32")
    text = "the floor more than anything else showed the great age of the room"
    alignment = align(audio, text)
    assert alignment is not None
    names = [CLASSES[p] for p in alignment.phones if p != SIL]
    assert names[:5] == ["DH", "AH", "F", "L", "AO"] and names[-3:] == ["R", "UW", "M"]
    assert (np.diff(alignment.ms.astype(int)) > 0).all() and alignment.ms[-1] < 1000 * len(audio) / 16_000
    assert align(audio, "xqzvv" if not shutil.which("espeak-ng") else "") is None

    utterances = [TranscribedUtterance("a", "s", text, audio), TranscribedUtterance("b", "s", "", audio)]
    report = write_corpus(tmp_path, "mine", utterances)
    assert report["utterances"] == 1 and report["dropped"] == 1
    (row, decoded), *rest = utterance_audio(tmp_path, "mine", "train")
    assert row == 0 and not rest
    np.testing.assert_allclose(decoded, audio, atol=1e-4)
    loaded = load_utterances(tmp_path, "mine", "train", tmp_path / "cache", condition=PLAIN)
    assert len(loaded) == 1 and set(np.unique(loaded.labels)) <= set(range(40))


def test_borders_move_to_where_the_network_puts_them(
    tmp_path: Path, random_model: AcousticModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vast_cli.training.acoustic import realign as module
    from vast_cli.training.acoustic.corpus import load_segments, utterance_audio

    (tmp_path / "mine").mkdir()
    audio = np.zeros(16_000, np.float32)
    soundfile = pytest.importorskip("soundfile")
    soundfile.write(tmp_path / "mine" / "mine_000.flac", audio, 16_000)
    phones, late = np.array([SIL, 3, 7, SIL], np.uint8), np.array([0, 340, 560, 840], np.uint32)
    utterance = {
        "split": np.array(["train"]),
        "conf": np.array([-9.0]),
        "bundle": np.zeros(1, int),
        "start": np.zeros(1, int),
    }
    np.savez(
        tmp_path / "mine.npz",
        **utterance, length=np.array([16_000]), seg_ptr=np.array([0, 4]), seg_phone=phones, seg_ms=late,
    )  # fmt: skip

    def true_posteriors(model: AcousticModel, audio: np.ndarray) -> np.ndarray:
        centre = 10.0 * np.arange(99) + 20.0
        truth = phones[np.searchsorted([0, 300, 500, 800], centre, side="right") - 1]
        return np.log(np.eye(40)[truth] * 0.999 + 1e-5).astype(np.float32)

    monkeypatch.setattr(module, "log_posteriors", true_posteriors)
    moved = module.realign(random_model, tmp_path, "mine", tmp_path / "new" / "mine.npz")
    segments = load_segments(tmp_path / "new" / "mine.npz")
    assert segments.phone.tolist() == phones.tolist()
    np.testing.assert_allclose(segments.ms, [0, 300, 500, 800], atol=10)
    assert 40 < moved < 60
    assert len(list(utterance_audio(tmp_path, "mine", "train"))) == 1
