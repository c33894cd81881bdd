"""The API under requests that a generator thinks of, with all of schemathesis' checks: exit code 1 if one fails.

python bench/fuzz.py [EXAMPLES-PER-OPERATION]
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import HERE, engine
from serve_time import served

CONFIG = HERE / "schemathesis.toml"
EXAMPLES = 75
"""For each operation; the drawn boundary cases and the chains of requests come on top: some 2,000 in all."""


def main() -> None:
    """Serve a drawn look-book, let the requests come, and sum up in one line."""
    examples = sys.argv[1] if len(sys.argv) > 1 else str(EXAMPLES)
    with tempfile.TemporaryDirectory(prefix="engine-fuzz-") as folder:
        engine("sample", f"{folder}/drawings", "--count", "48")
        engine("ingest", f"{folder}/drawings", "--store", f"{folder}/store")
        with served(Path(folder) / "store") as (address, _):
            command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "--no-color", "run"]
            options = ["--checks", "all", "--max-examples", examples, "--seed", "1", "--suppress-health-check", "all"]
            command += [f"{address}/openapi.json", *options]
            told = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    made = re.search(r"([\d,]+) generated", told.stdout)
    if told.returncode or not made:
        sys.exit(told.stdout + told.stderr)
    print(f"{made[1]} requests, all checks, 0 failures")


if __name__ == "__main__":
    main()
