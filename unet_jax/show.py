"""Prints the network of a config: python -m unet_jax.show --config multiclass

The table has a row for each part: what it takes and returns, and its weights.
"""

from collections.abc import Sequence

from absl import flags

from unet_jax import command_line
from unet_jax import config as config_lib


def main(argv: Sequence[str]) -> int:
  """Prints as the flags say; see command_line.call."""
  return command_line.call(COMMAND, argv)


def define(args: flags.FlagValues) -> None:
  """Defines the flags."""
  flags.DEFINE_integer(
    'channels', 3, 'Channels of the images.', flag_values=args, lower_bound=1
  )


def run(args: flags.FlagValues) -> None:
  """Prints the parts of the network, for one crop."""
  import jax
  import jax.numpy as jnp
  from flax import linen as nn  # Late, for a fast --help.

  from unet_jax import build

  config = args.config
  config_lib.check(config)
  # A folder may name the classes; their number changes nothing but the head.
  names = config.data.classes or ('class',)
  model = build.make_model(config, build.make_classes(config, names))
  side = config.image_size
  image = jax.ShapeDtypeStruct((1, side, side, args.channels), jnp.float32)
  draw = nn.tabulate(
    model, jax.random.key(0), depth=1, console_kwargs={'width': 120}
  )
  print(draw(image))


COMMAND = command_line.Command(
  define, run, command_line.start_jax, configs=command_line.CONFIG
)

if __name__ == '__main__':
  command_line.run(COMMAND)
