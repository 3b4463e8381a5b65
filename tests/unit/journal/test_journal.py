"""The journal's two homes.

Covered: both homes hold the same records, reading is their union; one home failing is a warning
said once and the home gets what it missed when it works again; none is a refusal before anything is
sent; ids that are taken; a file cut after any byte never raises nor loses a completed record, also
when written on; corrupt lines in the middle, newer formats, forged ConfigMaps are left out and
named; modes 0700 and 0600; disk full, also half way; a folder that cannot be looked into; entries
larger than one ConfigMap; answers that got lost; claims: two undoers, one left behind, releasing.
"""

from __future__ import annotations

import json
import os
import pwd
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from kubectl_argo_rescue.cluster.transport import Response
from kubectl_argo_rescue.journal import claims as module
from kubectl_argo_rescue.journal import encoding, records
from kubectl_argo_rescue.journal.configmaps import ClusterHome
from kubectl_argo_rescue.journal.entry import Entry, lost
from kubectl_argo_rescue.journal.journal import Journal
from kubectl_argo_rescue.journal.local import LocalHome, state_home
from kubectl_argo_rescue.journal.records import Begin, Content, End, Intent, Outcome, Settled
from kubectl_argo_rescue.model.errors import (
    ConflictError,
    NotFound,
    Overloaded,
    RefusedError,
    RescueError,
    TransportError,
)
from kubectl_argo_rescue.model.values import CONFIGMAP, Edit, FieldChange, Ref, Role
from kubectl_argo_rescue.simulation.api import InMemoryApi
from kubectl_argo_rescue.simulation.clock import SteppedClock
from kubectl_argo_rescue.simulation.wire import Request, broken

from .. import build

NOW = datetime(2026, 11, 27, 17, 0, tzinfo=timezone.utc)
REF = Ref("Application", "argocd", "traefik", "u1")


def intent(number: int = 0, before: Any = "2.5.1", after: Any = "2.4.1") -> Intent:
    change = FieldChange(("spec", "source", "targetRevision"), before, after)
    return Intent(number, Edit(REF, (change,), "why", Role.VERSION))


def begin(**more: Any) -> Begin:
    return Begin("pin", ("pin", "traefik", "2.4.1"), "alice", "laptop", NOW, "", "argocd", **more)


