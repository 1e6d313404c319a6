"""Rating studies: a blinded page to send out, and the evaluation of its answers."""

from vast_cli.evaluate.study.make import StudySettings, make_study
from vast_cli.evaluate.study.read import read_study

__all__ = ["StudySettings", "make_study", "read_study"]
