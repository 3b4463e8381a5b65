"""What is read around Argo CD and its applications, and how it is told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from ...act import status_reading
from ...act.options import Common
from ...act.reading import parse_target
from ...act.session import Invocation, Session
from ...argocd import components, controllers
from ...argocd.application import application_of, deploys_here
from ...argocd.reconciliation import WindowVerdict
from ...cluster.parallel import Attempt, Done
from ...journal.entry import Entry
from ...model.errors import Expired, Forbidden, NotFound, NotServed
from ...model.text import COMMAND, resource_name
from ...model.values import APPLICATIONSET, APPPROJECT, JSON, Key, Result, Snapshot, ref_of
from ...plan.known_versions import known_of
from ...show import destruction, diagnosis, status
from ...show.overview import Collector, Overview


def answer(common: Common, apps: tuple[str, ...], selector: str, destination_context: str) -> int:
    """Read what was asked for, and tell what is wrong."""
    with Invocation(common) as call:
        are_workloads_named = any(map(status_reading.workload_of, apps))
        session = call.read([] if are_workloads_named else apps)
        if not apps:
            return call.finish(_everything(session, selector))
        if destination_context and are_workloads_named:
            session.open_destination(destination_context)
        notes = _find_owning_applications(session, apps) if are_workloads_named else []
        return call.finish(_named(session, notes, destination_context))


# -- what both have in common


def _settings(session: Session) -> dict[str, str]:
    key = Key("ConfigMap", session.reading.snapshot.argocd.namespace, "argocd-cm")
    return dict((session.reader.objects.get(key) or {}).get("data") or {})


def _around(session: Session) -> tuple[components.Surroundings, tuple[Entry, ...]]:
    """Read what surrounds Argo CD and the journal; say where its parts may not be listed."""
    argocd = session.reading.snapshot.argocd
    cluster = session.cluster
    got = cluster.gather_outcomes(
        lambda: status_reading.surroundings(cluster, argocd, _settings(session), session.common),
        session.journal.read,
        cluster.target,  # asked for early: the header needs it
    )
    around, journal, _ = map(_value, got)
    denied = session.reader.hidden_parts
    texts = (*around.warnings, *journal.warnings)
    if denied:
        texts = (*texts, f"whether Argo CD's parts live is not known: {denied}")
    for text in texts:
        session.printer.warn(text)
    return replace(around, warnings=texts), journal.entries


def _value(outcome: Attempt) -> Any:
    if isinstance(outcome, Done):
        return outcome.value
    raise outcome.error


def _health(
    session: Session, traces: Sequence[components.Trace], around: components.Surroundings
) -> components.Health:
    argocd = session.reading.snapshot.argocd
    parts = components.parts_of(
        session.reading.snapshot.objects.values(),
        argocd.namespace,
        are_hidden=bool(session.reader.hidden_parts),
    )
    return components.health_of(argocd, parts, traces, around, session.now())


def _is_frozen(session: Session, entries: Sequence[Entry]) -> bool:
    """Whether nothing of Argo CD is wanted; where its workloads may not be seen, an open freeze says so."""
    seen = controllers.controllers_of(session.reading.snapshot)
    return controllers.is_frozen(session.reading.snapshot) or (
        not seen and destruction.frozen_by(entries) is not None
    )


def _say_frozen(session: Session, entries: Sequence[Entry]) -> None:
    if _is_frozen(session, entries):
        text = destruction.frozen_line(destruction.frozen_by(entries), session.now())
        for line in status.alarm_lines([text]):
            session.printer.spans(line)


def _warnings(session: Session, around: components.Surroundings, more: Sequence[str] = ()) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*session.reader.warnings, *around.warnings, *more)))


# -- named applications


def _find_owning_applications(session: Session, words: Sequence[str]) -> list[str]:
    """Read the Applications that words mean, through workloads; return what is worth saying about how."""
    notes: list[str] = []
    reading, reader = session.reading, session.reader
    keys = _keys(session, words, notes)
    argocd = reading.snapshot.argocd
    reader.follow(argocd, keys)
    for key in keys:
        if key not in reader.objects:
            raise NotFound(f"{key} does not exist, or may not be read", f"see {COMMAND} status", status=404)
    reading.snapshot, reading.targets = reader.snapshot(argocd), tuple(keys)
    return notes


def _diagnose(snapshot: Snapshot, key: Key, entries: Sequence[Entry], **more: Any) -> diagnosis.AppDiagnosis:
    known = known_of(application_of(snapshot, key), entries)
    return diagnosis.diagnose(snapshot, key, entries, known, **more)


def _elsewhere(session: Session, key: Key, context: str) -> diagnosis.Elsewhere | None:
    """Look at the workloads of an Application that deploys into another cluster."""
    if deploys_here(session.reader.objects[key]) and not context:
        return None
    from ...act import destinations  # lazy: most Applications deploy into Argo CD's own cluster

    return destinations.look(session, key, context)


def _named(session: Session, notes: Sequence[str], context: str) -> Result:
    reading = session.reading
    around, entries = _around(session)
    printer = session.printer
    snapshot = replace(reading.snapshot, now=session.now())
    for text in notes:
        printer.say(text)
    found = [
        replace(
            _diagnose(snapshot, key, entries, unreadable=session.reader.unreadable),
            elsewhere=_elsewhere(session, key, context),
        )
        for key in reading.targets
    ]
    traces = [
        components.trace_of(o, snapshot.argocd, snapshot.now)
        for k, o in snapshot.objects.items()
        if k.kind == "Application"
    ]
    health = _health(session, traces, around)
    if printer.form == "human":
        for line in status.hold_lines(entries):
            printer.spans(line)
        session.header()
        _say_frozen(session, entries)
        is_well = health.is_well
        for line in () if is_well else status.health_lines(snapshot.argocd, health):
            printer.spans(line)
        for i, d in enumerate(found):
            if i or not is_well:
                printer.line()
            for line in status.app_lines(d, snapshot.now):
                printer.spans(line)
        if is_well:
            for line in status.brief_health_lines(snapshot.argocd, health):
                printer.spans(line)
        for d in found:
            if hint := status.next_command(d, snapshot.argocd):
                printer.say(f"Next: {hint}")
    elif printer.form == "name":
        for d in found:
            printer.line(resource_name(ref_of(d.app)))
    shown = {entry.id: (entry, state) for d in found for entry, state in d.entries}
    data: dict[str, JSON] = {
        "argocd": status.health_json(snapshot.argocd, health, around),
        "apps": {status.app_key(d.key): status.app_json(d, snapshot.now) for d in found},
        "entries": [status.entry_json(e, state, snapshot.now) for e, state in shown.values()],
    }
    return Result("status", warnings=_warnings(session, around, notes), data=data)


def _keys(session: Session, words: Sequence[str], notes: list[str]) -> list[Key]:
    """Turn words into Applications, through the workloads that were named."""
    argocd = session.reading.snapshot.argocd
    keys: list[Key] = []
    for word in words:
        wanted = status_reading.workload_of(word)
        if wanted is None:
            # -n is the workloads' namespace where some are named; an application then is Argo CD's.
            keys.append(parse_target(word, argocd.namespace))
            continue
        namespace = status_reading.own_namespace(session.destination, session.common)
        try:
            owned, said = status_reading.applications_of(
                session.cluster, argocd, wanted, namespace, session.destination
            )
        except NotFound:
            # `pod/x` may as well be Application x of a namespace called pod.
            key = parse_target(word, argocd.namespace)
            if status_reading.is_there(session.cluster, key):
                keys.append(key)
                continue
            raise
        notes += [*(f"{word} in {namespace} belongs to {key}" for key in owned), *said]
        keys += owned
    return list(dict.fromkeys(keys))


# -- the whole Argo CD


def _everything(session: Session, selector: str) -> Result:
    around, entries = _around(session)
    argocd = session.reading.snapshot.argocd
    wants_json = session.printer.form in ("json", "yaml")
    overview, more = _collect(session, entries, selector, with_view=wants_json)
    is_frozen = _is_frozen(session, entries)
    health = _health(session, overview.traces, around)
    for text in more:
        session.printer.warn(text)
    now = session.now()
    printer = session.printer
    if printer.form == "human":
        for line in status.hold_lines(entries):
            printer.spans(line)
        session.header()
        _say_frozen(session, entries)
        for line in status.alarm_lines(overview.destruction.lines(is_frozen=is_frozen)):
            printer.spans(line)
        has_trouble = health.reconciling is not True or any(
            p.life is components.Life.DEAD for p in health.parts
        )
        for line in status.health_lines(argocd, health, way_in=True):
            printer.spans(line)
        printer.line()
        rows = status.ROWS if session.streams.out.isatty() else None
        for line in status.overview_lines(overview, now, rows=rows, width=printer.width):
            printer.spans(line)
        if not overview.facts:
            if selector:
                printer.say(f"no application has the labels {selector}")
            else:
                printer.say("there are no applications" + ("" if not has_trouble else " that may be seen"))
    elif printer.form == "name":
        for fact in overview.facts:
            printer.line(f"application.argoproj.io/{fact.key.name}")
    data: dict[str, JSON] = {}
    if wants_json:
        data = {
            "argocd": status.health_json(argocd, health, around),
            "apps": {status.app_key(f.key): f.view for f in overview.facts},
            "entries": [status.entry_json(e, e.state, now) for e in overview.entries],
            "frozen": is_frozen,
            "destruction": overview.destruction.as_json(),
        }
    return Result("status", warnings=_warnings(session, around, more), data=data)


def _collect(
    session: Session, entries: Sequence[Entry], selector: str, *, with_view: bool
) -> tuple[Overview, list[str]]:
    argocd = session.reading.snapshot.argocd
    cluster = session.cluster
    warnings: list[str] = []
    got = cluster.gather_outcomes(
        lambda: cluster.list(APPPROJECT, argocd.namespace),
        lambda: cluster.list(APPLICATIONSET, "" if argocd.application_namespaces else argocd.namespace),
    )
    lists: list[list[JSON] | None] = []
    for outcome, resource in zip(got, (APPPROJECT, APPLICATIONSET), strict=True):
        if isinstance(outcome, Done):
            lists.append(outcome.value)
        elif isinstance(outcome.error, NotServed) and resource is APPLICATIONSET:
            lists.append([])  # a core install has none
        elif isinstance(outcome.error, (Forbidden, NotFound)):
            lists.append(None)
            warnings.append(
                f"{resource.kind}s may not be listed, what they say is not known: {outcome.error.message}"
            )
        else:
            raise outcome.error
    projects, sets = lists
    now = session.now()

    known = {**session.reading.snapshot.objects, **{ref_of(p).key: p for p in projects or ()}}

    def view(app: JSON, verdict: WindowVerdict) -> JSON:
        key = ref_of(app).key
        objects = {**known, key: app}
        snapshot = Snapshot(argocd, objects, now)
        return status.app_json(_diagnose(snapshot, key, entries, verdict=verdict), now)

    def collect(namespace: str) -> Collector:
        made = Collector(argocd, projects, sets, entries, now, view if with_view else None)
        for page in status_reading.application_pages(cluster, argocd, namespace, label_selector=selector):
            made.add(page)
            page.clear()
        return made

    def again(namespace: str) -> Collector:
        try:
            return collect(namespace)
        except Expired:
            return collect(namespace)

    try:
        collector = again(session.common.namespace)
    except Forbidden as e:
        if session.common.namespace or not argocd.application_namespaces:
            raise
        warnings.append(f"Applications of other namespaces may not be listed: {e.message}")
        collector = again(argocd.namespace)
    return collector.result(_settings(session)), warnings
