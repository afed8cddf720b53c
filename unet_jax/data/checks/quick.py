"""What can be told of a data set that is already read, before every run."""

from collections.abc import Mapping, Sequence

from unet_jax.data.checks import classes as class_checks
from unet_jax.data.checks import run
from unet_jax.data.checks.finding import Finding, mend


def check(
  config, tallies: Mapping[str, class_checks.Tally], classes: Sequence[str]
) -> list[Finding]:
  """Looks at which classes the splits have, and how long the run is."""
  num_train = len(tallies['train'].pixels)
  return [
    *class_checks.check(tallies, classes),
    *run.length(config.total_steps, config.batch_size, num_train),
  ]


def notes(found: Sequence[Finding]) -> list[str]:
  """Returns a line for each finding that a person should read in any case."""
  return [f'{x.text}; {mend(x)}' for x in found if x.severity != 'note']
