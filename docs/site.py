"""A hook of mkdocs: the site holds the pages of docs/ alone."""

import re


def on_page_markdown(markdown: str, **_) -> str:
  """Replaces links that lead out of docs/ by their text."""
  return re.sub(r'\[([^]]+)\]\(\.\./[^)]*\)', r'\1', markdown)
