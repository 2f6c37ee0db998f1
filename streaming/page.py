"""The page beside the protocol: a folder of files at `/`, held in memory and sent with strict headers.

Which folder is the caller's affair: the page belongs to the clients, and this room does not know them.
"""

import hashlib
import mimetypes
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

INDEX = "index.html"
STATIC_PATH = "/static"

# Nothing but the page's own files: no inline script or style, no other host, no frame around it from elsewhere.
# `media-src blob:` is a file that the reader chose to play; `'self'` lets the page reach this server's websocket.
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "media-src blob:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'self'",
        "require-trusted-types-for 'script'",
    )
)
_HEADERS = {
    # Files have no version in their names, so a browser asks each time, and is mostly told 304.
    "Cache-Control": "no-cache",
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
# Python's own table is the machine's, which may know other names for these or none.
_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}


class Page:
    """The files of one folder, without what lies below it.

    A request never reaches the file system: what is not in memory is not there.

    Raises FileNotFoundError where the folder holds no `index.html`.
    """

    def __init__(self, folder: Path) -> None:
        self._files = {path.name: _File(path) for path in sorted(folder.iterdir()) if path.is_file()}
        if INDEX not in self._files:
            raise FileNotFoundError(f"no {INDEX} in {folder}: name the folder that holds the page")

    def routes(self) -> list[BaseRoute]:
        """`/` is the index; `/static/NAME` is any file."""
        return [Route("/", self.index), Route(f"{STATIC_PATH}/{{name}}", self.file)]

    async def index(self, request: Request) -> Response:
        return self._files[INDEX].answer(request)

    async def file(self, request: Request) -> Response:
        held = self._files.get(request.path_params["name"])
        return Response(status_code=404, headers=_HEADERS) if held is None else held.answer(request)


class _File:
    """One file, with the headers that go with it."""

    def __init__(self, path: Path) -> None:
        self._content = path.read_bytes()
        self._type = (
            _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        )
        self._etag = f'"{hashlib.sha256(self._content).hexdigest()[:32]}"'

    def answer(self, request: Request) -> Response:
        headers = {**_HEADERS, "ETag": self._etag}
        # A proxy that compresses makes a tag weak; the content is the same.
        held = {tag.strip().removeprefix("W/") for tag in request.headers.get("If-None-Match", "").split(",")}
        if self._etag in held:
            return Response(status_code=304, headers=headers)
        return Response(self._content, media_type=self._type, headers=headers)
