"""The Python interpreter of this machine that has PyTorch: Debian's, not the one that runs the tests."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

PYTHON: Final = "/usr/bin/python3"
NEEDS_TORCH: Final = pytest.mark.skipif(
    not Path("/usr/lib/python3/dist-packages/torch").is_dir(), reason="no PyTorch here; .ci/machine installs Debian's"
)
