"""The manifests of config/kubernetes, by the schemas that Kubernetes publishes and by what the gateway is."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from starlette.routing import Route

from gateway.cli.serve import DRAIN_SECONDS
from gateway.settings import load_settings
from gateway.web.routes import ROUTES
from tests.artefacts.installing import ROOT
from tests.harness import SECRET

FOLDER = ROOT / "config" / "kubernetes"
RELEASES = ("1.30", "1.37")
WITHOUT_SCHEMA = {"ServiceMonitor", "Kustomization", "Component"}
FETCHED = ROOT / "tests" / "interop" / "go" / ".build" / "kustomize"  # by .ci/interop
Manifest = dict[str, Any]


def kustomize() -> str:
    """Give the path of kustomize; skips where there is none."""
    found = shutil.which("kustomize") or (str(FETCHED) if FETCHED.exists() else None)
    if found is None:
        pytest.skip("kustomize is missing: .ci/interop fetches it where Go is")
    return found


@pytest.fixture(scope="module", params=["base", "example"])
def manifests(request: pytest.FixtureRequest) -> dict[str, Manifest]:
    """Give what is sent to Kubernetes, by kind: the base, and the example with the component on top."""
    command = [kustomize(), "build", str(FOLDER / request.param)]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    assert "Warning" not in built.stderr
    listed = list(yaml.safe_load_all(built.stdout))
    by_kind = {one["kind"]: one for one in listed}
    assert len(by_kind) == len(listed)
    return by_kind


def pod_of(manifests: Mapping[str, Manifest]) -> Manifest:
    pod: Manifest = manifests["Deployment"]["spec"]["template"]
    return pod


def container_of(manifests: Mapping[str, Manifest]) -> Manifest:
    (container,) = pod_of(manifests)["spec"]["containers"]
    return dict(container)


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.yaml")), ids=lambda path: str(path.relative_to(FOLDER)))
def test_every_file_is_what_kubernetes_takes(path: Path) -> None:
    manifest = yaml.safe_load(path.read_text())
    if manifest["kind"] in WITHOUT_SCHEMA:
        return
    for release in RELEASES:
        kubernetes_validate.validate(manifest, release, strict=True)


def test_what_is_sent_is_what_kubernetes_takes(manifests: dict[str, Manifest]) -> None:
    for kind in manifests.keys() - WITHOUT_SCHEMA:
        for release in RELEASES:
            kubernetes_validate.validate(manifests[kind], release, strict=True)


def test_a_word_that_kubernetes_does_not_know_is_found() -> None:
    manifest = yaml.safe_load((FOLDER / "base" / "service.yaml").read_text())
    manifest["spec"]["port"] = manifest["spec"].pop("ports")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest, RELEASES[-1], strict=True)


def test_all_are_about_the_same_pods_and_no_others(manifests: dict[str, Manifest]) -> None:
    labels = pod_of(manifests)["metadata"]["labels"]
    assert labels
    selectors = {
        "Deployment": manifests["Deployment"]["spec"]["selector"]["matchLabels"],
        "Service": manifests["Service"]["spec"]["selector"],
        "PodDisruptionBudget": manifests["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        "NetworkPolicy": manifests["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
        "spread": pod_of(manifests)["spec"]["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"],
    }
    assert selectors == dict.fromkeys(selectors, labels)
    if "ServiceMonitor" in manifests:
        assert manifests["ServiceMonitor"]["spec"]["selector"]["matchLabels"] == labels
        assert manifests["Service"]["metadata"]["labels"].items() >= labels.items()


def test_two_serve_and_one_is_always_left(manifests: dict[str, Manifest]) -> None:
    deployment, budget = manifests["Deployment"]["spec"], manifests["PodDisruptionBudget"]["spec"]
    assert deployment["replicas"] == 2
    assert deployment["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert budget["maxUnavailable"] == 1


def test_the_settings_are_ones_and_fit_the_ports(manifests: dict[str, Manifest], tmp_path: Path) -> None:
    """As the gateway reads them: with the secret in files of a group of its own."""
    container = container_of(manifests)
    (source,) = container["envFrom"]
    assert source["configMapRef"]["name"] == manifests["ConfigMap"]["metadata"]["name"]
    environ = dict(manifests["ConfigMap"]["data"])
    for variable in container["env"]:
        name = variable["value"].removeprefix("/run/secrets/token-gateway/")
        text = {"secret": SECRET, "redis-url": "redis://gateway:hunter2@redis:6379/0"}[name]
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o440)
        os.chown(tmp_path / name, -1, os.getegid())
        environ[variable["name"]] = str(tmp_path / name)
    settings = load_settings({}, environ).settings
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert (settings.host, settings.port) == (environ["GATEWAY_HOST"], ports["http"])
    assert settings.secret == SECRET
    assert (settings.metrics_listener or ("", None))[1] == ports.get("metrics")


def test_its_secret_is_readable_for_its_group_alone(manifests: dict[str, Manifest]) -> None:
    pod = pod_of(manifests)["spec"]
    mounted = {volume["name"]: volume for volume in pod["volumes"]}
    assert mounted["secrets"]["secret"] == {"secretName": "token-gateway", "defaultMode": 0o440}
    assert pod["securityContext"]["fsGroup"] == pod["securityContext"]["runAsGroup"]
    assert {mount["mountPath"] for mount in container_of(manifests)["volumeMounts"]} == {
        "/run/secrets/token-gateway",
        "/tmp",
    }


def test_every_port_that_is_named_is_there(manifests: dict[str, Manifest]) -> None:
    container = container_of(manifests)
    ports = {port["name"] for port in container["ports"]}
    probes = [container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")]
    assert [probe["path"] for probe in probes] == ["/livez", "/livez", "/readyz"]
    assert {probe["path"] for probe in probes} <= {route.path for route in ROUTES if isinstance(route, Route)}
    named = {probe["port"] for probe in probes}
    named |= {port["targetPort"] for port in manifests["Service"]["spec"]["ports"]}
    named |= {port["port"] for rule in manifests["NetworkPolicy"]["spec"]["ingress"] for port in rule["ports"]}
    assert named == ports
    if "ServiceMonitor" in manifests:
        served = {port["name"] for port in manifests["Service"]["spec"]["ports"]}
        (endpoint,) = manifests["ServiceMonitor"]["spec"]["endpoints"]
        assert (endpoint["port"], endpoint["path"]) == ("metrics", "/metrics")
        assert "metrics" in served


def test_it_may_do_nothing_but_serve(manifests: dict[str, Manifest]) -> None:
    """The profile `restricted` of the Pod Security Standards, and a root that cannot be written to."""
    pod = pod_of(manifests)["spec"]
    assert container_of(manifests)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False


def test_it_has_longer_to_end_than_it_takes(manifests: dict[str, Manifest]) -> None:
    waited = int(container_of(manifests)["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod_of(manifests)["spec"]["terminationGracePeriodSeconds"] >= waited + 2 * DRAIN_SECONDS
