"""Makes `hostile` importable: the budget of the runs and the values that go everywhere."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
pytest.register_assert_rewrite("hostile")
