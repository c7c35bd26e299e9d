"""What the page's buttons do."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import gradio as gr
import numpy as np

from deocclude.conditioning.people_finder import is_same_person
from deocclude.errors import InputError
from deocclude.images import open_image, save_image
from deocclude.pipelines.control import Control
from deocclude.pipelines.overview import outline as line_round
from deocclude.skeletons import BODY_25
from deocclude.types import Person
from deocclude.web.drawing import Drawing, outline, read_drawing
from deocclude.web.limits import Limits
from deocclude.web.methods import Methods, Stopped, complete
from deocclude.web.results import summary, write_candidates, write_layers, zipped
from deocclude.web.sessions import Session, end_old_sessions, for_visitors, open_session, preview, without_folder

if TYPE_CHECKING:
    from deocclude.pipelines.scene import Scene, SceneDeoccluder

OUTLINE_COLOUR = (255, 140, 0)
PROGRESS = gr.Progress()
logger = logging.getLogger(__name__)
Step = TypeVar("Step", bound=Callable[..., Any])
Result = TypeVar("Result")


@dataclass(frozen=True)
class Views:
    """The pictures a result can show, JPEG files: before, and every candidate plain, outlined and, as PNG, cut out."""

    before: Path
    after: tuple[Path, ...]
    outlined: tuple[Path, ...]
    cutouts: tuple[Path, ...]


@dataclass(frozen=True)
class Wanted:
    """What is to be completed: who, and with which wishes, in the same order."""

    preset: str
    people: list[int]
    controls: list[Control]
    extend: bool
    num_candidates: int
    seed: int


def in_sentences(step: Step) -> Step:
    """A step whose errors reach the user as sentences: what is theirs to mend as it is, the rest without details."""

    @functools.wraps(step)
    def told(*args: Any, **kwargs: Any) -> Any:
        try:
            return step(*args, **kwargs)
        except InputError as error:
            sentence = for_visitors(error)
            raise gr.Error(sentence, title="This cannot be used", duration=None, print_exception=False) from None
        except Stopped:
            raise gr.Error("Stopped; nothing was kept.", title="Stopped", duration=5, print_exception=False) from None
        except gr.Error:
            raise
        except Exception as error:
            logger.exception("a step of the page failed")
            raise gr.Error("The server made a mistake; its log says which.", print_exception=False) from error

    return told  # type: ignore[return-value]


class Steps:
    """The handlers of one page. folder: where sessions keep their files. is_gone: whether a page, by its session's
    hash, listens no longer; its work is stopped.
    """

    def __init__(
        self, methods: Methods, limits: Limits, folder: Path, is_gone: Callable[[str], bool] = lambda _: False
    ) -> None:
        self._methods, self._limits, self._folder, self._is_gone = methods, limits, folder, is_gone
        self._running: dict[str, threading.Event] = {}
        self._at_work: set[Path] = set()

    # --- finding people ---

    @in_sentences
    def open(
        self,
        uploaded: str,
        preset: str,
        before: Session | None,
        request: gr.Request,
        progress: gr.Progress = PROGRESS,
    ) -> list[Any]:
        """A photograph was dropped: find everybody in it. It takes the place of the one before."""
        return self._open(Path(uploaded), preset, before, request, progress)

    @in_sentences
    def open_sample(
        self, preset: str, before: Session | None, request: gr.Request, progress: gr.Progress = PROGRESS
    ) -> list[Any]:
        """The sample picture of `deocclude demo` instead of a photograph."""
        from deocclude.cli.demo import NAME, sample_picture

        path = self._folder / f"{NAME}.png"
        save_image(path, sample_picture(), overwrite=True)
        return self._open(path, preset, before, request, progress)

    def _open(
        self, uploaded: Path, preset: str, before: Session | None, request: gr.Request, progress: Any
    ) -> list[Any]:
        progress(0.1, desc="Opening the photograph")
        session, image = open_session(uploaded, self._folder, max_pixels=self._limits.pixels)
        try:
            shown = preview(image, session.folder / "preview.jpg")
            progress(0.3, desc="Looking for people")
            people, reads_joints = self._look(session, image, preset, request)
        except BaseException:
            session.end()
            raise
        if before is not None:
            before.end()
        session = session.with_people(people)
        value = {
            "picture": f"/gradio_api/file={shown}",
            "width": image.shape[1],
            "height": image.shape[0],
            "people": [_drawn(person) for person in people],
            "reads_joints": reads_joints,
            "chosen": 0 if len(people) == 1 else None,
            "strokes": [],
            "moved": [],
        }
        sections = [gr.update(visible=True), gr.update(visible=False)]
        return [session, value, _told(len(people), value["chosen"]), _everybody(session), *sections]

    def _look(self, session: Session, image: np.ndarray, preset: str, request: gr.Request) -> tuple[list[Person], bool]:
        """Everybody in the photograph, and whether the method reads joints."""

        def look(scenes: SceneDeoccluder) -> tuple[list[Person], bool]:
            found = scenes.finder(image)[: self._limits.people]
            return [scenes.deoccluder.with_found_joints(image, one) for one in found], _reads_joints(scenes)

        with self._in_use(session):
            return self._run(request, preset, look)

    @in_sentences
    def point(
        self, session: Session | None, value: dict[str, Any], preset: str, event: gr.EventData, request: gr.Request
    ) -> list[Any]:
        """Somebody who was not found was clicked: look there."""
        x, y = (float(event._data[axis]) for axis in ("x", "y"))
        return self._add(session, value, preset, request, lambda scenes, image: scenes.person_at(image, (x, y)))

    @in_sentences
    def box(
        self, session: Session | None, value: dict[str, Any], preset: str, event: gr.EventData, request: gr.Request
    ) -> list[Any]:
        """A box was drawn round somebody who was not found, or not well: look in it."""
        box = tuple(float(number) for number in event._data["box"])
        return self._add(session, value, preset, request, lambda scenes, image: scenes.deoccluder.find(image, box=box))

    def _add(
        self,
        session: Session | None,
        value: dict[str, Any],
        preset: str,
        request: gr.Request,
        look: Callable[[SceneDeoccluder, np.ndarray], Person],
    ) -> list[Any]:
        """One more person, who is the chosen one."""
        session = _alive(session)
        drawing = read_drawing(value, len(session.people), self._limits)
        if len(session.people) >= self._limits.people:
            raise InputError(f"{self._limits.people} people are outlined already, and no more are taken here")
        image = session.image(self._limits.pixels)
        with self._in_use(session):
            person = self._run(
                request, preset, lambda scenes: scenes.deoccluder.with_found_joints(image, look(scenes, image))
            )
        kept = [number for number, one in enumerate(session.people) if not is_same_person(one.mask, person.modal_mask)]
        session = session.only(kept).with_people([person])
        people = [*(value["people"][number] for number in kept), _drawn(person)]
        value = {**value, **drawing.only(kept), "people": people, "chosen": len(kept)}
        return [session, value, _told(len(session.people), len(kept)), _everybody(session)]

    def chosen(self, session: Session | None, event: gr.EventData) -> str:
        """Somebody who was found was clicked."""
        return _told(0 if session is None else len(session.people), int(event._data["person"]))

    @in_sentences
    def change_preset(self, value: dict[str, Any], preset: str, request: gr.Request) -> dict[str, Any]:
        """Another method: say at once if it cannot be had, and whether it reads joints."""
        return {**value, "reads_joints": self._run(request, preset, _reads_joints)}

    # --- completing them ---

    @in_sentences
    def complete(
        self,
        session: Session | None,
        value: Any,
        preset: str,
        extend: bool,
        words: str | None,
        box: str | None,
        reference: str | None,
        candidates: float,
        seed: float,
        request: gr.Request,
        progress: gr.Progress = PROGRESS,
    ) -> list[Any]:
        """Complete the person who was chosen."""
        session = _alive(session)
        drawing = read_drawing(value, len(session.people), self._limits)
        if drawing.chosen is None:
            raise InputError("click the person you mean first")
        control = Control(
            joints=drawing.joints_of(drawing.chosen),
            box_xyxy=_box(box),
            leave_alone=drawing.left_alone(drawing.chosen, session.size_hw),
            words=(words or "").strip() or None,
            reference=None if reference is None else self._reference(Path(reference)),
        )
        wanted = Wanted(preset, [drawing.chosen], [control], extend, int(candidates or 1), int(seed or 0))
        return self._complete(session, drawing, wanted, request, progress)

    @in_sentences
    def complete_everybody(
        self,
        session: Session | None,
        value: Any,
        preset: str,
        extend: bool,
        words: str | None,
        box: str | None,
        reference: str | None,
        candidates: float,
        seed: float,
        request: gr.Request,
        progress: gr.Progress = PROGRESS,
    ) -> list[Any]:
        """Complete everybody on the picture together. Words, box and reference are about one person: they go unused."""
        session = _alive(session)
        drawing = read_drawing(value, len(session.people), self._limits)
        everybody = list(range(len(session.people)))
        controls = [
            Control(joints=drawing.joints_of(person), leave_alone=drawing.left_alone(person, session.size_hw))
            for person in everybody
        ]
        if words or box or reference:
            gr.Warning("Words, box and reference belong to one person; for everybody together they are left out.")
        if not everybody:
            raise InputError("nobody is outlined yet; click on a person first")
        wanted = Wanted(preset, everybody, controls, extend, 1, int(seed or 0))
        return self._complete(session, drawing, wanted, request, progress)

    def _complete(
        self, session: Session, drawing: Drawing, wanted: Wanted, request: gr.Request, progress: gr.Progress
    ) -> list[Any]:
        from deocclude.pipelines.scene_people import SceneRequest

        progress(0.1, desc="Reading what you drew")
        masks = [drawing.mask_of(person, session.people[person].mask) for person in wanted.people]
        image = session.image(self._limits.pixels)
        asked = SceneRequest(modal_masks=masks, extend="auto" if wanted.extend else 0, controls=wanted.controls)
        progress(0.2, desc="Waiting for others to finish")

        def work(scenes: SceneDeoccluder) -> Scene:
            progress(0.3, desc="Completing")
            return complete(scenes, image, asked, self._limits)

        with self._in_use(session):
            scene = self._run(request, wanted.preset, work, seed=wanted.seed, num_candidates=wanted.num_candidates)
            progress(0.8, desc="Writing the layers")
            folder = session.new_folder()
            layers = folder / "layers"  # apart from the rest, since they lie in a folder called as the photograph is
            written = write_layers(layers, scene, session.photograph)
            archive = zipped(written, layers / f"{session.photograph.stem}_layers.zip")
            views = _views(scene, folder, written, session.photograph)
            session.keep_only(folder)
        return [
            views,
            summary(scene),
            (str(views.before), str(views.after[0])),
            gr.update(value=False, visible=any(person.invisible_mask.any() for person in scene.people)),
            gr.update(value=1, maximum=max(2, len(views.after)), visible=len(views.after) > 1),
            str(views.cutouts[0]),
            str(archive),
            [str(path) for path in written],
            gr.update(visible=True),
        ]

    def show(self, views: Views | None, candidate: float, outlined: bool) -> Any:
        """Another candidate, or the line round what was invented."""
        if views is None:
            return gr.skip()
        pictures, place = views.outlined if outlined else views.after, min(int(candidate), len(views.after)) - 1
        return (str(views.before), str(pictures[place])), str(views.cutouts[place])

    # --- stopping and forgetting ---

    def stop(self, request: gr.Request) -> Any:
        """Cancel was pressed: the network stops at its next layer."""
        self.leave(request)
        return [gr.update(visible=False), gr.update(visible=False)]

    def leave(self, request: gr.Request) -> None:
        """The page was closed: nobody waits for its result."""
        if stop := self._running.get(str(request.session_hash)):
            stop.set()

    def sweep(self) -> None:
        """Remove the sessions that nobody has used for too long."""
        end_old_sessions(self._folder, self._limits.kept_seconds, spare=self._at_work)

    @contextmanager
    def _in_use(self, session: Session) -> Iterator[None]:
        """Within the `with` block the session stays, however long it takes."""
        self._at_work.add(session.folder)
        try:
            yield
        finally:
            session.touch()
            self._at_work.discard(session.folder)

    def _run(self, request: gr.Request, preset: str, work: Callable[[SceneDeoccluder], Result], **draws: Any) -> Result:
        """What `work` makes of a preset's method, unless this page stops it."""
        page = str(request.session_hash)
        self._running[page] = stop = _PageStop(lambda: self._is_gone(page))
        try:
            return self._methods.run(preset, work, stop=stop, **draws)
        finally:
            self._running.pop(page, None)

    def _reference(self, path: Path) -> np.ndarray:
        try:
            return open_image(path, max_pixels=self._limits.pixels)
        except InputError as error:
            raise without_folder(error, path) from error


