"""Plans settings from the data and the machine: a rule for each key.

A rule is a function of a Case: the facts of the data, the machine, and the
settings that are known already. It returns a value and its reason.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from unet_jax.data.checks.finding import percent, plural
from unet_jax.doctor.dataset_facts import Facts
from unet_jax.training import memory

SMALLEST_CROP, LARGEST_CROP = 128, 256  # Pixels.
LARGEST_ON_GPU = 512
UNIT = 32  # Sides of crops and of scaled images are multiples of it.
ROOM = 1.3  # Side of a crop over that of the objects that it shows.
THIN = 3.0  # Least width of a class after scaling, pixels.
WORTH = 0.75  # Images are not scaled by more than this: it would gain little.
COMMON = 0.1  # Share of the pixels of which crops anywhere show enough.
EVEN = 0.05  # Share of the pixels; weights by frequency overdo rarer classes.
RAGGED = 4  # A class so many times as long as wide has rough outlines.
BATCH = 8
FEW_STEPS = 200  # A shorter run had better see smaller crops.
PASSES = 100  # Times that a run without a budget covers the training images.
STEPS = (400, 10_000)  # Of such a run, at least and at most.
EVALUATIONS = 10
# Bytes of a training step per pixel and channel at full resolution, in float32
# and at depth 4; benchmarks/README.md has the table.
STEP_BYTES = 90


class Machine(NamedTuple):
  """What the rules know of the machine; 0 is unknown."""

  bytes: int = 0  # Memory of a device.
  num_parts: int = 1  # Of a batch: devices, times steps to accumulate.
  is_cpu: bool = True
  pixels_per_second: float = 0.0  # Of crops, in training, on all devices.


class Case(NamedTuple):
  """What a rule decides by.

  Attributes:
    facts: of the data.
    machine: of the training.
    known: config key -> value, of the earlier rules or as the user set it.
    seconds: for all training steps; 0: no budget.
  """

  facts: Facts
  machine: Machine
  known: Mapping[str, Any]
  seconds: float = 0.0

  @property
  def scale(self) -> float:
    """Returns by how much data.resize scales the longer sides."""
    return (self.known['data.resize'] or self.facts.longest) / (
      self.facts.longest
    )

  @property
  def step_pixels(self) -> int:
    """Returns the pixels of a batch of crops."""
    return self.known['batch_size'] * self.known['image_size'] ** 2

  @property
  def steps_within(self) -> int:
    """Returns the steps that the budget allows; 0 without a budget."""
    pixels = self.seconds * self.machine.pixels_per_second
    return int(pixels / self.step_pixels)


Choice = tuple[Any, str]  # A value, and its reason.


def plan(
  facts: Facts,
  machine: Machine,
  fixed: Mapping[str, Any],
  *,
  seconds: float = 0.0,
) -> dict[str, Choice]:
  """Returns {key: (value, reason)} for the keys of RULES that are not fixed.

  Args:
    facts: of the data.
    machine: of the training.
    fixed: settings that stay, which the rules take into account.
    seconds: for all training steps; 0: no budget. Without the machine's
      pixels per second, the budget steers nothing.
  """
  known, planned = dict(fixed), {}
  for key, rule in RULES.items():
    if key not in fixed:
      planned[key] = rule(Case(facts, machine, known, seconds))
      known[key] = planned[key][0]
  return planned


def largest_crop(case: Case) -> int:
  """Returns the side that a crop may have: by memory and by time."""
  if 'image_size' in case.known:
    return case.known['image_size']
  machine = case.machine
  side = LARGEST_CROP if machine.is_cpu else LARGEST_ON_GPU
  width = case.known.get('model.width', _width(machine))

  def fits(side: int) -> bool:
    has_room = not machine.bytes or most_crops(machine, side, width) > 1
    steps = case.seconds * machine.pixels_per_second / (BATCH * side**2)
    return has_room and (not steps or steps >= FEW_STEPS)

  while side > SMALLEST_CROP and not fits(side):
    side //= 2
  return side


def most_crops(machine: Machine, side: int, width: int) -> int:
  """Returns the number of crops that fit into a device's memory."""
  room = memory.FULL * machine.bytes
  return int(room / (STEP_BYTES * width * side**2))


def resize(case: Case) -> Choice:
  """Scales images so that objects fit into a crop, unless lines would go."""
  objects = [x for x in case.facts.classes if x.side and not x.is_line]
  if not objects:
    return 0, 'no object sets a scale: full size'
  largest = largest_crop(case)
  big = max(objects, key=lambda x: x.side)
  scale = largest / (ROOM * big.side)
  what = f'{big.name} is {big.side:.0f} px long'
  if scale > WORTH:
    return 0, f'{what} and fits into a crop of {largest}: full size'
  thin = min(case.facts.classes, key=lambda x: x.width)
  least = THIN / thin.width
  if least >= WORTH:
    return 0, f'{thin.name}, {thin.width:.1f} px wide, must not be scaled away'
  longest = round_up(max(scale, least) * case.facts.longest)
  limit = f', and {thin.name} stays visible' if least > scale else ''
  return longest, (
    f'{what} of {case.facts.longest}, and a crop of {largest} must show it and '
    f'its surroundings{limit}'
  )


