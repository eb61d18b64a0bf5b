"""What can be said of the files of config/ and of docker-compose.yml without starting anything."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from gateway import __version__
from tests.proxies.fronts import CONFIG, KINDS, ROOT, for_several_hosts

FILES = sorted(path for kind in KINDS for path in (CONFIG / kind.name).iterdir())
# The keys of Traefik's own reference of configuration options (3.7) that the two files use; * is a name of ours.
TRAEFIK_KEYS = """
entryPoints.*.address
entryPoints.*.http.aliasHeadersStrategy
entryPoints.*.http.sanitizePath
entryPoints.*.asDefault
entryPoints.*.forwardedHeaders.trustedIPs
entryPoints.*.http.tls
entryPoints.*.transport.respondingTimeouts.readTimeout
providers.file.filename
log.level
http.routers.*.rule
http.routers.*.priority
http.routers.*.middlewares
http.routers.*.service
http.routers.*.entryPoints
http.middlewares.*.chain.middlewares
http.middlewares.*.headers.customRequestHeaders.*
http.middlewares.*.headers.stsSeconds
http.middlewares.*.headers.stsIncludeSubdomains
http.middlewares.*.forwardAuth.address
http.middlewares.*.forwardAuth.trustForwardHeader
http.middlewares.*.forwardAuth.authRequestHeaders
http.middlewares.*.forwardAuth.authResponseHeaders
http.middlewares.*.forwardAuth.preserveLocationHeader
http.middlewares.*.forwardAuth.maxResponseBodySize
http.services.*.loadBalancer.serversTransport
http.services.*.loadBalancer.servers.url
http.serversTransports.*.forwardingTimeouts.dialTimeout
http.serversTransports.*.forwardingTimeouts.responseHeaderTimeout
http.serversTransports.*.forwardingTimeouts.idleConnTimeout
tls.certificates.certFile
tls.certificates.keyFile
tls.options.*.minVersion
""".split()


def yaml_keys(text: str) -> set[str]:
    """Give the path of every key of a block of YAML that has a value on its own line."""
    keys, open_keys = set(), list[tuple[int, str]]()
    for line in text.splitlines():
        found = re.match(r"^( *(?:- )?)([A-Za-z][\w-]*):(?: +([^#\s].*))?", line)
        if found is None:
            continue
        indent = len(found[1])
        open_keys = [(depth, key) for depth, key in open_keys if depth < indent] + [(indent, found[2])]
        if found[3]:
            keys.add(".".join(key for _, key in open_keys))
    return keys


@pytest.mark.parametrize("name", ["traefik.yml", "dynamic.yml"])
def test_traefik_knows_every_key(name: str) -> None:
    """A Traefik that is on PATH reads the files in the tests of all proxies; this holds where there is none."""
    patterns = [re.compile(re.escape(key).replace(r"\*", "[^.]+") + r"\Z") for key in TRAEFIK_KEYS]
    text = (CONFIG / "traefik" / name).read_text().replace("#tls ", "")
    keys = yaml_keys(text)
    assert len(keys) > 5
    assert not [key for key in keys if not any(pattern.match(key) for pattern in patterns)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_is_the_reader_s_own_is_marked(path: Path) -> None:
    text = path.read_text()
    if re.search(r"127\.0\.0\.1:\d+|port_value|app\.example\.com", text):
        assert "change this" in text
    assert "\t" not in text or path.name == "Caddyfile"
    assert len(max(text.splitlines(), key=len)) <= 160


SEVERAL_HOSTS = {
    "nginx": "token-gateway.conf",
    "apache": "token-gateway.conf",
    "caddy": "Caddyfile",
    "haproxy": "haproxy.cfg",
    "traefik": "dynamic.yml",
    "envoy": "envoy.yaml",
}
MOST_LINES = 10


@pytest.mark.parametrize("name", SEVERAL_HOSTS)
def test_a_further_application_costs_ten_lines_at_most(name: str) -> None:
    lines = (CONFIG / name / SEVERAL_HOSTS[name]).read_text().splitlines()
    places = [place for place, line in enumerate(lines) if "One more application" in line]
    assert places
    count = 0
    for place in places:
        for line in lines[place + 1 :]:
            if not re.match(r"\s*#sso ", line):
                break
            count += 1
    assert 1 < count <= MOST_LINES


@pytest.mark.parametrize("name", SEVERAL_HOSTS)
def test_the_sed_of_each_file_makes_it_one_for_several_hosts(name: str, tmp_path: Path) -> None:
    """As the tests do."""
    file = SEVERAL_HOSTS[name]
    text = (CONFIG / name / file).read_text()
    (expressions,) = re.findall(rf"^#   sed -i (-e '/\[#\] one host.*) {re.escape(file)}$", text, re.MULTILINE)
    shutil.copy(CONFIG / name / file, tmp_path / file)
    command = f"sed {expressions} {tmp_path / file}"
    made = subprocess.run(["sh", "-euc", command], capture_output=True, text=True, check=True).stdout
    expected = for_several_hosts(text)
    assert made.replace("#tls ", "") == expected.replace("#tls ", "")
    assert "one host:" not in made
    assert "auth.example.com" in made.partition("cookie_domain")[2]


def test_compose_puts_in_only_addresses_that_are_there() -> None:
    """Each `sed` of docker-compose.yml finds what it looks for in the file that it reads."""
    text = (ROOT / "docker-compose.yml").read_text()
    found = 0
    for service in ("nginx", "caddy", "traefik"):
        block = re.search(rf"^  {service}:\n(.*?)^  \w", text, re.MULTILINE | re.DOTALL)
        assert block
        for expressions, name in re.findall(r"sed (.*?) \\\n\s*/etc/token-gateway/(\S+)", block[1], re.DOTALL):
            file = (CONFIG / service / name).read_text()
            for _, shown in re.findall(r"-e 's([/#])(.+?)\1", expressions):
                found += 1
                assert shown in file, f"{service}/{name} has no {shown}"
    assert found == 10


def test_the_image_is_labelled_with_the_version() -> None:
    assert f"ARG VERSION={__version__}\n" in (ROOT / "Dockerfile").read_text()
