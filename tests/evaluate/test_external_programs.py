"""Programs of the user's as external models: run without a shell, limited in time, their output checked."""

import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vast_cli.core.errors import VastError
from vast_cli.evaluate.external import lip_reader
from vast_cli.evaluate.external.command import CommandTemplate
from vast_cli.evaluate.external.emotion import EmotionModel
from vast_cli.evaluate.external.lip_reader import LipReader, character_errors, word_errors


@pytest.fixture
def program(tmp_path):
    """A command that runs a few lines of Python on the video: `sys.argv[1]`."""

    def make(*lines):
        script = tmp_path / "a program.py"
        script.write_text("import sys, time, json, subprocess\n" + "\n".join(lines))
        return f"{sys.executable} '{script}' {{video}}"

    return make


def test_a_lip_reader_gets_any_name_as_one_argument(program, tmp_path):
    video = tmp_path / "a $(touch b) 'c' ;d.mp4"
    reader = LipReader(program("print(len(sys.argv), sys.argv[1])"))
    assert reader.read(video) == f"2 {video}"
    assert reader.version == "2 --version"
    assert not (tmp_path / "b").exists()


def test_a_relative_video_is_no_option(program, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert LipReader(program("print(sys.argv[1])")).read(Path("-x.mp4")) == str(tmp_path / "-x.mp4")


@pytest.mark.parametrize(
    ("lines", "code", "message"),
    [
        (["print('trying', file=sys.stderr)", "sys.exit('no face here')"], "vast_worker_died", "no face here"),
        (["sys.exit(3)"], "vast_worker_died", "status 3"),
        (["print('one')", "print('two')"], "vast_record_invalid", "2 lines"),
        (["time.sleep(60)"], "vast_timeout", "within 1 s"),
    ],
)
def test_a_failing_program_is_reported(program, lines, code, message):
    with pytest.raises(VastError, match=message) as error:
        CommandTemplate.parse(program(*lines)).run(Path("v.mp4"), timeout_s=1 if code == "vast_timeout" else 20)
    assert error.value.code == code


def test_a_timeout_ends_the_programs_children_too(program, tmp_path):
    mark = tmp_path / "mark"
    child = f"import time; time.sleep(2.5); open({str(mark)!r}, 'w')"
    line = f"subprocess.run([sys.executable, '-c', {child!r}])"
    with pytest.raises(VastError, match="within 1 s"):
        CommandTemplate.parse(program(line)).run(Path("v.mp4"), timeout_s=1)
    time.sleep(2)
    assert not mark.exists()


def test_a_child_left_behind_with_the_output_open_times_out(program):
    line = "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])"
    with pytest.raises(VastError, match="within 1 s"):
        CommandTemplate.parse(program(line)).run(Path("v.mp4"), timeout_s=1)


def test_a_program_that_prints_nothing_has_read_nothing(program):
    assert LipReader(program("")).read(Path("v.mp4")) == ""


@pytest.mark.parametrize("text", ["", "true", "{video}", "'open {video}", "no-such-program-here {video}"])
def test_a_wrong_command_is_refused_before_any_work(text):
    with pytest.raises(VastError) as error:
        LipReader(text)
    assert error.value.code == "vast_option_invalid"


def test_an_emotion_model_gives_probabilities(program):
    model = EmotionModel(program("print(json.dumps({'happy': 0.7, 'sad': 0.299}))"))
    probabilities = model.probabilities(Path("v.mp4"))
    assert probabilities["happy"] == pytest.approx(0.7 / 0.999)
    assert sum(probabilities.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    "answer",
    ["", "happy", "[1]", "{}", '{"a": 0.5}', '{"a": 1.5, "b": -0.5}', '{"a": NaN}', '{"a": true}', '{"a": "1"}'],
)
def test_invalid_probabilities_are_refused(program, answer):
    with pytest.raises(VastError) as error:
        EmotionModel(program(f"print({answer!r})")).probabilities(Path("v.mp4"))
    assert error.value.code == "vast_record_invalid"


def test_words_are_counted_after_normalisation():
    assert word_errors("Bin blue, at F two now!", "bin blue at f two now") == (0, 6)
    assert word_errors("place red by g 9 soon", "place by the g nine soon") == (3, 6)
    assert word_errors("ﬁne", "FINE") == (0, 1)
    assert word_errors("one", "") == (1, 1)
    assert word_errors("", "two words") == (2, 0)
    assert word_errors("a", "x y z") == (3, 1)
    assert character_errors("abc d", "abd d") == (1, 5)


@given(
    st.lists(st.sampled_from(["bin", "lay", "set"]), max_size=8),
    st.lists(st.sampled_from(["bin", "set", "a"]), max_size=8),
)
def test_word_errors_are_the_edit_distance(reference, hypothesis):
    table = np.zeros((len(reference) + 1, len(hypothesis) + 1), int)
    table[:, 0], table[0] = range(len(reference) + 1), range(len(hypothesis) + 1)
    for i, a in enumerate(reference):
        for j, b in enumerate(hypothesis):
            table[i + 1, j + 1] = min(table[i, j] + (a != b), table[i, j + 1] + 1, table[i + 1, j] + 1)
    assert word_errors(" ".join(reference), " ".join(hypothesis)) == (table[-1, -1], len(reference))


def test_wilson_interval():
    assert lip_reader.wilson(7, 30) == pytest.approx((0.118, 0.409), abs=0.001)
    assert lip_reader.wilson(15, 30) == pytest.approx((0.332, 0.668), abs=0.001)
    assert lip_reader.wilson(0, 30)[0] == 0
    assert lip_reader.wilson(30, 30)[1] == pytest.approx(1)
    assert lip_reader.wilson(40, 30) is None
    assert lip_reader.wilson(0, 0) is None


def test_counting_needs_its_package(monkeypatch):
    assert lip_reader.available()
    monkeypatch.setattr(lip_reader.importlib.util, "find_spec", lambda name: None)
    assert not lip_reader.available()
