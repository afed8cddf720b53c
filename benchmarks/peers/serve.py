"""How a contestant of a benchmark answers: a line of JSON a round."""

import json
import sys
import time
from collections.abc import Callable


def serve(train: Callable, infer: Callable, **facts) -> None:
  """Warms up, tells the facts, then times one step of each a line read.

  Args:
    train: runs one training step and waits for it.
    infer: runs one inference and waits for it.
    **facts: JSON that the benchmark checks, e.g. the number of parameters.
  """
  for _ in range(2):
    train()
    infer()
  print(json.dumps(facts), flush=True)
  for _ in sys.stdin:
    start = time.perf_counter()
    train()
    middle = time.perf_counter()
    infer()
    end = time.perf_counter()
    print(json.dumps([middle - start, end - middle]), flush=True)
