"""`rescue`: everything between a broken application and a good version that stays."""

from __future__ import annotations

import click

from ..act.options import Common, Writing
from ..cli.flags import (
    Verb,
    Version,
    common_options,
    destination_option,
    only_option,
    source_option,
    timeout_option,
    writing_options,
)
from ..model.errors import UsageError


@click.command("rescue", cls=Verb)
@click.argument("app", metavar="APP")
@click.argument("version", type=Version(), metavar="[VERSION]", required=False)
@source_option
@click.option("--whole-source", is_flag=True, help="Take the whole old source back, not only its version.")
@click.option("--pause-only", is_flag=True, help="Only stop Argo CD from acting, to work with kubectl.")
@click.option(
    "--workloads",
    is_flag=True,
    help="Without git and charts: pause Argo CD, take each workload back to its previous revision.",
)
@destination_option
@click.option(
    "--full",
    "is_full",
    is_flag=True,
    help="Promote each Argo Rollout fully, past its steps, once the pods of the good version are ready.",
)
@click.option("--no-wait", is_flag=True, help="Do not watch to the end.")
@timeout_option("10m", "How long to watch; 0 is for ever.")
@only_option
@common_options
@writing_options
def command(
    common: Common,
    writing: Writing,
    app: str,
    version: str | None,
    source: str | None,
    whole_source: bool,
    pause_only: bool,
    workloads: bool,
    destination_context: str,
    is_full: bool,
    no_wait: bool,
    timeout: float | None,
    only: bool,
) -> int:
    r"""Bring an application back to a good version, and see that it stays.

    Without VERSION the last good one of its own history. Whoever would revert the change is found
    and paused first, an operation in the way is ended, the windows that stop it are opened for it
    alone, and the rollout is watched to a proven result. Everything is saved first.

    \b
    Examples:
      kubectl argo-rescue rescue traefik
      kubectl argo-rescue rescue traefik 2.4.1 --reason INC-4711 --yes
      kubectl argo-rescue rescue traefik --dry-run=server
      kubectl argo-rescue rescue traefik --pause-only
      kubectl argo-rescue rescue traefik --workloads
    """
    chosen = source is not None or whole_source
    _refuse_contradictions(version, chosen, pause_only, workloads)
    _refuse_not_waiting(is_full, no_wait or pause_only)
    if workloads:
        return _by_workloads(common, writing, app, destination_context, only, is_full, not no_wait, timeout)

    # lazy: kubectl, started by now, takes as long to get ready
    from ..act.rescue import RescueRun
    from ..act.session import Invocation, new_order_id
    from ..argocd import history
    from ..plan import rescue
    from ..plan.known_versions import known_of

    order_id = new_order_id()
    with Invocation(common) as call:
        session = call.read([app], to_write=True)
        session.read_what_windows_touch(key := session.target)
        good = known = None
        if version is None and not pause_only:
            live = session.reading.snapshot.objects[key]
            known = known_of(live, session.journal.read().entries)
            good = history.choose_deployment(live, None, known)
        rescuing = RescueRun(
            session, key,
            lambda s: rescue.plan_rescue(
                s, key, version, order_id=order_id, actor=session.reading.actor, reason=writing.reason, good=good,
                known=known, source=source, only=only, pause_only=pause_only, whole_source=whole_source,
            ),
            writing, destination_context, is_full=is_full,
        )  # fmt: skip
        return call.finish(rescuing.run(wait=not no_wait, timeout=timeout))


def _refuse_contradictions(version: str | None, other: bool, pause_only: bool, workloads: bool) -> None:
    """`other` is whether a source was chosen or the whole old one is wanted."""
    if workloads and (version or other or pause_only):
        raise UsageError(
            "--workloads takes no version or source, and pauses by itself",
            "every workload goes back to the previous revision that its cluster remembers",
        )
    if pause_only and version:
        raise UsageError("--pause-only takes no version", "leave one of them out")


def _refuse_not_waiting(is_full: bool, waits_not: bool) -> None:
    if is_full and waits_not:
        raise UsageError("--full waits for pods to be ready", "leave --no-wait and --pause-only out")


def _by_workloads(
    common: Common,
    writing: Writing,
    app: str,
    destination_context: str,
    only: bool,
    is_full: bool,
    wait: bool,
    timeout: float | None,
) -> int:
    # lazy: as above
    from ..act.session import Invocation
    from ..act.workload_rescue import WorkloadRescue, read_workloads

    with Invocation(common) as call:
        session = call.read([app], to_write=True)
        key = session.target
        found = read_workloads(session, key, destination_context)
        rolling = WorkloadRescue(
            session, key, found, writing, destination_context, only=only, is_full=is_full
        )
        return call.finish(rolling.run(wait=wait, timeout=timeout))