def image_size(case: Case) -> Choice:
  """Takes crops that hold the objects and what lies about them."""
  largest, longest = largest_crop(case), case.scale * case.facts.longest
  big = max(case.facts.classes, key=lambda x: x.side, default=None)
  side, why = min(SMALLEST_CROP, largest), 'no object sets a size'
  if big and big.side:
    length = case.scale * big.side
    side = min(max(round_up(ROOM * length), SMALLEST_CROP), largest)
    shows = 'shows it and its surroundings'
    if side < ROOM * length:
      shows = 'is the largest for this run'
    why = f'{big.name} is {length:.0f} px long: a crop of {side} {shows}'
  if side > longest:
    return round_up(longest, 16), f'images are {longest:.0f} px long'
  return side, why


def depth(case: Case) -> Choice:
  """Halves crops until 8 to 16 pixels are left, at most 4 times."""
  side = case.known['image_size']
  times = max(1, min(4, int(math.log2(max(side, 16) / 8))))
  return times, f'halved {times} times, a crop of {side} is {side >> times} px'


def _width(machine: Machine) -> int:
  return 16 if machine.is_cpu else 32


def width(case: Case) -> Choice:
  """Takes twice the channels where they cost little time."""
  where = 'a CPU: few channels' if case.machine.is_cpu else 'an accelerator'
  return _width(case.machine), f'the run is on {where}'


def batch_size(case: Case) -> Choice:
  """Takes 8 crops, or what images and memory allow."""
  machine, side = case.machine, case.known['image_size']
  size, why = BATCH, 'enough for steady statistics of batch norm'
  if case.facts.num_train < size:
    size = case.facts.num_train
    why = f'there are {plural(size, "training image")}'
  if machine.bytes:
    room = most_crops(machine, side, case.known['model.width'])
    if room * machine.num_parts < size:
      size = max(1, room) * machine.num_parts
      why = f'what fits into {machine.bytes / memory.GIB:.1f} GiB of memory'
  if size % machine.num_parts:
    size = round_up(size, machine.num_parts)
    why = f'it is computed in {machine.num_parts} equal parts'
  return size, why


def foreground_share(case: Case) -> Choice:
  """Cuts half of the crops about a class, where other crops may have none."""
  rarest = min(case.facts.classes, key=lambda x: x.share, default=None)
  if not rarest:
    return 0.0, 'no image has a class'
  of_pixels = f'{rarest.name} is {percent(rarest.share)} of the pixels'
  if rarest.share >= COMMON:
    return 0.0, f'{of_pixels}: crops anywhere show it'
  return 0.5, f'{of_pixels}: every other crop is about a class'


def class_weights(case: Case) -> Choice:
  """Weighs classes that are common but drawn roughly by inverse frequency.

  Inside a rough outline much looks like the background, which then outvotes the
  class in every pixel. With these weights a pixel gets a class whose
  probability exceeds its share. F1 is best at half of the best F1 (Lipton et
  al. 2014, arXiv:1402.1892): for a class that is learnt well, or is rare, the
  share is far too low a threshold.
  """
  facts = case.facts
  if facts.task != 'multiclass' or not facts.has_background:
    return 'none', 'classes do not compete with a background'
  rarest = min(facts.classes, key=lambda x: x.share, default=None)
  if not rarest or rarest.share < EVEN:
    return 'none', 'a class is so rare that its weight would draw it everywhere'
  ragged = [x for x in facts.classes if x.side > RAGGED * x.width]
  if not ragged:
    return 'none', 'outlines are smooth: the background outvotes no class'
  return 'inverse', (
    f'{ragged[0].name} has rough outlines, where the background could outvote '
    'it'
  )


def total_steps(case: Case) -> Choice:
  """Takes the steps of the budget, or a number of passes over the images."""
  if steps := case.steps_within:
    rate = case.machine.pixels_per_second / case.step_pixels
    steps = max(EVALUATIONS, steps // EVALUATIONS * EVALUATIONS)
    return steps, f'{case.seconds:.0f} s at {rate:.3g} steps a second'
  each = case.facts.num_train * case.facts.pixels * case.scale**2
  steps = round_up(PASSES * each / case.step_pixels, 10 * EVALUATIONS)
  least, most = STEPS
  return min(max(steps, least), most), (
    f'crops cover {plural(case.facts.num_train, "training image")} about '
    f'{PASSES} times, in {least} to {most} steps'
  )


def eval_every(case: Case) -> Choice:
  """Evaluates ten times, less often if that took over a tenth of the time."""
  steps = case.known['total_steps']
  every = max(1, steps // EVALUATIONS)
  # A step costs three forward passes: forward, and twice that backward.
  cost = case.facts.num_val * case.facts.pixels * case.scale**2 / 3
  if cost / case.step_pixels > 0.1 * every:
    every = min(steps, math.ceil(10 * cost / case.step_pixels))
    return every, 'evaluation then takes about a tenth of the time'
  return every, f'{EVALUATIONS} evaluations choose the best weights'


def save_every(case: Case) -> Choice:
  """Saves as often as it evaluates."""
  return case.known['eval_every'], 'as often as it is evaluated'


def round_up(number: float, unit: int = UNIT) -> int:
  """Returns the least multiple of `unit` that is not below the number."""
  return unit * math.ceil(round(number, 6) / unit)


# The keys that are planned, in an order in which each rule knows what it needs.
RULES: Mapping[str, Callable[[Case], Choice]] = {
  'data.resize': resize,
  'image_size': image_size,
  'model.depth': depth,
  'model.width': width,
  'batch_size': batch_size,
  'data.foreground_share': foreground_share,
  'loss.class_weights': class_weights,
  'total_steps': total_steps,
  'eval_every': eval_every,
  'save_every': save_every,
}
