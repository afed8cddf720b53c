"""Builds from a config the parts that training and evaluation share."""

import functools
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from unet_jax import cache, errors, parallel
from unet_jax.data import codes, crops, labels, moments, pipeline, sources
from unet_jax.nn import augment, conv, preprocess, tutorial_unet, unet
from unet_jax.nn.native import cpu, xla_onednn

Model = unet.UNet | tutorial_unet.TutorialUNet


def start(engine: str = 'auto') -> None:
  """Sets up the process; call it before JAX makes its first array.

  Args:
    engine: config.engine, if it is known already.
  """
  cpu.keep_memory()
  xla_onednn.ask(engine)
  if xla_onednn.is_on():
    # XLA can't cache programs that use its oneDNN (jax 0.12: bad_alloc).
    jax.config.update('jax_enable_compilation_cache', False)
  elif not jax.config.jax_compilation_cache_dir:
    folder = cache.folder() / f'xla-{cache.machine()}'
    jax.config.update('jax_compilation_cache_dir', str(folder))


def make_classes(config, names: Sequence[str]) -> labels.ClassSpec:
  """Returns the meaning of the planes of logits.

  Args:
    config: of the run.
    names: names of the foreground classes.
  """
  return labels.ClassSpec(
    planes=labels.class_names(config.task, names, config.data.background),
    num_foreground=len(names),
    exclusive=config.task == 'multiclass',
    soft=config.data.masks.soft > 0,
  )


def choose_engine(requested: str) -> str:
  """Returns the engine that runs the convolutions; see conv.choose_engine.

  Raises:
    InputError: the requested engine is unknown or does not run here.
  """
  try:
    return conv.choose_engine(jax.default_backend(), requested)
  except ValueError as error:
    raise errors.InputError(f'config.engine: {error}') from None


def compute_dtype(precision: str, engine: str) -> jnp.dtype:
  """Returns float32 or bfloat16; `auto` chooses bfloat16 where it is faster."""
  if precision == 'auto':
    has_onednn = engine == 'native' or xla_onednn.is_on()
    is_fast = jax.default_backend() != 'cpu' or (
      has_onednn and cpu.has_fast_bfloat16()
    )
    precision = 'bfloat16' if is_fast else 'float32'
  return jnp.dtype(precision)


def make_model(config, classes: labels.ClassSpec) -> Model:
  """Builds the model. It uses the devices' axis in training only."""
  engine = choose_engine(config.engine)
  name = config.model.name
  options = dict(
    num_planes=len(classes.planes),
    depth=config.model.depth,
    width=config.model.width,
    dilated=config.model.dilated,
    dropout=config.model.dropout,
    dtype=compute_dtype(config.precision, engine),
    engine=engine,
    axis_name=parallel.AXIS,
  )
  if name.startswith('tutorial'):
    return tutorial_unet.TutorialUNet(
      **options,
      narrow=name == 'tutorial_vessels',
      two_bottlenecks=name == 'tutorial_lesions',
    )
  return unet.UNet(
    **options,
    residual=name == 'residual',
    norm=config.model.norm,
    remat=config.model.remat,
  )


def make_batches(
  config, dataset: sources.Dataset, *, first_step: int = 1
) -> Iterator[dict[str, np.ndarray]]:
  """Yields this process's part of the training batches, from `first_step` on.

  Yields:
    image [B, W, W, C], label uint8[B, W, W] or [B, W, W, K], and index
    int32[B]; see pipeline.train_batches.
  """
  return pipeline.train_batches(
    dataset.splits['train'],
    make_sampling(config, dataset),
    batch_size=config.batch_size,
    first_step=first_step,
    process_index=jax.process_index(),
    process_count=jax.process_count(),
  )


def abstract_batch(config, example: dict) -> dict[str, jax.ShapeDtypeStruct]:
  """Returns shapes and dtypes of a placed training batch, [devices, b, ...].

  Args:
    config: of the run.
    example: any training example; only its shapes and dtypes are used.
  """
  side = window_size(config)
  sample = {'index': jax.ShapeDtypeStruct((), np.int32)}
  for key in crops.CROPPED:
    if key in example:
      shape = (side, side, *example[key].shape[2:])
      sample[key] = jax.ShapeDtypeStruct(shape, example[key].dtype)
  for key, x in moments.of_example(example).items():
    sample[key] = jax.ShapeDtypeStruct(x.shape, x.dtype)
  return parallel.abstract_batch(sample, config.batch_size)


def make_sampling(config, dataset: sources.Dataset) -> pipeline.Sampling:
  """Returns the settings by which training samples are drawn."""
  return pipeline.Sampling(
    image_size=config.image_size,
    window_size=window_size(config),
    seed=config.seed,
    table=dataset.places,
    foreground_share=config.data.foreground_share,
  )


def window_size(config) -> int:
  """Returns the side of the images in training batches, in pixels."""
  ranges = augment.Ranges(**config.augment)
  return augment.window_size(config.image_size, ranges)


def make_augment(
  config, limits: tuple[float, float] = codes.BYTES
) -> Callable[..., tuple[jax.Array, ...]]:
  """Binds the config to augment.augment, for one example.

  Args:
    config: of the run.
    limits: black and white of its images; see sources.Stats.

  Returns:
    A function (key, image [W, W, C], label uint8[W, W] or [W, W, K], optional
    weight map float32[W, W]) -> (image float32[S, S, C], label uint8[S, S] or
    [S, S, K], the weight map if there is one).
  """
  ranges = augment.Ranges(**config.augment)
  return functools.partial(
    augment.augment,
    size=config.image_size,
    ranges=ranges,
    limits=limits,
    soft=config.data.masks.soft > 0,
  )


def make_targets(
  classes: labels.ClassSpec,
) -> Callable[[jax.Array], tuple[jax.Array, jax.Array]]:
  """Binds the classes to preprocess.targets.

  Returns:
    A function of a label, uint8[B, H, W] or [B, H, W, K] -> planes float32[B,
    H, W, K] and weights float32[B, H, W].
  """
  return functools.partial(
    preprocess.targets,
    num_planes=len(classes.planes),
    exclusive=classes.exclusive,
    soft=classes.soft,
  )


def make_preprocess(
  classes: labels.ClassSpec, mean: Sequence[float], std: Sequence[float]
) -> Callable[..., preprocess.Inputs]:
  """Binds the classes and the data's statistics to preprocess.preprocess.

  Returns:
    A function (image [B, H, W, C], label uint8[B, H, W] or [B, H, W, K],
    optional weight map float32[B, H, W]; optional `mean` and `std` float32[B,
    C] instead of the data's) -> preprocess.Inputs.
  """
  return functools.partial(
    preprocess.preprocess,
    mean=tuple(mean),
    std=tuple(std),
    num_planes=len(classes.planes),
    exclusive=classes.exclusive,
    soft=classes.soft,
  )
