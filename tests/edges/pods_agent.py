"""An agent to be killed: starts a pod, says so on stdout, and sleeps. Arguments: state folder, cgroup, uid."""

import asyncio
import sys
from pathlib import Path

from pods_wishes import container, sandbox

from mooring.edges.pods.assembly import pods
from mooring.edges.pods.runtime import RuntimeOptions


async def main(state: str, cgroup: str, uid: str) -> None:
    node = pods(RuntimeOptions(Path(state), Path(cgroup), "node-a"))
    await node.runtime.adopt(lambda seen: None)
    await node.runtime.sandbox(sandbox(uid))
    await node.runtime.start(uid, container("talker", "while :; do echo tick; sleep 0.05; done"))
    await node.runtime.start(
        uid, container("brief", "until [ -s /go/go ]; do sleep 0.01; done; cat /go/go; exit 7", mounts=("go",))
    )
    print("running", flush=True)
    await asyncio.sleep(600)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
