"""Does an agent hold all descriptors it may, and do its children get what it was given?"""

import subprocess
import sys

TAKEN = """
import os, resource, subprocess, sys
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
from mooring.edges import descriptors
descriptors.take_all()
child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
limits = [resource.getrlimit(resource.RLIMIT_NOFILE)[0], resource.prlimit(child.pid, resource.RLIMIT_NOFILE)[0]]
descriptors.give_back(child.pid)
limits.append(resource.prlimit(child.pid, resource.RLIMIT_NOFILE)[0])
child.communicate(b"end")
descriptors.give_back(child.pid)
print([{hard: "hard"}.get(limit, limit) for limit in limits])
"""


def test_the_limit_is_the_hard_one_and_children_get_the_one_before() -> None:
    done = subprocess.run([sys.executable, "-c", TAKEN], capture_output=True, text=True, timeout=100)
    assert "['hard', 'hard', 64]\n" == done.stdout, done