class _PageStop(threading.Event):
    """Set by *Cancel*, and by itself once the page has gone."""

    def __init__(self, is_gone: Callable[[], bool]) -> None:
        super().__init__()
        self._is_gone = is_gone

    def is_set(self) -> bool:
        return super().is_set() or self._is_gone()


# --- what the page shows ---


def _drawn(person: Person) -> dict[str, Any]:
    """A person as the page draws one."""
    joints: list[Any] = []
    if person.joints is not None:
        joints = [
            [name, round(float(x), 1), round(float(y), 1)]
            for name, (x, y, _) in zip(BODY_25, person.joints, strict=True)
        ]
    return {"outline": outline(person.modal_mask), "joints": joints}


def _everybody(session: Session) -> Any:
    """The button that is there where there are several."""
    return gr.update(visible=len(session.people) > 1)


def _told(num_people: int, chosen: int | None) -> str:
    if not num_people:
        return "Nobody was found. Click on the person you mean, or drag a box round them."
    found = "One person was found" if num_people == 1 else f"{num_people} people were found"
    if chosen is None:
        return f"{found} and outlined."
    return (
        f"{found}. Blue is what counts as visible of the one you chose. If it is wrong, correct it with **Add** and "
        "**Remove**; then go on to step 3."
    )


def _reads_joints(scenes: SceneDeoccluder) -> bool:
    return "keypoints" in scenes.deoccluder.mask_completer.accepts


