"""`status` for people, as wide as the screen, and the same for tools. Pure: lines and JSON values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final, TypeAlias

from ..argocd import application, history
from ..argocd.components import Health, Life, Surroundings, is_out_of_sight
from ..argocd.history import Deployment, versions
from ..argocd.operation import waits_for_hooks
from ..argocd.reconciliation import WindowVerdict
from ..argocd.writers import Force, Writer, is_free
from ..journal.entry import Entry, name_of, what
from ..journal.entry import who as who_wrote
from ..journal.records import HOLD
from ..model.text import COMMAND, Paragraph, Span, cause, columns, display_name, one_line, time_json
from ..model.times import ago, human
from ..model.values import ABSENT, JSON, ArgoCD, Edit, Key, MemberChange
from .diagnosis import AppDiagnosis, Elsewhere, Owner, Pause, Weight
from .overview import BLOCKED, BROKEN, DRIFTED, FINE, MISSING, PAUSED, Fact, Overview
from .windows import short, verdict_json

WIDTH: Final = 100
ROWS: Final = 30
"""Applications that the overview shows on a terminal; all are in -o json and -o name."""

Line: TypeAlias = tuple[Span, ...] | Paragraph
"""What stands on one line, or is broken where the screen ends."""


def _line(text: str = "", colour: str = "") -> Line:
    return ((text, colour),)


def _wrapped(text: str, indent: int, *, colour: str = "", mark: str = "") -> Iterator[Line]:
    """Break a text where the screen ends, the second line under the first."""
    lead = " " * indent + mark
    yield Paragraph(((lead, colour), (one_line(text), "" if mark else colour)), len(lead))


# -- Argo CD


def alarm_lines(texts: Iterable[str]) -> Iterator[Line]:
    """Show what must be seen first."""
    for text in texts:
        yield from _wrapped(text, 0, colour="red", mark="✗ ")


_LIFE: Final = {Life.ALIVE: "green", Life.PARTLY: "yellow", Life.DEAD: "red", Life.UNKNOWN: "dim"}


def health_lines(argocd: ArgoCD, health: Health, *, way_in: bool = True) -> Iterator[Line]:
    """Show whether Argo CD reconciles, its parts, and how to reach it in spite of a broken ingress."""
    version = argocd.version.text if argocd.version else "of unknown version"
    colour = {True: "green", False: "red", None: "yellow"}[health.reconciling]
    yield Paragraph(((f"Argo CD {version} in {argocd.namespace}: ", "bold"), (health.text, colour)), 2)
    dead = [p for p in health.parts if p.life is Life.DEAD]
    for part in dead:
        yield from _wrapped(f"{part.name} is DEAD: {part.means}", 2, colour="red", mark="✗ ")
    for part in health.parts:
        if part.life is Life.PARTLY:
            text = f"{part.name} has {part.ready} of {part.wanted} pods ready: {part.means}"
            yield from _wrapped(text, 2, colour="yellow", mark="! ")
    for text in health.evidence:
        yield from _wrapped(text, 2, colour="yellow", mark="! ")
    if is_out_of_sight(health.parts) and not any(p.means for p in health.parts):
        text = (
            "none of its parts is in sight: a managed Argo CD runs them elsewhere, or they have other labels"
        )
        yield from _wrapped(f"{text}; it is judged by its comparisons alone", 2)
        if way_in:
            yield from _wrapped(health.detour.why, 2)
        return
    spans: list[Span] = [("  ", "")]
    for i, part in enumerate(p for p in health.parts if p.life is not Life.DEAD):
        count = f"{part.ready}/{part.wanted}"
        if part.life is Life.UNKNOWN:
            count = part.means or "not found"
        spans += [(", " if i else "", ""), (f"{part.name} {count}", _LIFE[part.life])]
    yield from _broken_at(spans)
    if way_in:
        yield from _wrapped(health.detour.why, 2)
        for command in health.detour.commands:
            yield Paragraph(((f"    {command}", "cyan"),), 6)


def brief_health_lines(argocd: ArgoCD, health: Health) -> Iterator[Line]:
    """Say of an Argo CD that works no more than that, and how to reach it in spite of a broken ingress."""
    version = argocd.version.text if argocd.version else "of unknown version"
    yield Paragraph(((f"Argo CD {version} in {argocd.namespace}: ", "bold"), (health.text, "green")), 2)
    if health.detour.commands:
        command = health.detour.commands[0].partition("   #")[0]
        yield Paragraph((("  UI and API without the ingress: ", ""), (command, "cyan")), 4)


def _broken_at(spans: Sequence[Span]) -> Iterator[Line]:
    """Break a line of coloured pieces between them where the screen ends."""
    whole = [(re.sub(r"(?<=[^ ,;]) (?=\S)", "\xa0", text), colour) for text, colour in spans]
    yield Paragraph(whole, 2)


def health_json(argocd: ArgoCD, health: Health, around: Surroundings) -> dict[str, JSON]:
    """Return Argo CD's own state for tools."""
    return {
        "namespace": argocd.namespace,
        "version": argocd.version.text if argocd.version else "",
        "reconciling": health.reconciling,
        "text": health.text,
        "newestComparison": time_json(health.newest),
        "evidence": list(health.evidence),
        "parts": {
            p.name: {"state": p.life.value, "ready": p.ready, "wanted": p.wanted, "means": p.means}
            for p in health.parts
        },
        "api": {
            "service": around.service,
            "readyEndpoints": around.endpoints,
            "text": health.detour.why,
            "commands": list(health.detour.commands),
        },
    }


