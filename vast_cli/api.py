"""The commands of `vast` as methods of one class. Networks are loaded when first needed, and stay.

from vast_cli import Pipeline

vast = Pipeline()
vast.render("speech.wav", prompt="excited.mp4", output="out.mp4")
"""

import functools
import logging
import os
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from vast_cli.batch.manifest import KEYS, PRESET_OPTIONS
from vast_cli.core.errors import VastError
from vast_cli.core.progress import Progress
from vast_cli.core.text import suggest
from vast_cli.gates.options import GatedOptions
from vast_cli.pipeline.options import MachineOptions, MotionOptions, OptionModel, check
from vast_cli.store import presets, styles

if TYPE_CHECKING:
    from vast_cli.batch.execution import Summary
    from vast_cli.batch.monitor.events import Listener
    from vast_cli.batch.options import BatchOptions, Selection
    from vast_cli.batch.planning.plan import Plan
    from vast_cli.batch.state.folder import OpenBatch
    from vast_cli.pipeline.curves import Curves
    from vast_cli.pipeline.models import Models
    from vast_cli.pipeline.request import RenderResult
    from vast_cli.records import FaceTrack, Motion, Posteriorgram, Style
    from vast_cli.store.cache import Cache

log = logging.getLogger(__name__)

StrPath: TypeAlias = str | os.PathLike[str]
OnEvent: TypeAlias = Callable[[str, Mapping[str, Any]], None]  # name of the event, its fields
MACHINE = tuple(MachineOptions.model_fields)


