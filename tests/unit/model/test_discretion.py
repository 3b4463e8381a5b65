"""What of values is shown.

Covered: parameters and values of each kind of source by their length, changed or not; what is no secret whole;
credentials in addresses; pointers into values.
"""

from __future__ import annotations

from typing import Any

import pytest

from kubectl_argo_rescue.model import discretion
from kubectl_argo_rescue.model.discretion import is_value, without_credentials, without_values
from kubectl_argo_rescue.model.patches import shown

SECRET = "s3cret"
SOURCE: Any = {
    "repoURL": f"https://bot:{SECRET}@git.example/x",
    "targetRevision": "2.4.1",
    "helm": {
        "releaseName": "web",
        "valueFiles": ["prod.yaml"],
        "values": f"a: 1\nb: {SECRET}\n",
        "valuesObject": {"password": SECRET},
        "parameters": [{"name": "db.password", "value": SECRET, "forceString": True}],
    },
    "plugin": {"env": [{"name": "TOKEN", "value": SECRET}], "parameters": [{"name": "a", "map": {"b": SECRET}}]},
    "kustomize": {"images": ["web:1"], "patches": [{"patch": f"- {SECRET}"}]},
    "directory": {"jsonnet": {"extVars": [{"name": "x", "value": SECRET}]}},
}  # fmt: skip


@pytest.mark.parametrize(
    "value", [SOURCE, [SOURCE], {"sync": {"source": SOURCE}}, {"sync": {"sources": [SOURCE]}}]
)
def test_no_secret_is_shown(value: Any) -> None:
    assert SECRET not in str(without_values(value)) and SECRET not in shown(value)


def test_what_is_no_secret_stays() -> None:
    told = without_values(SOURCE)
    assert told["targetRevision"] == "2.4.1" and told["repoURL"] == "https://…@git.example/x"
    assert told["helm"]["valueFiles"] == ["prod.yaml"] and told["helm"]["releaseName"] == "web"
    assert told["helm"]["parameters"][0] == {"name": "db.password", "value": "(1 line)", "forceString": True}
    assert told["kustomize"]["images"] == ["web:1"]
    assert told["helm"]["values"] == "(2 lines)"
    rule = {"name": "x", "jsonPointers": ["/spec/source"], "values": ["kept"]}
    assert without_values(rule) == rule, "a source alone is made into manifests"


def test_what_changed_is_said() -> None:
    before = {**SOURCE, "helm": {**SOURCE["helm"], "values": "a: 1"}}
    told = without_values(SOURCE, before)["helm"]
    assert (told["values"], told["valuesObject"]) == ("(changed, 2 lines)", "(3 lines)")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("--server=https://me:p@ss@api:6443/x", "--server=https://…@api:6443/x"),
        ("https://token@api", "https://…@api"),
        ("https://api/a@b", "https://api/a@b"),
        ("git@github.com:a/b", "git@github.com:a/b"),
    ],
)
def test_credentials_in_an_address(text: str, told: str) -> None:
    assert without_credentials(text) == told


def test_pointers_into_values() -> None:
    assert is_value("/operation/sync/source/helm/parameters/0/value") and is_value("/a/plugin/env/0/value")
    assert not is_value("/operation/sync/revision") and not is_value("/spec/value")


def test_what_is_withheld_is_equal_to_itself_alone() -> None:
    source = {
        "repoURL": "https://u:p@x",
        "helm": {"values": "a: 1\n", "parameters": [{"name": "b", "value": "2"}]},
    }
    kept = discretion.withheld(source, "salt")
    assert "a: 1" not in str(kept) and "u:p" not in str(kept) and not discretion.is_whole(kept)
    assert kept == source and source == kept and kept == discretion.withheld(source, "salt")
    assert kept != discretion.withheld(source, "other"), "who has no value cannot compare two digests"
    for other in ({**source, "helm": {"values": "a: 2\n"}}, {**source, "repoURL": "https://x"}, {}, None):
        assert kept != other
    value = kept["helm"]["values"]
    assert value == "a: 1\n" and not value != "a: 1\n" and value != "a: 2\n" and value is not None
    assert discretion.told(kept)["helm"]["values"] == "(1 line, kept elsewhere)"
    assert discretion.without_values(kept)["helm"]["values"] == "(1 line)"
    assert discretion.is_whole(discretion.withheld({"repoURL": "https://x", "helm": {"values": ""}}, "s"))
