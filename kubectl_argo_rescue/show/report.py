"""The facts of a post-mortem from journal and cluster: timeline, edits, what git owes, what is open. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from ..argocd import application, handback, history, ownership
from ..argocd.handback import Evidence
from ..argocd.operation import operation, own_id
from ..journal.entry import (
    Entry,
    Live,
    Now,
    change_now,
    last_time,
    name_of,
    newest_first,
    objects_of,
    undone_by,
    what,
    who,
)
from ..journal.records import HOLD, Outcome
from ..model import patches
from ..model.discretion import told, without_credentials, without_values
from ..model.text import one_line, time_json, time_text
from ..model.times import human
from ..model.values import (
    ABSENT,
    JSON,
    ArgoCD,
    Edit,
    FieldChange,
    Key,
    Match,
    Order,
    OrderKind,
    Path,
    Ref,
    Role,
    Snapshot,
    Witness,
    parse_version,
)
from .entries import entry_json, state_text

RECENT = timedelta(hours=24)
"""Entries in which something happened within this time are reported without being named."""


class Event(Struct, frozen=True):
    """One line of the timeline."""

    at: datetime
    who: str
    what: str
    result: str
    entry: str = ""


class Mitigation(Struct, frozen=True):
    """When a pinned application was well again, as far as the cluster tells."""

    key: Key
    version: str
    started: datetime
    synced: datetime | None
    healthy: datetime | None


class Owed(Struct, frozen=True):
    """A change that git has to make, since live and git differ in a version that we wrote."""

    key: Key
    owner: Key | None
    repo_url: str
    path: str
    revision: str
    why: str
    entries: tuple[str, ...]
    patch: tuple[str, ...]
    """Lines as of a pull request's diff; the file's name is git's own affair."""


class Report(Struct, frozen=True):
    """All that is known, before it is laid out."""

    entries: tuple[Entry, ...]
    """Those that are reported, oldest first."""
    all_entries: tuple[Entry, ...]
    timeline: tuple[Event, ...]
    first_write: datetime | None
    """Of the last rescue, where there were several one after the other."""
    mitigations: tuple[Mitigation, ...]
    owed: tuple[Owed, ...]
    settled_in_git: tuple[Key, ...]
    """Versions that we wrote and git has by now."""
    open: tuple[Entry, ...]
    live: Live
    now: datetime

    @property
    def mitigated(self) -> datetime | None:
        """When the last of the pinned applications was healthy; None while that is not known."""
        times = [m.healthy for m in self.mitigations]
        return max(t for t in times if t) if times and all(times) else None


def choose(entries: Sequence[Entry], now: datetime) -> list[Entry]:
    """Return what is reported without being named: what is open, and the last day's."""
    return [e for e in entries if e.is_open or now - last_time(e) <= RECENT]


def with_undos(chosen: Sequence[Entry], entries: Sequence[Entry]) -> list[Entry]:
    """Return the entries with those that undid them, oldest first."""
    ids = {e.id for e in chosen}
    ids.update(id for e in chosen for id in undone_by(e, entries))
    return [e for e in entries if e.id in ids]


def wanted_objects(chosen: Sequence[Entry], entries: Sequence[Entry]) -> list[Key]:
    """Return the objects to look at: those of the reported entries and of all that are open."""
    looked_at = [*chosen, *(e for e in entries if e.is_open)]
    return list(dict.fromkeys(key for e in looked_at for key in objects_of(e)))


def pinned(chosen: Sequence[Entry]) -> list[Key]:
    """Return the objects whose version was edited: those whose owners tell what git says."""
    return list(
        dict.fromkeys(edit.ref.key for e in chosen for _, edit in e.edits() if edit.role is Role.VERSION)
    )


def build(
    chosen: Sequence[Entry],
    entries: Sequence[Entry],
    snapshot: Snapshot,
    live: Live,
    now: datetime,
) -> Report:
    """Gather the facts.

    Args:
        chosen: the entries to report.
        entries: all of the journal.
        snapshot: the pinned objects and their owners.
        live: the objects of the entries, as `entries` takes them.
        now: the instant.
    """
    ordered = sorted(chosen, key=lambda e: (e.begin.started, e.id))
    written = [e for e in ordered if not e.begin.undoes and "applied" in e.outcomes.values()]
    episode = _episode(written)
    first = written[0].begin.started if written else None
    owed, settled = _owed(ordered, entries, snapshot, live)
    return Report(
        tuple(ordered),
        tuple(entries),
        tuple(_timeline(ordered, live, first)),
        episode[0].begin.started if episode else None,
        tuple(_mitigations(episode, live)),
        tuple(owed),
        tuple(settled),
        tuple(e for e in newest_first(entries) if e.is_open),
        live,
        now,
    )


