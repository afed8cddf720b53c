"""Keys by other words."""

import re

from unet_jax import defaults, lookup


def test_every_synonym_means_a_key_and_is_none():
  last_parts = {key.rpartition('.')[-1] for key in defaults.KEYS}
  for key, words in lookup.SYNONYMS.items():
    assert key in defaults.KEYS
    assert not {*words.split()} & last_parts, key


def test_a_word_of_two_meanings_gives_both_keys():
  assert lookup.nearest('flip') == [
    'augment.horizontal_flip',
    'augment.vertical_flip',
  ]


def test_nothing_is_near_to_nonsense():
  assert lookup.nearest('xyzzy') == []


def test_search_reads_names_meanings_and_synonyms():
  assert 'optim.lr' in lookup.search('learning rate')
  assert 'optim.lr' in lookup.search('learning_rate')
  assert lookup.search('GAMMA') == [
    key for key in defaults.KEYS if 'gamma' in key
  ]
  assert lookup.search('xyzzy') == []


def test_keys_are_described_with_default_limits_and_meaning():
  text = lookup.describe(['optim.lr', 'model.norm'])
  assert '  optim.lr = 0.002\n' in text
  words = ' '.join(text.split())
  assert 'Learning rate after warm-up.' in words
  assert re.search(r'one of batch, group, none', words)
  assert max(map(len, text.splitlines())) < 80
