"""spiffe-vectors: the tables of go-spiffe's and py-spiffe's own tests, for SPIFFE IDs, trust
domains, X.509-SVIDs and bundles. The files that the Go tables name lie in go-spiffe-testdata."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from certs.errors import CertificateError
from certs.spiffe import SCHEME, SpiffeId
from tests.conformance import spiffe_svids
from tests.conformance.suite import Result

PY_ID = "spiffe/tests/unit/spiffe_id/test_spiffe_id.py"
PY_TRUST_DOMAIN = "spiffe/tests/unit/spiffe_id/test_trust_domain.py"
SVIDS = "svid/x509svid/svid_test.go"
BUNDLES = "bundle/x509bundle/bundle_test.go"


def run(cases: Path) -> Iterator[Result]:
    yield from _go_ids(json.loads((cases / "spiffe_id_from_string.json").read_text("utf-8")))
    tables = json.loads((cases / "py_spiffe_params.json").read_text("utf-8"))
    yield from _py_ids({each["test"]: each["values"] for each in tables[PY_ID]})
    yield from _py_trust_domains({each["test"]: each["values"] for each in tables[PY_TRUST_DOMAIN]})
    tables = json.loads((cases / "go_spiffe_tables.json").read_text("utf-8"))
    files = cases.parent / "go-spiffe-testdata"
    yield from _go_files(_rows(tables[SVIDS], "TestParse"), files / "svid" / "x509svid")
    yield from _go_files(_rows(tables[BUNDLES], "TestParse"), files / "bundle" / "x509bundle")


def _rows(file: dict[str, Any], test: str) -> list[dict[str, Any]]:
    return next(table["rows"] for table in file["tables"] if table["test"] == test)


def _go_ids(rows: list[dict[str, Any]]) -> Iterator[Result]:
    for row in rows:
        name = f"go id {row['in'][:60]!a}"
        try:
            found = SpiffeId.parse(row["in"])
        except CertificateError as error:
            yield Result(name, f"refused: {error}" if row["ok"] else "")
            continue
        same = found.path == row.get("path", found.path) and str(found) == row["in"]
        yield Result(name, "" if row["ok"] and same else f"accepted as {found}")


def _py_ids(tests: dict[str, list[Any]]) -> Iterator[Result]:
    for text in tests["test_spiffe_id_valid"]:
        yield Result(f"py id {text!a}", _id(text, text))
    for text, _error in tests["test_spiffe_id_invalid"]:
        yield Result(f"py id {text!a}", _id(text, None))
    for text, trust_domain, path in tests["test_spiffe_id_components"]:
        yield Result(f"py parts {text!a}", _id(text, f"{SCHEME}{trust_domain}{path}"))
    for text, expected, _ in tests["test_spiffe_id_scheme_and_trust_domain_case_insensitive"]:
        yield Result(f"py case {text!a}", _id(text, expected))


def _py_trust_domains(tests: dict[str, list[Any]]) -> Iterator[Result]:
    """py-spiffe takes a name or an ID here."""
    for text, expected in tests["test_valid_trust_domain"]:
        yield Result(f"py trust domain {text!a}", _trust_domain(text, expected))
    for text, _error in tests["test_invalid_trust_domain"]:
        yield Result(f"py trust domain {text!a}", _trust_domain(text, None))


def _id(text: str, expected: str | None) -> str:
    try:
        found = str(SpiffeId.parse(text))
    except CertificateError as error:
        return "" if expected is None else f"refused: {error}"
    return "" if found == expected else f"accepted as {found}"


def _trust_domain(text: str, expected: str | None) -> str:
    try:
        found = (SpiffeId.parse(text) if "://" in text else SpiffeId(text)).trust_domain
    except CertificateError as error:
        return "" if expected is None else f"refused: {error}"
    return "" if found == expected else f"accepted as {found}"


def _go_files(rows: list[dict[str, Any]], folder: Path) -> Iterator[Result]:
    for row in rows:
        refused = "expErrContains" in row
        if "certsPath" in row:
            count, key = row.get("expNumCerts"), folder / row["keyPath"]
            found = spiffe_svids.svid(folder / row["certsPath"], key)
        else:
            count, found = row.get("expNumAuthorities"), spiffe_svids.bundle(folder / row["path"])
        yield Result(f"go {row['name']}", spiffe_svids.judged(found, None if refused else count))
