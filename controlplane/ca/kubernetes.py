"""Which clusters' service accounts are believed, from the command line's words to a checker."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

from certs.errors import CertificateError
from controlplane.ca.caller import ServiceAccountTokens
from controlplane.ca.offline_tokens import OfflineOptions, OfflineTokens
from controlplane.ca.service_accounts import DEFAULT_AUDIENCE, IN_CLUSTER
from protos.frozen import frozen

IN_CLUSTER_WORD = "in-cluster"


@frozen
class KubernetesOptions:
    """At most one of token_review (a URL, or "in-cluster") and jwks (with issuer) is given; none:
    service-account tokens are not accepted. credentials is a folder with ca.crt and token."""

    token_review: str = ""
    credentials: Path = IN_CLUSTER
    jwks: Path | None = None
    issuer: str = ""
    audiences: tuple[str, ...] = (DEFAULT_AUDIENCE,)


async def open_service_accounts(
    options: KubernetesOptions,
    trust_domain: str,
    stack: AsyncExitStack,
    environment: Mapping[str, str] = os.environ,
) -> ServiceAccountTokens | None:
    """The checker; `stack` closes it. CertificateError: the options or their files are no good."""
    if options.token_review and options.jwks is not None:
        raise CertificateError(
            "service-account tokens are checked in one way: by --token-review, or offline by "
            "--service-account-jwks"
        )
    if options.token_review:
        from controlplane.ca.token_review import ApiServer, TokenReviews  # and a client of HTTP

        folder = options.credentials
        server = ApiServer(_api_server(options, environment), folder / "ca.crt", folder / "token")
        reviews = TokenReviews(server, options.audiences, trust_domain)
        return await stack.enter_async_context(reviews)
    if options.jwks is None:
        return None
    if not options.issuer:
        raise CertificateError(
            "--service-account-jwks needs --service-account-issuer: the `issuer` that "
            "`kubectl get --raw /.well-known/openid-configuration` shows"
        )
    return OfflineTokens(
        OfflineOptions(options.jwks, options.issuer, options.audiences), trust_domain
    )


def _api_server(options: KubernetesOptions, environment: Mapping[str, str]) -> str:
    """Its URL."""
    url = options.token_review
    if url == IN_CLUSTER_WORD:
        host, port = (environment.get(f"KUBERNETES_SERVICE_{name}") for name in ("HOST", "PORT"))
        if not host or not port:
            raise CertificateError(
                "--token-review in-cluster: KUBERNETES_SERVICE_HOST and _PORT are not set; name "
                "the API server's URL"
            )
        url = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    if not url.startswith("https://"):
        # Its answers decide who is who, and our token goes there.
        raise CertificateError(f"--token-review {url}: only https:// is asked about tokens")
    return url