def _held(entry: Entry) -> Iterator[str]:
    """Name what an entry holds: what it has edited itself, and whom its window names."""
    for step in entry.intents.values():
        if isinstance(step, Edit) and step.ref.kind == "Application":
            yield name_of(step.ref.key, entry.begin.argocd_namespace)
        elif isinstance(step, Edit):
            yield from (
                str(name)
                for change in step.changes
                if isinstance(change, MemberChange)
                for name in change.item.get("applications", ())
            )


def hold_lines(entries: Sequence[Entry]) -> Iterator[Line]:
    """Say of what is held that it is, before all else: an undo that died may have left another version in it."""
    for entry in entries:
        if entry.begin.verb == HOLD and entry.is_open:
            names = ", ".join(dict.fromkeys(_held(entry)))
            since = f"{entry.begin.started:%H:%M:%S} UTC"
            text = f"{names}: held since {since} by an undo; if none runs any more: {COMMAND} undo {entry.id}"
            yield Paragraph(((text, "red"),), 4)


# -- one application


_SYNC: Final = {"Synced": "green", "OutOfSync": "yellow", "Unknown": "red"}
_HEALTH: Final = {"Healthy": "green", "Progressing": "yellow", "Suspended": "yellow"}


def _auto_sync(app: JSON, pause: Pause | None) -> str:
    if pause is not None:
        return pause.text
    block = application.automated(app)
    extras = [] if block is ABSENT else [
        word for name, word in (("selfHeal", "self-heal"), ("prune", "prune")) if block.get(name) is True
    ]  # fmt: skip
    return ", ".join(["auto-sync on", *extras])


