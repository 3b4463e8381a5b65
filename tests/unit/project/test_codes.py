"""Every error has a code, every code its section in docs/troubleshooting.md, and none is used twice."""

from __future__ import annotations

import ast
import re

import pytest

from kubectl_argo_rescue.model import errors
from kubectl_argo_rescue.model.errors import Code, RescueError
from kubectl_argo_rescue.simulation.incident import traefik_incident
from tests import docs

from ..harness import Run

SECTIONS = dict(
    re.findall(
        r"^### (AR\d{4}): (.+(?:\n(?!#).*)*)",
        (docs.CHECKOUT / "docs" / "troubleshooting.md").read_text(),
        re.MULTILINE,
    )
)


def test_the_sections_are_those_of_the_codes_in_their_order() -> None:
    assert list(SECTIONS) == sorted(code.value for code in Code)
    for code, text in SECTIONS.items():
        heading, _, body = text.partition("\n")
        assert heading.strip(), code
        assert len(body.split()) >= 4, code


def test_each_code_is_somebodys() -> None:
    source = "\n".join(f.read_text() for f in (docs.CHECKOUT / "kubectl_argo_rescue").rglob("*.py"))
    assert not [code for code in Code if not re.search(rf"\bCode\.{code.name}\b", source)]


def test_who_is_refused_without_a_code_of_its_own_is_told_what_to_do() -> None:
    """AR1501 sends its reader back to the message."""
    bare = []
    for file in (docs.CHECKOUT / "kubectl_argo_rescue").rglob("*.py"):
        for call in ast.walk(ast.parse(file.read_text())):
            if (
                isinstance(call, ast.Call)
                and isinstance(call.func, ast.Name)
                and call.func.id == "RefusedError"
            ):
                if not any(k.arg == "code" for k in call.keywords) and len(call.args) < 2:
                    bare.append(f"{file.name}:{call.lineno}")
    assert not bare


def test_a_class_has_a_code_and_a_call_may_have_another() -> None:
    kinds = [k for k in vars(errors).values() if isinstance(k, type) and issubclass(k, RescueError)]
    assert len(kinds) > 10
    assert [k for k in kinds if k.code is Code.OTHER] == [RescueError, errors.ApiError]
    assert errors.RefusedError("x", code=Code.BLOCKED).code is Code.BLOCKED
    assert errors.RefusedError("x").code is Code.REFUSED
    assert RescueError.code is Code.OTHER


@pytest.mark.parametrize(
    ("words", "code", "exits"),
    [
        (("pause",), Code.COMMAND_LINE, 2),
        (("pause", "nobody"), Code.NOT_FOUND, 1),
        (("rescue", "traefik"), Code.NEEDS_YES, 5),
        (("sync", "traefik"), Code.BLOCKED, 5),
        (("status", "--argocd-namespace=default"), Code.NO_ARGO_CD, 5),
    ],
)
def test_the_code_is_said_to_people_and_to_tools(
    run: Run, words: tuple[str, ...], code: Code, exits: int
) -> None:
    api = traefik_incident().api
    told = run(api, *words)
    assert told.code == exits
    (line,) = [line for line in told.err.splitlines() if line.startswith("error: ")]
    assert line.endswith(f"({code.value})")
    assert run(api, *words, "-o", "json").json["data"]["code"] == code.value


def test_who_says_no_gets_no_error(run: Run) -> None:
    ran = run(traefik_incident().api, "rescue", "traefik", terminal=True, typed="n\n")
    assert ran.code == 5
    assert ran.err.splitlines()[-1].endswith("Cancelled. Nothing was changed.")
    assert "error:" not in ran.err
