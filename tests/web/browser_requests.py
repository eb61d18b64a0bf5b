"""Requests as browsers really send them (Chromium 156), and as proxies pass them on in a subrequest."""

from gateway.web.subrequest.browsers import Endpoint, Kind

URL = "https://app.example.com/page?x=1&y=%2F"
HTML = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"
FORM = "application/x-www-form-urlencoded"
Headers = dict[str, str]
NAVIGATE = {"Sec-Fetch-Mode": "navigate", "Accept": HTML}
# Each as (method, its own headers, what it is).
REQUESTS: dict[str, tuple[str, Headers, Kind]] = {
    "navigation": (
        "GET",
        {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Accept": HTML},
        Kind.NAVIGATION,
    ),
    "navigation by HEAD": ("HEAD", {"Sec-Fetch-Mode": "navigate", "Accept": HTML}, Kind.NAVIGATION),
    "iframe": ("GET", {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe", "Accept": HTML}, Kind.NAVIGATION),
    "form post": ("POST", {"Sec-Fetch-Mode": "navigate", "Accept": HTML, "Content-Type": FORM}, Kind.FORM),
    "upload": (
        "POST",
        {"Sec-Fetch-Mode": "navigate", "Accept": HTML, "Content-Type": "multipart/form-data; boundary=x"},
        Kind.FORM,
    ),
    "fetch": ("GET", {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty", "Accept": "*/*"}, Kind.OTHER),
    "fetch for a page": ("GET", {"Sec-Fetch-Mode": "cors", "Accept": HTML}, Kind.OTHER),
    "XHR post": ("POST", {"Sec-Fetch-Mode": "cors", "Accept": "*/*", "Content-Type": FORM}, Kind.OTHER),
    "image": ("GET", {"Sec-Fetch-Mode": "no-cors", "Accept": "image/avif,image/webp,*/*;q=0.8"}, Kind.OTHER),
    "script": ("GET", {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script", "Accept": "*/*"}, Kind.OTHER),
    "prefetch": ("GET", {"Sec-Fetch-Mode": "no-cors", "Sec-Purpose": "prefetch", "Accept": HTML}, Kind.OTHER),
    "prerender": (
        "GET",
        {"Sec-Fetch-Mode": "navigate", "Sec-Purpose": "prefetch;prerender", "Accept": HTML},
        Kind.OTHER,
    ),
    "WebSocket": ("GET", {"Upgrade": "websocket", "Connection": "Upgrade", "Origin": "https://a.example"}, Kind.OTHER),
    "server-sent events": ("GET", {"Sec-Fetch-Mode": "cors", "Accept": "text/event-stream"}, Kind.OTHER),
    "old browser": ("GET", {"Accept": HTML}, Kind.NAVIGATION),
    "old browser, form": ("POST", {"Accept": HTML, "Content-Type": FORM}, Kind.FORM),
    "curl": ("GET", {"Accept": "*/*"}, Kind.OTHER),
    "a program": ("GET", {}, Kind.OTHER),
    "an API by PUT": ("PUT", {"Accept": HTML, "Content-Type": "application/json"}, Kind.OTHER),
    "a mode twice": ("GET", {"Sec-Fetch-Mode": "navigate, navigate", "Accept": HTML}, Kind.OTHER),
    "a mode that nobody knows": ("GET", {"Sec-Fetch-Mode": "x", "Accept": HTML}, Kind.OTHER),
}


def passed_on(
    endpoint: Endpoint, method: str, own: Headers, url: str = URL
) -> tuple[str, str, list[tuple[bytes, bytes]]]:
    """Give method, path and headers of the subrequest for a request."""
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    more = {
        Endpoint.NGINX: {"X-Original-URL": url, "X-Original-Method": method, "Host": "gateway"},
        Endpoint.FORWARD: {
            "X-Forwarded-Proto": scheme, "X-Forwarded-Host": host, "X-Forwarded-Uri": slash + path,
            "X-Forwarded-Method": method, "Host": "gateway",
        },
        Endpoint.ENVOY: {"X-Forwarded-Proto": scheme, "Host": host},
    }[endpoint]  # fmt: skip
    headers = [(name.lower().encode(), value.encode()) for name, value in (own | more).items()]
    return (method if endpoint is Endpoint.ENVOY else "GET"), path, headers
