"""The verdicts: what is read for them, and how they are told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from ...act.options import Common
from ...act.reading import list_applications
from ...act.session import Invocation, Session
from ...argocd.application import projects as projects_of
from ...argocd.foresight import NextChange
from ...argocd.installation import served
from ...argocd.reconciliation import WindowVerdict, judge_apps
from ...model.errors import ExitStatus, Forbidden
from ...model.text import columns, display_name, one_line, resource_name
from ...model.times import human
from ...model.values import APPPROJECT, JSON, ArgoCD, Key, Result, ref_of
from ...show.steps import STATUS_WORDS
from ...show.windows import WindowLine, line_json, lines_of, short, verdict_json


def answer(common: Common, apps: tuple[str, ...], *, all_namespaces: bool) -> int:
    """Read, judge and tell."""
    with Invocation(common) as call:
        session = call.read(apps)
        found, verdicts = _named(session) if apps else _all(session, all_namespaces)
        return call.finish(_tell(session, found, verdicts, details=bool(apps)))


def _named(session: Session) -> tuple[list[JSON], list[WindowVerdict]]:
    snapshot = session.reading.snapshot
    unreadable = frozenset(k.name for k in session.reader.unreadable if k.kind == "AppProject")
    found = [snapshot.objects[key] for key in session.reading.targets]
    projects = projects_of(snapshot)
    return found, judge_apps(found, projects, snapshot.argocd, snapshot.now, unreadable=unreadable)


def _all(session: Session, all_namespaces: bool) -> tuple[list[JSON], list[WindowVerdict]]:
    snapshot = session.reading.snapshot
    argocd = snapshot.argocd
    namespace = "" if all_namespaces else session.common.namespace
    cluster = session.cluster

    def applications() -> list[JSON]:
        if namespace:
            return list_applications(cluster, namespace)
        if all_namespaces or argocd.application_namespaces:
            try:
                return list_applications(cluster)
            except Forbidden as e:
                session.reader.warnings.append(
                    f"Applications of other namespaces may not be listed: {e.message}"
                )
        return list_applications(cluster, argocd.namespace)

    found, projects = cluster.gather(applications, lambda: cluster.list(APPPROJECT, argocd.namespace))
    if all_namespaces:
        session.reader.warnings += _left_out(found, argocd)
    if not namespace:
        found = [app for app in found if served(app, argocd)]
    found = sorted(found, key=lambda app: ref_of(app).key)
    return found, judge_apps(found, projects, argocd, snapshot.now)


def _left_out(apps: Sequence[JSON], argocd: ArgoCD) -> list[str]:
    """Name the Applications that nobody serves; what another Argo CD has acted on is none of this one's."""
    names: dict[str, list[str]] = {}
    for app in apps:
        controller = (app.get("status") or {}).get("controllerNamespace") or argocd.namespace
        if not served(app, argocd) and controller == argocd.namespace:
            key = ref_of(app).key
            names.setdefault(key.namespace, []).append(display_name(key, argocd))
    serves_not = f"Argo CD in {argocd.namespace} does not serve"
    return _grouped(
        dict(sorted(names.items())),
        serves_not + " namespace {it}: {apps} left out",
        serves_not + " {count} namespaces ({some}): {apps} left out",
    )


def _warnings(session: Session, verdicts: Sequence[WindowVerdict]) -> list[str]:
    argocd = session.reading.snapshot.argocd
    found = list(session.reader.warnings)
    unserved: dict[str, list[str]] = {}
    homeless: dict[str, list[str]] = {}
    unwanted: dict[str, list[str]] = {}
    for verdict in verdicts:
        name = display_name(verdict.key, argocd)
        if not verdict.is_served:
            unserved.setdefault(verdict.key.namespace, []).append(name)
        if verdict.is_project_missing:
            homeless.setdefault(verdict.project, []).append(name)
        if not verdict.is_permitted:
            pair = f"{verdict.project} does not permit applications of namespace {verdict.key.namespace}"
            unwanted.setdefault(pair, []).append(name)
        if verdict.unknown:
            found.append(verdict.unknown)
    home = argocd.namespace
    unmoved = "nothing will act on {apps}, whatever the windows say"
    no_sync = "Argo CD syncs nothing of {apps}"
    found += _grouped(
        unserved,
        f"Argo CD in {home} does not serve namespace {{it}}: {unmoved}",
        f"Argo CD in {home} does not serve {{count}} namespaces ({{some}}): {unmoved}",
    )
    found += _grouped(
        homeless,
        f"AppProject {home}/{{it}} does not exist: {no_sync}",
        f"{{count}} AppProjects do not exist in {home} ({{some}}): {no_sync}",
    )
    found += _grouped(
        unwanted,
        f"AppProject {home}/{{it}}: {no_sync}",
        f"AppProjects in {home} do not permit the namespaces of their applications ({{some}}): {no_sync}",
    )
    return list(dict.fromkeys(found))


_FEW: Final = 5