def app_lines(d: AppDiagnosis, now: datetime) -> Iterator[Line]:
    """Show one Application, what is wrong first."""
    app = d.app
    sync, health = application.sync_status(app), application.health_status(app)
    yield (
        (d.name, "bold"), (": ", ""), (sync, _SYNC.get(sync, "red")), (", ", ""),
        (health, _HEALTH.get(health, "red")), (f"; {_auto_sync(app, d.pause)}", ""),
    )  # fmt: skip
    destination = (app.get("spec") or {}).get("destination") or {}
    cluster = (
        "" if application.deploys_here(app) else destination.get("name") or destination.get("server") or "?"
    )
    to = destination.get("namespace") or "(no namespace)"
    for source in application.sources(app):
        yield from _wrapped(f"{source.describe()} at {source.revision or 'HEAD'}", 2)
    if (app.get("spec") or {}).get("sourceHydrator"):
        yield from _wrapped("it is hydrated: git's dry source is rendered into the branch that is synced", 2)
    yield from _wrapped(
        f"to {to}{f' of cluster {cluster}' if cluster else ''}; AppProject {d.project.name}", 2
    )
    for finding in d.findings:
        bad = finding.weight is Weight.BAD
        yield from _wrapped(finding.text, 2, colour="red" if bad else "yellow", mark="✗ " if bad else "! ")
    if not d.findings:
        yield _line("  ✓ nothing is wrong with it", "green")
    yield from _operation_lines(d, now)
    yield from _elsewhere_lines(d.elsewhere)
    yield from _window_lines(d.verdict, now)
    yield from _owner_section(d, now)
    yield from _condition_lines(d, now)
    yield from _history_lines(d, now)
    if d.entries:
        yield _heading("OPEN ENTRIES")
        for entry, state in d.entries:
            yield from _entry_lines(entry, state, now)


def _heading(text: str) -> Line:
    return _line(f"  {text}", "bold")


def _operation_lines(d: AppDiagnosis, now: datetime) -> Iterator[Line]:
    operation = d.operation
    if not operation.phase and not operation.present:
        return
    yield _heading("OPERATION")
    text = operation.describe() + waits_for_hooks(d.app)
    if operation.in_progress and operation.started:
        text += f"; for {human(now - operation.started)}"
    elif operation.finished:
        text += f"; ended {ago(now - operation.finished)}"
    if operation.own_id:
        text += "; ordered by this tool"
    message = one_line(operation.message)
    if message and message not in text and operation.phase != "Succeeded":
        text += f": {message[:300]}"
    yield from _wrapped(text, 4, colour="red" if d.is_stuck else "")


def _elsewhere_lines(there: Elsewhere | None) -> Iterator[Line]:
    """Show the workloads in another cluster: Argo CD's word of them is as old as its connection."""
    if there is None:
        return
    yield _heading("WORKLOADS" + (f", seen by context {there.context}" if not there.why_not else ""))
    if there.why_not:
        yield from _wrapped(f"not looked at: {there.why_not}", 4, colour="yellow", mark="! ")
    if there.doubt:
        yield from _wrapped(there.doubt, 4, colour="yellow", mark="! ")
    for name, text, good in there.workloads:
        yield from _wrapped(
            f"{name}: {text}", 4, colour="green" if good else "red", mark="✓ " if good else "✗ "
        )
    if not there.why_not and not there.workloads:
        yield _line("    it lists none that this tool understands")


def _window_lines(verdict: WindowVerdict, now: datetime) -> Iterator[Line]:
    if not verdict.windows and not verdict.unknown:
        return
    yield _heading("WINDOWS")
    if verdict.unknown or verdict.error:
        yield from _wrapped(verdict.unknown or verdict.error, 4, colour="red")
    spans: list[Span] = [("    ", "")]
    kinds = (
        ("automatic", verdict.automatic, verdict.until_automatic),
        ("manual", verdict.manual, verdict.until_manual),
    )
    if not verdict.error:
        for i, (name, judgement, until) in enumerate(kinds):
            end = "" if judgement.can_sync else ", no end scheduled"
            if until.at:
                end = f" until {until.at:%Y-%m-%d %H:%M} UTC ({human(until.at - now)})"
            elif until.not_before:
                end = f" (no change before {until.not_before:%Y-%m-%d %H:%M} UTC)"
            spans += [("; " if i else "", ""), (f"{name} {'yes' if judgement.can_sync else 'NO'}", "green" if judgement.can_sync else "red"), (end, "")]  # fmt: skip
        yield from _broken_at(spans)
    for window in verdict.blocking:
        stops = verdict.blocks(window)
        text = f"{short(window)} {window.time_zone or 'UTC'}: stops {' and '.join(stops)} syncs"
        yield from _wrapped(text, 4, colour="red", mark="✗ ")


