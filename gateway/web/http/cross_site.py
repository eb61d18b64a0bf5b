"""Cross-site requests: what a browser sends from another site with our cookies changes nothing."""

import re

from starlette.datastructures import Headers

from gateway.errors import CrossSiteRequest
from gateway.settings import Settings

_ORIGIN = re.compile(r"null|[a-z][a-z0-9+.-]{0,31}://[A-Za-z0-9.:\[\]_-]{1,255}")
SAFE_SITES = (["same-origin"], ["none"])


def refuse_cross_site(headers: Headers, settings: Settings) -> None:
    """
    Let a request through that relies on a cookie, or logs in, if it comes from where it may.

    That is: `Sec-Fetch-Site` says `same-origin` or `none`, or `Origin` is the issuer's own or an allowed one, or
    neither header is there, which no browser does on a cross-site POST (OWASP CSRF Prevention Cheat Sheet).

    Raises:
        CrossSiteRequest: Anything else, an unknown or repeated value included.
    """
    sites, origins = headers.getlist("sec-fetch-site"), headers.getlist("origin")
    if not sites and not origins:
        return
    if sites in SAFE_SITES:
        return
    if len(origins) == 1 and (origins[0] == settings.issuer_origin or origins[0] in settings.allowed_origins):
        return
    # What is no origin may be anything, a token too.
    raise CrossSiteRequest(", ".join(origin if _ORIGIN.fullmatch(origin) else "?" for origin in origins))
