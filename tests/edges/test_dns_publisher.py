"""Do readers learn of the next table whatever becomes of its file, and what is left of one that cannot be installed?"""

import mmap
from pathlib import Path

import dns.message
import pytest
from msgspec import structs

from mooring.dns.owners import everything
from mooring.dns.table import Field
from mooring.dns.table_answer import ASK, TableReader
from mooring.dns.zone import Zone, ZoneOptions
from mooring.edges.dns.publisher import Publisher
from mooring.services.names import PublishedService


def zone(serial: int = 1) -> Zone:
    return Zone(ZoneOptions(), {("default", "web"): PublishedService(("10.96.0.10",))}, {"default"}, serial)


def mapped(folder: Path) -> TableReader:
    """The table that is there now, as a worker maps it."""
    with (folder / "table").open("rb") as file:
        return TableReader(memoryview(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)))


def test_whoever_reads_a_table_whose_file_was_removed_learns_of_the_next(tmp_path: Path) -> None:
    publisher = Publisher(tmp_path)
    publisher.replace(zone())
    before = mapped(tmp_path)
    (tmp_path / "table").unlink()
    assert not before.superseded
    publisher.replace(zone(serial=2))
    assert before.superseded
    publisher.close()


def test_a_table_that_cannot_be_installed_leaves_nothing_behind_and_the_one_before_goes_on(tmp_path: Path) -> None:
    table, before, publisher = tmp_path / "table", zone(), Publisher(tmp_path)
    publisher.replace(before)
    room, installed = table.stat(), mapped(tmp_path)
    assert room.st_blocks * 512 >= room.st_size, "a hole: a full disk would end whoever writes to it"
    table.unlink()
    table.mkdir()
    many = structs.replace(
        before, services={("default", f"web{number}"): PublishedService(("10.96.0.11",)) for number in range(2000)}
    )
    with pytest.raises(OSError, match="directory"):
        publisher.replace(many)
    publisher.change(zone(serial=2))
    assert (2, False) == (installed.number(Field.SERIAL), installed.superseded)
    with pytest.raises(OSError, match="directory"):
        publisher.put(many, everything(many))
    assert [table] == list(tmp_path.iterdir())
    publisher.close()


def test_names_in_more_zones_than_a_table_holds_are_asked_of_the_agent(tmp_path: Path) -> None:
    reverse = ("10.0.0.0/9", "172.16.0.0/17", "192.168.0.0/17")
    services = {("default", f"web{each}"): PublishedService((f"192.168.{each}.1",)) for each in (0, 127)}
    publisher = Publisher(tmp_path)
    publisher.replace(Zone(ZoneOptions(reverse=reverse), services, {"default"}, 1))
    names = ("web0.default.svc.cluster.local", "web127.default.svc.cluster.local", "1.127.168.192.in-addr.arpa")
    questions = [dns.message.make_query(name, "PTR").to_wire() for name in names]
    replies = [mapped(tmp_path).answer(question, bytes((127, 0, 0, 1))).reply for question in questions]
    assert [False, False, True] == [reply == ASK for reply in replies]
    publisher.close()