def _owner_section(d: AppDiagnosis, now: datetime) -> Iterator[Line]:
    yield _heading("MANAGED BY")
    if not d.owners and is_free(d.writers):
        yield _line(f"    nobody owns {d.name}: an edit of it stays")
    else:
        yield _line(f"    {d.name}")
        yield from _owner_lines(d.owners, 4)
    yield from _writer_lines(d.writers, now)
    if d.project_owners or d.project_writers:
        yield _line(f"    AppProject {d.project.name}")
        yield from _owner_lines(d.project_owners, 4)
        yield from _writer_lines(d.project_writers, now)


_DOES: Final = {
    Force.AWAY: "keeps it as a copy, so edit the original: on the hub, or in an autonomous agent's cluster",
    Force.REVERTS: "reverts an edit",
    Force.MAY: "may revert an edit",
    Force.PERSON: "wrote it",
}


def _writer_lines(writers: Sequence[Writer], now: datetime) -> Iterator[Line]:
    """Show who else writes an object; what people wrote is for information."""
    for writer in writers:
        text = f"{writer.describe(now)} {_DOES[writer.force]}"
        text += f"; to hold it: {writer.hold}" if writer.hold else ""
        if writer.force is Force.PERSON:
            yield from _wrapped(text, 4)
        else:
            bad = writer.force in (Force.AWAY, Force.REVERTS)
            yield from _wrapped(text, 4, colour="red" if bad else "yellow", mark="✗ " if bad else "! ")


def _writer_json(writer: Writer) -> dict[str, JSON]:
    return {
        "who": writer.who,
        "sign": writer.sign,
        "effect": writer.force.value,
        "last": time_json(writer.at),
        "hold": writer.hold,
    }


_STATES: Final = {
    "missing": "is elsewhere: whether it reverts edits is not known",
    "unreadable": "may not be read: whether it reverts edits is not known",
    "unread": "was not read, since nothing below it syncs by itself",
    "foreign": "controls it and is no part of Argo CD: whether it reverts edits is not known",
}


def _owner_lines(nodes: Sequence[Owner], indent: int) -> Iterator[Line]:
    for node in nodes:
        kind = "" if node.key.kind == "Application" else f"{node.key.kind} "
        spans: list[Span] = [
            (" " * indent + "└─ ", ""),
            (f"{kind}{node.key.name}", "bold"),
            (f" (by {node.by})", "dim"),
        ]
        if node.state in _STATES:
            yield Paragraph((*spans, (f": {_STATES[node.state]}", "yellow")), indent + 3)
            continue
        how = node.pause.text if node.pause else ""
        if not how and node.auto_sync is not None:
            how = "auto-sync on" + (", self-heal" if node.self_heal else "")
        if node.state == "circle":
            how += ("; " if how else "") + "the circle closes here"
        if how:
            spans.append((f": {how}", "" if node.auto_sync else "green"))
        yield Paragraph(spans, indent + 3)
        for how_soon, names in _by_speed(node):
            soon = any(t.soon for t in node.threats if t.how_soon == how_soon)
            text = f"reverts {' and '.join(names)} {how_soon}"
            yield from _wrapped(
                text, indent + 3, colour="red" if soon else "yellow", mark="✗ " if soon else "! "
            )
        if node.spared:
            yield from _wrapped(f"does not revert {' or '.join(node.spared)}", indent + 3)
        for note in node.notes:
            yield from _wrapped(note, indent + 3)
        yield from _owner_lines(node.owners, indent + 3)