class Pipeline:
    """Everything `vast` can do with loaded networks. One thread at a time.

    All methods raise `VastError` with a code, a message and a hint, as the commands print them. Nothing is read from
    the environment but `VAST_CACHE`.

    Args:
        device: auto, cpu, cuda or cuda:N.
        dtype: auto, fp32, bf16 or fp16.
        threads: CPU threads; 0: all cores.
        cache: folder of tracks, styles and posteriorgrams; None: the platform's, shared with the command line;
            False: nothing is kept.
        progress: called with work done: stage, done, total (None where unknown).
    """

    def __init__(
        self,
        *,
        device: str = "auto",
        dtype: str = "auto",
        threads: int = 0,
        cache: StrPath | Literal[False] | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.device = device
        self.dtype = dtype
        self.threads = threads
        self._cache_choice = cache
        self._progress: Progress = progress or (lambda stage, done, total: None)

    @functools.cached_property
    def models(self) -> "Models":
        """The networks."""
        from vast_cli.pipeline.models import Models

        return Models()

    @functools.cached_property
    def cache(self) -> "Cache":
        """Tracks, styles and posteriorgrams by what they were made from."""
        from vast_cli.store import folders
        from vast_cli.store.cache import NO_CACHE, Cache

        if self._cache_choice is False:
            return NO_CACHE
        return Cache(folders.cache_folder() if self._cache_choice is None else Path(self._cache_choice))

    def render(
        self,
        audio: StrPath,
        avatar: StrPath = "obama",
        prompt: StrPath | None = None,
        style: "StrPath | Style | None" = None,
        *,
        output: StrPath,
        overwrite: bool = False,
        preset: str = "standard",
        parts: StrPath | None = None,
        **options: Any,
    ) -> "RenderResult":
        """Make the avatar speak: `vast render`.

        Args:
            audio: audio to speak, any audio or video file.
            avatar: name of an avatar, or the path of a bundle.
            prompt: video whose style is imitated.
            style: style instead of a prompt, or the name or file of one.
            output: video file.
            overwrite: replace an output that exists.
            preset: named set of options.
            parts: folder that keeps finished segments of a long video until it is complete; called again after an
                interruption, it continues from them.
            options: fields of `GatedOptions`, as `vast render --help` shows them: `style_strength`, `crf`, `gate`, ...

        Raises:
            VastError: `vast_option_invalid`, `vast_preset_unknown`, `vast_gate_failed`, whatever the stages raise;
                nothing is left behind then, but for the rejected video of a failed gate.
        """
        given = _checked(GatedOptions, options)
        if prompt is not None and style is not None:
            raise VastError("vast_option_invalid", "`prompt` and `style` exclude each other", hint="give one of them")
        from vast_cli.gates.render import render as render_gated
        from vast_cli.pipeline.request import RenderRequest

        values = self._preset(preset) | given
        gates = values.pop("gate", ())
        with _style_file(style) as style_path:
            request = RenderRequest.of(
                Path(audio),
                os.fspath(avatar),
                Path(output),
                values=values,
                prompt=None if prompt is None else Path(prompt),
                style=style_path,
                overwrite=overwrite,
            )
            result, _ = render_gated(
                request,
                gates,
                models=self.models,
                cache=self.cache,
                parts=None if parts is None else Path(parts),
                progress=self._progress,
            )
            return result

    def extract(self, video: StrPath, *, face: str = "largest") -> "FaceTrack":
        """Track the face of a video, 25 times a second: `vast extract`. `save` writes it.

        Raises:
            VastError: `vast_input_missing`, `vast_bad_media`, `vast_no_face`, `vast_face_lost`.
        """
        from vast_cli.pipeline.extract import extract_track

        return extract_track(Path(video), self.models, face_name=face, cache=self.cache, progress=self._progress)

    def ppg(self, audio: StrPath) -> "Posteriorgram":
        """Phones spoken in audio, 50 times a second: `vast ppg`.

        Raises:
            VastError: `vast_input_missing`, `vast_no_audio`, `vast_bad_media`, `vast_audio_too_short`.
        """
        from vast_cli.pipeline.extract import extract_speech

        return extract_speech(Path(audio), self.models, cache=self.cache, progress=self._progress)

    def encode_style(self, prompt: StrPath, *, face: str = "largest") -> "Style":
        """How somebody speaks in a video, or in a track of one: `vast encode-style`. Warnings are logged.

        Raises:
            VastError: as `extract`; `vast_record_invalid`, `vast_model_mismatch` for a track.
        """
        from vast_cli.pipeline.extract import encode_prompt

        style, warnings = encode_prompt(
            Path(prompt), self.models, face_name=face, cache=self.cache, progress=self._progress
        )
        for warning in warnings:
            log.warning("%s", warning)
        return style

    def predict(
        self, audio: StrPath, style: "StrPath | Style | None" = None, avatar: StrPath = "obama", **options: Any
    ) -> "Motion":
        """Expression without frames, 25 times a second: `vast predict`.

        Args:
            audio: audio to speak.
            style: style, or the name or file of one; None: the avatar's own.
            avatar: whose range it is kept in.
            options: fields of `MotionOptions`: `style_strength`, `max_exaggeration`, `allow_silence`, `seed`.

        Raises:
            VastError: `vast_option_invalid`, whatever the stages raise.
        """
        given = MotionOptions(**_checked(MotionOptions, options))
        from vast_cli.pipeline.motion import predict_motion

        with _style_file(style) as style_path:
            return predict_motion(
                Path(audio),
                self.models,
                style=style_path,
                avatar=os.fspath(avatar),
                options=given,
                progress=self._progress,
            )

    def predict_curves(
        self, audio: StrPath, style: "StrPath | Style | None" = None, avatar: StrPath = "obama", **options: Any
    ) -> "Curves":
        """Weights of ARKit's 52 blendshapes over time, for rigs: `vast predict --format csv`. `save` writes them.

        Args:
            audio, style, avatar, options: as for `predict`.

        Raises:
            VastError: as `predict`.
        """
        given = MotionOptions(**_checked(MotionOptions, options))
        from vast_cli.pipeline.curves import predict_curves

        with _style_file(style) as style_path:
            return predict_curves(
                Path(audio),
                self.models,
                style=style_path,
                style_name=_style_name(style),
                avatar=os.fspath(avatar),
                options=given,
                progress=self._progress,
            )

    def evaluate(
        self,
        output: StrPath,
        reference: StrPath | None = None,
        *,
        audio: StrPath | None = None,
        style_reference: StrPath | None = None,
        footage: StrPath | None = None,
        style_differs: bool = False,
        controls: bool = True,
        face: str = "largest",
        seed: int = 0,
        workers: int = 1,
        report: StrPath | None = None,
        overwrite: bool = False,
    ) -> dict[str, Any]:
        """Measure videos, beside controls that show what each figure is worth: `vast evaluate`.

        Args:
            output: video, folder of videos, or table of pairs (.csv, .tsv).
            reference: the true video, or a folder of them with the same names.
            audio: the audio spoken, if not the video's own; or a folder.
            style_reference: the prompt whose style was asked for; or a folder.
            footage: real footage of the person, where there is no true video.
            style_differs: the output speaks in another style than the reference.
            controls: measure the controls too; without, no figure is valid.
            face: which face of the video.
            seed: of everything random.
            workers: clips at once, each in a process with networks of its own.
            report: folder for a page with images, videos and curves.
            overwrite: replace a report that exists.

        Returns:
            The document of `vast evaluate --json`.

        Raises:
            VastError: `vast_input_missing`, `vast_bad_media`, `vast_manifest_invalid`.
        """
        from vast_cli.core import devices, files
        from vast_cli.evaluate import engine, manifest

        if report is not None:
            files.check_output_folder(Path(report), overwrite=overwrite)
        given = {"reference": reference, "audio": audio, "style_reference": style_reference, "footage": footage}
        paths = {role: None if path is None else Path(path) for role, path in given.items()}
        pairs = manifest.find_pairs(Path(output), paths, style_differs=style_differs)
        settings = engine.Settings(
            seed=seed,
            threads=self.threads or devices.cores(),
            controls=controls,
            styles=any(pair.style_reference for pair in pairs) and len(pairs) > 1,
            face_name=face,
        )
        document = engine.evaluate(pairs, settings, workers=min(workers, len(pairs)), progress=self._progress)
        if report is not None:
            from vast_cli.evaluate.report import write_report

            write_report(document, Path(report), overwrite=overwrite)
        return document

    def batch(
        self,
        manifest: StrPath,
        output: StrPath | None = None,
        workers: int = 0,
        *,
        on_event: OnEvent | None = None,
        **options: Any,
    ) -> "Summary":
        """Run what is missing, changed or failed of a manifest, in processes of their own: `vast batch`.

        Failures of single jobs do not raise: they are in the summary. Called again, it does only what is left.

        Args:
            manifest: file of jobs (.csv, .tsv, .jsonl, .yaml); its state lies beside it.
            output: template of the videos' names, `out/{id}.mp4`.
            workers: processes; 0: what the machine takes.
            on_event: called with each event's name and fields, in a thread of its own.
            options: `state`, `shard`, `set` (a table: stronger than the manifest); fields of `BatchOptions`, as
                `max_failures`, `timeout_s`, `overwrite`, `executor`; options for all jobs, weaker than their own, as
                `avatar`, `prompt`, `crf`, `gate`.

        Raises:
            VastError: `vast_manifest_invalid` with a line for each fault, `vast_locked`, `vast_journal_corrupt`,
                `vast_option_invalid`.
            KeyboardInterrupt: after workers have ended and the journal is written.
        """
        from vast_cli.batch.run import run_batch

        with self._opened(manifest, output, workers, options) as (opened, how):
            return run_batch(opened, how, make_listeners=lambda _plan: _listeners(on_event))

    def plan(self, manifest: StrPath, output: StrPath | None = None, workers: int = 0, **options: Any) -> "Plan":
        """What `batch` would do with the same arguments, and why: `vast plan`. Nothing is started, torch not imported.

        Raises:
            VastError: as `batch`.
        """
        from vast_cli.batch.planning.plan import plan_batch

        with self._opened(manifest, output, workers, options) as (opened, how):
            return plan_batch(opened, how)

    def retry(
        self,
        manifest: StrPath,
        *,
        codes: Collection[str] = (),
        ids: Collection[str] = (),
        changes: Mapping[str, Any] | None = None,
        workers: int = 0,
        on_event: OnEvent | None = None,
        **options: Any,
    ) -> "Summary":
        """Run failed jobs again, with the other options of the last run: `vast retry`.

        Args:
            manifest: as given to `batch`.
            codes: only jobs that failed with one of these; all, if empty.
            ids: only these jobs; all that failed, if empty.
            changes: options that these jobs get from now on.
            workers, on_event, options: as for `batch`.

        Raises:
            VastError: as `batch`.
        """
        from vast_cli.batch.options import Selection
        from vast_cli.batch.run import run_batch

        select = Selection(frozenset(codes), frozenset(ids), changes and dict(changes))
        with self._opened(manifest, None, workers, options, select=select) as (opened, how):
            return run_batch(opened, how, make_listeners=lambda _plan: _listeners(on_event))

    @contextmanager
    def _opened(
        self,
        manifest: StrPath,
        output: StrPath | None,
        workers: int,
        options: Mapping[str, Any],
        *,
        select: "Selection | None" = None,
    ) -> "Iterator[tuple[OpenBatch, BatchOptions]]":
        """The manifest, opened, and how it is run."""
        from vast_cli.batch.options import BatchOptions
        from vast_cli.batch.planning import shards
        from vast_cli.batch.planning.decisions import parse_rerun_on
        from vast_cli.batch.state.folder import open_batch

        how = {field.name for field in fields(BatchOptions)} - {"workers", "cache", "select", *MACHINE}
        jobs = set(KEYS) - {"id", "audio", "output"}
        _check_names(options, sorted({"state", "shard", "set", *how, *jobs}))
        state, shard, rerun_on = options.get("state"), options.get("shard"), options.get("rerun_on")
        opened = open_batch(
            Path(manifest),
            output=None if output is None else os.fspath(output),
            options={name: value for name, value in options.items() if name in jobs},
            overrides=options.get("set"),
            state=None if state is None else Path(state),
            shard=None if shard is None else shards.parse_shard(str(shard), os.environ),
            reuse_options=select is not None,
        )
        values = {name: value for name, value in options.items() if name in how}
        values |= {name: Path(values[name]) for name in ("events", "joblog") if values.get(name) is not None}
        if isinstance(rerun_on, str):
            values["rerun_on"] = parse_rerun_on(rerun_on)
        values |= {name: getattr(self, name) for name in MACHINE}
        with self._cache_folder() as cache:
            yield opened, BatchOptions(workers=workers, cache=cache, select=select, **values)

    @contextmanager
    def _cache_folder(self) -> Iterator[Path | None]:
        """The cache of a batch, which needs one: its workers share tracks, styles and posteriorgrams."""
        if self._cache_choice is False:
            with tempfile.TemporaryDirectory(prefix="vast-") as folder:
                yield Path(folder)
        else:
            yield None if self._cache_choice is None else Path(self._cache_choice)

    def _preset(self, name: str) -> dict[str, Any]:
        """Options of a preset, and of the machine as this object was given them."""
        values = presets.load(name, PRESET_OPTIONS)
        if values.pop("redraw", None) is not None:
            log.warning("preset `%s`: `redraw` has no effect on a single render", name)
        machine = _checked(MachineOptions, {name: values.pop(name) for name in MACHINE if name in values})
        own = {"device": self.device, "dtype": self.dtype, "threads": self.threads}
        machine = own | {name: value for name, value in machine.items() if own[name] in ("auto", 0)}
        return machine | _checked(GatedOptions, values)


def _checked(model: type[OptionModel], options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as values within their ranges.

    Raises:
        VastError: `vast_option_invalid`, with the nearest name for one that does not exist.
    """
    allowed = tuple(model.model_fields)

    def refuse(name: str, fault: str) -> None:
        raise VastError("vast_option_invalid", f"`{name}`: {fault}", hint=f"options: {', '.join(allowed)}")

    _check_names(options, allowed)
    return check(model, options, refuse)


def _check_names(options: Mapping[str, Any], allowed: Sequence[str]) -> None:
    for name in options:
        if name not in allowed:
            raise VastError("vast_option_invalid", f"no option `{name}`", hint=suggest(name, allowed))


def _listeners(on_event: OnEvent | None) -> "list[Listener]":
    return [] if on_event is None else [lambda event, fields: on_event(event, fields)]


@contextmanager
def _style_file(style: "StrPath | Style | None") -> Iterator[Path | None]:
    """The file of a style; one in memory is written to a temporary file."""
    if style is None or isinstance(style, (str, os.PathLike)):
        yield None if style is None else styles.find(os.fspath(style))
        return
    with tempfile.TemporaryDirectory(prefix="vast-") as folder:
        path = Path(folder) / "given.style"
        style.save(path)
        yield path


def _style_name(style: "StrPath | Style | None") -> str | None:
    """A style as the user knows it: its name or file, or the video that one in memory is of."""
    if style is None:
        return None
    return Path(style).name if isinstance(style, (str, os.PathLike)) else style.source
