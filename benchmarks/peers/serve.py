"""The protocol of a benchmark's contestants: one line of JSON for each turn."""

import json
import math
import sys
import time
from collections.abc import Callable

# Least duration of a turn. Threads that waited are slow for some tenths of it.
SECONDS = 1


def serve(*kinds: Callable, **facts) -> None:
  """Warms up, prints the facts, then times the steps once per line of stdin.

  Args:
    *kinds: for each kind of step, a function that runs a number of steps and
      waits for the last one.
    **facts: JSON values for the benchmark, such as the number of parameters.
  """
  turns = [(kind, warm_up(kind)) for kind in kinds]
  print(json.dumps(facts), flush=True)
  for _ in sys.stdin:
    print(json.dumps([seconds(*turn) for turn in turns]), flush=True)


def warm_up(kind: Callable) -> int:
  """Runs some steps; returns how many fill a turn."""
  kind(2)
  return math.ceil(SECONDS / seconds(kind, 1))


def seconds(kind: Callable, steps: int) -> float:
  """Returns the seconds per step."""
  start = time.perf_counter()
  kind(steps)
  return (time.perf_counter() - start) / steps