def _by_speed(node: Owner) -> list[tuple[str, list[str]]]:
    found: dict[str, list[str]] = {}
    for threat in node.threats:
        found.setdefault(threat.how_soon, []).append(threat.edit)
    return list(found.items())


def _condition_lines(d: AppDiagnosis, now: datetime) -> Iterator[Line]:
    said = " ".join(f.text for f in d.findings)
    found = [c for c in application.conditions(d.app) if f"Argo CD reports {c.get('type')} " not in said]
    if not found:
        return
    yield _heading("CONDITIONS")
    for c in found:
        at = application.parse_time(c.get("lastTransitionTime"))
        age = f" ({human(now - at)})" if at else ""
        bad = str(c.get("type", "")).endswith("Error")
        text = f"{c.get('type')}{age}: {cause(str(c.get('message') or ''))}"
        yield from _wrapped(text, 4, colour="red" if bad else "yellow")


def _history_lines(d: AppDiagnosis, now: datetime) -> Iterator[Line]:
    past = history.deployments(d.app)
    good = d.last_good.deployment
    yield _heading("HISTORY")
    rows = [
        (
            str(h.id),
            versions(h),
            f"{h.deployed:%Y-%m-%d %H:%M}" if h.deployed else "",
            _span(h, now),
            _by(h),
            ", ".join([*_marks(h, past[-1], good), *_beside(h, before)]),
        )
        for h, before in reversed([*zip(past, [None, *past], strict=False)][-10:])
    ]
    for i, text in enumerate(
        columns(rows, ("ID", "VERSION", "DEPLOYED (UTC)", "RAN FOR", "BY", "")) if rows else ()
    ):
        is_good = i > 0 and good is not None and rows[i - 1][0] == str(good.id)
        yield Paragraph(((f"    {text}", "green" if is_good else ("dim" if i == 0 else "")),), 9)
    name = versions(good) if good else "none"
    yield from _wrapped(f"last good: {name}: {d.last_good.why}", 4)


def _span(deployment: Deployment, now: datetime) -> str:
    span = deployment.in_force(now)
    return human(span) if span is not None else ""


def _by(deployment: Deployment) -> str:
    return one_line(deployment.by) or ("auto-sync" if deployment.is_automated else "")


def _marks(deployment: Deployment, newest: Deployment, good: Deployment | None) -> Iterator[str]:
    if deployment is newest:
        yield "deployed now"
    if good is not None and deployment.id == good.id:
        yield "last good"


def _beside(deployment: Deployment, before: Deployment | None) -> Iterator[str]:
    """Say in what it differs from the one before, where the version does not tell."""
    if before is None or versions(before) != versions(deployment):
        return
    fields = dict.fromkeys(
        name
        for new, old in zip(deployment.sources, before.sources, strict=False)
        for name in sorted({*new, *old})
        if new.get(name) != old.get(name)
    )
    yield f"other {' and '.join(fields)} than {before.id}" if fields else f"the same as {before.id}"


def _entry_lines(entry: Entry, state: str, now: datetime) -> Iterator[Line]:
    b = entry.begin
    why = f": {one_line(b.reason)}" if b.reason else ""
    text = f"{entry.id}  {ago(now - b.started)}, {state}: {what(entry)}, by {who_wrote(entry)}{why}"
    yield from _wrapped(text, 4)


def next_command(d: AppDiagnosis, argocd: ArgoCD) -> str:
    """Return the command to go on with; empty where nothing is bad."""
    name = display_name(d.key, argocd)
    if any(entry.begin.verb in ("pin", "rescue", "sync", "rollback") for entry, _ in d.entries):
        return f"{COMMAND} watch {name}"
    if d.last_good.deployment is not None and any(f.weight is Weight.BAD for f in d.findings):
        return f"{COMMAND} rescue {name} --dry-run"
    return ""


# -- one application for tools


