"""Sets what a config says of the data, as tests name it."""


def set_data(config, **values):
  """Sets keys of config.data by their last names; `mask` is masks.kind."""
  groups = config.data, config.data.masks, config.data.split
  with config.unlocked():
    for name, value in values.items():
      key = 'kind' if name == 'mask' else name
      next(group for group in groups if key in group)[key] = value
