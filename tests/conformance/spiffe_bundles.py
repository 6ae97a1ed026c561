"""The bundles of go-spiffe's and py-spiffe's tests: read, or refused, as their own tests say.

Called by the suites of those folders. JWT bundles are written without `use`; as part of a SPIFFE
bundle each of their keys has the use jwt-svid.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from certs.errors import CertificateError
from certs.spiffe_bundle import JWT_SVID, SpiffeBundle, emit_bundle
from tests.conformance.suite import Result

Counts = tuple[int, int] | None
"""(X.509 roots, JWT keys); None: must be refused."""

GO_SPIFFE: dict[str, Counts] = {
    "spiffebundle_valid_1.json": (1, 1),
    "spiffebundle_valid_2.json": (1, 6),
    "spiffebundle_valid_with_wit.json": (1, 2),
    "spiffebundle_missing_kid.json": None,
    "spiffebundle_multiple_x509.json": None,
    "spiffebundle_no_keys.json": None,
}
JWKS: dict[str, Counts] = {
    "jwks_valid_1.json": (0, 1),
    "jwks_valid_2.json": (0, 2),
    "jwks_missing_kid.json": None,
    "jwks_1_ec_key.json": (0, 1),
    "jwks_3_keys.json": (0, 3),
    "jwks_ec_missing_x.json": None,
}


def run(cases: Path) -> Iterator[Result]:
    """Every bundle below the folder; one that no table names fails."""
    for path in sorted((*cases.rglob("spiffebundle_*.json"), *cases.rglob("jwks_*.json"))):
        name = str(path.relative_to(cases))
        document = json.loads(path.read_text("utf-8"))
        if path.name in JWKS:
            for key in document["keys"]:
                key["use"] = JWT_SVID
            yield Result(name, _judged(document, JWKS[path.name]))
        elif path.name in GO_SPIFFE:
            yield Result(name, _judged(document, GO_SPIFFE[path.name]))
        else:
            yield Result(name, "no table says what should become of it")


def _judged(document: dict[str, object], expected: Counts) -> str:
    try:
        bundle = SpiffeBundle.parse(json.dumps(document))
    except CertificateError as error:
        return "" if expected is None else f"refused: {error}"
    found = (len(bundle.roots), len(bundle.jwt_keys))
    if found != expected:
        return f"{found} keys, expected {expected or 'a refusal'}"
    said = (document.get("spiffe_sequence"), document.get("spiffe_refresh_hint"))
    if (bundle.sequence, bundle.refresh_hint_s) != said:
        return f"sequence {bundle.sequence}, refresh hint {bundle.refresh_hint_s}, expected {said}"
    again = SpiffeBundle.parse(emit_bundle(bundle.roots, 1, 60))
    return "" if again.roots == bundle.roots else "what is emitted reads otherwise"
