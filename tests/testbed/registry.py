"""An OCI registry on loopback: the part of the distribution API that reads, over TLS.

Helm pulls charts from it, and Argo CD's repo-server whole artifacts.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from urllib.parse import parse_qs, urlencode, urlsplit

from .sources import BROKEN_VERSION, chart_archive, chart_meta
from .tls_server import Seen, TlsServer, Wire

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_HELM_CONFIG = "application/vnd.cncf.helm.config.v1+json"
_HELM_LAYER = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"

_PATH = re.compile(
    r"/v2/(?P<repository>.+?)/(?:(?P<list>tags/list)|(?P<what>manifests|blobs)/(?P<reference>[^/]+))"
)
_PAGE = 2
"""Tags on one page: a client that reads only the first one finds no newer version."""


@dataclass
class _Repository:
    manifests: dict[str, bytes] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    """Digests of manifests by tag."""


class Registry:
    """The registry, as a context manager; who reaches it must trust `certificate`."""

    def __init__(self, folder: Path) -> None:
        self._server = TlsServer(folder, answer=self._answer)
        self._repositories: dict[str, _Repository] = {}

    def __enter__(self) -> Registry:
        self._server.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()

    @property
    def address(self) -> str:
        """Host and port, as references to its artifacts begin."""
        return urlsplit(self._server.url).netloc

    @property
    def certificate(self) -> Path:
        """The certificate of its authority."""
        return self._server.authority.certificate

    @property
    def asked(self) -> Sequence[str]:
        """What was asked for so far: method, path and query."""
        return [f"{seen.method} {seen.path}" for seen in self._server.seen]

    def push_chart(
        self, repository: str, version: str, *, tag: str = "", broken: Sequence[str] = (BROKEN_VERSION,)
    ) -> str:
        """Publish a chart of one Deployment as `helm push` does, and return its digest.

        A tag other than the version, or one that is there already, moves to it.
        """
        name = repository.rpartition("/")[2]
        there = self._repositories.setdefault(repository, _Repository())

        def described(media_type: str, content: bytes) -> Mapping[str, object]:
            digest = _digest(content)
            there.blobs[digest] = content
            return {"mediaType": media_type, "digest": digest, "size": len(content)}

        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": _MANIFEST,
                "config": described(_HELM_CONFIG, json.dumps(chart_meta(name, version)).encode()),
                "layers": [described(_HELM_LAYER, chart_archive(name, version, broken))],
            }
        ).encode()
        digest = _digest(manifest)
        there.manifests[digest] = manifest
        there.tags[tag or version] = digest
        return digest

    def _answer(self, seen: Seen, wire: Wire) -> None:
        url = urlsplit(seen.path)
        found = _PATH.fullmatch(url.path)
        if seen.method not in ("GET", "HEAD"):
            _refuse(wire, 405, "UNSUPPORTED", "this registry is only read")
        elif url.path == "/v2/":
            wire.reply({}, headers={"Docker-Distribution-Api-Version": "registry/2.0"})
        elif found is None or found["repository"] not in self._repositories:
            _refuse(wire, 404, "NAME_UNKNOWN", "repository name not known to registry")
        elif found["list"]:
            self._list(found["repository"], parse_qs(url.query), wire)
        else:
            self._give(self._repositories[found["repository"]], found["what"], found["reference"], wire)

    def _list(self, name: str, query: Mapping[str, Sequence[str]], wire: Wire) -> None:
        """Give one page of the tags, in order, and where the next one is."""
        last = query.get("last", [""])[0]
        tags = [tag for tag in sorted(self._repositories[name].tags) if tag > last]
        size = min(int(query.get("n", [str(_PAGE)])[0]), _PAGE)
        page, headers = tags[:size], {}
        if len(page) < len(tags):
            following = urlencode({"n": size, "last": page[-1]})
            headers["Link"] = f'</v2/{name}/tags/list?{following}>; rel="next"'
        wire.reply({"name": name, "tags": page}, headers=headers)

    def _give(self, there: _Repository, what: str, reference: str, wire: Wire) -> None:
        """Give a manifest, by tag or digest, or a blob."""
        is_manifest = what == "manifests"
        digest = there.tags.get(reference, reference) if is_manifest else reference
        content = (there.manifests if is_manifest else there.blobs).get(digest)
        if content is None:
            code = "MANIFEST_UNKNOWN" if is_manifest else "BLOB_UNKNOWN"
            _refuse(wire, 404, code, code.lower().replace("_", " "))
            return
        kind = _MANIFEST if is_manifest else "application/octet-stream"
        wire.reply(content, headers={"Content-Type": kind, "Docker-Content-Digest": digest})


def _refuse(wire: Wire, status: int, code: str, message: str) -> None:
    wire.reply({"errors": [{"code": code, "message": message}]}, status)


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
