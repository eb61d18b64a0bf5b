"""As a browser: is it led to the login, back to the URL that was asked for, and let in with its session?"""

import ipaddress

from gateway.cli.doctor.asking import Answer, Place
from gateway.cli.doctor.cookie_rules import shared_domain
from gateway.cli.doctor.findings import COMMAND, GATEWAY, PROXY, Finding
from gateway.cli.doctor.proxy_lines import line_for
from gateway.cli.doctor.walk import NAVIGATION, OLD_NAVIGATION, Session, Walk, is_let_through, led_with, told
from gateway.settings import Settings
from gateway.web import safe_return_address


def unprotected(walk: Walk, stranger: Answer) -> Finding | None:
    """
    Tell why nothing more can be found out without a session having been asked for: the URL is open to all, the gateway
    is not asked, or the address leads elsewhere.

    Args:
        stranger: What a navigation without a session got.
    """
    seen = f"GET {walk.probe} without a session answers {told(stranger)}"
    if stranger.status >= 500:
        meaning = "the proxy cannot ask the gateway, or the gateway is down: nobody gets in"
        return Finding("gateway-away", seen, meaning, PROXY, line_for("gateway-away", walk.proxy))
    if stranger.status in (401, 403) or led_with(stranger, walk) is not None:
        return None
    location = stranger.first("location")
    if stranger.is_redirect and walk.place.scheme == "http" and location.startswith(f"https://{walk.place.host}"):
        meaning = "browsers go on to https, so that is the URL to look at"
        return Finding("leads-to-https", seen, meaning, COMMAND, f"gateway doctor https://{walk.place.host}/")
    if stranger.is_redirect and location.partition("?")[0].endswith("/auth/login"):
        meaning = f"that is a login, but with these settings it would be {walk.login_address}"
        line = "issuer (or login_url): the same for this command and for the `gateway serve` that the proxy asks"
        return Finding("other-gateway", seen, meaning, GATEWAY, line)
    meaning = "it is not protected at all: whoever asks gets the application's answer"
    return Finding("not-protected", seen, meaning, PROXY, line_for("not-protected", walk.proxy))


async def examine_way_to_login(walk: Walk, stranger: Answer, session: Session) -> list[Finding]:
    """Look at where a navigation without a session is led."""
    led = led_with(stranger, walk)
    if led is None:
        return [_no_redirect(walk, stranger, session)]
    found = _return_address(walk, led.get("rd", [""])[0])
    old = await walk.ask(OLD_NAVIGATION, place=walk.probe)
    if led_with(old, walk) is None:
        found.append(
            Finding(
                "no-redirect",
                f"GET {walk.probe} without Sec-Fetch-* headers answers {told(old)}",
                "the gateway does not get Accept: old browsers, and all on plain http, are not led to the login",
                PROXY,
                line_for("no-accept", walk.proxy),
            )
        )
    return found


def _no_redirect(walk: Walk, stranger: Answer, session: Session) -> Finding:
    seen = f"GET {walk.probe} without a session answers {told(stranger)}, and leads nowhere"
    settings = walk.settings

    def of_gateway(meaning: str, line: str) -> Finding:
        return Finding("no-redirect", seen, meaning, GATEWAY, line)

    if settings.portal == "off":
        return of_gateway("without the portal nobody is led to a login", 'portal = "on"')
    if safe_return_address(str(walk.probe), settings) is None:
        return Finding("no-redirect", seen, *_not_a_return_address(walk.probe, settings))
    untrusted, is_sure = _untrusted(walk, session)
    if untrusted and is_sure:
        meaning = "the gateway does not believe what the proxy says of the request: it is not trusted"
        return of_gateway(meaning, untrusted)
    meaning = (
        "the gateway does not get what it looks at (Accept, Sec-Fetch-Mode; method, scheme, host and path of the "
        "request), or the proxy keeps the gateway's Location to itself"
    )
    line = line_for("no-redirect", walk.proxy)
    if untrusted:
        line += f"; or, if {session.address} is the proxy's address, in {GATEWAY}: {untrusted}"
    return Finding("no-redirect", seen, meaning, PROXY, line)


