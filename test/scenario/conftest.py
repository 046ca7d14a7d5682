import pytest

import harness


@pytest.fixture(params=harness.modes())
def platform(request):
    """A running platform in each mode that this user can have."""
    platform = harness.Platform(request.param)
    try:
        yield platform.start()
    finally:
        platform.close()
