"""`python -m connector.sandbox.demo`: play the demo in a temporary directory; exit 0 only if everything arrived."""

import sys
import tempfile
from pathlib import Path

from connector.sandbox.demo.pages import Pages
from connector.sandbox.demo.story import play


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="connector-demo-") as directory:
        return 0 if play(Path(directory), Pages()) else 1


if __name__ == "__main__":
    sys.exit(main())
