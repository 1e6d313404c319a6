"""The table of errors is complete: every code raised has an entry, and every entry is documented."""

import pickle
import re
from pathlib import Path

from vast_cli.core import errors

PACKAGE = Path(errors.__file__).parents[1]


def test_every_code_used_has_an_entry_and_every_entry_is_documented() -> None:
    sources = [path.read_text("utf-8") for path in PACKAGE.rglob("*.py") if path.name != "errors.py"]
    used = {code for source in sources for code in re.findall(r'VastError\(\s*"(\w+)"', source)}
    assert len(used) > 15
    assert used <= set(errors.ERROR_KINDS)
    assert errors.__doc__ is not None
    assert set(re.findall(r"vast_[a-z_]+", errors.__doc__)) == set(errors.ERROR_KINDS)


def test_every_entry_has_a_hint_and_an_exit_status() -> None:
    for code, kind in errors.ERROR_KINDS.items():
        assert kind.hint and not kind.hint.endswith("."), code
        assert kind.exit not in (0, 2), code


def test_an_error_can_bring_its_own_hint() -> None:
    error = errors.VastError("vast_no_face", "no face", where="a.mp4", hint="look")
    assert error.as_dict() == {
        "code": "vast_no_face",
        "exit": 65,
        "message": "no face",
        "where": "a.mp4",
        "hint": "look",
    }


def test_errors_can_be_pickled() -> None:
    error = errors.VastError("vast_no_face", "no face", where="a.mp4", hint="look")
    assert pickle.loads(pickle.dumps(error)).as_dict() == error.as_dict()