# -- timeline


def _timeline(ordered: Sequence[Entry], live: Live, first: datetime | None) -> list[Event]:
    events = [event for e in ordered for event in (_entry_event(e, live), *_watch_events(e))]
    apps = dict.fromkeys(k for e in ordered for k in objects_of(e) if k.kind == "Application")
    home = ordered[0].begin.argocd_namespace if ordered else ""
    for key in apps:
        app = live.get(key)
        if app is not None and first is not None:
            events += _app_events(app, name_of(key, home), first)
    return sorted(events, key=lambda event: event.at)


def _entry_event(entry: Entry, live: Live) -> Event:
    reasons = [
        one_line(step.reason) for _, step in sorted(entry.intents.items()) if step.named and step.reason
    ]
    text = what(entry) + (f" ({'; '.join(dict.fromkeys(reasons))})" if reasons else "")
    if entry.begin.reason:
        text += f", because: {one_line(entry.begin.reason)}"
    counts: dict[str, int] = {}
    for number in entry.intents:
        outcome = entry.outcomes.get(number, "in doubt").replace("-", " ")
        counts[outcome] = counts.get(outcome, 0) + 1
    result = next(iter(counts)) if len(counts) == 1 else ", ".join(f"{n} {o}" for o, n in counts.items())
    if "in doubt" in counts:
        result += f" ({state_text(entry, live, entry.begin.started)})"
    return Event(entry.begin.started, who(entry), text, result, entry.id)


def _watch_events(entry: Entry) -> Iterator[Event]:
    """Tell what watches of the entry saw failing."""
    for record in entry.records:
        c = record.content
        if isinstance(c, Outcome) and c.failed and c.detail and c.at:
            yield Event(
                c.at, who(entry), one_line(c.detail), "not well in time" if c.is_late else "failed", entry.id
            )


def _app_events(app: JSON, name: str, first: datetime) -> Iterator[Event]:
    """Tell what Argo CD did with an app since the first write, and which deployment it was about."""
    past = history.deployments(app)
    since = first.replace(microsecond=0)  # Kubernetes' times have whole seconds
    before = [d for d in past if d.deployed and d.deployed < since][-1:]
    later = [d for d in past if d.deployed and d.deployed >= since]
    for d in (*before, *later):
        assert d.deployed is not None
        by = "Argo CD, auto-sync" if d.is_automated else f"Argo CD for {one_line(d.by) or 'somebody'}"
        versions = ", ".join(d.version(i) for i in range(len(d.sources)))
        yield Event(d.deployed, by, f"deployed {name} {one_line(versions)}", "Succeeded")
    state = (app.get("status") or {}).get("operationState") or {}
    at = application.parse_time(state.get("finishedAt")) or application.parse_time(state.get("startedAt"))
    if at and at >= since and state.get("phase") != "Succeeded":
        message = one_line(str(state.get("message") or ""))[:200]
        yield Event(at, "Argo CD", f"sync of {name}", f"{state.get('phase')}: {message}")
    health = (app.get("status") or {}).get("health") or {}
    at = application.parse_time(health.get("lastTransitionTime"))
    if at and at >= since:
        yield Event(at, "Argo CD", f"health of {name}", str(health.get("status") or "Unknown"))


# -- mitigation


def _episode(written: Sequence[Entry]) -> list[Entry]:
    """Return the entries of the last rescue: those before it that were undone before it began are over."""
    last = next((e for e in reversed(written) if _is_rescue(e)), None)
    if last is None:
        return list(written)
    return [e for e in written if e.is_open or e.settled_at is None or e.settled_at > last.begin.started]


def _is_rescue(entry: Entry) -> bool:
    return any(edit.role is Role.VERSION for _, edit in entry.edits()) or any(
        order.kind is OrderKind.ROLLBACK for _, order in entry.orders()
    )


