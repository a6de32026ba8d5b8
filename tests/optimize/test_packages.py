"""What must be installed."""

import pytest

from greenserve.errors import DependencyMissing
from greenserve.optimize.packages import require_packages, toolchain


def test_missing_packages_are_named_with_the_command_that_installs_them() -> None:
    """All of them at once."""
    with pytest.raises(DependencyMissing, match=r"no_such_a, no_such_b.*pip install \"greenserve\[optimize") as caught:
        require_packages(["numpy", "no_such_a", "no_such_b"])

    assert "numpy" not in str(caught.value)


def test_what_is_installed_passes_and_has_versions() -> None:
    """The test environment holds the extra."""
    require_packages()

    assert all(version and version != "None" for version in toolchain().values())
