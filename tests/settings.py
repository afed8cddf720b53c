"""Sets the keys of a config's data by short names."""


def set_data(config, **values):
  """Sets keys of config.data by the last part of their path; `mask` is kind."""
  groups = config.data, config.data.masks, config.data.split
  with config.unlocked():
    for name, value in values.items():
      key = 'kind' if name == 'mask' else name
      next(group for group in groups if key in group)[key] = value