def owner_json(node: Owner) -> dict[str, JSON]:
    """Return an owner and its own owners."""
    return {
        "kind": node.key.kind,
        "namespace": node.key.namespace,
        "name": node.key.name,
        "by": node.by,
        "state": node.state,
        "autoSync": node.auto_sync,
        "selfHeal": node.self_heal,
        "paused": pause_json(node.pause),
        "reverts": [{"edit": t.edit, "when": t.how_soon, "soon": t.soon} for t in node.threats],
        "leaves": list(node.spared),
        "notes": list(node.notes),
        "owners": [owner_json(o) for o in node.owners],
    }


def pause_json(pause: Pause | None) -> JSON:
    """Return whose pause it is; null where auto-sync is on."""
    return {"by": pause.how, "entry": pause.entry or None, "text": pause.text} if pause else None


def _deployment_json(h: Deployment, now: datetime) -> dict[str, JSON]:
    span = h.in_force(now)
    return {
        "id": h.id,
        "version": versions(h),
        "revisions": list(h.revisions),
        "targetRevisions": [str(s.get("targetRevision") or "") for s in h.sources],
        "deployed": time_json(h.deployed),
        "inForceSeconds": int(span.total_seconds()) if span is not None else None,
        "by": h.by or ("auto-sync" if h.is_automated else ""),
        "automated": h.is_automated,
    }


def entry_json(entry: Entry, state: str, now: datetime) -> dict[str, JSON]:
    """Return an open entry in short; `show ENTRY -o json` has all of it."""
    b = entry.begin
    return {
        "id": entry.id,
        "verb": b.verb,
        "what": what(entry),
        "state": state,
        "actor": b.actor,
        "host": b.host,
        "started": time_json(b.started),
        "ageSeconds": int((now - b.started).total_seconds()),
        "reason": b.reason,
    }


def app_json(d: AppDiagnosis, now: datetime) -> dict[str, JSON]:
    """Return the picture of one Application."""
    app, operation, good = d.app, d.operation, d.last_good.deployment
    return {
        "sync": application.sync_status(app),
        "health": application.health_status(app),
        "autoSync": application.is_auto_sync_on(app),
        "selfHeal": application.is_self_heal_on(app),
        "paused": pause_json(d.pause),
        "revisions": list(application.synced_revisions(app)),
        "sources": [
            {
                "repoURL": str(s.body.get("repoURL") or ""),
                "path": str(s.body.get("path") or ""),
                "chart": str(s.body.get("chart") or ""),
                "revision": s.revision,
            }
            for s in application.sources(app)
        ],
        "compared": application.is_compared(app),
        "reconciled": time_json(application.reconciled_at(app)),
        "operation": {
            "inProgress": operation.in_progress,
            "stuck": d.is_stuck,
            "phase": operation.phase,
            "message": operation.message,
            "text": operation.describe(),
            "started": time_json(operation.started),
            "finished": time_json(operation.finished),
            "ours": bool(operation.own_id),
        }
        if operation.present or operation.phase
        else None,
        **verdict_json(d.verdict),
        "owners": [owner_json(o) for o in d.owners],
        "projectOwners": [owner_json(o) for o in d.project_owners],
        "writers": [_writer_json(w) for w in d.writers],
        "projectWriters": [_writer_json(w) for w in d.project_writers],
        "lastGood": {**_deployment_json(good, now), "why": d.last_good.why} if good else None,
        "history": [_deployment_json(h, now) for h in history.deployments(app)],
        "conditions": [
            {
                "type": str(c.get("type") or ""),
                "message": str(c.get("message") or ""),
                "since": c.get("lastTransitionTime"),
            }
            for c in application.conditions(app)
        ],
        "findings": [{"weight": f.weight.value, "text": f.text} for f in d.findings],
        "entries": [entry.id for entry, _ in d.entries],
        "destination": _destination_json(app, d.elsewhere),
    }


