"""Draws a photograph: vessels and lesions on a retina, seen by a camera."""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from unet_jax.data.synthetic_fundus import canvas, lesions, vessels

PLANES = ('vessels', *lesions.KINDS)

# Reflectances in red, green and blue; a dim light brings them below 1.
_RETINAS = np.array(
  [
    [0.96, 0.58, 0.35],  # Pale.
    [0.90, 0.41, 0.12],  # Orange.
    [0.80, 0.31, 0.19],  # Red.
    [0.62, 0.29, 0.12],  # Brown.
  ]
)
_DISC, _CUP = np.array([[1.12, 0.76, 0.38], [1.15, 0.95, 0.58]])
_HARD, _SOFT = np.array([[1.2, 0.94, 0.43], [1.1, 0.86, 0.5]])

# Absorption by a layer of blood: much of the green, little of the red.
_VESSEL_BLOOD = np.array([0.34, 0.95, 0.8])
_STRAY_BLOOD = np.array([0.52, 1.2, 0.8])


def draw_fundus(rng: canvas.Rng) -> tuple[np.ndarray, dict[str, np.ndarray]]:
  """Draws one photograph.

  Returns:
    The image, uint8[256, 256, 3], and {name: mask bool[256, 256]} of PLANES. A
    pixel is in a mask if the exact shape covers half of the pixel or more.
  """
  eye = _random_eye(rng)
  field = _draw_field(rng, eye)
  layers = {'vessels': vessels.draw_tree(vessels.grow_tree(rng, eye))}
  layers |= lesions.draw_lesions(rng, eye)
  tissue = _paint_disc(rng, eye, _paint_background(rng, eye))
  tissue = _paint_layers(rng, tissue, layers)
  image = _photograph(rng, eye, tissue, field)
  masks = {
    name: (shape >= 0.5) & (field >= 0.5) for name, (shape, _) in layers.items()
  }
  if rng.random() < 0.5:  # Everything above draws a right eye.
    image = image[:, ::-1]
    masks = {name: mask[:, ::-1] for name, mask in masks.items()}
  return image, masks


def _random_eye(rng: canvas.Rng) -> canvas.Eye:
  radius = rng.uniform(118, 127)
  centre = canvas.SIZE / 2 + rng.uniform(-1, 1, 2)
  disc = centre + radius * np.array(
    [rng.uniform(0.5, 0.72), rng.uniform(-0.1, 0.08)]
  )
  macula = disc + radius * np.array(
    [-rng.uniform(0.6, 0.7), rng.uniform(0.02, 0.12)]
  )
  return canvas.Eye(
    centre, radius, disc, radius * rng.uniform(0.135, 0.165), macula
  )


def _draw_field(rng: canvas.Rng, eye: canvas.Eye) -> np.ndarray:
  """Returns the coverage of each pixel by the round field: float32[H, W].

  The field is sometimes cut off at the top and the bottom.
  """
  x, y = eye.centre * canvas.FINE
  r, end = eye.radius * canvas.FINE, canvas.SIZE * canvas.FINE
  sheet = canvas.new_sheet()
  draw = ImageDraw.Draw(sheet)
  draw.ellipse((x - r, y - r, x + r, y + r), fill=255)
  if rng.random() < 0.4:
    cut = r * rng.uniform(0.85, 0.96)
    draw.rectangle((0, 0, end, y - cut), fill=0)
    draw.rectangle((0, y + cut, end, end), fill=0)
  return canvas.coverage(sheet, 0.3)


def _paint_background(rng: canvas.Rng, eye: canvas.Eye) -> np.ndarray:
  """Returns the retina without vessels: float64[H, W, 3], H and W being 256."""
  colour = rng.dirichlet([0.5] * len(_RETINAS)) @ _RETINAS
  mottle = 0.05 * canvas.noise(rng, 5, 9, 17)
  mottle += 0.02 * canvas.noise(rng, 33, 65, 129)
  # Vessels of the choroid: pale crooked bands where the pigment is thin.
  bands = 1 - np.abs(canvas.noise(rng, 22, 40))
  mottle += rng.uniform(0, 0.08) * np.clip(bands, -0.5, 1)
  away = canvas.distance(eye.macula) / eye.radius
  pit = rng.uniform(0.15, 0.35) * np.exp(-((away / 0.28) ** 2))
  pit += rng.uniform(0.1, 0.35) * np.exp(-((away / 0.09) ** 2))
  tint = np.array([0.6, 1.0, 1.2])
  return colour * np.exp((mottle - pit)[..., None] * tint)


