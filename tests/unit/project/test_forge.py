"""The forge's forms: each is one that GitHub takes, asks for what helps, and warns of secrets.

The rules are those of GitHub's "Syntax for issue forms" and "Syntax for GitHub's form schema".
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubectl_argo_rescue.cli import root
from tests import docs

FOLDER = docs.CHECKOUT / ".github"
FORMS = sorted(set((FOLDER / "ISSUE_TEMPLATE").glob("*.yml")) - {FOLDER / "ISSUE_TEMPLATE" / "config.yml"})

TOP = {"name", "description", "body", "title", "labels", "assignees", "projects", "type"}
ATTRIBUTES = {
    "markdown": {"value"},
    "input": {"label", "description", "placeholder", "value"},
    "textarea": {"label", "description", "placeholder", "value", "render"},
    "dropdown": {"label", "description", "multiple", "options", "default"},
    "checkboxes": {"label", "description", "options"},
}


def faults(form: Any) -> list[str]:
    """Return what GitHub would not take of an issue form."""
    found = [f"unknown key {key}" for key in set(form) - TOP]
    found += [f"no {key}" for key in ("name", "description", "body") if not form.get(key)]
    ids: list[str] = []
    labels: list[str] = []
    for element in form.get("body", []):
        kind, attributes = element.get("type"), element.get("attributes", {})
        if kind not in ATTRIBUTES:
            found.append(f"unknown type {kind}")
            continue
        found += [f"{kind} takes no {key}" for key in set(attributes) - ATTRIBUTES[kind]]
        found += [f"unknown key {key}" for key in set(element) - {"type", "id", "attributes", "validations"}]
        found += [f"unknown rule {key}" for key in set(element.get("validations", {})) - {"required"}]
        needed = "value" if kind == "markdown" else "label"
        if not isinstance(attributes.get(needed), str):
            found.append(f"{kind} without {needed}")
        labels += [attributes["label"]] if "label" in attributes else []
        ids += [element["id"]] if "id" in element else []
        for option in attributes.get("options", []):
            if kind == "checkboxes" and not set(option) <= {"label", "required"}:
                found.append(f"option {option}")
    found += [f"id {name}" for name in ids if not re.fullmatch(r"[\w-]+", name) or ids.count(name) > 1]
    found += [f"label {name} twice" for name in labels if labels.count(name) > 1]
    if all(element.get("type") == "markdown" for element in form.get("body", [])):
        found.append("nothing to fill in")
    return found


@pytest.mark.parametrize("file", FORMS, ids=lambda file: file.name)
def test_a_form_is_one_that_github_takes(file: Path) -> None:
    assert faults(yaml.safe_load(file.read_text())) == []


def test_the_check_sees_faults() -> None:
    text = {"type": "textarea", "id": "a", "attributes": {"label": "A", "options": []}}
    assert faults({"name": "n", "description": "d", "body": [text, text], "about": "x"}) == [
        "unknown key about",
        "textarea takes no options",
        "textarea takes no options",
        "id a",
        "id a",
        "label A twice",
        "label A twice",
    ]
    nothing = {"type": "markdown", "attributes": {"value": "x"}}
    assert faults({"name": "n", "description": "d", "body": [nothing]}) == ["nothing to fill in"]


def test_the_forms_are_all_there() -> None:
    assert [file.stem for file in FORMS] == ["bug", "feature", "rescue_failed"]
    assert set(yaml.safe_load((FOLDER / "ISSUE_TEMPLATE" / "config.yml").read_text())) <= {
        "blank_issues_enabled",
        "contact_links",
    }


@pytest.mark.parametrize("name", ["bug", "rescue_failed"])
def test_a_report_says_what_is_needed(name: str) -> None:
    text = (FOLDER / "ISSUE_TEMPLATE" / f"{name}.yml").read_text()
    assert all(words in text for words in ("argo-rescue version", "Version of Argo CD", "secrets"))


def test_a_failed_rescue_comes_with_its_report_and_entry() -> None:
    text = (FOLDER / "ISSUE_TEMPLATE" / "rescue_failed.yml").read_text()
    assert "kubectl argo-rescue report" in text
    assert "kubectl argo-rescue show ENTRY -o json" in text


@pytest.mark.parametrize("file", FORMS, ids=lambda file: file.name)
def test_the_commands_of_a_form_are_known(file: Path) -> None:
    for verb in re.findall(r"kubectl argo-rescue (\w+)", file.read_text()):
        assert verb in root.VERBS
    for named in re.findall(r"docs/[\w-]+\.md", file.read_text()):
        assert (docs.CHECKOUT / named).exists()
