"""What is asked in other classes than IN? Of class CHAOS the server's version and name; nothing else is served.

CoreDNS: plugin chaos. Names: RFC 4892 and BIND's.
"""

from mooring.dns.chain import Context, Next, Steps
from mooring.dns.names import from_text
from mooring.dns.records import Class, Query, Rcode, Reply, Type, txt


class Chaos:
    """`version`: for version.bind; `host`: for id.server."""

    name = "chaos"

    def __init__(self, version: str, host: str) -> None:
        texts = {"version.bind": version, "version.server": version, "hostname.bind": host, "id.server": host}
        self._texts = {from_text(name): text for name, text in texts.items() if text}

    def handle(self, query: Query, context: Context, following: Next) -> Steps:
        question = query.question
        if question.klass == Class.IN:
            return (yield from following(query, context))
        text = self._texts.get(question.name.lower()) if question.klass == Class.CHAOS else None
        if text is None:
            context.note(self.name, "refused", f"class {question.klass} is not served")
            return Reply(Rcode.REFUSED)
        context.note(self.name, "answered", "class CHAOS")
        records = (txt(question.name, 0, text),) if question.type in (Type.TXT, Type.ANY) else ()
        return Reply(Rcode.NOERROR, records, authoritative=True)
