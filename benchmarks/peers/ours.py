"""unet_jax: the trainer's whole step, with input and augmentation."""

import json
import sys

import jax
import serve
import trainer

from unet_jax import build


def main() -> None:
  """Builds the run that the arguments, as JSON, describe, and serves it."""
  args = json.loads(sys.argv[1])
  build.start(args.get('engine', 'auto'))
  case = trainer.make_case(**args)
  serve.serve(
    case.train[1],
    case.infer[1],
    parameters=case.num_params,
    version=f'jax {jax.__version__}, {case.model.engine}',
    flops=3 * case.flops,
    device=jax.devices()[0].device_kind,
  )


if __name__ == '__main__':
  main()
