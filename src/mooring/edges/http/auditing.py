"""Which events does a request leave in the audit log? One when it came, one when it was answered, as the policy wants them."""

from collections.abc import Callable
from datetime import datetime

from msgspec import structs

from mooring.apiserver import audit
from mooring.apiserver.audit import COMPLETE, PANIC, RECEIVED, STARTED, About, Policy, Rule
from mooring.apiserver.authorization.impersonation import effective
from mooring.apiserver.contract import Request, Response
from mooring.apiserver.errors import StatusError
from mooring.edges.http.audit import AuditLog
from mooring.model import codec
from mooring.store.snapshot import Snapshot


class Auditing:
    """The policy and the log: `begin` gives a request's record, None when nothing is to be written of it."""

    def __init__(self, policy: Policy, log: AuditLog, now: Callable[[], datetime]) -> None:
        self._policy, self.log, self.now = policy, log, now

    def begin(self, request: Request, uri: str, source: str, audit_id: str, snapshot: Snapshot) -> "Record | None":
        asked = audit.asked_of(request, snapshot)
        rule = self._policy.rule(asked)
        if rule is None:
            return None
        try:
            acting = effective(request, snapshot)
        except StatusError:
            acting = request
        record = Record(self, About(asked, request, uri, source, audit_id, self.stamp()), rule, acting)
        record.tell(RECEIVED)
        return record

    def failed(self, request: Request, uri: str, source: str, audit_id: str, snapshot: Snapshot, tried: str) -> None:
        """Somebody is not who they say (upstream: WithFailedAuthenticationAudit). `tried`: the scheme of the credential."""
        asked = audit.asked_of(request, snapshot)
        rule = self._policy.rule(asked)
        if rule is None or STARTED in rule.omitted:
            return
        known = tried.lower() if tried.lower() in ("basic", "bearer") else ""
        why = f"Authentication failed, {f'attempted: {known}' if known else 'no credentials provided'}"
        now = self.stamp()
        about = About(asked, structs.replace(request, body=b""), uri, source, audit_id, now)
        self.log.write(audit.event(about, rule, STARTED, now, 401, codec.encode({"message": why})))

    def stamp(self) -> str:
        return self.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Record:
    """One request's events."""

    def __init__(self, auditing: Auditing, about: About, rule: Rule, acting: Request) -> None:
        self._auditing, self._about, self._rule, self._acting = auditing, about, rule, acting
        self.notes: dict[str, str] = {}

    def tell(self, stage: str, response: Response | None = None, code: int = 0) -> None:
        if stage in self._rule.omitted:
            return
        code, body = (response.status, response.body) if response else (code, b"")
        line = audit.event(self._about, self._rule, stage, self._auditing.stamp(), code, body, self.notes, self._acting)
        self._auditing.log.write(line)

    def started(self) -> None:
        """A watch or a stream has begun."""
        self.tell(STARTED, code=200)

    def complete(self, response: Response | None = None) -> None:
        self.tell(COMPLETE, response, code=200)

    def abandoned(self) -> None:
        """The client went away before there was an answer."""
        self.tell(COMPLETE)

    def panic(self, response: Response) -> None:
        self.tell(PANIC, response)