class Bed:
    """An API server, and laptops with a disk each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = SteppedClock()
        self.api = InMemoryApi(self.clock)
        self.api.create(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "argocd"}}
        )
        self.warnings: list[str] = []
        self.ids = iter(f"{i:06x}" for i in range(1, 99))

    def journal(
        self,
        laptop: str = "laptop",
        *,
        in_cluster: bool = True,
        writer: str = "aaaaaa",
        new_id: Callable[[], str] | None = None,
    ) -> Journal:
        made = Journal(
            LocalHome([self.folder / laptop / "kubectl-argo-rescue" / "uid"]),
            ClusterHome(build.cluster(self.api), "argocd") if in_cluster else None,
            new_id=new_id or (lambda: next(self.ids)),
            writer=writer,
        )
        made.warn = self.warnings.append
        return made

    def file(self, entry: str, laptop: str = "laptop") -> Path:
        return self.folder / laptop / "kubectl-argo-rescue" / "uid" / f"{entry}.jsonl"

    def maps(self) -> list[Any]:
        return [o for o in self.api.objects(CONFIGMAP) if o["metadata"]["name"].startswith("argo-rescue-")]


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    return Bed(tmp_path)


def only(journal: Journal) -> Entry:
    reading = journal.read()
    assert reading.warnings == ()
    (entry,) = reading.entries
    return entry


# -- the good way


def test_both_homes_hold_every_record(bed: Bed) -> None:
    journal = bed.journal()
    writer = journal.begin([begin(total=1), intent()])
    writer.write([Outcome({0: "applied"}), End("ok", NOW)])
    lines = bed.file(writer.entry).read_text().splitlines()
    (obj,) = bed.maps()
    assert sorted(obj["data"].values()) == sorted(lines) and len(lines) == 4
    assert obj["metadata"]["name"] == f"argo-rescue-{writer.entry}"
    assert obj["metadata"]["labels"] == {
        "app.kubernetes.io/managed-by": "kubectl-argo-rescue",
        "argo-rescue/entry": writer.entry,
    }
    entry = only(journal)
    assert (entry.id, entry.state, entry.homes) == (writer.entry, "open", frozenset({"local", "cluster"}))
    assert not bed.warnings


def test_another_laptop_sees_it_by_the_cluster_alone(bed: Bed) -> None:
    writer = bed.journal().begin([begin(), intent()])
    elsewhere = bed.journal("bobs", writer="bbbbbb")
    entry = only(elsewhere)
    assert entry.homes == {"cluster"}
    elsewhere.reopen(entry).write([End("ok")])
    entry = only(bed.journal())
    assert entry.ended == "ok" and entry.id == writer.entry
    assert [r.id for r in entry.records] == ["00001-aaaaaa", "00002-aaaaaa", "00003-bbbbbb"]


def test_the_union_of_what_each_home_has(bed: Bed) -> None:
    journal = bed.journal()
    writer = journal.begin([begin(), intent()])
    writer.write([Outcome({0: "applied"})])
    path = bed.file(writer.entry)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:1]))  # the disk lost the end
    (obj,) = bed.maps()
    bed.api.edit(
        CONFIGMAP, "argocd", obj["metadata"]["name"], lambda o: o["data"].pop("00001-aaaaaa") and None
    )
    assert only(journal).outcomes == {0: "applied"}


def test_modes(bed: Bed) -> None:
    old = os.umask(0)
    try:
        writer = bed.journal().begin([begin()])
    finally:
        os.umask(old)
    path = bed.file(writer.entry)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.parent.parent.stat().st_mode) == 0o700


def test_what_others_could_read_is_tightened(bed: Bed) -> None:
    journal = bed.journal()
    writer = journal.begin([begin()])
    path = bed.file(writer.entry)
    path.chmod(0o644)
    path.parent.chmod(0o755)
    writer.write([End("ok")])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_home_that_is_empty_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "")
    home = state_home(os.environ | {"XDG_STATE_HOME": ""})
    assert home == Path(pwd.getpwuid(os.getuid()).pw_dir) / ".local/state/kubectl-argo-rescue"


@pytest.mark.parametrize(
    "environ", [{"HOME": "relative"}, {"HOME": "~"}, {}, {"XDG_STATE_HOME": "x"}], ids=str
)
def test_without_a_home_nothing_is_written_anywhere(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(uid: int) -> Any:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    with pytest.raises(RescueError, match="set XDG_STATE_HOME"):
        state_home(environ)


def test_file_and_folder_are_synced(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def noting(fd: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{fd}"))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", noting)
    writer = bed.journal().begin([begin()])
    path = bed.file(writer.entry)
    assert synced == [str(path), str(path.parent)]
    writer.write([End("ok")])
    assert synced == [str(path), str(path.parent), str(path)]


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"XDG_STATE_HOME": "/x"}, "/x/kubectl-argo-rescue"),
        ({"XDG_STATE_HOME": "relative"}, "~/.local/state/kubectl-argo-rescue"),
        ({}, "~/.local/state/kubectl-argo-rescue"),
    ],
)
def test_state_home(environ: dict[str, str], folder: str) -> None:
    assert state_home(environ) == Path(os.path.expanduser(folder))


def test_two_folders_of_one_cluster_are_both_read(bed: Bed) -> None:
    first, second = bed.folder / "a", bed.folder / "b"
    for folder, id in ((first, "aaaaa1"), (second, "bbbbb1")):
        Journal(LocalHome([folder]), None, new_id=iter([id]).__next__).begin([begin()])
    both = LocalHome([first, second])
    assert sorted(both.read()) == ["aaaaa1", "bbbbb1"]
    assert both.has("bbbbb1") and not both.has("cccccc")


# -- a home fails


def test_the_cluster_failing_is_a_warning_once_and_it_gets_the_rest_later(bed: Bed) -> None:
    bed.api.deny("create", "configmaps")
    bed.api.deny("patch", "configmaps")
    journal = bed.journal()
    writer = journal.begin([begin(), intent()])
    writer.write([Outcome({0: "applied"})])
    assert len(bed.warnings) == 1
    assert "only here can entry" in bed.warnings[0] and "forbidden" in bed.warnings[0]
    assert only(journal).homes == {"local"}
    bed.api.denied.clear()
    writer.write([End("ok")])
    entry = only(bed.journal("bobs"))
    assert entry.ended == "ok" and len(entry.records) == 4, "a colleague sees all of it"


def test_the_disk_failing_is_a_warning_and_it_gets_the_rest_later(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = bed.journal()
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", _full(0))
        writer = journal.begin([begin(), intent()])
        writer.write([Outcome({0: "applied"})])
    assert bed.warnings == [
        "the journal on this machine cannot be written: No space left on device; "
        "it is kept in the cluster alone, so undo needs the cluster's ConfigMaps"
    ]
    assert only(journal).homes == {"cluster"}
    writer.write([End("ok")])
    offline = only(bed.journal(in_cluster=False))
    assert offline.ended == "ok" and len(offline.records) == 4


def _full(room: int) -> Callable[[int, Any], int]:
    """An `os.write` on a disk with so many bytes left."""
    write = os.write
    left = [room]

    def full(fd: int, data: Any) -> int:
        if left[0] <= 0:
            raise OSError(28, "No space left on device")
        part = bytes(data[: left[0]])
        left[0] -= len(part)
        return write(fd, part)

    return full


def test_without_any_home_nothing_may_be_sent(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    bed.api.deny("create", "configmaps")
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", _full(0))
        with pytest.raises(RefusedError) as refused:
            bed.journal().begin([begin(), intent()])
    assert "cannot be saved anywhere" in refused.value.message
    assert "No space left" in refused.value.message and "forbidden" in refused.value.message
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", _full(0))
        with pytest.raises(RefusedError, match="namespace is not known"):
            bed.journal(in_cluster=False).begin([begin(), intent()])


def test_a_refused_record_is_not_written_later_and_its_id_not_used_again(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = bed.journal()
    writer = journal.begin([begin(), intent()])
    bed.api.deny("patch", "configmaps")
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", _full(0))
        with pytest.raises(RefusedError):
            writer.write([intent(0, "2.5.2")])
    bed.api.denied.clear()
    writer.write([Outcome({0: "not-applied"})])
    entry = only(journal)
    assert [r.id for r in entry.records] == ["00001-aaaaaa", "00002-aaaaaa", "00004-aaaaaa"]
    assert entry.outcomes == {0: "not-applied"}


def test_a_disk_that_fills_up_at_any_byte(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    contents: list[Content] = [begin(), intent()]
    lines = [
        encoding.to_line(records.Record("000001", f"{i:05d}-aaaaaa", c)) for i, c in enumerate(contents, 1)
    ]
    whole = sum(len(line) + 1 for line in lines)
    for room in range(1, whole, 7):
        id = f"{room + 0xA00000:06x}"
        journal = bed.journal(in_cluster=False, new_id=iter([id]).__next__)
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", _full(room))
            with pytest.raises(RefusedError):
                journal.begin([begin(), intent()])
        reading = journal.read()
        assert [e.id for e in reading.entries] in ([], [id])
        bed.file(id).unlink()


def test_a_folder_that_cannot_be_looked_into_is_a_home_that_fails(bed: Bed) -> None:
    # As one that an earlier sudo left behind; as root no mode forbids anything, so the name is too long.
    journal = Journal(
        LocalHome([bed.folder / ("x" * 300)]),
        ClusterHome(build.cluster(bed.api), "argocd"),
        new_id=lambda: "abcdef",
    )
    journal.warn = bed.warnings.append
    writer = journal.begin([begin(), intent()])
    assert len(bed.warnings) == 1 and "kept in the cluster alone" in bed.warnings[0]
    reading = journal.read()
    assert [e.id for e in reading.entries] == [writer.entry]
    journal.local.remove(writer.entry)


def test_a_file_where_the_folder_should_be(bed: Bed) -> None:
    (bed.folder / "laptop").mkdir()
    (bed.folder / "laptop" / "kubectl-argo-rescue").write_text("in the way")
    journal = bed.journal()
    journal.begin([begin(), intent()])
    assert len(bed.warnings) == 1
    assert only(journal).homes == {"cluster"}


def test_a_file_that_cannot_be_read_is_named(bed: Bed) -> None:
    journal = bed.journal(in_cluster=False)
    writer = journal.begin([begin()])
    bed.file("bad").mkdir()
    reading = journal.read()
    assert [e.id for e in reading.entries] == [writer.entry]
    assert reading.warnings == ("journal: left out bad.jsonl: Is a directory",)


def test_a_cluster_that_cannot_be_read_is_a_warning(bed: Bed) -> None:
    journal = bed.journal()
    writer = journal.begin([begin()])
    bed.api.deny("list", "configmaps")
    reading = journal.read()
    assert [e.id for e in reading.entries] == [writer.entry]
    (warning,) = reading.warnings
    assert warning.startswith("the journal in the cluster cannot be read, only this machine's is shown:")


def test_an_original_that_could_not_be_read_again_is_refused(bed: Bed) -> None:
    foreign = Edit(REF, (FieldChange(("spec", "project"), "a", "b"),), "why", Role.VERSION)
    with pytest.raises(RefusedError, match="a field of Application that this tool never writes"):
        bed.journal().begin([begin(), Intent(0, foreign)])
    with pytest.raises(RefusedError, match="too large"):
        bed.journal().begin([begin(), intent(before="x" * encoding.MAX_RECORD)])
    assert not bed.maps()


# -- ids


def test_a_taken_id_is_left_alone(bed: Bed) -> None:
    bed.journal(new_id=lambda: "00000a").begin([begin(), intent()])
    ids = iter(["00000a", "00000b"])
    writer = bed.journal("bobs", writer="bbbbbb", new_id=lambda: next(ids)).begin([begin(), intent()])
    assert writer.entry == "00000b"
    assert not bed.file("00000a", "bobs").exists(), "nothing of ours stays under somebody else's id"
    ids = iter(["00000a", "00000c"])
    assert bed.journal(in_cluster=False, new_id=lambda: next(ids)).begin([begin()]).entry == "00000c"
    with pytest.raises(RefusedError, match="no free id"):
        bed.journal("bobs", writer="bbbbbb", new_id=lambda: "00000a").begin([begin()])


# -- torn and corrupt files

THREE: list[Content] = [begin(), intent(), Outcome({0: "applied"})]


def test_a_file_cut_after_any_byte(bed: Bed) -> None:
    journal = bed.journal(in_cluster=False)
    writer = journal.begin(THREE[:2])
    writer.write(THREE[2:])
    path = bed.file(writer.entry)
    data = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(data) if byte == 10]
    for cut in range(len(data) + 1):
        path.write_bytes(data[:cut])
        whole = sum(cut >= end - 1 for end in ends)  # the newline itself may be missing
        found = LocalHome([path.parent])
        read = found.read().get(writer.entry, [])
        assert len(read) == whole, cut
        assert found.dropped == []
        # Whoever writes on does not lose its own record to the torn line.
        again = bed.journal(in_cluster=False, writer="bbbbbb")
        entries = again.read().entries
        if entries:
            again.reopen(entries[0]).write([End("ok")])
            assert again.read().entries[0].ended == "ok", cut
            assert len(again.read().entries[0].records) == whole + 1


def test_a_corrupt_line_in_the_middle_is_left_out_and_named(bed: Bed) -> None:
    journal = bed.journal(in_cluster=False)
    writer = journal.begin(THREE)
    path = bed.file(writer.entry)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b'{"v":1,\xff\x00\n{}\n\n' + lines[1])
    reading = journal.read()
    (entry,) = reading.entries
    assert len(entry.records) == 2
    name = path.name
    assert reading.warnings == (f"journal: left out {name} line 2: a record is no JSON; and 1 more there",)
    assert reading.damaged == {writer.entry}


@pytest.mark.parametrize("from_record", [0, 2])
def test_a_newer_version_is_told_once(bed: Bed, from_record: int) -> None:
    """All of it, or only what was written later; in both homes."""
    journal = bed.journal()
    writer = journal.begin(THREE)

    def newer(line: str) -> str:
        return line.replace('"v":1', '"v":3') if json.loads(line)["id"][:5] > f"{from_record:05d}" else line

    path = bed.file(writer.entry)
    path.write_text("".join(newer(line) for line in path.read_text().splitlines(keepends=True)))
    bed.api.edit(
        CONFIGMAP,
        "argocd",
        f"argo-rescue-{writer.entry}",
        lambda o: o["data"].update({k: newer(v) for k, v in o["data"].items()}),
    )
    reading = journal.read()
    assert reading.warnings == (
        f"journal: entry {writer.entry} was written by a newer version (format 3): update this tool",
    )
    assert reading.unusable == {writer.entry}
    assert len(reading.entries) == (from_record > 0)


def test_an_entry_without_its_first_record_is_named(bed: Bed) -> None:
    journal = bed.journal(in_cluster=False)
    writer = journal.begin(THREE)
    path = bed.file(writer.entry)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[1:]))
    reading = journal.read()
    assert reading.entries == ()
    assert reading.warnings == (
        f"journal: entry {writer.entry} has lost its first record and cannot be used: read what is left of it "
        f"in {writer.entry}.jsonl, restore that by hand, then delete it",
    )
    assert reading.unusable == {writer.entry}


def test_an_entry_of_which_nothing_can_be_read_is_named(bed: Bed) -> None:
    writer = bed.journal().begin(THREE)
    name = f"argo-rescue-{writer.entry}"
    bed.api.edit(CONFIGMAP, "argocd", name, lambda o: o["data"].update(dict.fromkeys(o["data"], "{")))
    assert [e.id for e in bed.journal().read().entries] == [writer.entry], "this machine has it"
    assert not bed.journal().read().unusable
    reading = bed.journal("bobs").read()
    assert not reading.entries
    assert reading.unusable == {writer.entry}
    assert reading.warnings == (
        f"journal: entry {writer.entry} has lost its first record and cannot be used: read what is left of it "
        f"in ConfigMap argocd/{name}, restore that by hand, then delete it",
    )


def test_entries_come_oldest_first(bed: Bed) -> None:
    journal = bed.journal()
    for minutes in (5, 1, 3):
        started = NOW + timedelta(minutes=minutes)
        journal.begin([Begin("pin", (), "", "", started, "", "argocd")])
    times = [e.begin.started for e in journal.read().entries]
    assert times == sorted(times) and len(times) == 3


# -- ConfigMaps


def test_forged_config_maps_are_left_out_and_named(bed: Bed) -> None:
    journal = bed.journal()
    writer = journal.begin([begin(), intent()])
    (obj,) = bed.maps()
    line = obj["data"]["00002-aaaaaa"]

    def forge(o: Any) -> None:
        o["data"]["00007-aaaaaa"] = line  # under another id
        o["data"]["00009-aaaaaa"] = line.replace(writer.entry, "fedcba").replace("00002", "00009")
        o["data"]["00008-aaaaaa"] = line.replace("targetRevision", "repoURL/../x").replace("00002", "00008").replace('"source"', '"destination"')  # fmt: skip
        o["data"]["note"] = "hello"

    bed.api.edit(CONFIGMAP, "argocd", obj["metadata"]["name"], forge)
    reading = bed.journal("bobs").read()
    (entry,) = reading.entries
    assert len(entry.records) == 2
    where = f"journal: left out ConfigMap argocd/{obj['metadata']['name']} key"
    assert reading.warnings == (f"{where} 00007-aaaaaa: a record is not of this entry; and 3 more there",)
    assert not reading.unusable
    home = ClusterHome(build.cluster(bed.api), "argocd")
    home.read()
    assert [(d.place, d.why) for d in home.dropped] == [
        ("key 00007-aaaaaa", "a record is not of this entry"),
        ("key 00008-aaaaaa", "a change names a field of Application that this tool never writes"),
        ("key 00009-aaaaaa", "a record is not of this entry"),
        ("key note", "a record is no JSON"),
    ]


def test_a_large_entry_is_split_below_one_mebibyte(bed: Bed) -> None:
    journal = bed.journal()
    big = "x" * 200_000
    writer = journal.begin([begin(), *(intent(i, big) for i in range(8))])
    writer.write([intent(8, big), intent(9, big)])
    maps = bed.maps()
    assert len(maps) > 2
    assert all(sum(map(len, o["data"].values())) < 2**20 for o in maps)
    names = [f"argo-rescue-{writer.entry}"] + [
        f"argo-rescue-{writer.entry}-{i}" for i in range(2, len(maps) + 1)
    ]
    assert sorted(o["metadata"]["name"] for o in maps) == sorted(names)
    elsewhere = bed.journal("bobs", writer="bbbbbb")
    entry = only(elsewhere)
    assert len(entry.intents) == 10
    # Who goes on elsewhere fills the last part, or the next one.
    elsewhere.reopen(entry).write([intent(i, big) for i in range(10, 14)])
    assert len(only(bed.journal()).intents) == 14
    assert all(sum(map(len, o["data"].values())) < 2**20 for o in bed.maps())
    home = elsewhere.in_cluster
    assert home is not None
    home.remove(writer.entry)
    assert not bed.maps()


def test_writing_on_without_having_read(bed: Bed) -> None:
    writer = bed.journal().begin([begin(), intent()])
    entry = only(bed.journal())
    bed.journal("bobs", writer="bbbbbb").reopen(entry).write([End("ok")])
    assert len(bed.maps()) == 1
    assert only(bed.journal()).id == writer.entry


def lost_after(method: str, times: int = 1) -> Callable[[Request, Any], None]:
    left = [times]

    def lose(request: Request, response: Any) -> None:
        if request.method == method and left[0]:
            left[0] -= 1
            raise TransportError("connection reset", sent=True)

    return lose


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_an_answer_that_got_lost_is_looked_up(bed: Bed, method: str) -> None:
    bed.api.after.append(lost_after(method))
    journal = bed.journal()
    writer = journal.begin([begin(), intent()])
    writer.write([End("ok")])
    assert not bed.warnings
    assert len(only(bed.journal("bobs")).records) == 3
    sent = [r for r in bed.api.writes() if r.method in ("POST", "PATCH")]
    assert len(sent) == 2, "nothing was sent twice"


def test_a_record_that_did_not_land_is_sent_again(bed: Bed) -> None:
    journal = bed.journal()
    writer = journal.begin([begin(), intent()])
    failed: list[Request] = []

    def fail(request: Request) -> Any:
        if request.method == "PATCH" and not failed:
            failed.append(request)
            raise TransportError("reset", sent=True)

    bed.api.before.append(fail)
    writer.write([End("ok")])
    assert only(bed.journal("bobs")).ended == "ok" and not bed.warnings


def test_somebody_else_s_record_under_our_id_is_not_overwritten(bed: Bed) -> None:
    journal = bed.journal()
    writer = journal.begin([begin(), intent()])
    (obj,) = bed.maps()
    bed.api.edit(
        CONFIGMAP, "argocd", obj["metadata"]["name"], lambda o: o["data"].update({"00003-aaaaaa": "theirs"})
    )
    writer.write([End("ok")])
    (obj,) = bed.maps()
    assert obj["data"]["00003-aaaaaa"] == "theirs"
    assert len(bed.warnings) == 1


def test_a_server_that_breaks_while_we_write_is_a_warning(bed: Bed) -> None:
    bed.api.before.append(lambda request: broken() if request.method == "POST" else None)
    writer = bed.journal().begin([begin(), intent()])
    assert len(bed.warnings) == 1
    assert bed.file(writer.entry).exists()


@pytest.mark.parametrize("was_there", [True, False])
def test_where_the_originals_are_is_what_is_said(bed: Bed, was_there: bool) -> None:
    if not was_there:
        bed.api.deny("create", "configmaps")
    bed.journal().begin([begin(total=1), intent()])
    bed.warnings.clear()
    bed.api.deny("patch", "configmaps")
    bed.api.deny("list", "configmaps")
    journal = bed.journal(writer="bbbbbb")
    journal.reopen(journal.read().entries[0]).write([Settled({(0, 0): "restored"}, "x", NOW)])
    (text,) = bed.warnings
    assert ("the originals are in both places" in text) is False, "in the cluster nothing is known to be"
    bed.warnings.clear()
    bed.api.denied.clear()
    bed.api.deny("create", "configmaps")
    bed.api.deny("patch", "configmaps")
    journal = bed.journal(writer="cccccc")
    journal.reopen(journal.read().entries[0]).write([Settled({(0, 0): "restored"}, "x", NOW)])
    (text,) = bed.warnings
    assert ("the originals are in both places" in text) is was_there
    assert "the outcome is kept on this machine alone" in text


# -- claims


def test_only_one_undoes_at_a_time(bed: Bed) -> None:
    writer = bed.journal().begin([begin(), intent()])
    alice, bob = ClusterHome(build.cluster(bed.api), "argocd"), ClusterHome(build.cluster(bed.api), "argocd")
    alice.claim(writer.entry, "alice on a", NOW)
    with pytest.raises(ConflictError) as refused:
        bob.claim(writer.entry, "bob on b", NOW + timedelta(minutes=1))
    assert (
        "is being undone by alice on a since 2026-11-27T17:00:00+00:00, a claim that lapses at 17:15:00 UTC"
        in refused.value.message
    )
    assert only(bed.journal()).id == writer.entry, "a claim is no record"
    alice.release(writer.entry)
    bob.claim(writer.entry, "bob on b", NOW)


def test_two_that_claim_at_the_same_moment(bed: Bed) -> None:
    writer = bed.journal().begin([begin(), intent()])
    alice, bob = ClusterHome(build.cluster(bed.api), "argocd"), ClusterHome(build.cluster(bed.api), "argocd")

    def between(request: Request) -> None:
        if request.method == "PATCH":
            bed.api.before.clear()
            bob.claim(writer.entry, "bob", NOW)

    bed.api.before.append(between)
    with pytest.raises(ConflictError, match="undone by bob"):
        alice.claim(writer.entry, "alice", NOW)


@pytest.mark.parametrize(
    "old",
    [
        json.dumps({"who": "carol", "at": (NOW - timedelta(minutes=16)).isoformat()}),
        json.dumps({"who": "carol", "at": "2026-11-27T16:59:00"}),
        json.dumps({"who": "carol"}),
        "[]",
        "nonsense",
    ],
)
def test_a_claim_left_behind_is_taken_over_and_kept(bed: Bed, old: str) -> None:
    writer = bed.journal().begin([begin(), intent()])
    name = f"argo-rescue-{writer.entry}"
    bed.api.edit(CONFIGMAP, "argocd", name, lambda o: o["data"].update(claim=old))
    alice, carol = (
        ClusterHome(build.cluster(bed.api), "argocd"),
        ClusterHome(build.cluster(bed.api), "argocd"),
    )
    carol._claims[writer.entry] = old
    alice.claim(writer.entry, "alice", NOW)
    carol.release(writer.entry)  # she was only slow
    assert "alice" in bed.api.get(CONFIGMAP, "argocd", name)["data"]["claim"]
    alice.release(writer.entry)
    assert "claim" not in bed.api.get(CONFIGMAP, "argocd", name)["data"]


def test_a_claim_whose_answer_got_lost_is_ours(bed: Bed) -> None:
    writer = bed.journal().begin([begin(), intent()])
    home = ClusterHome(build.cluster(bed.api), "argocd")
    bed.api.after.append(lost_after("PATCH"))
    home.claim(writer.entry, "alice", NOW)
    home.release(writer.entry)


def lost_server(request: Request, response: Any) -> Response | None:
    """A load balancer that gives up on an answer which is there."""
    return Response(504, {}, b"<h1>Gateway Timeout</h1>") if request.method in ("POST", "PATCH") else None


def test_a_504_after_a_record_landed_is_looked_up(bed: Bed) -> None:
    bed.api.after.append(lost_server)
    writer = bed.journal().begin([begin(), intent()])
    writer.write([End("ok")])
    home = ClusterHome(build.cluster(bed.api), "argocd")
    home.claim(writer.entry, "alice", NOW)
    home.release(writer.entry)
    bed.api.after.clear()
    assert not bed.warnings
    assert len(only(bed.journal("bobs")).records) == 3
    assert not any("claim" in obj["data"] for obj in bed.maps())


def test_a_record_is_created_again_where_the_server_broke_before_it_landed(bed: Bed) -> None:
    def once(request: Request) -> Response | None:
        if request.method != "POST":
            return None
        bed.api.before.remove(once)
        return Response(503, {}, b"")

    bed.api.before.append(once)
    bed.journal().begin([begin(), intent()])
    assert not bed.warnings
    assert len(only(bed.journal("bobs")).records) == 2


def test_a_claim_that_never_arrived_is_no_conflict(bed: Bed) -> None:
    writer = bed.journal().begin([begin(), intent()])
    bed.api.before.append(lambda r: Response(503, {}, b"") if r.method == "PATCH" else None)
    with pytest.raises(Overloaded):
        ClusterHome(build.cluster(bed.api), "argocd").claim(writer.entry, "alice", NOW)


def test_a_claim_of_a_process_that_has_ended_is_taken_over(bed: Bed) -> None:
    writer = bed.journal().begin([begin(), intent()])
    name = f"argo-rescue-{writer.entry}"
    home = ClusterHome(build.cluster(bed.api), "argocd")
    home.claim(writer.entry, "alice", NOW)
    ours = json.loads(bed.api.get(CONFIGMAP, "argocd", name)["data"]["claim"])
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    where, _, _ = ours["by"].rpartition(" ")
    for by, is_free in (
        (f"{where} {ended.pid}", True),
        (f"elsewhere {ended.pid}", False),
        (f"{socket.gethostname()} another-boot {os.readlink('/proc/self/ns/pid')} {ended.pid}", False),
        (f" {ended.pid}", False),
        (ours["by"], False),
    ):
        held = json.dumps({**ours, "by": by})

        def hold(obj: Any, claim: str = held) -> None:
            obj["data"]["claim"] = claim

        bed.api.edit(CONFIGMAP, "argocd", name, hold)
        if is_free:
            ClusterHome(build.cluster(bed.api), "argocd").claim(writer.entry, "alice", NOW)
        else:
            with pytest.raises(ConflictError):
                ClusterHome(build.cluster(bed.api), "argocd").claim(writer.entry, "alice", NOW)


def test_a_machine_that_does_not_say_its_boot_takes_nothing_over(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    where = module.own_process().rpartition(" ")[0]
    assert module._has_ended(f"{where} {ended.pid}")
    monkeypatch.setattr(Path, "read_text", lambda *args: "")
    assert module.own_process() == ""
    assert not module._has_ended(f"{where} {ended.pid}")


def test_there_is_nothing_to_claim(bed: Bed) -> None:
    with pytest.raises(NotFound):
        ClusterHome(build.cluster(bed.api), "argocd").claim("abcdef", "alice", NOW)
    ClusterHome(build.cluster(bed.api), "argocd").release("abcdef")


def test_who_claimed_is_said_also_of_nonsense() -> None:
    assert module.claimed_by("x") == "somebody"
    assert module.claimed_by("{}") == "somebody"
    assert module.claimed_by('{"who":"a\\nb","at":"2026-11-27T17:05:00Z"}').startswith("a b since ")


def test_what_was_never_written_whole_was_never_done(bed: Bed) -> None:
    writer = bed.journal().begin([begin(total=1), intent()])
    path = bed.file(writer.entry)
    text = path.read_text()
    end = text.index("\n") + 20
    (obj,) = bed.maps()
    bed.api.delete(CONFIGMAP, "argocd", obj["metadata"]["name"])

    path.write_text(text[:end])
    cut_off = only(bed.journal())
    assert cut_off.is_cut_off and lost(cut_off) == 0
    path.write_text(text[: text.index("\n") + 1])  # whole lines alone: the disk lost the end
    assert lost(only(bed.journal())) == 1
    path.write_text("{}\n" + text[:end])
    assert lost(bed.journal().read().entries[0]) == 1, "a line that is not ours"
    path.write_text(text[:end])
    alone = Journal(LocalHome([path.parent]), None)
    assert lost(only(alone)) == 1, "the other home was not read"
    bed.api.deny("list", "configmaps")
    assert lost(bed.journal().read().entries[0]) == 1, "the other home cannot be read"
