"""Reads the objects of journal entries as they are now: one by one, or as a list where they are many."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import partial

from ..model.errors import NotFound, NotServed
from ..model.values import APPLICATION, BY_KIND, JSON, Key, ref_of
from .answers import Read
from .client import PAGE_OF_APPLICATIONS, Cluster
from .parallel import Done

MANY = 20
"""From here on one list of a namespace is cheaper than an object each."""


def look(cluster: Cluster, keys: Iterable[Key], read: Read = json.loads) -> tuple[dict[Key, JSON], list[str]]:
    """Return the objects, None for one that is not there, and a line for each that cannot be read.

    Kinds that this tool does not edit are left out. `read` reads a list of Applications.
    """
    places: dict[tuple[str, str], list[Key]] = {}
    for key in dict.fromkeys(keys):
        if key.kind in BY_KIND and key.name:
            places.setdefault((key.kind, key.namespace), []).append(key)
    found: dict[Key, JSON] = {}
    warnings: list[str] = []
    thunks: list[Callable[[], JSON]] = []
    asked: list[tuple[Key, ...]] = []
    for (kind, namespace), wanted in places.items():
        resource = BY_KIND[kind]
        if len(wanted) < MANY:
            thunks += [partial(cluster.get, resource, k.namespace, k.name) for k in wanted]
            asked += [(k,) for k in wanted]
        else:
            list_ = partial(cluster.list, resource, namespace)
            is_app = resource is APPLICATION
            thunks.append(partial(list_, page=PAGE_OF_APPLICATIONS, read=read) if is_app else list_)
            asked.append(tuple(wanted))
    for wanted_here, outcome in zip(asked, cluster.gather_outcomes(*thunks), strict=True):
        if isinstance(outcome, Done):
            got = outcome.value if isinstance(outcome.value, list) else [outcome.value]
            there = {ref_of(obj).key: obj for obj in got}
            found.update({key: there.get(key) for key in wanted_here})
        elif isinstance(outcome.error, NotFound) and not isinstance(outcome.error, NotServed):
            found.update(dict.fromkeys(wanted_here))
        else:
            first = wanted_here[0]
            what = str(first) if len(wanted_here) == 1 else f"{first.kind}s of {first.namespace}"
            warnings.append(f"{what} cannot be read, so what stands of it is not known: {outcome.error}")
    return found, warnings
