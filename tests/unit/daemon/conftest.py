"""A folder for tests that change the user."""

from tests.support.system import public_path

__all__ = ["public_path"]
