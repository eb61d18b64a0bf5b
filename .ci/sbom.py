"""The bill of materials of a wheel, in CycloneDX: what it needs, in the locked versions, and who needs whom."""

import datetime
import importlib.metadata
import re
import uuid
import zipfile
from collections.abc import Iterable, Iterator
from email import message_from_bytes
from email.message import Message
from pathlib import Path

from cyclonedx.factory.license import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from packaging.requirements import Requirement

NAMESPACE = uuid.UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")  # of URLs and URNs, RFC 9562 section 6.6
# Where the wheel is thought to be installed: on the oldest Python, which needs the most.
INSTALLED_ON = {
    "implementation_name": "cpython",
    "os_name": "posix",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "python_full_version": "3.11.9",
    "python_version": "3.11",
    "sys_platform": "linux",
}


def sbom_of(wheel: Path, sha256: str, locks: Iterable[Path], epoch: int) -> str:
    """
    Give the SBOM of *wheel* as JSON, checked against the schema of CycloneDX 1.6.

    Args:
        sha256: Of the wheel, in hexadecimal.
        locks: The lock files that have the versions.
        epoch: When it was made, in seconds.

    Raises:
        ValueError: What is needed is not locked, or another version of it is installed here: licences and needs are
            read from what is installed.
    """
    locked = dict(_locked_versions(locks))
    described = _metadata_of(wheel)
    root = _component(described, ComponentType.APPLICATION, None)
    root.hashes.add(HashType(alg=HashAlgorithm.SHA_256, content=sha256))
    bom = Bom(
        serial_number=uuid.uuid5(NAMESPACE, f"urn:sha256:{sha256}"),
        metadata=BomMetaData(
            component=root,
            timestamp=datetime.datetime.fromtimestamp(epoch, datetime.UTC),
            properties=[Property(name=f"environment:{name}", value=value) for name, value in INSTALLED_ON.items()],
        ),
    )
    extras = described.get_all("Provides-Extra") or []
    components: dict[str, Component] = {}
    for scope, wanted in ((ComponentScope.REQUIRED, [""]), (ComponentScope.OPTIONAL, extras)):
        direct = [_add(name, more, locked, scope, components, bom) for name, more in _needs(described, wanted)]
        bom.register_dependency(root, direct)
    text: str = JsonV1Dot6(bom).output_as_string(indent=2) + "\n"
    if error := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        raise ValueError(f"the SBOM of {wheel.name} is against the schema: {error}")
    return text


def _add(
    name: str,
    extras: Iterable[str],
    locked: dict[str, str],
    scope: ComponentScope,
    components: dict[str, Component],
    bom: Bom,
) -> Component:
    """Add what is needed and, before it is linked, all that it needs itself."""
    if name not in components:
        described = importlib.metadata.distribution(name).metadata
        if described["Version"] != locked.get(name):
            raise ValueError(f"{name} {described['Version']} is installed, locked is {locked.get(name)}")
        components[name] = _component(described, ComponentType.LIBRARY, scope)
        bom.components.add(components[name])
        needed = [_add(other, more, locked, scope, components, bom) for other, more in _needs(described, ["", *extras])]
        bom.register_dependency(components[name], needed)
    return components[name]


def _component(described: Message, kind: ComponentType, scope: ComponentScope | None) -> Component:
    name, version = _canonical(described["Name"]), described["Version"]
    purl = PackageURL("pypi", name=name, version=version)
    licence = described["License-Expression"] or _licence_of_classifiers(described) or described["License"]
    return Component(
        type=kind,
        name=name,
        version=version,
        scope=scope,
        bom_ref=str(purl),
        purl=purl,
        description=described["Summary"],
        licenses=[LicenseFactory().make_from_string(licence)] if licence else [],
    )


def _licence_of_classifiers(described: Message) -> str | None:
    found = [one.rpartition(" :: ")[2] for one in described.get_all("Classifier") or [] if one.startswith("License ::")]
    return (
        {
            "MIT License": "MIT",
            "BSD License": "BSD-3-Clause",
            "Apache Software License": "Apache-2.0",
        }.get(found[0])
        if len(found) == 1
        else None
    )


def _needs(described: Message, extras: Iterable[str]) -> Iterator[tuple[str, set[str]]]:
    """Give what is needed where INSTALLED_ON says, with one of the extras, and the extras that it is needed with."""
    found: dict[str, set[str]] = {}
    for text in described.get_all("Requires-Dist") or []:
        wanted = Requirement(text)
        if wanted.marker is None:
            is_wanted = "" in extras
        else:
            is_wanted = any(wanted.marker.evaluate({**INSTALLED_ON, "extra": extra}) for extra in extras)
        if is_wanted:
            found.setdefault(_canonical(wanted.name), set()).update(wanted.extras)
    yield from sorted(found.items())


def _locked_versions(locks: Iterable[Path]) -> Iterator[tuple[str, str]]:
    for lock in locks:
        for name, version in re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;]+)", lock.read_text(), re.MULTILINE):
            yield _canonical(name), version


def _metadata_of(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as opened:
        (name,) = [name for name in opened.namelist() if name.endswith(".dist-info/METADATA")]
        return message_from_bytes(opened.read(name))


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
