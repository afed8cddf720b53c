"""A check: a function that finds one kind of fault, and its description."""

from collections.abc import Callable
from typing import NamedTuple

from unet_jax.data.checks.finding import Finding


class Check(NamedTuple):
  """A row of the table of checks.

  Attributes:
    title: title of the finding; each title has one row.
    severities: the severities that the finding can have, the worst first.
    meaning: what the finding means, in one line.
    find: returns the findings. Its parameters name fields of diagnosis.Facts. A
      function with several titles stands in several rows, and runs once.
    stage: `data` always runs; `step` compiles a training step, and runs if the
      data has no error; `overfit` trains, and runs if it is also asked for.
  """

  title: str
  severities: tuple[str, ...]
  meaning: str
  find: Callable[..., list[Finding]]
  stage: str = 'data'
