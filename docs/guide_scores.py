"""The arithmetic of the guide: losses of simple predictions, and means."""

import jax.numpy as jnp
import numpy as np

from unet_jax.evaluation import scores
from unet_jax.nn import losses

# tp, fp, fn, tn of two classes, and where a mean misleads.
EXAMPLES = {
  'a speck is missed': ((90_000, 5_000, 5_000, 900_000), (0, 0, 10, 999_990)),
  'a small class is poor': (
    (90_000, 5_000, 5_000, 900_000),
    (100, 900, 900, 998_100),
  ),
  'a class that hardly occurs is drawn widely': (
    (90_000, 5_000, 5_000, 900_000),
    (10, 20_000, 0, 979_990),
  ),
}


def of_predictions(truth: np.ndarray) -> list[dict]:
  """Scores predictions that need no network, by each loss and by accuracy.

  Args:
    truth: bool[N, H, W, K], one-hot with the background first.
  """
  target = jnp.asarray(truth, jnp.float32)
  weight = jnp.ones(truth.shape[:-1], jnp.float32)
  background = np.zeros_like(truth)
  background[..., 0] = True
  rows = []
  for name, pred in (('the truth', truth), ('only background', background)):
    # Logits of a network that is sure of itself.
    logits = jnp.where(pred, 10.0, 0.0)
    probs = jnp.asarray(pred, jnp.float32)
    tp = (pred & truth).sum(axis=(0, 1, 2))
    fp = (pred & ~truth).sum(axis=(0, 1, 2))
    fn = (~pred & truth).sum(axis=(0, 1, 2))
    f1 = scores.f_beta(np.stack([tp, fp, fn, 0 * tp], axis=-1), 1)
    rows.append(
      {
        'name': name,
        'accuracy': tp.sum() / weight.size,
        'ce': float(
          losses.cross_entropy(logits, target, weight, exclusive=True)
        ),
        'dice': float(
          losses.soft_dice(probs[..., 1:], target[..., 1:], weight)
        ),
        'negative': float(losses.negative_dice(probs, target, weight)),
        'additive': float(np.nansum(f1)),
      }
    )
  return rows


def of_examples() -> list[dict]:
  """Averages the F1 of the EXAMPLES in each way."""
  rows = []
  for name, counts in EXAMPLES.items():
    array = np.array(counts, np.int64)
    means = scores.means(array)
    f1 = scores.f_beta(array, 1)
    rows.append(
      {'name': name, 'f1': f1.tolist()}
      | {mean: float(means[mean]['f1']) for mean in scores.MEANS}
    )
  return rows
