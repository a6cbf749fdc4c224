"""Makes the suite importable for every adapter's conformance tests, with readable assertions."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
pytest.register_assert_rewrite("suite", "suite_reading", "suite_world", "suite_writing")