def _grouped(groups: Mapping[str, Sequence[str]], one: str, many: str) -> list[str]:
    """Warn of each group, or of all in one breath where there are more than a few.

    Args:
        groups: what is wrong, and the applications concerned.
        one: the text for one group, with `{it}` and `{apps}`.
        many: the text for all, with `{count}`, `{some}` and `{apps}`.
    """
    if len(groups) <= _FEW:
        return [one.format(it=it, apps=_some(sorted(apps))) for it, apps in groups.items()]
    total = sum(map(len, groups.values()))
    return [many.format(count=len(groups), some=_some(list(groups)), apps=f"{total} applications")]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_FEW]) + (f" and {len(names) - _FEW} more" if len(names) > _FEW else "")


def _tell(
    session: Session, apps: Sequence[JSON], verdicts: Sequence[WindowVerdict], *, details: bool
) -> Result:
    printer = session.printer
    argocd = session.reading.snapshot.argocd
    now = session.now()
    warnings = _warnings(session, verdicts)
    for text in warnings:
        printer.warn(text)
    seen = {v.key: lines_of(v, a, now) for a, v in zip(apps, verdicts, strict=True)} if details else {}
    if printer.form == "name":
        for app in apps:
            printer.line(resource_name(ref_of(app)))
    elif printer.form == "human":
        header = ("APP", "PROJECT", "AUTOMATIC", "MANUAL", "BLOCKED BY", "UNTIL")
        rows = [_row(display_name(v.key, argocd), v, now) for v in verdicts]
        for text in columns(rows, header) if rows else ():
            printer.line(text)
        if not rows:
            printer.say("there are no applications")
        if any(seen.values()):
            printer.line()
            for text in _window_table(seen, {v.key: display_name(v.key, argocd) for v in verdicts}):
                printer.line(text)
        elif details and not any(v.unknown for v in verdicts):
            printer.say("there are no sync windows in the project")
    data = {
        f"{v.key.namespace}/{v.key.name}": {
            **verdict_json(v),
            **({"windows": [line_json(line) for line in seen[v.key]]} if details else {}),
        }
        for v in verdicts
    }
    status = ExitStatus.ERROR if any(v.unknown for v in verdicts) else ExitStatus.OK
    return Result(
        "windows", warnings=tuple(warnings), data={"apps": data}, exit_status=status,
        status=STATUS_WORDS[status],
    )  # fmt: skip


def _row(name: str, verdict: WindowVerdict, now: datetime) -> tuple[str, ...]:
    if verdict.unknown:
        return name, verdict.project, "unknown", "unknown", verdict.unknown, ""
    yes = {True: "yes", False: "no"}
    by = [short(w) for w in verdict.blocking]
    blocked = one_line(verdict.automatic.error or "; ".join(by[:2]))
    blocked += f"; and {len(by) - 2} more" if len(by) > 2 and not verdict.automatic.error else ""
    return (
        name,
        verdict.project,
        yes[verdict.automatic.can_sync],
        yes[verdict.manual.can_sync],
        blocked,
        _until(verdict, now),
    )


def _until(verdict: WindowVerdict, now: datetime) -> str:
    """Say until when the verdicts hold: both in one where they change together."""
    if verdict.error:
        return "the window is corrected"

    def text(change: NextChange, can_sync: bool) -> str:
        if change.not_before:
            return f"no change before {change.not_before:%Y-%m-%d %H:%M} UTC"
        if change.at:
            return f"{change.at:%Y-%m-%d %H:%M} UTC (in {human(change.at - now)})"
        return "" if can_sync else "no end scheduled"

    automatic = text(verdict.until_automatic, verdict.automatic.can_sync)
    manual = text(verdict.until_manual, verdict.manual.can_sync)
    if verdict.until_automatic == verdict.until_manual and (
        verdict.automatic.can_sync == verdict.manual.can_sync or verdict.until_automatic.at is not None
    ):
        return automatic
    return automatic + (f"; manual {manual}" if manual else "")


def _window_table(seen: dict[Key, list[WindowLine]], names: dict[Key, str]) -> list[str]:
    rows: list[tuple[str, ...]] = []
    for key, lines in seen.items():
        for line in lines:
            w = line.window
            hits = ", ".join(f"{h.list} {h.pattern}" for h in line.hits)
            if hits and not line.matches:
                hits += " (not all of AND)"
            active = one_line(line.error) if line.error else ("yes" if line.active else "no")
            row = (
                f"{w.project} #{w.index}", w.kind, one_line(w.schedule), one_line(w.duration),
                w.time_zone or "UTC", "allowed" if w.manual_sync else "no", one_line(hits) or "-", active,
                ", ".join(line.blocks) or "-",
            )  # fmt: skip
            rows.append((names[key], *row) if len(seen) > 1 else row)
    header = (
        "WINDOW", "KIND", "SCHEDULE", "DURATION", "TIMEZONE", "MANUAL SYNC", "MATCHED BY", "ACTIVE", "BLOCKS",
    )  # fmt: skip
    return columns(rows, ("APP", *header) if len(seen) > 1 else header)
