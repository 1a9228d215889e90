"""GETs to several addresses at a steady rate each, every one over a new connection; the standard library alone.

    python3 _requests.py RATE NAME=HOST:PORT[,HOST:PORT] ...

It stops at the first line, or the end, of its standard input, and waits for what is on its way. Requests start when they are
due, however slow others are: a stalled address shows as failures, not as a lower rate. A request fails when it is refused,
breaks, takes over 20 seconds or is not answered with 200. Tells a JSON line each second:
{NAME: {"requests", "failed", "failures": {reason: count}, "pods": {pod: count}}}.
"""

import asyncio
import collections
import json
import sys

TIMEOUT = 20.0


class Tally:
    def __init__(self):
        self.requests = 0
        self.failures, self.pods = collections.Counter(), collections.Counter()

    def shown(self):
        failed = sum(self.failures.values())
        return {"requests": self.requests, "failed": failed, "failures": self.failures, "pods": self.pods}


async def get(host, port):
    """The name of the pod that answered. Raises OSError, TimeoutError, ValueError."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(b"GET /hostname HTTP/1.0\r\n\r\n")
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        if b" 200 " not in head.partition(b"\r\n")[0]:
            raise ValueError(head.partition(b"\r\n")[0].decode() or "closed without an answer")
        return body.decode().strip()
    finally:
        writer.close()


async def one(where, tally):
    tally.requests += 1
    try:
        tally.pods[await asyncio.wait_for(get(*where), TIMEOUT)] += 1
    except (TimeoutError, OSError, ValueError) as error:
        tally.failures[f"{type(error).__name__}: {error} from {where[0]}"] += 1


async def steady(places, rate, tally, stopping, running):
    loop = asyncio.get_running_loop()
    begun, number = loop.time(), 0
    while not stopping.is_set():
        await asyncio.sleep(max(0.0, begun + number / rate - loop.time()))
        task = loop.create_task(one(places[number % len(places)], tally))
        running.add(task)
        task.add_done_callback(running.discard)
        number += 1


def place(text):
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


async def main(rate, targets):
    stopping, running = asyncio.Event(), set()
    asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline).add_done_callback(lambda _: stopping.set())
    tallies = {name: Tally() for name, _, _ in targets}
    pacing = [
        asyncio.ensure_future(steady([place(each) for each in places.split(",")], rate, tallies[name], stopping, running))
        for name, _, places in targets
    ]
    while not all(each.done() for each in pacing):
        await asyncio.wait(pacing, timeout=1.0)
        print(json.dumps({name: tally.shown() for name, tally in tallies.items()}), flush=True)
    await asyncio.gather(*running)
    print(json.dumps({name: tally.shown() for name, tally in tallies.items()}), flush=True)


asyncio.run(main(float(sys.argv[1]), [each.partition("=") for each in sys.argv[2:]]))