def _mitigations(written: Sequence[Entry], live: Live) -> Iterator[Mitigation]:
    last: dict[Ref, tuple[Entry, Edit]] = {}
    rolled: dict[Ref, tuple[Entry, Order]] = {}
    for entry in written:
        for number, edit in entry.edits():
            if edit.role is Role.VERSION and entry.outcomes.get(number) == "applied":
                last[edit.ref] = (entry, edit)
        for number, order in entry.orders():
            if order.kind is OrderKind.ROLLBACK and entry.outcomes.get(number) == "applied":
                rolled[order.ref] = (entry, order)
    for ref, (entry, order) in rolled.items():
        if ref not in last:
            app = live.get(ref.key)
            synced = _done_at(app, order) if app is not None else None
            healthy = _healthy_at(app, synced, must_match=False) if synced else None
            version = one_line(order.reason).removeprefix("to ")
            yield Mitigation(ref.key, version, entry.begin.started, synced, healthy)
    for ref, (entry, edit) in last.items():
        versions = _versions(edit)
        started = entry.begin.started
        app = live.get(ref.key)
        if app is None or app["metadata"].get("uid") != ref.uid:
            yield Mitigation(ref.key, ", ".join(versions), started, None, None)
            continue
        synced = _synced_at(app, versions, started.replace(microsecond=0))
        stands = all(change_now(ref, c, live) is Now.STANDS for c in edit.changes)
        healthy = _healthy_at(app, synced) if synced and stands else None
        yield Mitigation(ref.key, ", ".join(versions), started, synced, healthy)


def _versions(edit: Edit) -> list[str]:
    found: list[str] = []
    for change in edit.changes:
        after = change.after if isinstance(change, FieldChange) else change.item
        if isinstance(after, Mapping):
            after = after.get("targetRevision")
        if isinstance(after, str) and after:
            found.append(after)
    return found


def _synced_at(app: JSON, versions: Sequence[str], since: datetime) -> datetime | None:
    for d in history.deployments(app):
        known = {*d.revisions, *(str(s.get("targetRevision") or "") for s in d.sources)}
        if d.deployed and d.deployed >= since and known.intersection(versions):
            return d.deployed
    last = operation(app)
    if last.phase == "Succeeded" and last.finished and last.finished >= since:
        return last.finished if any(v in last.revision for v in versions) else None
    newest = history.deployments(app)[-1:]
    if newest and set(newest[0].revisions).intersection(versions) and application.is_compared(app):
        # It was what ran already: nothing had to be deployed.
        return since if application.sync_status(app) == "Synced" else None
    return None


def _done_at(app: JSON, order: Order) -> datetime | None:
    state = (app.get("status") or {}).get("operationState") or {}
    if own_id(state.get("operation")) != order.id or state.get("phase") != "Succeeded":
        return None
    return application.parse_time(state.get("finishedAt"))


def _healthy_at(app: JSON, synced: datetime, *, must_match: bool = True) -> datetime | None:
    # After a rollback the spec still asks for the broken version.
    if application.health_status(app) != "Healthy" or (must_match and not application.is_compared(app)):
        return None
    health = (app.get("status") or {}).get("health") or {}
    since = application.parse_time(health.get("lastTransitionTime"))
    return max(since, synced) if since else synced


# -- what git owes


def _owed(
    chosen: Sequence[Entry], entries: Sequence[Entry], snapshot: Snapshot, live: Live
) -> tuple[list[Owed], list[Key]]:
    owed: list[Owed] = []
    settled: list[Key] = []
    wanted = set(pinned(chosen))
    pins: dict[Ref, dict[str, list[tuple[Entry, FieldChange]]]] = {}
    for entry in sorted(entries, key=lambda e: (e.begin.started, e.id)):
        for number, _, edit, change in entry.unsettled():
            if edit.role is not Role.VERSION or edit.ref.key not in wanted or entry.begin.undoes:
                continue
            if (
                entry.begin.verb != HOLD
                and isinstance(change, FieldChange)
                and (not entry.is_in_doubt(number) or change_now(edit.ref, change, live) is Now.STANDS)
            ):
                place = patches.show_path(change.path)
                pins.setdefault(edit.ref, {}).setdefault(place, []).append((entry, change))
    for ref, places in pins.items():
        # From what the oldest open entry found, git's own word, to what is live by our last one.
        net = [
            (found, FieldChange(found[-1][1].path, found[0][1].before, found[-1][1].after))
            for found in places.values()
            if change_now(ref, found[-1][1], live) is Now.STANDS
        ]
        net = [(found, c) for found, c in net if not patches.equal(c.before, c.after)]
        if not net:
            continue
        ids = tuple(dict.fromkeys(entry.id for found, _ in net for entry, _ in found))
        since = max(found[-1][0].begin.started for found, _ in net)
        witnesses = [w for found, _ in net for entry, _ in found for w in entry.witnesses]
        changes = [c for _, c in net]
        one = _judged(ref, changes, ids, since, witnesses, snapshot, live)
        if isinstance(one, Owed):
            owed.append(one)
        elif one:
            settled.append(ref.key)
    for key, by in _rolled_back(chosen, snapshot).items():
        said = handback.auto_sync_says(snapshot, key, block=None)
        if said.evidence is Evidence.AGREES:
            settled.append(key)
        else:
            where = _place(said.owner or key, (), snapshot)
            owed.append(Owed(key, said.owner, *where, said.why, tuple(by), ()))
    return owed, settled


