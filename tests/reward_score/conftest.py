"""Makes toolcall_cases.py and toolcall_fuzz.py importable: in pytest's importlib mode a test's own folder is not."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
