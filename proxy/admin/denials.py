"""Weft's `/rbac`: who was turned away of late, or would have been by rules that are only tried."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from proxy.admin.reply import Query, Reply, json_reply
from proxy.admin.view import AdminView
from proxy.denials import MAX_PATH_BYTES, Denial

NOBODY = "nobody was denied anything\n"


def rbac(view: AdminView, query: Query) -> Reply:
    """`?format=json` for programs; `?shadow=true` or `false` for one kind only."""
    wanted = query.get("shadow")
    found = [
        _fields(each)
        for each in view.denials
        if wanted is None or each.shadow == (wanted == "true")
    ]
    if query.get("format") == "json":
        return json_reply({"denials": found})
    return Reply("".join(map(_line, found)) or NOBODY)


def _fields(denial: Denial) -> Mapping[str, Any]:
    when = datetime.fromtimestamp(denial.unix_s, UTC)
    return {
        "time": when.strftime("%Y-%m-%dT%H:%M:%S.") + f"{when.microsecond // 1000:03d}Z",
        "shadow": denial.shadow,
        "filter": denial.filter,
        "action": denial.action,
        "policy": denial.policy,
        "source": denial.source,
        "reason": denial.reason,
        "principal": denial.principal,
        "client": denial.info.remote[0],
        "method": denial.method.decode("latin-1"),
        "host": denial.host.decode("latin-1"),
        "path": denial.path[:MAX_PATH_BYTES].decode("latin-1"),
    }


def _line(fields: Mapping[str, Any]) -> str:
    what = "would deny" if fields["shadow"] else "denied"
    policy = fields["policy"] or ("" if fields["reason"] else "no policy applied")
    policy = ", ".join(filter(None, (fields["reason"], policy)))
    where = f" ({fields['source']})" if fields["source"] else ""
    who = fields["principal"] or fields["client"]
    asked = f" {fields['method']} {fields['host']}{fields['path']}" if fields["method"] else ""
    return f"{fields['time']} {what} {who}{asked}: {policy}{where} [{fields['filter']}]\n"
