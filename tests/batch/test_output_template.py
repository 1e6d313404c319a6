"""Output templates: fields are filled in, everything else is refused, and no value leads out of the folder."""

import os
import string
from datetime import datetime, timezone
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vast_cli.batch.manifest import output_template
from vast_cli.batch.manifest.output_template import FieldValue, parse_template
from vast_cli.core.errors import VastError
from vast_cli.core.formats import CONTAINERS

VALUES: dict[str, FieldValue] = {
    "id": "ep1.5", "index": 7, "total": 12, "audio": "voice", "prompt": "warm", "style": None, "avatar": "obama",
    "preset": "draft", "seed": 3, "date": datetime(2026, 3, 4, 5, 6, tzinfo=timezone.utc), "hash": "0123456789abcdef",
    "ext": "mp4", "x_lang": "de", "x_part": "4",
}  # fmt: skip


def filled(text: str, folder: Path, **values: FieldValue) -> str:
    return parse_template(text, folder).fill(VALUES | values).relative_to(folder).as_posix()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("{id}.mp4", "ep1.5.mp4"),
        ("{id}", "ep1.5.mp4"),
        ("{id}.MOV", "ep1.5.MOV"),
        ("{id}.{ext}", "ep1.5.mp4"),
        ("out/", "out/ep1.5.mp4"),
        ("out/{x_lang}/", "out/de/ep1.5.mp4"),
        ("out//./{x_lang}/./{id}.mp4", "out/de/ep1.5.mp4"),
        ("{x_lang|en}/{index:04d}-of-{total}.m4v", "de/0007-of-12.m4v"),
        ("{x_none|en}/{audio}-{prompt}-{style|none}{style|}.mp4", "en/voice-warm-none.mp4"),
        ("{hash:.8}-{date:%Y%m%d-%H%M}-{seed:+d}.mp4", "01234567-20260304-0506-+3.mp4"),
        ("{date}.mp4", "2026-03-04.mp4"),
        ("{x_part:03d}-{x_part:>3}-{avatar:_^9}-{index:x}.mp4", "004-  4-__obama__-7.mp4"),
        ("{{{id}}}.mp4", "{ep1.5}.mp4"),
        (".hidden-{preset}.mp4", ".hidden-draft.mp4"),
        ("a b/日本 é'$(x);/{id} %d.mp4", "a b/日本 é'$(x);/ep1.5 %d.mp4"),
        ("-{id}.mp4", "-ep1.5.mp4"),
    ],
)
def test_names(text: str, name: str, tmp_path: Path) -> None:
    assert filled(text, tmp_path) == name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{id", "lone `{`"),
        ("id}", "lone `}`"),
        ("{}", "not understood"),
        ("{id.__class__}", "not understood"),
        ("{id[0]}", "not understood"),
        ("{id!r}", "not understood"),
        ("{id()}", "not understood"),
        ("{id:{index}}", "lone"),
        ("{ident}", "no field"),
        ("{promt}", "did you mean `prompt`"),
        ("{0}", "not understood"),
        ("{id:999999999}", "format"),
        ("{id:.999999999999999999999}", "format"),
        ("{index:99999999d}", "format"),
        ("{index:.2f}", "format"),
        ("{index:n}", "format"),
        ("{id:04d}", "format"),
        ("{date:%1000000Y}", "format"),
        ("{date:%Q}", "format"),
        ("{x_lang|en:.2}", "format comes first"),
        ("{id}/../x.mp4", "leave the output folder"),
        ("{id}.avi", "`.avi` is not a supported video format"),
        ("{id}.", "not a supported video format"),
        (".mp4", "no file name"),
        ("  ", "no file name"),
        ("a\0b", "no file name"),
        ("x" * 3000, "characters"),
        ("{index:" + "9" * 1900 + "}", "format"),
    ],
)
def test_invalid_templates_are_refused(text: str, expected: str, tmp_path: Path) -> None:
    with pytest.raises(VastError) as error:
        parse_template(text, tmp_path)
    assert error.value.code == "vast_option_invalid"
    assert expected in f"{error.value.message} {error.value.hint}"


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ("{style}.mp4", {}, "`{style|none}`"),
        ("{x_other}/{id}.mp4", {}, "no `x_other`"),
        ("{x_a}/{id}.mp4", {"x_a": ".."}, "gives no name"),
        ("{x_a}/{id}.mp4", {"x_a": "/"}, "gives no name"),
        (".{x_a}/{id}.mp4", {"x_a": "."}, "gives no name"),
        ("..{x_a}/{id}.mp4", {"x_a": "\n"}, "gives no name"),
        ("{x_a}{x_b}/{id}.mp4", {"x_a": ".", "x_b": "."}, "gives no name"),
        ("{x_a}.mp4", {"x_a": "\x7f"}, "gives no name"),
        ("{x_a}", {"x_a": "é" * 120}, "bytes long"),
        ("{x_a}/{id}.mp4", {"x_a": "x" * 256}, "bytes long"),
        ("{x_part:03d}.mp4", {"x_part": "four"}, "cannot be written"),
        ("/".join(["{x_a}"] * 40), {"x_a": "x" * 200}, "a path of"),
    ],
)
def test_values_that_give_no_name_are_refused(
    text: str, values: dict[str, FieldValue], expected: str, tmp_path: Path
) -> None:
    parsed = parse_template(text, tmp_path)
    with pytest.raises(VastError) as error:
        parsed.fill(VALUES | values)
    assert expected in f"{error.value.message} {error.value.hint}"


