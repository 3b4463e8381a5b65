"""`orphan`: an application goes, what it deployed stays."""

from __future__ import annotations

import click

from ..act.options import Common, Writing
from ..cli.flags import (
    Verb,
    all_namespaces,
    are_selected,
    common_options,
    everywhere_option,
    only_option,
    project_option,
    selector_option,
    writing_options,
)


@click.command("orphan", cls=Verb)
@click.argument("apps", nargs=-1, metavar="[APP]...")
@click.option("--all-dying", is_flag=True, help="All applications that are being deleted.")
@project_option
@selector_option
@everywhere_option
@only_option
@common_options
@writing_options
def command(
    common: Common,
    writing: Writing,
    apps: tuple[str, ...],
    all_dying: bool,
    project: str,
    selector: str,
    everywhere: bool,
    only: bool,
) -> int:
    r"""Let applications go without their workloads, and save what is needed to make them anew.

    For applications that are being deleted while Argo CD is frozen, and for those that hang in
    deletion because their cluster or project is gone. One that lives is deleted. `undo` makes it
    anew and lets Argo CD adopt the workloads without a move.

    \b
    Examples:
      kubectl argo-rescue orphan web --dry-run
      kubectl argo-rescue orphan --all-dying --reason INC-4711
    """
    # lazy: kubectl, started by now, takes as long to get ready
    from ..act.orphan import Orphan
    from ..act.session import Invocation
    from ..argocd.deletion import is_dying

    if everywhere:
        common = all_namespaces(common, apps)
    many = are_selected(
        apps, all_dying, project, selector, hint="name them, or use --all-dying, --project or -l"
    )
    with Invocation(common) as call:
        if many:
            session = call.read_many(label_selector=selector, project=project)
        else:
            session = call.read(apps, to_write=True)
        keys = session.reading.targets
        if all_dying:
            keys = tuple(k for k in keys if is_dying(session.reading.snapshot.objects[k]))
        return call.finish(Orphan(session, keys, writing, only=only).run())