def _alive(session: Session | None) -> Session:
    if session is None or not session.photograph.exists():
        raise InputError("this page has been open for too long; choose the photograph again")
    session.touch()
    return session


def _box(text: str | None) -> tuple[int, int, int, int] | None:
    if not (text or "").strip():
        return None
    try:
        x0, y0, x1, y1 = (round(float(part)) for part in str(text).split(","))
    except (ValueError, OverflowError):
        x0 = y0 = x1 = y1 = 0
    if not (x0 < x1 and y0 < y1):
        raise InputError(f"a box is four numbers, left, top, right, bottom, in pixels; got '{text}'")
    return x0, y0, x1, y1


def _views(scene: Scene, folder: Path, layers: list[Path], photograph: Path) -> Views:
    """What the result can show, written to a folder. Candidates are there where one person was completed."""
    pictures: tuple[np.ndarray, ...] = (scene.rgb,)
    cutouts = [path for path in layers if path.name == "person_1_cutout.png"]
    if len(scene.people) == 1 and len(scene.people[0].candidates) > 1:
        pictures, cutouts = scene.people[0].candidates, write_candidates(folder, scene, photograph)
    invented = np.any([person.invisible_mask for person in scene.people], axis=0)
    line = line_round(invented, width=max(1, round(max(invented.shape) / 600)))
    after, outlined = [], []
    for number, picture in enumerate(pictures, start=1):
        after.append(preview(picture, folder / f"after_{number}.jpg"))
        marked = picture.copy()
        marked[line] = OUTLINE_COLOUR
        outlined.append(preview(marked, folder / f"outlined_{number}.jpg"))
    return Views(preview(scene.image, folder / "before.jpg"), tuple(after), tuple(outlined), tuple(cutouts))
