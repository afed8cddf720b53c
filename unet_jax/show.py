"""Prints the network of a config: python -m unet_jax.show --config multiclass

A line for each part: the size of what it returns for a crop, as height x width
x channels, and the number of its parameters.
"""

import pathlib
from collections.abc import Sequence

import ml_collections
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
  flags.DEFINE_string('svg', '', 'File for a drawing.', flag_values=args)


def run(args: flags.FlagValues) -> None:
  """Prints the parts of the network in the order of their work."""
  config_lib.check(args.config)
  parts = trace(args.config, args.channels)
  total = sum(part.parameters for part in parts)
  print(f'{"part":<12} {"output":>16} {"parameters":>12}')
  for part in parts:
    size = 'x'.join(map(str, part.size))
    print(f'{part.name:<12} {size:>16} {part.parameters:>12,}')
  print(f'{"all":<12} {"":>16} {total:>12,}')
  if args.svg:
    from unet_jax.doctor import report  # Late, for a fast --help.
    from unet_jax.evaluation.report import drawing

    title = f'{args.config.model.name}, {total:,} parameters'
    report.write(drawing.network(title, parts), pathlib.Path(args.svg))


def trace(config: ml_collections.ConfigDict, channels: int) -> list:
  """Returns the drawing.Part of each part of a network; computes no pixel.

  Args:
    config: of a run; its `image_size` is the size of the input.
    channels: channels of the images.
  """
  import jax  # Late, for a fast --help.
  import jax.numpy as jnp

  from unet_jax import build
  from unet_jax.evaluation.report import drawing

  # Names that the data has, and not the config, would change the head alone.
  names = config.data.classes or ('class',)
  model = build.make_model(config, build.make_classes(config, names))
  parts: list[str] = []

  def is_part(module, _) -> bool:
    if len(module.path) == 1:
      parts.append(module.path[0])
    return len(module.path) == 1

  def run_parts():
    image = jnp.zeros((1, config.image_size, config.image_size, channels))
    variables = model.init(jax.random.key(0), image)
    parts.clear()
    _, state = model.apply(
      variables,
      image,
      capture_intermediates=is_part,
      mutable=['intermediates'],
    )
    return variables['params'], state['intermediates']

  params, outputs = jax.eval_shape(run_parts)
  counts = {
    name: sum(x.size for x in jax.tree.leaves(tree))
    for name, tree in params.items()
  }
  return [
    drawing.Part(
      name, outputs[name]['__call__'][0].shape[1:], counts.get(name, 0)
    )
    for name in parts
  ]


COMMAND = command_line.Command(
  define, run, command_line.start_jax, configs=command_line.CONFIG
)

if __name__ == '__main__':
  command_line.run(COMMAND)
