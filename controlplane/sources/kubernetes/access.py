"""Where the API server is and who we are there: a kubeconfig, or the mount of a pod.

A kubeconfig is read by `kubernetes_asyncio` (contexts, exec plugins, OIDC, token files ...), which
is imported only then: it costs 40 MB. In a pod nothing of it is needed.
"""

from __future__ import annotations

import logging
import os
import ssl
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from controlplane.sources.files import SourceError
from protos.frozen import frozen

log = logging.getLogger("weft.controlplane.kubernetes")

MOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
RENEW_EVERY_S = 5.0
"""Not more often, whatever the server says of our credentials."""
TOKEN_FILE_S = 60.0


class Access(Protocol):
    """tls None: http, or the system's authorities. tls_server_name: another than the host's."""

    server: str
    tls: ssl.SSLContext | None
    tls_server_name: str | None
    proxy: str | None

    async def load(self) -> None:
        """Before anything else. SourceError: it can't be used."""

    async def authorization(self) -> str:
        """The value of the header, '' for none. May read files and run programs."""

    async def renew(self, *, distrusted: bool) -> bool:
        """The server does not believe us, or is itself distrusted. True: `tls` is another now."""


@frozen
class AccessOptions:
    """kubeconfig None: $KUBECONFIG or ~/.kube/config, unless this is a pod. context '': its
    current one."""

    kubeconfig: Path | None = None
    context: str = ""


def open_access(options: AccessOptions, environment: Mapping[str, str] = os.environ) -> Access:
    in_pod = bool(environment.get("KUBERNETES_SERVICE_HOST"))
    if options.kubeconfig is None and not options.context and in_pod:
        return PodAccess(environment)
    default = environment.get("KUBECONFIG") or str(Path.home() / ".kube/config")
    return KubeconfigAccess(str(options.kubeconfig or default), options.context)


class PodAccess:
    """The service account's mount; its token is renewed there by the kubelet."""

    def __init__(self, environment: Mapping[str, str], mount: Path = MOUNT) -> None:
        host = environment.get("KUBERNETES_SERVICE_HOST", "")
        port = environment.get("KUBERNETES_SERVICE_PORT", "443")
        self.server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
        self.tls: ssl.SSLContext | None = None
        self.tls_server_name: str | None = None
        self.proxy: str | None = None
        self._mount = mount

    async def load(self) -> None:
        try:
            self.tls = ssl.create_default_context(cafile=str(self._mount / "ca.crt"))
            await self.authorization()
        except OSError as error:
            raise SourceError(f"the service account's mount {self._mount}: {error}") from None

    async def authorization(self) -> str:
        return f"Bearer {(self._mount / 'token').read_text().strip()}"

    async def renew(self, *, distrusted: bool) -> bool:
        if not distrusted:
            return False  # the token is read for each request
        try:
            await self.load()
        except SourceError as error:
            log.warning("%s", error)
            return False
        return True


class KubeconfigAccess:
    """`clock`: seconds that only grow."""

    def __init__(
        self, path: str, context: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.server = ""
        self.tls: ssl.SSLContext | None = None
        self.tls_server_name: str | None = None
        self.proxy: str | None = None
        self._path = path
        self._context = context
        self._clock = clock
        self._authorization = ""
        self._read_at = 0.0
        self._lives_s = float("inf")
        self._certified = False

    async def load(self) -> None:
        from kubernetes_asyncio import config
        from kubernetes_asyncio.client import Configuration
        from kubernetes_asyncio.config import kube_config

        if not _exists(self._path):
            raise SourceError(f"no kubeconfig {self._path}: name one with --kubeconfig")
        made = type.__call__(Configuration)
        try:
            with tempfile.TemporaryDirectory() as private:  # inline keys, for OpenSSL, 0700
                loader = await config.load_kube_config(
                    self._path, self._context or None, made, False, private
                )
                self.tls = _tls(made)
                kube_config._cleanup_temp_files()
        except Exception as error:  # of many types: the library's, YAML's, OpenSSL's, a program's
            known, why = _contexts(self._path), str(error)
            if known and self._context and self._context not in known:
                why = f"no context {self._context!r}; it has {', '.join(known)}"
            raise SourceError(f"the kubeconfig {self._path}: {why}") from None
        self.server, self.proxy = made.host.rstrip("/"), made.proxy or None
        self.tls_server_name = made.tls_server_name or None
        self._authorization = made.api_key.get("BearerToken", "").strip()
        self._certified = made.cert_file is not None
        self._read_at = self._clock()
        self._lives_s = _life_s(loader)

    async def authorization(self) -> str:
        if self._clock() - self._read_at > self._lives_s:
            await self._again()
        return self._authorization

    async def renew(self, *, distrusted: bool) -> bool:
        if self._clock() - self._read_at < RENEW_EVERY_S:
            return False
        return await self._again() and (distrusted or self._certified)

    async def _again(self) -> bool:
        try:
            await self.load()
        except SourceError as error:
            log.warning("%s; going on with what it said before", error)
            self._read_at = self._clock()
            return False
        return True


def _contexts(path: str) -> list[str]:
    """Their names; none where it can't be read so far."""
    from kubernetes_asyncio import config

    try:
        found, _ = config.list_kube_config_contexts(path)
        return [str(one["name"]) for one in found]
    except Exception:  # what is wrong with it, loading it says
        return []


def _exists(paths: str) -> bool:
    """One of those that $KUBECONFIG lists."""
    return any(Path(one).expanduser().is_file() for one in paths.split(os.pathsep))


def _tls(made: object) -> ssl.SSLContext | None:
    """made: the library's Configuration."""
    host, verify = str(getattr(made, "host", "")), bool(getattr(made, "verify_ssl", True))
    if not host.startswith("https"):
        return None
    context = ssl.create_default_context(cafile=getattr(made, "ssl_ca_cert", None))
    if (certificate := getattr(made, "cert_file", None)) is not None:
        context.load_cert_chain(certificate, getattr(made, "key_file", None))
    if not verify:
        log.warning("%s is believed without a check: insecure-skip-tls-verify", host)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _life_s(loader: object) -> float:
    """How long the credentials may be used: until a plugin's expirationTimestamp, a minute for a
    file; else until they are refused."""
    expiry = getattr(loader, "exec_plugin_expiry", None)
    if expiry is not None:
        return max(float(expiry.timestamp()) - time.time() - 60.0, RENEW_EVERY_S)
    user = getattr(loader, "_user", None)
    return TOKEN_FILE_S if user is not None and "tokenFile" in user else float("inf")
