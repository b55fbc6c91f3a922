"""Shared fixtures, see tests/fixtures/cluster/plugin.py."""

from plugin import copy_of_finished, finished, make_world, questions, small_model  # noqa: F401