def _rolled_back(chosen: Sequence[Entry], snapshot: Snapshot) -> dict[Key, list[str]]:
    """Return the Applications that a rollback or a hold by hand has left as they ask not to be, with its entries."""
    found: dict[Key, list[str]] = {}
    for entry in chosen:
        if entry.begin.undoes or entry.begin.verb not in ("rollback", "rescue"):
            continue
        written = {edit.ref.key for _, _, edit, _ in entry.unsettled() if edit.role is Role.VERSION}
        for _, _, edit, _ in entry.unsettled():
            key = edit.ref.key
            if edit.role is Role.PAUSE and edit.named and key in snapshot.objects and key not in written:
                found.setdefault(key, []).append(entry.id)
    return found


def _judged(
    ref: Ref,
    changes: Sequence[FieldChange],
    ids: tuple[str, ...],
    since: datetime,
    witnesses: Sequence[Witness],
    snapshot: Snapshot,
    live: Live,
) -> Owed | bool:
    """Return what git owes of one object; True where git agrees by now, False where no git is concerned."""
    back = [patches.inverse(c) for c in changes]
    verdict = handback.git_says(snapshot, ref.key, back, witnesses)
    if verdict.evidence is Evidence.FREE:
        return False
    why = verdict.why
    owner = snapshot.objects.get(verdict.owner) if verdict.owner else None
    compared = application.reconciled_at(owner) if owner and owner["kind"] == "Application" else None
    if verdict.evidence is Evidence.AGREES:
        # A comparison from before our edit says nothing of it.
        if owner is None or owner["kind"] != "Application" or (compared and compared >= since):
            return True
        why = f"{verdict.owner} has not been compared with git since"
    if compared:
        why += f", as compared at {time_text(compared)}"
    owner_key = verdict.owner or (witnesses[0].owner if witnesses else None)
    repo, path, revision = _place(owner_key, witnesses, snapshot)
    patch = manifest_patch(live[ref.key], changes)
    return Owed(ref.key, owner_key, repo, path, revision, why, ids, tuple(patch))


def _place(owner_key: Key | None, witnesses: Sequence[Witness], snapshot: Snapshot) -> tuple[str, str, str]:
    """Say which repository, path and revision an owner reads; of a set, what reads the set itself."""
    if owner_key is None:
        return "", "", ""
    owner = snapshot.objects.get(owner_key)
    if owner_key.kind == "ApplicationSet":
        above = ownership.owning_applications(snapshot, owner_key)
        return _place(above[0], witnesses, snapshot) if above else ("", "", "")
    source = next(iter(application.sources(owner)), None) if owner else None
    if source is not None:
        path = str(source.body.get("path") or source.body.get("chart") or "")
        return without_credentials(str(source.body.get("repoURL") or "")), path, source.revision or "HEAD"
    for w in witnesses:
        if w.owner == owner_key:
            return w.repo_url, w.path, w.target_revision or "HEAD"
    return "", "", ""


def manifest_patch(obj: JSON, changes: Sequence[FieldChange]) -> list[str]:
    """Show changes as a diff of the object's manifest, cut down to what tells where they belong."""
    import difflib  # lazy: only a report needs them
    import json

    import yaml

    class Manifest(yaml.SafeDumper):
        """Writes text of several lines as a block, as people do in manifests."""

    def block(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)

    Manifest.add_representer(str, block)
    sides: list[list[str]] = []
    for side in ("before", "after"):
        meta = obj["metadata"]
        doc: dict[str, JSON] = {"kind": obj["kind"], "metadata": {"name": meta["name"]}}
        if meta.get("namespace"):
            doc["metadata"]["namespace"] = meta["namespace"]
        for change in changes:
            then = change.before if side == "after" else ABSENT
            _put(doc, change.path, told(without_values(getattr(change, side), then)), obj)
        # A copy without shared parts, which YAML would write as anchors.
        plain = json.loads(json.dumps(doc))
        text = yaml.dump(plain, Dumper=Manifest, sort_keys=False, allow_unicode=True, width=10_000)
        sides.append(text.splitlines())
    before, after = sides
    return list(difflib.unified_diff(before, after, lineterm="", n=10_000))[3:]


