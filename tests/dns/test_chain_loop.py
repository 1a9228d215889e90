"""Is it noticed that upstream forwards to us, and mended when it no longer does?"""

from random import Random

from chain_lab import Answers, Drive, query, reply

from mooring.dns.chain import Context, Next, Steps, chained
from mooring.dns.handlers.loop import Loop
from mooring.dns.names import ROOT, from_text
from mooring.dns.records import Query, Rcode

WEB = reply("web.example. 60 IN A 192.0.2.1")


def test_without_a_loop_questions_go_on() -> None:
    loop, known = Loop(Random(1)), Answers(web__example=WEB)
    drive = Drive()
    drive.run(loop.probe(ROOT, Context(0), known), Context(0))
    assert not loop.looping
    assert WEB == drive.ask(chained([loop], known), query("web.example"))[0]


def test_a_probe_that_comes_back_stops_forwarding_until_one_does_not() -> None:
    loop, known = Loop(Random(1)), Answers(web__example=WEB)
    head = chained([loop], known)

    def back_to_us(asked: Query, context: Context) -> Steps:
        return (yield from head(asked, context))

    drive = Drive()
    outside: Next = back_to_us
    drive.run(loop.probe(ROOT, Context(0), outside), Context(0))
    assert loop.looping
    failed, context = drive.ask(head, query("web.example"))
    assert (Rcode.SERVFAIL, "failed") == (failed.rcode, context.notes[0].decision)
    drive.run(loop.probe(ROOT, Context(0), known), Context(0))
    assert not loop.looping
    assert WEB == drive.ask(head, query("web.example"))[0]


def test_each_probe_has_a_name_of_its_own_below_the_zone() -> None:
    loop, known = Loop(Random(1)), Answers()
    for _ in range(3):
        Drive().run(loop.probe(from_text("stub.example"), Context(0), known), Context(0))
    assert 3 == len(set(known.names))
    assert all(name.endswith(".stub.example") for name in known.names)