def test_names_leave_room_for_files_beside_a_video(tmp_path: Path) -> None:
    path = parse_template("{x_a}.mp4", tmp_path).fill({"x_a": "x" * (output_template.MAX_NAME - 4)})
    path.with_name(f"{path.stem}.rejected.mp4.json").touch()  # the longest name beside a video


def test_an_existing_folder_holds_the_videos(tmp_path: Path) -> None:
    (tmp_path / "a {b}").mkdir()
    assert filled("a {b}", tmp_path) == "a {b}/ep1.5.mp4"
    assert filled(".", tmp_path) == "ep1.5.mp4"
    assert filled("new", tmp_path) == "new.mp4"


def test_absolute_templates_and_steps_up_before_the_first_field(tmp_path: Path) -> None:
    elsewhere = parse_template(f"{tmp_path}/out/{{id}}.mp4", Path("/nowhere")).fill(VALUES)
    assert elsewhere == tmp_path / "out" / "ep1.5.mp4"
    above = parse_template("../out/{id}.mp4", tmp_path / "x").fill(VALUES)
    assert os.path.normpath(above) == str(tmp_path / "out" / "ep1.5.mp4")


VALUE = st.one_of(
    st.text(max_size=30),
    st.text(alphabet="./\\ \0\n", max_size=8),
    st.sampled_from(["..", "../..", "/etc/passwd", "C:\\x", "~", "-rf", "{id}", "%s", "．．", "\u2025"]),
)
PIECE = st.one_of(
    st.sampled_from(
        ["{x_a}", "{x_b}", "{x_a|..}", "{x_c|/}", "{x_b:.1}", "{x_a:.<4}", "{id:/>9}", "/", ".", "..", "../"]
    ),
    st.text(alphabet=string.ascii_letters + "./ {}|:", max_size=6),
)


@settings(deadline=None, max_examples=1500)
@given(st.lists(PIECE, min_size=1, max_size=8), VALUE, VALUE)
@example([".", "{x_a}", "/", "{id}"], ".", "")
@example(["{x_a}", ".mp4"], "", "")
def test_no_value_leads_out_of_the_folder(pieces: list[str], a: str, b: str) -> None:
    folder = Path("/nowhere/at/all")
    try:
        parsed = parse_template("".join(pieces), folder)
        path = parsed.fill(VALUES | {"x_a": a, "x_b": b})
    except VastError as error:
        assert error.code == "vast_option_invalid"
        return
    below = Path(path).relative_to(parsed.base)
    assert len(below.parts) == len(parsed.names) and ".." not in below.parts
    assert Path(os.path.normpath(path)).is_relative_to(os.path.normpath(parsed.base))
    assert path.suffix.lower() in CONTAINERS and path.stem
    assert not set(map(chr, range(32))) & set("".join(below.parts))
    assert len(os.fsencode(path.name)) <= output_template.MAX_NAME
    # whatever the values, the folder before the first field stays
    assert parsed.fill(VALUES | {"x_a": "1", "x_b": "2"}).is_relative_to(parsed.base)