def _put(doc: dict[str, JSON], path: Path, value: JSON, obj: JSON) -> None:
    node: JSON = doc
    for i, step in enumerate(path):
        is_last = i == len(path) - 1
        if isinstance(step, Match):
            known = {n: v for n, v in step.content if v is not ABSENT}
            item = next((x for x in node if known and known.items() <= x.items()), None)
            if item is None:
                item = known
                node.append(item)
            node = item
            continue
        if is_last:
            if value is not ABSENT:
                node[step] = value
            return
        fresh: JSON = [] if isinstance(path[i + 1], Match) else {}
        if step not in node and path[: i + 1] == ("spec", "source"):
            live = (obj.get("spec") or {}).get("source") or {}
            fresh = {n: live[n] for n in ("repoURL", "chart", "path") if n in live}
        node = node.setdefault(step, fresh)


def subject(report: Report) -> str:
    """Name what was rescued: the applications that were pinned, else all that was edited."""
    home = report.entries[0].begin.argocd_namespace if report.entries else ""
    named = list(dict.fromkeys(name_of(k, home) for k in pinned(report.entries)))
    if not named:
        named = list(dict.fromkeys(name_of(k, home) for e in report.entries for k in objects_of(e)))
    return ", ".join(named)


def mitigation_text(report: Report) -> str:
    """Say how long it took from the first write until the pinned versions were healthy."""
    if report.first_write is None:
        return "nothing was written"
    if not report.mitigations:
        return "not known: no version was pinned"
    if report.mitigated:
        took = human(max(report.mitigated - report.first_write, timedelta(0)))
        return f"{took} (healthy since {time_text(report.mitigated)})"
    parts = []
    for m in report.mitigations:
        if m.healthy:
            continue
        if m.synced:
            parts.append(
                f"{m.key} was synced to {m.version} at {time_text(m.synced)}, "
                "but the cluster does not say since when it is healthy"
            )
        else:
            parts.append(f"{m.key} has not been synced to {m.version} as far as the cluster tells")
    return "not known: " + "; ".join(parts)


# -- for tools


def report_json(report: Report) -> dict[str, JSON]:
    """Return the report as plain JSON values."""
    seconds = None
    if report.first_write and report.mitigated:
        seconds = max(int((report.mitigated - report.first_write).total_seconds()), 0)
    return {
        "firstWrite": time_json(report.first_write),
        "mitigated": time_json(report.mitigated),
        "secondsToMitigation": seconds,
        "mitigations": [
            {
                **_key_json(m.key),
                "version": m.version,
                "started": time_json(m.started),
                "synced": time_json(m.synced),
                "healthy": time_json(m.healthy),
            }
            for m in report.mitigations
        ],
        "timeline": [
            {"at": time_json(e.at), "who": e.who, "what": e.what, "result": e.result, "entry": e.entry}
            for e in report.timeline
        ],
        "entries": [entry_json(e, report.all_entries, report.live, report.now) for e in report.entries],
        "owed": [
            {
                **_key_json(o.key),
                "owner": _key_json(o.owner) if o.owner else None,
                "repoURL": o.repo_url,
                "path": o.path,
                "revision": o.revision,
                "why": o.why,
                "entries": list(o.entries),
                "patch": "\n".join(o.patch) + "\n",
            }
            for o in report.owed
        ],
        "inGit": [_key_json(k) for k in report.settled_in_git],
        "open": [e.id for e in report.open],
    }


def _key_json(key: Key) -> dict[str, JSON]:
    return {"kind": key.kind, "namespace": key.namespace, "name": key.name}


def recorded_argocd(entries: Sequence[Entry]) -> ArgoCD:
    """Return the Argo CD that the newest entry was made with, where the cluster cannot be asked."""
    if not entries:
        return ArgoCD("")
    begin = entries[-1].begin
    return ArgoCD(begin.argocd_namespace, parse_version(begin.argocd_version))
