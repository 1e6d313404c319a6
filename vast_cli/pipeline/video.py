"""From posteriorgram and style vector to a video file: the streaming half of a render, whole or in segments."""

import hashlib
import logging
from collections.abc import Container, Generator, Iterator
from contextlib import closing
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from vast_cli import media, renderer
from vast_cli.core.arrays import Float32, Image
from vast_cli.core.devices import Compute
from vast_cli.core.progress import Progress, counted
from vast_cli.core.streams import prefetch
from vast_cli.pipeline import segments, sidecar
from vast_cli.pipeline.models import Models
from vast_cli.pipeline.motion import expressions
from vast_cli.pipeline.options import effects
from vast_cli.pipeline.request import RenderRequest
from vast_cli.records import Posteriorgram

log = logging.getLogger(__name__)


class VideoMaker:
    """Writes the video of one request.

    Args:
        request: what to render.
        models: loaded networks.
        compute: device, precision and threads.
        avatar: who speaks.
        ppg: what is spoken.
        style_vector: s [d_s].
        head: turns of the head beside the template's.
        progress: called with frames done.
    """

    def __init__(
        self,
        request: RenderRequest,
        models: Models,
        compute: Compute,
        avatar: renderer.Avatar,
        *,
        ppg: Posteriorgram,
        style_vector: Float32,
        head: renderer.HeadMotion | None,
        progress: Progress,
    ) -> None:
        self._request, self._models, self._compute, self._avatar = request, models, compute, avatar
        self._ppg, self._vector, self._head, self._progress = ppg, style_vector, head, progress
        self.n_limited = 0  # frames that were limited to the avatar's range
        self._renderer = renderer.Renderer(
            avatar,
            face=models.face_model,
            rasteriser=models.rasteriser,
            compute=compute,
            detail=request.options.detail,
            seed=request.options.seed,
            batch=request.batch_size,
            head=head,
        )

    def write_whole(self) -> int:
        """Write a video of one segment; returns 0, the number of segments that were there already."""
        n_frames = self._ppg.n_frames
        with closing(self._frames(n_frames, ())) as frames, self._output() as writer:
            for frame in counted(frames, "render", n_frames, self._progress):
                writer.write(frame)
        return 0

    def write_segments(self, cuts: list[range], parts: Path | None) -> int:
        """Write a long video segment by segment; returns how many an interrupted render had finished."""
        n_frames = self._ppg.n_frames
        with segments.open_store(parts, self._segment_key(cuts)) as store:
            with media.VideoJoiner(self._request.output, n_frames=n_frames, **self._output_settings()) as joiner:
                finished = {k for k, span in enumerate(cuts) if store.has(k, span)}
                if finished:
                    log.info("%d of %d segments are there already", len(finished), len(cuts))
                with closing(self._frames(len(cuts[0]), finished)) as frames:
                    for k, span in enumerate(cuts):
                        if k in finished:
                            self._renderer.state = store.state(k)
                            self._progress("render", span.stop, n_frames)
                            continue
                        with self._encoder(store.video(k), len(span), overwrite=True) as writer:
                            for done, frame in enumerate(islice(frames, len(span)), start=span.start + 1):
                                writer.write(frame)
                                self._progress("render", done, n_frames)
                        store.keep(k, span, self._renderer.state)
                    for _ in frames:  # run the prediction to its end: that counts the limited frames
                        raise AssertionError("more frames than the audio has")
                joiner.join([store.video(k) for k in range(len(cuts))])
            store.clear()
        return len(finished)

    def _output(self) -> media.VideoWriter:
        return self._encoder(self._request.output, self._ppg.n_frames, **self._output_settings())

    def _output_settings(self) -> dict[str, Any]:
        return {
            "audio": self._request.audio,
            "n_samples": self._ppg.n_samples,
            "overwrite": self._request.overwrite,
            "metadata": sidecar.tags(self._avatar.name, fingerprint=self._request.fingerprint),
        }

    def _encoder(self, path: Path, n_frames: int, **settings: Any) -> media.VideoWriter:
        options = self._request.options
        return media.VideoWriter(
            path,
            media.VideoFormat(
                self._renderer.width,
                self._renderer.height,
                crf=options.crf,
                preset=options.encoder_preset,
                codec=options.codec,
            ),
            n_frames=n_frames,
            **settings,
        )

    def _segment_key(self, cuts: list[range]) -> dict[str, Any]:
        """Everything that the bytes of segments depend on; audio and prompt count by what was extracted from them."""
        options = self._request.options
        names = [name for name, what in effects(type(options)).items() if what.on is not None and what.in_segment_key]
        return segments.machine(self._compute) | {
            "speech": hashlib.sha256(self._ppg.values.tobytes()).hexdigest(),
            "style": hashlib.sha256(self._vector.tobytes()).hexdigest(),
            "head": None if self._head is None else asdict(self._head),
            "avatar": self._avatar.card.get("sha256"),
            "models": [self._models.face_model.hash, self._models.expression_model.hash],
            "options": {name: getattr(options, name) for name in names} | {"batch": self._request.batch_size},
            "cuts": [len(cuts[0]), self._ppg.n_frames],
        }

    def _frames(self, length: int, skipped: Container[int]) -> Generator[Image, None, None]:
        """D, Phi' and G: frames of all segments of `length` frames but those skipped.

        The whole prediction runs in any case, since it carries a state of its own: 1,600 frames a CPU second, where
        rendering does 29. Meshes are rasterised in a thread of their own.
        """
        options = self._request.options

        def runs() -> Iterator[Float32]:
            for run, n_limited in expressions(
                self._ppg,
                self._vector,
                self._avatar,
                self._models,
                max_exaggeration=options.max_exaggeration,
                seed=options.seed,
            ):
                self.n_limited += n_limited
                yield run

        def scenes() -> Iterator[tuple[int, renderer.Scene]]:
            start = 0
            for run in prefetch(runs()):
                at, start = start, start + len(run)
                if at // length in skipped:
                    continue
                for scene in self._renderer.prepare(run, at):
                    yield at, scene
                    at += len(scene)

        for at, scene in prefetch(scenes()):
            yield from self._renderer.render(scene, renderer.speech_windows(self._ppg, at, len(scene)))
