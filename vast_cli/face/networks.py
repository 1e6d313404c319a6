"""Run TFLite networks on one thread (LiteRT with XNNPACK takes 3.1 ms, OpenCV's DNN module 5.2)."""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ai_edge_litert.interpreter import Interpreter

from vast_cli.core.arrays import Float32
from vast_cli.core.errors import VastError

_QUIET = threading.Lock()  # of two at once, one would save and restore the other's /dev/null as stderr


class Network:
    """A TFLite graph; outputs are selected by name, because their order differs between converters.

    Args:
        path: the file.
        outputs: names of the outputs to return, in this order.

    Raises:
        VastError: `vast_asset_missing`, `vast_asset_corrupt`.
    """

    def __init__(self, path: Path, outputs: Sequence[str]) -> None:
        if not path.is_file():
            raise VastError("vast_asset_missing", f"`{path}` is missing")
        try:
            # one thread: batches and threads do not speed up a net this small, processes do
            with _QUIET, _mute():
                self._interpreter: Any = Interpreter(model_path=str(path), num_threads=1)
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise VastError("vast_asset_corrupt", f"`{path}` is no TFLite network: {error}") from error
        self._inputs = [detail["index"] for detail in self._interpreter.get_input_details()]
        indices = {detail["name"]: detail["index"] for detail in self._interpreter.get_output_details()}
        if missing := [name for name in outputs if name not in indices]:
            raise VastError("vast_asset_corrupt", f"`{path}` has no output `{missing[0]}`")
        self._outputs = [indices[name] for name in outputs]

    def __call__(self, *inputs: Float32) -> list[Float32]:
        """Run once; inputs and outputs have the shapes of the graph."""
        for index, value in zip(self._inputs, inputs, strict=True):
            self._interpreter.set_tensor(index, value)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]


@contextmanager
def _mute() -> Iterator[None]:
    """Silence LiteRT, which writes to the process's stderr that it created a delegate; no setting turns that off."""
    try:
        stderr = os.dup(2)
    except OSError:  # a process without stderr
        yield
        return
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(null)
