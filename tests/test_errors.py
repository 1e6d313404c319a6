"""The table of errors is whole: every code raised in the package has a row, every row is documented."""

import pickle
import re
from pathlib import Path

from vast_cli.core import errors

PACKAGE = Path(errors.__file__).parents[1]


def test_every_code_used_has_a_row_and_every_row_is_in_the_tree() -> None:
    sources = [path.read_text("utf-8") for path in PACKAGE.rglob("*.py") if path.name != "errors.py"]
    used = {code for source in sources for code in re.findall(r'VastError\(\s*"(\w+)"', source)}
    assert len(used) > 15
    assert used <= set(errors.ERROR_KINDS)
    assert errors.__doc__ is not None
    assert set(re.findall(r"vast_[a-z_]+", errors.__doc__)) == set(errors.ERROR_KINDS)


def test_messages_say_what_and_what_to_do() -> None:
    for code, kind in errors.ERROR_KINDS.items():
        assert kind.hint and not kind.hint.endswith("."), code
        assert kind.exit not in (0, 2), code


def test_hint_can_be_replaced() -> None:
    error = errors.VastError("vast_no_face", "no face", where="a.mp4", hint="look")
    assert error.as_dict() == {
        "code": "vast_no_face",
        "exit": 65,
        "message": "no face",
        "where": "a.mp4",
        "hint": "look",
    }


def test_errors_travel_between_processes() -> None:
    error = errors.VastError("vast_no_face", "no face", where="a.mp4", hint="look")
    assert pickle.loads(pickle.dumps(error)).as_dict() == error.as_dict()
