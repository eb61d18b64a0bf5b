"""A CA and a certificate of it, for servers of tests that speak TLS."""

import datetime
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

SITE = "app.example.com"


@dataclass
class Certificates:
    """A certificate for the site and 127.0.0.1, the CA that signed it, and the key of the certificate, as files."""

    authority: Path
    chain: Path
    key: Path
    chain_and_key: Path

    def client_context(self) -> ssl.SSLContext:
        """Give the TLS settings of a client that trusts the CA and nobody else."""
        return ssl.create_default_context(cafile=str(self.authority))


def make_certificates(directory: Path) -> Certificates:
    """Make a CA and a certificate for the site and for 127.0.0.1."""
    now = datetime.datetime.fromtimestamp(directory.stat().st_mtime, datetime.UTC)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())

    def certificate(
        name: str, issuer: str, public: ec.EllipticCurvePublicKey, extensions: list[x509.ExtensionType]
    ) -> bytes:
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=2))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return builder.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    usage = {
        name: name in ("key_cert_sign", "crl_sign")
        for name in (
            "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
            "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
        )
    }  # fmt: skip
    authority = certificate(
        "Test CA", "Test CA", ca_key.public_key(), [x509.BasicConstraints(True, 0), x509.KeyUsage(**usage)]
    )
    hosts = [x509.DNSName(SITE), x509.DNSName("*.example.com")]
    names: list[x509.GeneralName] = [*hosts, x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    chain = certificate(SITE, "Test CA", key.public_key(), [x509.SubjectAlternativeName(names)])
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    files = {"authority": authority, "chain": chain, "key": pem, "chain_and_key": chain + pem}
    for name, content in files.items():
        (directory / f"{name}.pem").write_bytes(content)
    return Certificates(**{name: directory / f"{name}.pem" for name in files})
