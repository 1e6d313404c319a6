"""Lays out a study: each rater sees every method on every sentence, in balanced order, no sentence twice in a row."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from random import Random
from typing import Literal

from vast_cli.evaluate.study.questions import CHECK_SHARE, LOWEST, TRUTH, Mode

Kind = Literal["main", "repeat", "button", "other_audio"]
MIN_CHECKS = 3  # one of each kind
TRIES = 20  # to insert the checks into one order


@dataclass(frozen=True)
class StudyClip:
    """A video of the study. Its token is the only name that raters can see. The fields are keys of `key.json`."""

    token: str
    sentence: str
    method: str
    kind: Kind = "main"
    button: str | None = None  # the answer that the video asks for
    sound_of: str | None = None  # another sentence, whose audio it has


@dataclass(frozen=True)
class StudyItem:
    """One page of the study: a clip to rate, or two to choose from. The fields are keys of `key.json`."""

    token: str
    kind: Kind
    sentence: str
    clips: tuple[str, ...]  # tokens
    of: str | None = None  # the item that it repeats
    answer: str | None = None  # the button, or the clip, that passes a check


@dataclass(frozen=True)
class Showing:
    """An item as one rater sees it, with its clips from left to right."""

    item: str
    clips: tuple[str, ...]


@dataclass(frozen=True)
class StudyDesign:
    """Clips, items and the order of every rater."""

    mode: Mode
    clips: tuple[StudyClip, ...]
    items: tuple[StudyItem, ...]
    orders: tuple[tuple[Showing, ...], ...] = field(repr=False)


def williams(n: int) -> list[list[int]]:
    """Balanced Latin square (Williams 1949): n rows for even n, 2 n for odd.

    Over all rows every condition is equally often at every position and directly before every other condition.
    """
    first = [0]
    for k in range(1, n):
        first.append((k + 1) // 2 if k % 2 else n - k // 2)
    rows = [[(value + shift) % n for value in first] for shift in range(n)]
    return rows + [row[::-1] for row in rows] if n % 2 else rows


def make_design(
    sentences: Sequence[str],
    methods: Sequence[str],
    *,
    mode: Mode,
    n_raters: int,
    tokens: "TokenGenerator",
    seed: int = 0,
) -> StudyDesign:
    """Lay out a study.

    Args:
        sentences: at least 3.
        methods: at least 2.
        mode: rate single videos, or choose from pairs.
        n_raters: orders to lay out; multiples of the number of methods are balanced exactly.
        tokens: of clips and items, unguessable.
        seed: of the orders, the sides, and the clips of the checks.
    """
    rng = Random(seed)
    clips = {(s, m): StudyClip(tokens.new(), s, m) for s in sentences for m in methods}
    if mode == "rating":
        conditions: list[tuple[str, ...]] = [(method,) for method in methods]
    else:
        conditions = list(combinations(methods, 2))
    main = {
        (s, c): StudyItem(tokens.new(), "main", sentence, tuple(clips[sentence, m].token for m in condition))
        for s, sentence in enumerate(sentences)
        for c, condition in enumerate(conditions)
    }
    more_clips, checks = _checks(list(sentences), list(methods), clips, main, mode=mode, tokens=tokens, rng=rng)
    orders = []
    for rater in range(n_raters):
        items = None
        while items is None:  # most orders leave room for the checks; in tiny studies some do not
            order = _main_order(len(sentences), len(conditions), rater=rater, rng=rng)
            items = _insert_checks([main[key] for key in order], checks, rng=rng)
        orders.append(_choose_sides(items, rng=rng))
    return StudyDesign(mode, (*clips.values(), *more_clips), (*main.values(), *checks), tuple(orders))


class TokenGenerator:
    """Random names without a meaning, each used once."""

    def __init__(self, source: Random) -> None:
        self._source = source
        self._used: set[str] = set()

    def new(self) -> str:
        """A name of 12 hexadecimal digits."""
        while (token := f"{self._source.getrandbits(48):012x}") in self._used:
            pass
        self._used.add(token)
        return token


def _main_order(n_sentences: int, n_conditions: int, *, rater: int, rng: Random) -> list[tuple[int, int]]:
    """(sentence, condition) of every trial: blocks with each sentence once, whose conditions follow a balanced row."""
    square = williams(n_conditions)
    order: list[tuple[int, int]] = []
    for block in range(n_conditions):
        sentences = rng.sample(range(n_sentences), n_sentences)
        if order and sentences[0] == order[-1][0]:
            swap = rng.randrange(1, n_sentences)
            sentences[0], sentences[swap] = sentences[swap], sentences[0]
        order += [(s, square[(rater + s) % len(square)][block]) for s in sentences]
    return order


def _checks(
    sentences: list[str],
    methods: list[str],
    clips: dict[tuple[str, str], StudyClip],
    main: dict[tuple[int, int], StudyItem],
    *,
    mode: Mode,
    tokens: TokenGenerator,
    rng: Random,
) -> tuple[list[StudyClip], list[StudyItem]]:
    method = TRUTH if TRUTH in methods else methods[0]
    n_checks = max(MIN_CHECKS, round(CHECK_SHARE * len(main)))
    repeated = main[rng.choice(sorted(main))]
    pool = [name for name in rng.sample(sentences, len(sentences)) if name != repeated.sentence]
    items = [StudyItem(tokens.new(), "repeat", repeated.sentence, repeated.clips, of=repeated.token)]
    sentence, other = pool[0], rng.choice([name for name in sentences if name != pool[0]])
    mismatched = StudyClip(tokens.new(), sentence, method, "other_audio", sound_of=other)
    right = clips[sentence, method].token
    shown = (mismatched.token,) if mode == "rating" else (mismatched.token, right)
    items.append(StudyItem(tokens.new(), "other_audio", sentence, shown, answer=None if mode == "rating" else right))
    extra = [mismatched]
    for k in range(n_checks - 2):
        sentence = pool[(k + 1) % len(pool)]
        if mode == "rating":
            button = str(rng.randint(LOWEST, LOWEST + 1))  # not an honest rating of the truth
            asking = [StudyClip(tokens.new(), sentence, method, "button", button=button)]
            answer = button
        else:
            button = rng.choice("AB")
            asking = [StudyClip(tokens.new(), sentence, name, "button", button=button) for name in methods[:2]]
            answer = asking["AB".index(button)].token
        extra += asking
        items.append(StudyItem(tokens.new(), "button", sentence, tuple(clip.token for clip in asking), answer=answer))
    return extra, items


def _insert_checks(main: list[StudyItem], checks: list[StudyItem], *, rng: Random) -> list[StudyItem] | None:
    """Insert the checks evenly, the repetition far from its first showing, without a sentence twice in a row.

    None if no try succeeded.
    """
    for _ in range(TRIES):
        order = list(main)
        for k, check in enumerate(rng.sample(checks, len(checks))):
            places = [
                place
                for place in range(1, len(order) + 1)
                if all(near.sentence != check.sentence for near in order[place - 1 : place + 1])
            ]
            target = (k + rng.random()) * len(order) / len(checks)
            if check.kind == "repeat":
                first = next(place for place, item in enumerate(order) if item.token == check.of)
                places = [place for place in places if abs(place - first) > len(main) // 3]
                target = rng.uniform(0, len(order))
            if not places:
                break
            order.insert(min(places, key=lambda place: abs(place - target)), check)
        else:
            return order
    return None


def _choose_sides(items: list[StudyItem], *, rng: Random) -> tuple[Showing, ...]:
    """Left and right by chance; a repeated pair is reversed; a video that asks for a button keeps its side."""
    sides: dict[str, tuple[str, ...]] = {}
    for item in items:
        swapped = item.kind != "button" and rng.random() < 0.5
        sides[item.token] = item.clips[::-1] if swapped else item.clips
    for item in items:
        if item.of is not None:
            sides[item.token] = sides[item.of][::-1]
    return tuple(Showing(item.token, sides[item.token]) for item in items)
