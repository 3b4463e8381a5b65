"""A real kube-apiserver on etcd: own CA, users, RBAC, kubeconfigs, an audit log, Argo CD's CRDs."""

from __future__ import annotations

import datetime
import http.client
import ipaddress
import json
import os
import ssl
import subprocess
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from . import programs
from .api import JSON, Api, ApiError
from .processes import Processes, TestbedError, tail

T = TypeVar("T")

MASTERS = "system:masters"
USERS: Mapping[str, Sequence[str]] = {"admin": [MASTERS], "alice": ["sre"], "bob": ["sre"]}
"""The users that every bed has, with their groups; any other name is made on demand."""

BROKEN = "testbed/broken"
"""A pod with this label never gets ready on the bed's node: its containers crash."""

_AUDIT_POLICY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Request
  verbs: [create, update, patch, delete]
  resources: [{group: argoproj.io}, {group: apps}, {group: "", resources: [configmaps]}]
- level: Metadata
"""

_CONTROLLERS = (
    "deployment",
    "replicaset",
    "daemonset",
    "statefulset",
    "namespace",
    "garbagecollector",
    "node-lifecycle-controller",  # takes the not-ready taint off the node
    "node-ipam-controller",
    "endpoints-controller",
    "endpointslice-controller",
    "serviceaccount-controller",
)


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One answered request as the API server saw it."""

    user: str
    verb: str
    uri: str
    code: int
    agent: str
    body: JSON
    """The request body, for writes to Argo CD's kinds, workloads and ConfigMaps."""
    at: datetime.datetime
    """When it was answered."""


class Authority:
    """A certificate authority of its own for one control plane."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(mode=0o700)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "testbed")])
        certificate = self._builder(self._name, self._key.public_key()).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        self.certificate = self._write("ca", certificate, self._key)

    def issue(self, file: str, name: str, groups: Sequence[str] = (), *, server: bool = False) -> Path:
        """Write FILE.crt and FILE.key for a user, or for a server on loopback; return the former."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        subject.append(x509.NameAttribute(NameOID.COMMON_NAME, name))
        usage = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = self._builder(x509.Name(subject), key.public_key()).add_extension(
            x509.ExtendedKeyUsage([usage]), critical=False
        )
        if server:
            names: list[x509.GeneralName] = [
                x509.IPAddress(ipaddress.ip_address(ip)) for ip in ("127.0.0.1", "10.0.0.1")
            ]
            names.append(x509.DNSName("localhost"))
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return self._write(file, builder, key)

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.timezone.utc)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=30))
        )

    def _write(self, file: str, builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey) -> Path:
        certificate = self.folder / f"{file}.crt"
        pem = builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        certificate.write_bytes(pem)
        write_key(certificate.with_suffix(".key"), key)
        return certificate


def write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    """Write a private key that only its owner may read."""
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )


class ControlPlane:
    """etcd and kube-apiserver on loopback, as a context manager.

    `crds` is the release line of Argo CD whose CRDs are applied, or None for a bare server;
    `workloads` starts the controllers, scheduler and node that make Deployments roll.
    """

    def __init__(self, crds: str | None = "3.2", *, workloads: bool = False) -> None:
        self._crds, self._workloads = crds, workloads
        self.processes = Processes()
        self.folder = self.processes.folder
        self.port = self.processes.ports.take()
        self._etcd_ports = (self.processes.ports.take(), self.processes.ports.take())
        self._kubeconfigs: dict[str, Path] = {}

    def __enter__(self) -> ControlPlane:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_failure: object) -> None:
        self.close()

    # -- life

    def start(self) -> None:
        """Start it and wait until it answers; a failure is a TestbedError or BuildError with the reason."""
        self._lay_out()
        self.start_etcd()
        self.start_apiserver(wait=False)
        self._wait_for_apiserver()
        if self._workloads:
            self.start_workloads()
        if self._crds:
            self.apply_crds(self._crds)

    def close(self) -> None:
        """End everything and remove the folder."""
        if hasattr(self, "api"):
            self.api.close()
        self.processes.close()

    def _lay_out(self) -> None:
        self.authority = Authority(self.folder / "pki")
        self.authority.issue("apiserver", "kube-apiserver", server=True)
        write_key(self.folder / "pki" / "service-accounts.key", ec.generate_private_key(ec.SECP256R1()))
        (self.folder / "audit.yaml").write_text(_AUDIT_POLICY)
        self.bin = self.folder / "bin"
        self.bin.mkdir()
        self.offer("kubectl", programs.program("kubectl"))
        for user, groups in USERS.items():
            self.kubeconfig(user, groups)
        context = ssl.create_default_context(cafile=str(self.authority.certificate))
        admin = self.folder / "pki" / "user-admin.crt"
        context.load_cert_chain(admin, admin.with_suffix(".key"))
        self.api = Api(self.port, context)

    def offer(self, name: str, program: Path) -> None:
        """Put a program on the bed's own PATH."""
        (self.bin / name).symlink_to(program)

    @property
    def path(self) -> str:
        """PATH with the bed's own kubectl first."""
        return f"{self.bin}{os.pathsep}{os.environ.get('PATH', os.defpath)}"

    def start_etcd(self) -> None:
        """Start the store; data of an earlier start is kept."""
        client, peer = (f"http://127.0.0.1:{port}" for port in self._etcd_ports)
        self.processes.start(
            "etcd",
            programs.program("etcd"),
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        )

    def start_apiserver(self, *, wait: bool = True) -> None:
        """Start the API server, on the same port after a stop."""
        pki = self.folder / "pki"
        self.processes.start(
            "kube-apiserver",
            programs.program("kube-apiserver"),
            f"--etcd-servers=http://127.0.0.1:{self._etcd_ports[0]}",
            f"--secure-port={self.port}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--tls-cert-file={pki / 'apiserver.crt'}",
            f"--tls-private-key-file={pki / 'apiserver.key'}",
            f"--client-ca-file={self.authority.certificate}",
            f"--service-account-key-file={pki / 'service-accounts.key'}",
            f"--service-account-signing-key-file={pki / 'service-accounts.key'}",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--authorization-mode=RBAC",
            "--disable-admission-plugins=ServiceAccount",
            f"--audit-policy-file={self.folder / 'audit.yaml'}",
            f"--audit-log-path={self.audit_log}",
        )
        if wait:
            self._wait_for_apiserver()

    def stop_apiserver(self) -> None:
        """Kill the API server; `start_apiserver` brings it back with all its objects."""
        self.processes.stop("kube-apiserver")

    def _wait_for_apiserver(self) -> None:
        self.until(
            lambda: self.api.request("GET", "/readyz") == "ok",
            180,
            "the API server is ready",
            logs=("kube-apiserver", "etcd"),
        )

    def until(
        self, condition: Callable[[], T | None], timeout: float, what: str, *, logs: Sequence[str] = ()
    ) -> T:
        """Wait for a true value; answers of the server such as 404 mean "not yet"."""
        not_yet = (ApiError, OSError, http.client.HTTPException, KeyError)
        return self.processes.until(condition, timeout, what, ignoring=not_yet, logs=logs)

    # -- users

    def kubeconfig(self, user: str = "admin", groups: Sequence[str] = ()) -> Path:
        """Return the kubeconfig of a user, made at the first call with these groups."""
        if known := self._kubeconfigs.get(user):
            return known
        file = user.replace(":", "-").replace("/", "-")
        certificate = self.authority.issue(f"user-{file}", user, groups)
        path = self.folder / f"{file}.kubeconfig"
        path.touch(mode=0o600)
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "testbed",
            "clusters": [
                {
                    "name": "testbed",
                    "cluster": {
                        "server": f"https://127.0.0.1:{self.port}",
                        "certificate-authority": str(self.authority.certificate),
                    },
                }
            ],
            "users": [
                {
                    "name": user,
                    "user": {
                        "client-certificate": str(certificate),
                        "client-key": str(certificate.with_suffix(".key")),
                    },
                }
            ],
            "contexts": [{"name": "testbed", "context": {"cluster": "testbed", "user": user}}],
        }
        path.write_text(yaml.safe_dump(config))
        self._kubeconfigs[user] = path
        return path

    def allow(self, subject: str, rules: Sequence[JSON], *, namespace: str = "", group: bool = False) -> None:
        """Grant RBAC rules to a user or group, in one namespace or cluster-wide, and wait until they count."""
        grant = uuid.uuid4().hex[:6]
        name = f"testbed:{subject}:{grant}"
        scope = "Role" if namespace else "ClusterRole"
        meta = {"name": name, **({"namespace": namespace} if namespace else {})}
        api = "rbac.authorization.k8s.io"
        mark = {"apiGroups": ["testbed"], "resources": [grant], "verbs": ["get"]}
        self.api.apply(
            {"apiVersion": f"{api}/v1", "kind": scope, "metadata": meta, "rules": [*rules, mark]},
            {
                "apiVersion": f"{api}/v1",
                "kind": f"{scope}Binding",
                "metadata": meta,
                "roleRef": {"apiGroup": api, "kind": scope, "name": name},
                "subjects": [{"kind": "Group" if group else "User", "apiGroup": api, "name": subject}],
            },
        )
        # The server's authorizer learns of it from a watch; nobody else was granted this resource.
        question: JSON = {
            **({"groups": [subject], "user": "somebody"} if group else {"user": subject}),
            "resourceAttributes": {
                "group": "testbed",
                "resource": grant,
                "verb": "get",
                "namespace": namespace,
            },
        }
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": question}
        path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
        self.until(
            lambda: self.api.request("POST", path, review)["status"]["allowed"], 60, f"{name} is in force"
        )

    # -- objects

    def kubectl(
        self, *arguments: object, user: str = "admin", stdin: str = "", check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run the bed's kubectl as a user."""
        done = subprocess.run(
            [str(self.bin / "kubectl"), *map(str, arguments)],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PATH": self.path, "KUBECONFIG": str(self.kubeconfig(user))},
        )
        if check and done.returncode:
            raise TestbedError(f"kubectl {' '.join(map(str, arguments))}: {done.stderr or done.stdout}")
        return done

    def apply(self, *objects: JSON) -> Sequence[JSON]:
        """Apply objects server-side as the administrator."""
        return self.api.apply(*objects)

    def get(self, kind: str, name: str, namespace: str = "argocd") -> JSON:
        """Read one object by any name of its kind that kubectl takes."""
        return self.api.get(kind, name, namespace)

    def namespace(self, name: str) -> str:
        """Make a namespace and return its name."""
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        return name

    def apply_crds(self, version: str) -> None:
        """Apply the CRDs of an Argo CD release line and wait until they are served."""
        crds = [yaml.safe_load(file.read_text()) for file in programs.crds(version)]
        self.apply(*crds)
        kinds = [crd["spec"]["names"]["kind"] for crd in crds]
        self.until(lambda: all(self.api.list(kind) is not None for kind in kinds), 120, f"{kinds} are served")

    # -- what happened

    @property
    def audit_log(self) -> Path:
        """The API server's own record of requests."""
        return self.folder / "audit.log"

    def audit_mark(self) -> int:
        """Return a position for `audit`: all that was answered before it is left out."""
        self._flush_audit()
        return self.audit_log.stat().st_size

    def audit(self, since: int = 0) -> Sequence[AuditEntry]:
        """Return the requests that were answered since a mark, in the server's order."""
        self._flush_audit()
        with open(self.audit_log, "rb") as log:
            log.seek(since)
            lines = log.read().split(b"\n")[:-1]  # the last one may be half written
        entries = [json.loads(line) for line in lines]
        return [
            AuditEntry(
                user=entry["user"]["username"],
                verb=entry["verb"],
                uri=entry["requestURI"],
                code=entry["responseStatus"]["code"],
                agent=entry.get("userAgent", ""),
                body=entry.get("requestObject"),
                at=datetime.datetime.fromisoformat(entry["stageTimestamp"].replace("Z", "+00:00")),
            )
            for entry in entries
            if entry["stage"] == "ResponseComplete" and entry.get("userAgent") != "argo-rescue-testbed"
        ]

    def _flush_audit(self) -> None:
        # A line is written just after its answer left, so a request of our own marks the end.
        mark = uuid.uuid4().hex
        self.api.request("GET", "/version", query={"mark": mark})
        self.until(lambda: mark.encode() in self.audit_log.read_bytes(), 60, "the audit log is written")

    def logs(self, *names: str) -> str:
        """Return the end of these logs (all, if none is named) for a failure's message."""
        return "\n".join(tail(self.processes.log(name)) for name in names or self.processes.running())

    # -- workloads

    def start_workloads(self) -> None:
        """Start what makes Deployments roll: controllers, scheduler, a node of kwok's. Once is enough."""
        if "kwok" in self.processes.running():
            return
        self.processes.start(
            "kube-controller-manager",
            programs.program("kube-controller-manager"),
            f"--kubeconfig={self.kubeconfig('system:kube-controller-manager', [MASTERS])}",
            "--leader-elect=false",
            f"--controllers={','.join(_CONTROLLERS)}",
            "--kube-api-qps=200",
            "--kube-api-burst=400",
            "--secure-port=0",
        )
        self.processes.start(
            "kube-scheduler",
            programs.program("kube-scheduler"),
            f"--kubeconfig={self.kubeconfig('system:kube-scheduler', [MASTERS])}",
            "--leader-elect=false",
            "--secure-port=0",
        )
        stages = self.folder / "stages.yaml"
        stages.write_text(yaml.safe_dump_all(pod_stages(_read_stages())))
        self.processes.start(
            "kwok",
            programs.program("kwok"),
            f"--kubeconfig={self.kubeconfig('kwok', [MASTERS])}",
            "--manage-all-nodes=true",
            "--node-lease-duration-seconds=40",
            f"--config={stages}",
        )
        room = {"cpu": "64", "memory": "256Gi", "pods": "1000"}
        self.api.create(
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {
                    "name": "node",
                    "annotations": {"kwok.x-k8s.io/node": "fake"},
                    "labels": {"kubernetes.io/hostname": "node", "kubernetes.io/os": "linux"},
                },
                "status": {"allocatable": room, "capacity": room},
            }
        )