def _destination_json(app: JSON, there: Elsewhere | None) -> dict[str, JSON]:
    to = (app.get("spec") or {}).get("destination") or {}
    said: dict[str, JSON] = {n: str(to.get(n) or "") for n in ("server", "name", "namespace")}
    if there is None:
        return said
    return {
        **said,
        "context": there.context,
        "unseen": there.why_not,
        "doubt": there.doubt,
        "workloads": [{"workload": n, "text": t, "done": d} for n, t, d in there.workloads],
    }


# -- the overview


_RANKS: Final = {
    BROKEN: "red",
    MISSING: "red",
    DRIFTED: "yellow",
    BLOCKED: "red",
    PAUSED: "yellow",
    FINE: "green",
}


def overview_lines(o: Overview, now: datetime, *, rows: int | None, width: int = WIDTH) -> Iterator[Line]:
    """Show the whole Argo CD, worst first; `rows` bounds the table of Applications."""
    total = len(o.facts)
    counts = "; ".join(
        ", ".join(f"{n} {name}" for name, n in counter.most_common()) for counter in (o.sync, o.health)
    )
    yield (f"{total} application{'' if total == 1 else 's'}", "bold"), (f": {counts}" if total else "", "")
    for text in o.frozen:
        yield from _wrapped(text, 2, colour="red", mark="✗ ")
    if o.blocked:
        yield from _wrapped(
            f"sync windows stop {o.blocked} of them, by hand as well", 2, colour="red", mark="✗ "
        )
    for name, text in o.sets:
        yield from _wrapped(f"ApplicationSet {name}: {text}", 2, colour="red", mark="✗ ")
    troubled = [f for f in o.facts if f.rank != FINE]
    shown: list[Fact] = list(o.facts) if total <= 20 else troubled
    cut = shown if rows is None else shown[:rows]
    yield from _table(cut, width)
    if len(cut) < len(shown):
        yield _line(f"  and {len(shown) - len(cut)} more; all of them: {COMMAND} status -o json")
    if total and len(shown) < total:
        yield _line(f"  nothing is wrong with the other {total - len(troubled)}", "green")
    yield from _pause_lines(o)
    if o.entries:
        yield _heading("OPEN ENTRIES")
        for entry in o.entries[:10]:
            yield from _entry_lines(entry, entry.state.replace("-", " "), now)
        if len(o.entries) > 10:
            yield _line(f"    and {len(o.entries) - 10} more: {COMMAND} log --open")


def _table(facts: Sequence[Fact], screen: int) -> Iterator[Line]:
    if not facts:
        return
    rows = [(f.name, f.sync, f.health, "on" if f.auto_sync else "off") for f in facts]
    laid = columns(rows, ("APP", "SYNC", "HEALTH", "AUTO-SYNC"))
    width = max(len(text) for text in laid)
    yield _line(f"  {laid[0].ljust(width)}   WORST", "dim")
    for text, fact in zip(laid[1:], facts, strict=True):
        room = max(screen - width - 5, 24)
        why = fact.why if len(fact.why) <= room else fact.why[: room - 1] + "…"
        yield (f"  {text.ljust(width)}   ", ""), (why or "-", _RANKS.get(fact.rank, "yellow"))


def _pause_lines(o: Overview) -> Iterator[Line]:
    paused = [f for f in o.facts if f.pause and f.pause.how in ("ours", "by-hand")]
    off = [f for f in o.facts if f.pause and f.pause.how == "off"]
    if not paused and not off:
        return
    yield _heading("PAUSED")
    groups: dict[str, list[str]] = {}
    for fact in paused:
        assert fact.pause is not None  # chosen by it
        groups.setdefault(fact.pause.text, []).append(fact.name)
    if off:
        groups["auto-sync off, nothing tells that it was ever on"] = [f.name for f in off]
    for text, names in groups.items():
        yield from _wrapped(f"{_some(names)}: {text}", 4)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(names[:8]) + more


def app_key(key: Key) -> str:
    """Return the key of an Application in `data.apps`."""
    return f"{key.namespace}/{key.name}"
