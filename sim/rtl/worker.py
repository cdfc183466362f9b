"""A process of its own for one call of the cocotb runner: ``python -m sim.rtl.worker JOB.json``.

A job is ``{"simulator", "method", "arguments"}``; ``method`` is ``build`` or ``test`` of the runner. The caller sets
the environment, captures the output and may end the process, none of which the runner allows within one. Exit code 0
if the tools ran to their end, whatever the tests said; else 1, with the reason as the last line.
"""

import json
import sys
from pathlib import Path

from cocotb_tools.runner import get_runner


def main(job_file: str) -> int:
    job = json.loads(Path(job_file).read_text())
    try:
        runner = get_runner(job["simulator"])
        getattr(runner, job["method"])(**job["arguments"])
    except (RuntimeError, ValueError, SystemExit) as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
