"""Which context, server and namespace a kubectl speaks for.

To ask it costs a second process. A kubeconfig as kubectl, the clouds and kind write it is read here
instead: no YAML but the little of it that they need, and where there is anything else, or anything
that another reader might take otherwise, nothing at all is read of it.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from .transport import Connection, Target

Value: TypeAlias = "dict[str, Value] | list[Value] | str | None"
"""None also stands for a text that is not surely a string to everybody."""

_KEY: Final = re.compile(r"([A-Za-z][A-Za-z0-9._-]*):(?: (\S.*))?")
_NAME: Final = re.compile(r"[A-Za-z/](?:[A-Za-z0-9_./:@+=%~-]*[A-Za-z0-9_./@+=%~-])?")
_QUOTED: Final = re.compile(r"\"([^\"\\]*)\"|'([^']*)'")
_PLAIN: Final = re.compile(r"(?:-{1,2}[A-Za-z0-9]|[A-Za-z0-9/_.+=~])(?:(?!: | #).)*(?<!:)")
_BLOCK: Final = re.compile(r"[|>][0-9+-]{0,2}")
_NO_NAMES: Final = ("true", "false", "yes", "no", "on", "off", "y", "n", "null")
_WANTED: Final = {"cluster": ("server",), "context": ("cluster", "user", "namespace"), "user": ()}


def read_target(
    config: Mapping[str, Any], flags: Connection, environ: Mapping[str, str]
) -> tuple[Target, bool]:
    """Pick context, server and namespace from `kubectl config view`, and whether an exec plugin logs in."""

    def entry(kind: str, name: str) -> Mapping[str, Any]:
        found = [e for e in config.get(f"{kind}s") or () if e.get("name") == name]
        return (found[0].get(kind) if found else None) or {}

    name = flags.context or config.get("current-context") or ""
    context = entry("context", name)
    server = flags.server or entry("cluster", flags.cluster or context.get("cluster", "")).get("server", "")
    namespace = context.get("namespace", "")
    if not server and not name and environ.get("KUBERNETES_SERVICE_HOST"):
        host, port = environ["KUBERNETES_SERVICE_HOST"], environ.get("KUBERNETES_SERVICE_PORT", "443")
        server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    user = entry("user", flags.user or context.get("user", ""))
    return Target(name, server, namespace), bool(user.get("exec")) and not flags.token


class _Unsure(ValueError):
    """There is more to this text than is read here."""


class Kubeconfig:
    """The files that a kubectl is about to read."""

    def __init__(self, connection: Connection, environ: Mapping[str, str]) -> None:
        """Look at them before that kubectl starts."""
        listed = connection.kubeconfig or environ.get("KUBECONFIG", "")
        home = environ.get("HOME", "")
        if connection.kubeconfig:
            self._paths = [listed]
        elif listed:
            self._paths = [path for path in listed.split(os.pathsep) if path]
        else:
            self._paths = [os.path.join(home, ".kube", "config")] if home else []
        self._marks = [_mark(path) for path in self._paths]
        self._read: tuple[Mapping[str, Any] | None] | None = None

    def read(self) -> Mapping[str, Any] | None:
        """Return what `kubectl config view` says of them, as far as it is about the target; None if unsure."""
        if self._read is None:
            try:
                self._read = (_merged(self._paths),)
            except (OSError, ValueError, RecursionError):
                self._read = (None,)
        return self._read[0]

    def is_as_it_was(self) -> bool:
        """Whether the files are the same as at the beginning, so that kubectl, and `read`, had no others."""
        return [_mark(path) for path in self._paths] == self._marks


def _mark(path: str) -> tuple[int, ...]:
    try:
        found = os.stat(path)
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _merged(paths: list[str]) -> Mapping[str, Any]:
    """Merge the files: the first current-context counts; what two of them name is left to kubectl."""
    merged: dict[str, Any] = {"current-context": "", **{f"{kind}s": [] for kind in _WANTED}}
    names = set()
    texts = [text for path in paths if (text := _text(path)) is not None]
    if not texts:
        raise _Unsure
    for config in map(plain_yaml, texts):
        if not isinstance(config, dict) or (config.get("apiVersion"), config.get("kind")) != ("v1", "Config"):
            raise _Unsure
        merged["current-context"] = merged["current-context"] or _string(config, "current-context")
        for kind, wanted in _WANTED.items():
            for item in config.get(f"{kind}s") or ():
                if not isinstance(item, dict) or not isinstance(content := item.get(kind), dict):
                    raise _Unsure
                name = _string(item, "name")
                if not name or (kind, name) in names:
                    raise _Unsure
                names.add((kind, name))
                said = {"exec": content.get("exec"), **{field: _string(content, field) for field in wanted}}
                merged[f"{kind}s"].append({"name": name, kind: said})
    return merged


def _text(path: str) -> str | None:
    if not os.path.isabs(path):
        raise _Unsure  # what it is relative to is kubectl's own
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise _Unsure  # who reads a pipe takes it from kubectl
        with open(path, encoding="ascii", newline="") as file:
            return file.read()
    except FileNotFoundError:
        return None


def _string(mapping: Mapping[str, Any], name: str) -> str:
    value = mapping.get(name, "")
    if not isinstance(value, str):
        raise _Unsure
    return value


def plain_yaml(text: str) -> Value:
    """Read block mappings and lists, one scalar to a line; raises ValueError where there is anything else."""
    if re.search(r"[^\n -~]", text):
        raise _Unsure
    lines = _Lines(text)
    value = lines.node()
    if lines.indent >= 0:
        raise _Unsure
    return value


class _Lines:
    """The lines that are not read yet."""

    def __init__(self, text: str) -> None:
        bare = [(line, line.strip()) for line in text.split("\n")]
        self._lines = [(len(line) - len(line.lstrip()), s) for line, s in bare if s and s[0] != "#"]
        self._lines.append((-1, ""))
        self._at = 0

    @property
    def indent(self) -> int:
        return self._lines[self._at][0]

    @property
    def text(self) -> str:
        return self._lines[self._at][1]

    def node(self) -> Value:
        return self._items() if self.text.startswith("- ") else self._mapping()

    def _items(self) -> list[Value]:
        indent = self.indent
        items: list[Value] = []
        while self.indent == indent and self.text.startswith("- "):
            inner = self.text[2:]
            if _KEY.fullmatch(inner):
                self._lines[self._at] = (indent + 2, inner)
                items.append(self._mapping())
            else:
                self._at += 1
                items.append(self._scalar(inner, indent))
        return items

    def _mapping(self) -> dict[str, Value]:
        indent = self.indent
        found: dict[str, Value] = {}
        while self.indent == indent and not self.text.startswith("- "):
            line = _KEY.fullmatch(self.text)
            if line is None or line[1] in found:
                raise _Unsure
            self._at += 1
            if line[2]:
                found[line[1]] = self._scalar(line[2], indent)
            elif self.indent > indent or (self.indent == indent and self.text.startswith("- ")):
                found[line[1]] = self.node()
            else:
                found[line[1]] = None
        return found

    def _scalar(self, value: str, indent: int) -> Value:
        if quoted := _QUOTED.fullmatch(value):
            return quoted[1] or quoted[2] or ""
        if value in ("{}", "[]"):
            return {} if value == "{}" else []
        is_block = _BLOCK.fullmatch(value)
        if not is_block and not _PLAIN.fullmatch(value):
            raise _Unsure
        while self.indent > indent:  # a text that goes on is no name
            if not is_block and not _PLAIN.fullmatch(self.text):
                raise _Unsure
            value = ""
            self._at += 1
        return value if _NAME.fullmatch(value) and value.lower() not in _NO_NAMES else None
