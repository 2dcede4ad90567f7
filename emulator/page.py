"""The page for people, at `/ui/`: what there is, consoles, calls, faults and the clock. It uses the emulator's own API.

It is the emulator's own origin, so the gate lets it ask, and no other page. Nothing in it runs but its own script,
which writes whatever it shows as text: names and outputs may hold anything.
"""

from importlib.resources import files

from flask import Blueprint, Response, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from cos_customizer.emulator.errors import ApiError

page = Blueprint("page", __name__)

_FILES = {
    "": ("index.html", "text/html; charset=utf-8"),
    "page.css": ("page.css", "text/css; charset=utf-8"),
    "page.js": ("page.js", "text/javascript; charset=utf-8"),
    "icon.svg": ("icon.svg", "image/svg+xml"),
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
"""https://www.w3.org/TR/CSP3/, https://w3c.github.io/trusted-types/"""


@page.get("/")
def _door() -> AnyResponse:
    if "text/html" not in request.headers.get("Accept", ""):
        raise ApiError(404, "notFound", "There is nothing here for programs. People find a page at /ui/.")
    return redirect("/ui/")


@page.get("/ui/")
@page.get("/ui/<name>")
def _file(name: str = "") -> AnyResponse:
    if request.path == "/ui":  # from where the page would not find its parts
        return redirect("/ui/")
    if name not in _FILES:
        raise ApiError(404, "notFound", f"There is no file {name[:100]!r} of the page.")
    file, kind = _FILES[name]
    content = files("cos_customizer.emulator").joinpath("ui", file).read_bytes()
    headers = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-cache", "Referrer-Policy": "no-referrer"}
    return Response(content, headers=headers, content_type=kind)
