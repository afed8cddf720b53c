"""Draws four kinds of lesion, named after the folders of DIARETDB1."""

import numpy as np

from unet_jax.data.synthetic_fundus import canvas

KINDS = ('hardexudates', 'softexudates', 'hemorrhages', 'redsmalldots')


def draw_lesions(rng: canvas.Rng, eye: canvas.Eye) -> dict:
  """Returns {kind: (shape, paint)}, float32[256, 256]; some are empty."""
  draw_fns = (_hard_exudates, _soft_exudates, _hemorrhages, _red_dots)
  loads = rng.gamma(4, 0.25, 2) * (rng.random(2) > 0.08) * (rng.random() > 0.1)
  loads = loads.repeat(2)  # Kinds of one colour occur together.
  nothing = np.zeros((2, canvas.SIZE, canvas.SIZE), np.float32)
  return {
    name: draw_fn(rng, eye, load) if load else tuple(nothing)
    for name, draw_fn, load in zip(KINDS, draw_fns, loads, strict=True)
  }


def _hard_exudates(rng: canvas.Rng, eye: canvas.Eye, load: float) -> tuple:
  """Draws small sharp flecks, in heaps and in rings."""
  outlines = []
  for place in _places(rng, eye, 1 + rng.poisson(4 * load), 0.38):
    count, is_ring = rng.integers(12, 36), rng.random() < 0.4
    size = rng.uniform(6, 14)
    start, arc = rng.uniform(0, 2 * np.pi), rng.uniform(2.5, 5.5)
    for _ in range(count):
      angle = start + arc * rng.random()
      reach = size * (rng.normal(1, 0.1) if is_ring else rng.rayleigh(0.55))
      spot = place + reach * np.array([np.cos(angle), np.sin(angle)])
      radius = np.clip(rng.lognormal(0.4, 0.4), 0.9, 4)
      stretch = rng.uniform(1, 1.4)
      outlines.append(
        canvas.blob(rng, spot, radius, stretch=stretch, angle=angle)
      )
  return canvas.fill(outlines, rng.uniform(0.45, 0.95, len(outlines)), 0.2)


def _soft_exudates(rng: canvas.Rng, eye: canvas.Eye, load: float) -> tuple:
  """Draws cotton wool spots: large pale patches with soft edges."""
  outlines = []
  for place in _places(rng, eye, rng.poisson(4 * load), 0.55):
    radius, stretch = rng.uniform(4.5, 9.5), rng.uniform(1, 1.5)
    angle = rng.uniform(0, np.pi)
    outlines.append(
      canvas.blob(rng, place, radius, stretch=stretch, angle=angle, rough=0.16)
    )
  strengths = rng.uniform(0.45, 0.8, len(outlines))
  shape, paint = canvas.fill(outlines, strengths, 2.0)
  return shape, paint * np.clip(1 + 0.12 * canvas.noise(rng, 48, 96), 0.6, 1.3)


def _hemorrhages(rng: canvas.Rng, eye: canvas.Eye, load: float) -> tuple:
  """Draws blots, and flames along the nerve fibres from the disc."""
  outlines = []
  for place in _places(rng, eye, 1 + rng.poisson(12 * load), 0.6):
    if rng.random() < 0.35:
      along = np.arctan2(*(place - eye.disc)[::-1]) + rng.normal(0, 0.2)
      stretch, rough = rng.uniform(1.5, 2.2), 0.35
    else:
      along, stretch, rough = rng.uniform(0, np.pi), rng.uniform(1, 1.4), 0.22
    radius = np.clip(rng.lognormal(1.45, 0.4), 2.3, 9)
    outlines.append(
      canvas.blob(rng, place, radius, stretch=stretch, angle=along, rough=rough)
    )
  return canvas.fill(outlines, rng.uniform(0.45, 0.9, len(outlines)), 0.8)


def _red_dots(rng: canvas.Rng, eye: canvas.Eye, load: float) -> tuple:
  """Draws microaneurysms."""
  places = _places(rng, eye, 4 + rng.poisson(36 * load), 0.5)
  outlines = [
    canvas.blob(
      rng,
      place,
      rng.uniform(1.25, 2.3),
      stretch=rng.uniform(1, 1.2),
      rough=0.1,
    )
    for place in places
  ]
  return canvas.fill(outlines, rng.uniform(0.45, 0.85, len(outlines)), 0.3)


def _places(
  rng: canvas.Rng, eye: canvas.Eye, count: int, spread: float
) -> list[np.ndarray]:
  """Draws points float64[2] around the macula, in the field, off the disc."""
  places: list[np.ndarray] = []
  while len(places) < count:
    point = eye.macula + rng.normal(0, spread * eye.radius, 2)
    is_inside = np.hypot(*(point - eye.centre)) < 0.9 * eye.radius
    if is_inside and np.hypot(*(point - eye.disc)) > 1.6 * eye.disc_radius:
      places.append(point)
  return places
