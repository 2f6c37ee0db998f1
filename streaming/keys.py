"""The key that a client shows at the handshake: where each protocol puts it. The porter knows if it is good."""

from collections.abc import Mapping

# Browsers cannot set headers on a websocket, so the key is hidden among the subprotocols.
_SUBPROTOCOL = "sec-websocket-protocol"
_OPENAI_PREFIX = "openai-insecure-api-key."


def presented_key(headers: Mapping[str, str]) -> str | None:
    """The key in a request's headers (names in lower case), None where there is none."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() in ("token", "bearer") and key.strip():
        return key.strip()
    if headers.get("x-api-key", "").strip():
        return headers["x-api-key"].strip()
    offered = [item.strip() for item in headers.get(_SUBPROTOCOL, "").split(",")]
    for item in offered:
        if item.startswith(_OPENAI_PREFIX):
            return item.removeprefix(_OPENAI_PREFIX)
    if len(offered) == 2 and offered[0].lower() in ("token", "bearer"):
        return offered[1]
    return None


def chosen_subprotocol(headers: Mapping[str, str]) -> str | None:
    """What to answer to a browser that offers subprotocols: one of them, and never the key."""
    first = headers.get(_SUBPROTOCOL, "").split(",")[0].strip()
    return first if first.lower() in ("token", "bearer", "realtime") else None
