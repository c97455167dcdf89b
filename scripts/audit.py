"""Compare every pinned package with the known vulnerabilities: ``make audit``.

pip-audit asks an advisory service. Where that cannot be reached this says so plainly and does not fail: it has then
shown nothing, neither good nor bad.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

CONSTRAINTS = Path(__file__).resolve().parents[1] / "constraints.txt"


def main(program: str) -> int:
    """Run pip-audit and tell what came of it; return 1 where a package has a known vulnerability."""
    command = [program, "-r", str(CONSTRAINTS), "--no-deps", "--disable-pip", "-f", "json", "--progress-spinner", "off"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        packages = json.loads(done.stdout)["dependencies"]
    except subprocess.TimeoutExpired:
        print("not audited: the advisory service did not answer within 300 s")
        return 0
    except (ValueError, KeyError):
        print(f"not audited: the advisory service cannot be reached\n{done.stderr.strip()[-1000:]}")
        return 0
    audited = [one for one in packages if "skip_reason" not in one]
    found = [(one, vulnerability) for one in audited for vulnerability in one["vulns"]]
    for one, vulnerability in found:
        mended = ", ".join(vulnerability["fix_versions"]) or "no version yet"
        print(f"{one['name']} {one['version']}: {vulnerability['id']}, mended in {mended}")
    if not audited:
        print(f"not audited: the advisory service knows none of the {len(packages)} packages, or cannot be reached")
    else:
        print(f"{len(audited)} of {len(packages)} packages audited: {len(found) or 'no'} known vulnerabilities")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