def _read_stages() -> Sequence[JSON]:
    files = [file for folder in programs.KWOK.files for file in programs.files(programs.KWOK, folder)]
    return [yaml.safe_load(file.read_text()) for file in files]


def pod_stages(stages: Sequence[JSON]) -> Sequence[JSON]:
    """Add to kwok's stages one for pods labelled BROKEN: they run, crash, and never get ready."""
    changed: list[JSON] = []
    for stage in stages:
        changed.append(stage)
        if stage["metadata"]["name"] != "pod-ready":
            continue
        label = f'.metadata.labels["{BROKEN}"]'
        crash = json.loads(json.dumps(stage))
        stage["spec"]["selector"]["matchExpressions"].append({"key": label, "operator": "DoesNotExist"})
        crash["metadata"]["name"] = "pod-crash"
        crash["spec"]["selector"]["matchExpressions"].append({"key": label, "operator": "Exists"})
        crash["spec"]["next"]["statusTemplate"] = _CRASHED
        changed.append(crash)
    return changed


_CRASHED = """\
{{ $now := Now }}
phase: Running
startTime: {{ $now | Quote }}
conditions:
- {type: Initialized, status: "True", lastTransitionTime: {{ $now | Quote }}}
- {type: Ready, status: "False", reason: ContainersNotReady, lastTransitionTime: {{ $now | Quote }}}
- {type: ContainersReady, status: "False", reason: ContainersNotReady, lastTransitionTime: {{ $now | Quote }}}
containerStatuses:
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  ready: false
  restartCount: 3
  state:
    waiting: {reason: CrashLoopBackOff, message: back-off restarting failed container}
{{ end }}
"""
