"""Who sees what when: every judge every method on every sentence, in balanced order, no sentence twice in a row."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from random import Random
from typing import Literal

from vast_cli.evaluate.study.questions import CHECK_SHARE, LOWEST, TRUTH, Mode

Kind = Literal["main", "repeat", "button", "other_audio"]
MIN_CHECKS = 3  # one of each kind
TRIES = 20  # of spreading the checks over one arrangement


@dataclass(frozen=True)
class Clip:
    """A video to be made. Its token is the only name that raters could meet."""

    token: str
    sentence: str
    method: str
    kind: Kind = "main"
    button: str | None = None  # what the picture asks for
    sound_of: str | None = None  # another sentence


@dataclass(frozen=True)
class Item:
    """One page of the study: a clip to rate, or two to choose from."""

    token: str
    kind: Kind
    sentence: str
    clips: tuple[str, ...]  # tokens
    of: str | None = None  # the item that this one repeats
    answer: str | None = None  # the button, or the clip, that passes a check


@dataclass(frozen=True)
class Showing:
    """An item as one judge meets it, its clips from left to right."""

    item: str
    clips: tuple[str, ...]


@dataclass(frozen=True)
class Design:
    """Clips, items and the order of every judge."""

    mode: Mode
    clips: tuple[Clip, ...]
    items: tuple[Item, ...]
    orders: tuple[tuple[Showing, ...], ...] = field(repr=False)


def williams(n: int) -> list[list[int]]:
    """Balanced Latin square (Williams 1949): n rows for even n, 2 n for odd.

    Over the rows every condition stands equally often at every place and directly before every other.
    """
    first = [0]
    for k in range(1, n):
        first.append((k + 1) // 2 if k % 2 else n - k // 2)
    rows = [[(value + shift) % n for value in first] for shift in range(n)]
    return rows + [row[::-1] for row in rows] if n % 2 else rows


def make_design(
    sentences: Sequence[str], methods: Sequence[str], *, mode: Mode, n_judges: int, tokens: "Tokens", seed: int = 0
) -> Design:
    """Lay out a study.

    Args:
        sentences: at least 3.
        methods: at least 2.
        mode: rate single videos, or choose from pairs.
        n_judges: orders to lay out; multiples of the number of methods are balanced exactly.
        tokens: where unguessable names come from.
        seed: of orders, sides, and of which clips are used for the checks.
    """
    rng = Random(seed)
    clips = {(s, m): Clip(tokens.new(), s, m) for s in sentences for m in methods}
    if mode == "rating":
        conditions: list[tuple[str, ...]] = [(method,) for method in methods]
    else:
        conditions = list(combinations(methods, 2))
    main = {
        (s, c): Item(tokens.new(), "main", sentence, tuple(clips[sentence, m].token for m in condition))
        for s, sentence in enumerate(sentences)
        for c, condition in enumerate(conditions)
    }
    more_clips, checks = _checks(list(sentences), list(methods), clips, main, mode=mode, tokens=tokens, rng=rng)
    orders = []
    for judge in range(n_judges):
        items = None
        while items is None:  # most arrangements leave room for the checks; in tiny studies some do not
            order = _main_order(len(sentences), len(conditions), judge=judge, rng=rng)
            items = _spread([main[key] for key in order], checks, rng=rng)
        orders.append(_sides(items, rng=rng))
    return Design(mode, (*clips.values(), *more_clips), (*main.values(), *checks), tuple(orders))


class Tokens:
    """Names that say nothing, each once."""

    def __init__(self, source: Random) -> None:
        self._source = source
        self._given: set[str] = set()

    def new(self) -> str:
        """A name of 12 hexadecimal digits."""
        while (token := f"{self._source.getrandbits(48):012x}") in self._given:
            pass
        self._given.add(token)
        return token


def _main_order(n_sentences: int, n_conditions: int, *, judge: int, rng: Random) -> list[tuple[int, int]]:
    """(sentence, condition) of every trial: blocks with each sentence once, its conditions along a balanced row."""
    square = williams(n_conditions)
    order: list[tuple[int, int]] = []
    for block in range(n_conditions):
        sentences = rng.sample(range(n_sentences), n_sentences)
        if order and sentences[0] == order[-1][0]:
            swap = rng.randrange(1, n_sentences)
            sentences[0], sentences[swap] = sentences[swap], sentences[0]
        order += [(s, square[(judge + s) % len(square)][block]) for s in sentences]
    return order


def _checks(
    sentences: list[str],
    methods: list[str],
    clips: dict[tuple[str, str], Clip],
    main: dict[tuple[int, int], Item],
    *,
    mode: Mode,
    tokens: Tokens,
    rng: Random,
) -> tuple[list[Clip], list[Item]]:
    shown = TRUTH if TRUTH in methods else methods[0]
    n_checks = max(MIN_CHECKS, round(CHECK_SHARE * len(main)))
    repeated = main[rng.choice(sorted(main))]
    pool = [name for name in rng.sample(sentences, len(sentences)) if name != repeated.sentence]
    items = [Item(tokens.new(), "repeat", repeated.sentence, repeated.clips, of=repeated.token)]
    sentence, other = pool[0], rng.choice([name for name in sentences if name != pool[0]])
    wrong = Clip(tokens.new(), sentence, shown, "other_audio", sound_of=other)
    right = clips[sentence, shown].token
    both = (wrong.token,) if mode == "rating" else (wrong.token, right)
    items.append(Item(tokens.new(), "other_audio", sentence, both, answer=None if mode == "rating" else right))
    extra = [wrong]
    for k in range(n_checks - 2):
        sentence = pool[(k + 1) % len(pool)]
        if mode == "rating":
            button = str(rng.randint(LOWEST, LOWEST + 1))  # no honest opinion of the truth
            asking = [Clip(tokens.new(), sentence, shown, "button", button=button)]
            answer = button
        else:
            button = rng.choice("AB")
            asking = [Clip(tokens.new(), sentence, method, "button", button=button) for method in methods[:2]]
            answer = asking["AB".index(button)].token
        extra += asking
        items.append(Item(tokens.new(), "button", sentence, tuple(clip.token for clip in asking), answer=answer))
    return extra, items


def _spread(main: list[Item], checks: list[Item], *, rng: Random) -> list[Item] | None:
    """Put the checks among the items: evenly, the repetition far from its first showing, no sentence twice in a row.

    None if that did not go.
    """
    for _ in range(TRIES):
        order = list(main)
        for k, check in enumerate(rng.sample(checks, len(checks))):
            places = [
                place
                for place in range(1, len(order) + 1)
                if all(near.sentence != check.sentence for near in order[place - 1 : place + 1])
            ]
            wanted = (k + rng.random()) * len(order) / len(checks)
            if check.kind == "repeat":
                first = next(place for place, item in enumerate(order) if item.token == check.of)
                places = [place for place in places if abs(place - first) > len(main) // 3]
                wanted = rng.uniform(0, len(order))
            if not places:
                break
            order.insert(min(places, key=lambda place: abs(place - wanted)), check)
        else:
            return order
    return None


def _sides(items: list[Item], *, rng: Random) -> tuple[Showing, ...]:
    """Left and right by chance; a repeated pair the other way round; what a picture asks for stays where it says."""
    sides: dict[str, tuple[str, ...]] = {}
    for item in items:
        turned = item.kind != "button" and rng.random() < 0.5
        sides[item.token] = item.clips[::-1] if turned else item.clips
    for item in items:
        if item.of is not None:
            sides[item.token] = sides[item.of][::-1]
    return tuple(Showing(item.token, sides[item.token]) for item in items)
