"""What the tests of the daemon share: a folder for those that change the user, a site at work, and what is told."""

import pytest
from structlog.testing import capture_logs

from tests.support.system import public_path
from tests.unit.daemon.test_fate import Site

__all__ = ["public_path"]


@pytest.fixture
def site(spool):
    """A board with everything around it, and nobody at work; some modules have their own."""
    site = Site(spool)
    yield site
    site.sealer.close()


@pytest.fixture
def told():
    """The daemon's log, as it grows."""
    with capture_logs() as told:
        yield told
