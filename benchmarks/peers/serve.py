"""How a contestant of a benchmark answers: a line of JSON a turn."""

import json
import math
import sys
import time
from collections.abc import Callable

# Of a turn, at least. Threads that waited for it are slow for its first tenths.
SECONDS = 1


def serve(*kinds: Callable, **facts) -> None:
  """Warms up, tells the facts, then times each kind of step a line read.

  Args:
    *kinds: (n) takes so many steps of a kind and waits for the last.
    **facts: JSON that the benchmark checks, e.g. the number of parameters.
  """
  turns = [(kind, warm_up(kind)) for kind in kinds]
  print(json.dumps(facts), flush=True)
  for _ in sys.stdin:
    print(json.dumps([seconds(*turn) for turn in turns]), flush=True)


def warm_up(kind: Callable) -> int:
  """Returns how many steps fill a turn."""
  kind(2)
  return math.ceil(SECONDS / seconds(kind, 1))


def seconds(kind: Callable, steps: int) -> float:
  """Returns what a step takes."""
  start = time.perf_counter()
  kind(steps)
  return (time.perf_counter() - start) / steps
