"""What a control plane is told at its start."""

from __future__ import annotations

from pathlib import Path

from controlplane.ca.kubernetes import KubernetesOptions
from controlplane.ca.service import MAX_TTL_S
from controlplane.ca.service_accounts import DEFAULT_AUDIENCE, IN_CLUSTER
from controlplane.sources.kubernetes.options import SourceOptions
from controlplane.sources.store.place import StoreOptions
from protos.frozen import frozen

KUBERNETES_POLICIES_FILE = "last-good-kubernetes-policies.json"


@frozen
class ControlPlaneOptions:
    """config None: no files, only Kubernetes. Port 0: any free one.
    allow_sds_keys: plain Envoys may get their private key by SDS.
    certificate_ttl_s: how long workloads' certificates live, unless they ask for less.
    block_jwks: networks that are not asked for the keys of token issuers.
    store: sqlite:PATH or etcd://..., '' a file in state_dir; store_...: how etcd knows us.
    state_passphrase_file: where the passphrase of the authority's keys is, a path or env:NAME."""

    config: Path | None
    state_dir: Path
    host: str = "127.0.0.1"
    port: int = 15010
    mtls_port: int = 15012
    admin_port: int = 15014
    trust_domain: str = "cluster.local"
    allow_sds_keys: bool = False
    certificate_ttl_s: int = MAX_TTL_S
    log_level: str = "warning"
    issue_limits: tuple[str, ...] = ()
    ca_files: Path | None = None
    state_passphrase_file: str = ""
    issuer_address: str = ""
    issuer_root: Path | None = None
    issuer_server_name: str = ""
    token_review: str = ""
    api_credentials: Path = IN_CLUSTER
    service_account_jwks: Path | None = None
    service_account_issuer: str = ""
    token_audiences: tuple[str, ...] = (DEFAULT_AUDIENCE,)
    block_jwks: tuple[str, ...] = ()
    bundle_port: int | None = None
    bundle_certificate: Path | None = None
    bundle_key: Path | None = None
    kubernetes_source: bool = False
    kubeconfig: Path | None = None
    context: str = ""
    namespaces: tuple[str, ...] = ()
    lease_namespace: str = ""
    store: str = ""
    store_ca: Path | None = None
    store_certificate: Path | None = None
    store_key: Path | None = None
    store_user: str = ""
    store_password_file: str = ""

    @property
    def stored(self) -> StoreOptions:
        """Where what is applied is kept."""
        access = self.store_ca, self.store_certificate, self.store_key
        return StoreOptions(self.store, *access, self.store_user, self.store_password_file)

    @property
    def source(self) -> SourceOptions | None:
        """How objects are read from Kubernetes, if they are."""
        if not self.kubernetes_source:
            return None
        kept = self.state_dir / KUBERNETES_POLICIES_FILE
        return SourceOptions(
            self.kubeconfig, self.context, self.namespaces, self.lease_namespace, kept
        )

    @property
    def kubernetes(self) -> KubernetesOptions:
        """How service-account tokens are checked."""
        return KubernetesOptions(
            self.token_review,
            self.api_credentials,
            self.service_account_jwks,
            self.service_account_issuer,
            self.token_audiences,
        )
