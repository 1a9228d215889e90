"""Who asked what, and what came of it? A line for each reply of the classes that `log` names (CoreDNS: plugin log)."""

from collections.abc import Collection

import structlog

from mooring.control.resolver import Settled
from mooring.dns.names import to_text
from mooring.dns.records import Rcode, Reply
from mooring.dns.settings import LogClass
from mooring.dns.wording import kind_text, rcode_text

log = structlog.get_logger("dns.query")


def classed(reply: Reply) -> LogClass:
    """SUCCESS with an answer; DENIAL: NXDOMAIN or no data; ERROR: everything else."""
    if reply.rcode == Rcode.NOERROR:
        return LogClass.SUCCESS if reply.answer else LogClass.DENIAL
    return LogClass.DENIAL if reply.rcode == Rcode.NXDOMAIN else LogClass.ERROR


class QueryLog:
    def __init__(self, classes: Collection[LogClass]) -> None:
        self._classes = set(LogClass) if LogClass.ALL in classes else set(classes)

    def tell(self, settled: Settled) -> None:
        query, reply = settled.query, settled.reply
        if classed(reply) not in self._classes:
            return
        log.info(
            "query",
            client=query.client,
            transport=query.transport.value,
            name=to_text(query.question.name),
            type=kind_text(query.question.type),
            rcode=rcode_text(reply.rcode),
            answers=len(reply.answer),
            seconds=round(settled.seconds, 6),
            steps=[str(each) for each in settled.context.notes],
        )
