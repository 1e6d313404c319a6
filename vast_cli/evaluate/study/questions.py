"""The three questions of the paper (appendix C), word for word, and the attention checks with their rule."""

from dataclasses import dataclass
from typing import Literal

Mode = Literal["rating", "pairwise"]
Aspect = Literal["sync", "expr", "nat"]

LOWEST, HIGHEST = 1, 5
TRUTH, FLOOR = "truth", "floor"  # methods with a special meaning

CHECK_SHARE = 0.1  # of the items
MAX_FAILED = 1  # checks
MAX_REPEAT_STEP = 2  # points between an item and its repetition
MISMATCH_FAILS_FROM = 4  # rating of lip sync with the audio of another sentence that fails the check


@dataclass(frozen=True)
class Question:
    """One aspect; `best` and `worst` label the ends of the scale."""

    aspect: Aspect
    title: str
    text: str
    best: str
    worst: str


QUESTIONS = (
    Question(
        "sync",
        "Speech-Lip Sync",
        "How much do the lip movements match the audio?",
        "Very good (5) for no wrong lip movements and have nothing different from the ground-truth person talking.",
        "Very poor (1) for the lip movements are totally unreasonable and cannot read content from the lips at all.",
    ),
    Question(
        "expr",
        "Expressiveness & Richness",
        "How vivid or exaggerated is the avatar presented?",
        "Very good (5) for rich and contagious expression on the mouth region.",
        "Very poor (1) for unreal and monotonous facial movements.",
    ),
    Question(
        "nat",
        "Overall Naturalness",
        "How real and natural is the synthesized video?",
        "Very good (5) for high-quality images and natural avatar appearance.",
        "Very poor (1) for fake artifacts or blurred images that can be easily observed.",
    ),
)
ASPECTS: tuple[Aspect, ...] = tuple(question.aspect for question in QUESTIONS)


def rule(mode: Mode, *, has_floor: bool) -> list[str]:
    """When a rater is left out, as sentences; fixed when the study is made."""
    sentences = [f"a rater who fails more than {MAX_FAILED} attention check is left out with all answers"]
    if mode == "rating":
        sentences += [
            "a check fails if the answer that the video asks for is not given to every question, or if lip sync is "
            f"rated {MISMATCH_FAILS_FROM} or more with the audio of another sentence",
            f"a rater whose two answers to the repeated video lie more than {MAX_REPEAT_STEP} apart is left out",
        ]
        floor = "a rater who rates the truth below the floor, on average of all answers, is left out"
    else:
        sentences += [
            "a check fails if the video that the check asks for is not chosen for every question, if the audio of "
            "another sentence is preferred in lip sync, or if most choices change when the pair is repeated",
        ]
        floor = "a rater who prefers the floor to the truth in most answers is left out"
    if has_floor:
        sentences.append(floor)
    return [*sentences, "a rater who has not answered everything is left out"]
