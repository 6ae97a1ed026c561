"""The table of admin pages, and the way from a request to a reply: Envoy's paths, Envoy's answers.

What changes the proxy takes POST. A browser that shows somebody else's page may send such a POST
to a loopback address without asking; it then says so in `Origin`, and is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from proxy.admin import server_pages
from proxy.admin.certs import certs
from proxy.admin.clusters import clusters
from proxy.admin.config_dump import config_dump
from proxy.admin.denials import rbac
from proxy.admin.listeners import listeners
from proxy.admin.reply import HTML, Query, Reply
from proxy.admin.runtime import runtime, runtime_modify
from proxy.admin.stats_page import prometheus, stats
from proxy.admin.view import AdminView

Handler = Callable[[AdminView, Query], Reply]


@dataclass(frozen=True, slots=True)
class Page:
    handler: Handler
    help: str
    changes: bool = False


def _help(view: AdminView, query: Query) -> Reply:
    return Reply(_listing())


def _home(view: AdminView, query: Query) -> Reply:
    return Reply(_home_page(), content_type=HTML)


PAGES: dict[str, Page] = {
    "/": Page(_home, "Admin home page"),
    "/certs": Page(certs, "print certs on machine"),
    "/clusters": Page(clusters, "upstream cluster status"),
    "/config_dump": Page(config_dump, "dump current configuration, secrets left out"),
    "/drain_listeners": Page(server_pages.drain_listeners, "drain listeners", True),
    "/healthcheck/fail": Page(
        server_pages.healthcheck_fail, "cause the server to fail health checks", True
    ),
    "/healthcheck/ok": Page(
        server_pages.healthcheck_ok, "cause the server to pass health checks", True
    ),
    "/help": Page(_help, "print out list of admin commands"),
    "/listeners": Page(listeners, "print listener info"),
    "/logging": Page(server_pages.logging, "query/change logging levels", True),
    "/memory": Page(server_pages.memory, "print current allocation/heap usage"),
    "/quitquitquit": Page(server_pages.quitquitquit, "exit the server", True),
    "/rbac": Page(rbac, "print who was denied of late, or would be by shadow rules"),
    "/ready": Page(server_pages.ready, "print server state, return 200 if LIVE, otherwise 503"),
    "/reset_counters": Page(server_pages.reset_counters, "reset all counters to zero", True),
    "/runtime": Page(runtime, "print runtime values"),
    "/runtime_modify": Page(
        runtime_modify, "modify runtime: /runtime_modify?k=v, no value removes k", True
    ),
    "/server_info": Page(server_pages.server_info, "print server version/status information"),
    "/stats": Page(stats, "print server stats"),
    "/stats/prometheus": Page(prometheus, "print server stats in prometheus format"),
}


def respond(view: AdminView, method: str, target: str, authority: str, origin: str) -> Reply:
    """target: path and query. authority and origin: the headers, '' where there is none."""
    path, _, query = target.partition("?")
    page = PAGES.get(path)
    if page is None:
        return Reply("invalid path. " + _listing(), 404)
    if method not in (("POST",) if page.changes else ("GET", "HEAD", "POST")):
        required = "POST" if page.changes else "GET"
        return Reply(f"Method {method} not allowed, {required} required.", 405)
    if page.changes and origin and urlsplit(origin).netloc != authority:
        return Reply(f"refused: the request comes from a page of {origin}\n", 403)
    return page.handler(view, dict(parse_qsl(query, keep_blank_values=True)))


def _listing() -> str:
    lines = [
        f"  {path}{' (POST)' if page.changes else ''}: {page.help}\n"
        for path, page in PAGES.items()
    ]
    return "admin commands are:\n" + "".join(lines)


def _home_page() -> str:
    from html import escape  # with all entities there are

    rows = [
        f"<tr><td>{_link(path, page)}</td><td>{escape(page.help)}</td></tr>"
        for path, page in PAGES.items()
    ]
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Weft proxy</title>'
        "<style>body{font:16px sans-serif;margin:2em}td{padding:.3em 1em .3em 0}</style></head>"
        f"<body><h1>Weft proxy</h1><table>{''.join(rows)}</table></body></html>\n"
    )


def _link(path: str, page: Page) -> str:
    if page.changes:
        return f'<form action="{path}" method="post"><button>{path}</button></form>'
    return f'<a href="{path}">{path}</a>'
