"""Prints the network of a config: python -m unet_jax.show --config multiclass

A line for each part: the size of what it returns for a crop, as height x width
x channels, and the number of its parameters.
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
    *('channels', 3, 'Channels of the images.'),
    lower_bound=1,
    flag_values=args,
  )


def run(args: flags.FlagValues) -> None:
  """Prints the parts of the network in the order of their work."""
  import jax  # Late, for a fast --help.
  import jax.numpy as jnp

  from unet_jax import build

  config = args.config
  config_lib.check(config)
  # Names that the data has, and not the config, would change the head alone.
  names = config.data.classes or ('class',)
  model = build.make_model(config, build.make_classes(config, names))
  parts: list[str] = []

  def is_part(module, _) -> bool:
    if len(module.path) == 1:
      parts.append(module.path[0])
    return len(module.path) == 1

  def trace():
    image = jnp.zeros((1, config.image_size, config.image_size, args.channels))
    variables = model.init(jax.random.key(0), image)
    parts.clear()
    _, state = model.apply(
      variables,
      image,
      capture_intermediates=is_part,
      mutable=['intermediates'],
    )
    return variables['params'], state['intermediates']

  params, outputs = jax.eval_shape(trace)
  counts = {
    name: sum(x.size for x in jax.tree.leaves(tree))
    for name, tree in params.items()
  }
  print(f'{"part":<12} {"output":>16} {"parameters":>12}')
  for part in parts:
    shape = outputs[part]['__call__'][0].shape
    size = 'x'.join(map(str, shape[1:]))
    print(f'{part:<12} {size:>16} {counts.get(part, 0):>12,}')
  print(f'{"all":<12} {"":>16} {sum(counts.values()):>12,}')


COMMAND = command_line.Command(
  define, run, command_line.start_jax, configs=command_line.CONFIG
)

if __name__ == '__main__':
  command_line.run(COMMAND)
