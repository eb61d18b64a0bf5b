"""Whether a browser sends the session cookie to the URL at all (RFC 6265, sections 5.1.3, 5.3 and 5.4)."""

import ipaddress

from gateway.cli.doctor.asking import Place
from gateway.cli.doctor.findings import GATEWAY, PROXY, Finding
from gateway.cli.doctor.public_suffixes import is_public_suffix
from gateway.settings import Settings

FAULT = "cookie-does-not-arrive"


def cookie_findings(place: Place, settings: Settings) -> list[Finding]:
    """Give what keeps the cookie from arriving."""
    domain, issuer = settings.cookie_domain, settings.issuer_host
    found = []
    if settings.is_https and place.scheme == "http":
        found.append(
            Finding(
                FAULT,
                f"the issuer is {settings.issuer}, and {place.origin} is http",
                "the session cookie is Secure: browsers send it over https alone",
                PROXY,
                f"TLS for {place.host} (the lines with #tls in the files of config/), and every http:// led to https://",
            )
        )
    if domain is not None and domain != issuer and is_public_suffix(domain):
        mend = _own_domain(issuer, domain)
        found.append(
            Finding(
                FAULT,
                f"cookie_domain is {domain}",
                "that is a public suffix: anybody may have a name under it, and browsers refuse its cookies",
                GATEWAY,
                f'cookie_domain = "{mend}"' if mend else f"no cookie_domain: {issuer} is all that can share a session",
            )
        )
    elif not settings.shares_session_with(place.host):
        mend = shared_domain(place.host, issuer)
        sent = f"only {issuer}" if domain is None else f"{domain} and what is under it"
        found.append(
            Finding(
                FAULT,
                f"the session cookie is for {sent}, and {place.host} is not that",
                "browsers do not send it there, so that who logs in is sent to the login again",
                GATEWAY,
                f'cookie_domain = "{mend}"'
                if mend
                else f"two domains cannot share a session: serve {place.host} under a name beside {issuer} (or under "
                "its name), or give it a gateway of its own",
            )
        )
    return found


def shared_domain(host: str, issuer_host: str) -> str | None:
    """Give the narrowest domain whose cookies both hosts get; None where there is none."""
    if _is_address(host) or _is_address(issuer_host):
        return None
    ours, theirs = host.split("."), issuer_host.split(".")
    shared: list[str] = []
    while ours and theirs and ours[-1] == theirs[-1]:
        shared.insert(0, ours.pop())
        theirs.pop()
    domain = ".".join(shared)
    return domain if len(shared) > 1 and not is_public_suffix(domain) else None


def _own_domain(issuer_host: str, suffix: str) -> str | None:
    """Give the issuer's domain right under a public suffix, if it has one."""
    label = issuer_host.removesuffix(f".{suffix}").rpartition(".")[2]
    return f"{label}.{suffix}" if issuer_host.endswith(f".{suffix}") else None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True