def _paint_disc(
  rng: canvas.Rng, eye: canvas.Eye, tissue: np.ndarray
) -> np.ndarray:
  """Adds the optic disc with its cup, and the sheen of the nerve around it.

  Args:
    rng: the picture's generator.
    eye: the positions in the picture.
    tissue: float64[H, W, 3], the retina without vessels.

  Returns:
    float64[H, W, 3].
  """
  y, x = np.mgrid[: canvas.SIZE, : canvas.SIZE] + 0.5
  dx, dy = x - eye.disc[0], y - eye.disc[1]
  wide = eye.disc_radius * rng.uniform(0.82, 0.98)
  away = np.hypot(dx / wide, dy / eye.disc_radius)
  away = away * (1 + 0.03 * canvas.noise(rng, 8))
  cup = np.hypot(dx / wide + 0.12, dy / eye.disc_radius)
  angle = np.arctan2(dy, dx)
  streaks = 1 + 0.25 * np.sin(angle * 23 + 2 * canvas.noise(rng, 12))
  glow = rng.uniform(0.05, 0.25) * np.exp(-((away / 2.6) ** 2)) * streaks
  tissue = tissue * (1 + glow[..., None])
  sharp = rng.uniform(12, 22)
  for colour, inside in (
    (_DISC, 1 / (1 + np.exp(sharp * (away - 1)))),
    (_CUP, 0.8 / (1 + np.exp(8 * (cup - rng.uniform(0.35, 0.6))))),
  ):
    inside = (inside * rng.uniform(0.8, 0.95))[..., None]
    tissue = tissue * (1 - inside) + colour * inside
  return tissue


def _paint_layers(
  rng: canvas.Rng, tissue: np.ndarray, layers: dict
) -> np.ndarray:
  """Paints vessels and lesions in the order of their depth, deepest first.

  Args:
    rng: the picture's generator.
    tissue: float64[H, W, 3], the retina with its disc.
    layers: name -> (shape, paint), float32[H, W] each.

  Returns:
    float64[H, W, 3].
  """
  paint = {
    name: (rng.uniform(0.8, 1.1) * visibility)[..., None]
    for name, (_, visibility) in layers.items()
  }
  hard = np.minimum(paint['hardexudates'], 1)
  tissue = tissue * (1 - hard) + _HARD * hard
  tissue = tissue * np.exp(-paint['vessels'] * _VESSEL_BLOOD)
  blood = np.maximum(paint['hemorrhages'], paint['redsmalldots'])
  tissue = tissue * np.exp(-blood * _STRAY_BLOOD)
  soft = np.minimum(paint['softexudates'], 1)
  return tissue * (1 - soft) + _SOFT * soft


def _photograph(
  rng: canvas.Rng, eye: canvas.Eye, tissue: np.ndarray, field: np.ndarray
) -> np.ndarray:
  """Photographs a retina with one lamp and one camera: uint8[H, W, 3].

  Args:
    rng: the picture's generator.
    eye: the positions in the picture.
    tissue: float64[H, W, 3], reflectances of the retina.
    field: float32[H, W], coverage of each pixel by the field of view.
  """
  gain = rng.uniform(0.65, 1.05) * np.exp(rng.normal(0, [0.03, 0.07, 0.15]))
  image = tissue * _illumination(rng, eye)[..., None] * gain
  image = _add_specks(rng, eye, _add_leak(rng, eye, image))
  image = np.clip(image, 0, 1) * field[..., None] + 0.012  # Black isn't zero.
  soft = Image.fromarray((250 * image).astype(np.uint8))
  soft = soft.filter(ImageFilter.GaussianBlur(rng.uniform(0.35, 0.75)))
  noise = rng.normal(0, rng.uniform(1, 2.5), image.shape)
  noise *= 0.3 + 0.7 * field[..., None]
  return np.clip(np.rint(np.asarray(soft) + noise), 0, 255).astype(np.uint8)


def _illumination(rng: canvas.Rng, eye: canvas.Eye) -> np.ndarray:
  """Returns the light of a lamp, float64[H, W], weaker towards the edge."""
  lamp = eye.centre + rng.normal(0, 0.25 * eye.radius, 2)
  away = (canvas.distance(lamp) / eye.radius) ** 2
  edge = (canvas.distance(eye.centre) / eye.radius) ** 6
  light = 1.1 - rng.uniform(0.15, 0.4) * away - rng.uniform(0.05, 0.2) * edge
  return np.maximum(light * (1 + 0.04 * canvas.noise(rng, 4)), 0.35)


def _add_leak(
  rng: canvas.Rng, eye: canvas.Eye, image: np.ndarray
) -> np.ndarray:
  """Adds light that leaks past the iris to float64[H, W, 3].

  The light is a pale crescent at one edge.
  """
  angle = rng.uniform(0, 2 * np.pi)
  side = eye.centre - 2 * eye.radius * np.array([np.cos(angle), np.sin(angle)])
  near = np.clip(canvas.distance(side) / (3 * eye.radius), 0, 1) ** 20
  leak = rng.uniform(0, 0.35) * near[..., None]
  return image + leak * np.array([0.9, 0.55, 0.2])


def _add_specks(
  rng: canvas.Rng, eye: canvas.Eye, image: np.ndarray
) -> np.ndarray:
  """Adds surface reflexes, and dust on the lens, to float64[H, W, 3]."""
  for _ in range(rng.poisson(3)):
    spot = eye.centre + rng.normal(0, 0.4 * eye.radius, 2)
    shine = np.exp(-((canvas.distance(spot) / rng.uniform(0.8, 1.6)) ** 2))
    image = image + rng.uniform(0.1, 0.3) * shine[..., None]
  for _ in range(rng.poisson(2)):
    spot = eye.centre + rng.normal(0, 0.4 * eye.radius, 2)
    shade = np.exp(-((canvas.distance(spot) / rng.uniform(1, 4)) ** 4))
    image = image * (1 - rng.uniform(0.1, 0.3) * shade[..., None])
  return image
