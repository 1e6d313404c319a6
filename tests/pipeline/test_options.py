"""One model says which options a render has; everything else is made from it."""

from pathlib import Path
from typing import get_args

import pytest

from vast_cli.core.errors import VastError
from vast_cli.pipeline.options import MachineOptions, RenderOptions, effects, parse, shaping
from vast_cli.pipeline.request import RenderRequest
from vast_cli.renderer.render import DETAILS


def test_choices_are_those_of_the_stages() -> None:
    assert set(get_args(RenderOptions.model_fields["detail"].annotation)) == set(DETAILS)


def test_bytes_depend_on_options_only_when_their_input_is_there() -> None:
    everything = set(shaping(prompt=True, style=False))
    assert everything == {name for name, what in effects(RenderOptions).items() if what.on is not None}
    assert everything - set(shaping(prompt=False, style=True)) == {"face"}
    assert everything - set(shaping(prompt=False, style=False)) == {"face", "head_motion", "style_strength"}
    assert not everything & {"sidecar", "allow_silence"}


def test_text_and_values_mean_the_same() -> None:
    text = parse(RenderOptions, {"crf": "20", "segment": "1:30", "style_strength": "1,5", "sidecar": "yes", "face": 2})
    values = {"crf": 20, "segment": 90.0, "style_strength": 1.5, "sidecar": True, "face": "2"}
    assert text == parse(RenderOptions, values)


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"crf": 52}, "`crf`: 52 is more than 51"),
        ({"style_strength": float("nan")}, "`style_strength`"),
        ({"detail": "best"}, "`best` is none of full or mesh"),
        ({"device": "tpu"}, "`tpu` is none of auto, cpu, cuda or cuda:N"),
        ({"crff": 1}, "no option `crff`"),
    ],
)
def test_a_request_names_the_option_that_is_wrong(values: dict[str, object], fault: str) -> None:
    with pytest.raises(VastError) as error:
        RenderRequest.of(Path("a.wav"), "obama", Path("a.mp4"), values=values)
    assert error.value.code == "vast_option_invalid" and fault in error.value.message


def test_a_request_sorts_values_into_what_shapes_the_video_and_what_computes_it() -> None:
    request = RenderRequest.of(Path("a.wav"), "obama", Path("a.mp4"), values={"crf": 30, "threads": 3})
    assert request.options == RenderOptions(crf=30) and request.machine == MachineOptions(threads=3)