def _not_a_return_address(place: Place, settings: Settings) -> tuple[str, str, str]:
    """Give what it means that a login may not lead to a URL, where that is set, and the line."""
    if settings.is_https and place.scheme == "http":
        line = f"TLS for {place.host} (the lines with #tls in the files of config/), and the doctor for the https URL"
        return "a login under https leads to https alone", PROXY, line
    if safe_return_address(f"{place.origin}/", settings) is not None:
        meaning = "its path or query has characters that a login leads to nowhere, or is one of the gateway's own pages"
        return meaning, COMMAND, "the URL of a page of the application"
    meaning = f"{place.host} is no host that a login may lead to"
    domain = shared_domain(place.host, settings.issuer_host)
    if domain is not None and settings.cookie_domain is None and not settings.return_hosts:
        return meaning, GATEWAY, f'cookie_domain = "{domain}"'
    hosts = ", ".join(f'"{host}"' for host in dict.fromkeys((*settings.allowed_return_hosts, place.host)))
    return meaning, GATEWAY, f"return_hosts = [{hosts}]"


def _untrusted(walk: Walk, session: Session) -> tuple[str, bool]:
    """
    Give the line with the proxy that is not in `trusted_proxies`, nothing where they all seem to be; and whether it is.

    What the gateway took for the client may be this machine, as it should be, or a proxy on this machine.
    """
    settings = walk.settings
    if not session.address:  # the login was not asked, so that nobody knows
        is_missing = not settings.trusted_proxies
        return ('trusted_proxies = ["the address that the proxy asks from"]' if is_missing else ""), is_missing
    address = ipaddress.ip_address(session.address)
    if any(address in network for network in settings.trusted_networks):
        return "", False
    proxies = ", ".join(f'"{proxy}"' for proxy in (*settings.trusted_proxies, session.address))
    is_ours = session.address in {answer.own_address for answer in walk.answers}
    return f"trusted_proxies = [{proxies}]", not settings.trusted_proxies or not is_ours


def _return_address(walk: Walk, came: str) -> list[Finding]:
    if came == str(walk.probe):
        return []
    try:
        other = Place.parse(came)
        parts = [
            f"{name} {theirs}, not {ours}"
            for name, theirs, ours in (
                ("scheme", other.scheme, walk.probe.scheme),
                ("host", other.authority, walk.probe.authority),
                ("path and query", other.target, walk.probe.target),
            )
            if theirs != ours
        ]
    except ValueError:
        parts = [came or "nothing"]
    seen = f"GET {walk.probe} leads to the login, and from there to: {'; '.join(parts)}"
    meaning = "the return address got lost: after the login people are somewhere else"
    return [Finding("return-address", seen, meaning, PROXY, line_for("return-address", walk.proxy))]


async def examine_visit(walk: Walk, visit: Answer, session: Session, *, is_alive: bool) -> list[Finding]:
    """
    Look at what a navigation with a session gets.

    Args:
        visit: Its answer.
        is_alive: Whether that session lives, as Redis has it.
    """
    if is_let_through(visit, walk):
        return _cookies_that_get_through(walk, visit, session)
    seen = f"GET {walk.probe} with a good session answers {told(visit)}"
    asked = led_with(visit, walk) or {}
    if visit.status == 403:
        roles = "it lacks a role that the proxy's configuration asks for (role=)"
        return [Finding("role-missing", seen, roles, COMMAND, f"gateway doctor --role ROLE {walk.place}")]
    if visit.status >= 500:
        meaning = "the gateway lets the session in, and then the proxy does not reach the application, or that fails"
        return [Finding("application-away", seen, meaning, PROXY, "the address of the application")]
    if "max_auth_age" in asked or "amr" in asked or "insufficient" in visit.first("www-authenticate"):
        meaning = "the proxy's configuration asks for a login that is younger or stronger than a password just now"
        line = "max_auth_age= and amr= in the URL of the subrequest: another URL, without them, can be looked at whole"
        return [Finding("login-too-weak", seen, meaning, PROXY, line)]
    if not is_alive:
        return [Finding("session-ended", seen, "somebody ended the session meanwhile", COMMAND, "once more")]
    meaning = "the session is alive in Redis, but the gateway does not get its cookie: people are sent in a circle"
    return [Finding("cookie-does-not-arrive", seen, meaning, PROXY, line_for("cookie-stripped", walk.proxy))]


def _cookies_that_get_through(walk: Walk, visit: Answer, session: Session) -> list[Finding]:
    if not visit.count(session.cookie):
        return []
    seen = f"the application shows the value of the cookie {session.cookie_name}"
    meaning = "it gets the cookie of the gateway: whoever can read its logs, or breaks into it, is whoever was there"
    return [Finding("our-cookies", seen, meaning, PROXY, line_for("our-cookies", walk.proxy))]


def navigation_with(session: Session) -> list[tuple[str, str]]:
    """Give the headers with which somebody opens a page who is logged in."""
    return [*NAVIGATION, session.header]
