"""Certificates and kubeconfigs of a cluster: two authorities, a key pair for whoever speaks TLS."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from dev.cluster.network import API_SERVER, NODE, NODE_IP, SERVICE_IP
from dev.cluster.paths import ClusterPaths

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

# Who speaks to the API server: file name → (user, group), as RBAC and the node authorizer know them.
CLIENTS = {
    "admin": ("admin", "system:masters"),
    "kube-controller-manager": ("system:kube-controller-manager", ""),
    "kube-scheduler": ("system:kube-scheduler", ""),
    "kube-proxy": ("system:kube-proxy", ""),
    "kubelet": (f"system:node:{NODE}", "system:nodes"),
    "coredns": ("coredns", ""),
    "network-policy": ("network-policy", ""),
}
API_SERVER_NAMES = [
    NODE_IP,
    SERVICE_IP,
    "127.0.0.1",
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
]


@dataclass(frozen=True)
class Authority:
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate


def create(paths: ClusterPaths) -> None:
    """Write every key, certificate and kubeconfig that the components of a cluster need."""
    paths.pki.mkdir(parents=True)
    paths.kubeconfig().parent.mkdir(parents=True)
    cluster = _authority(paths.pki, "ca")
    front_proxy = _authority(paths.pki, "front-proxy-ca")
    _issue(paths.pki, "apiserver", cluster, "kube-apiserver", names=API_SERVER_NAMES)
    _issue(paths.pki, "apiserver-kubelet", cluster, "kube-apiserver-kubelet-client", "system:masters")
    _issue(paths.pki, "front-proxy", front_proxy, "front-proxy-client")
    _issue(paths.pki, "kubelet-server", cluster, NODE, names=[NODE, NODE_IP])
    for name, (user, group) in CLIENTS.items():
        _issue(paths.pki, name, cluster, user, group)
        config = kubeconfig(
            name, *(_read(paths.pki, file) for file in ("ca.crt", f"{name}.crt", f"{name}.key"))
        )
        _write(paths.kubeconfig(name), json.dumps(config).encode())
    service_accounts = rsa.generate_private_key(65537, 2048)
    _write(paths.pki / "service-accounts.key", _pem(service_accounts))
    public = service_accounts.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    _write(paths.pki / "service-accounts.pub", public)


def kubeconfig(name: str, authority: bytes, certificate: bytes, key: bytes) -> dict[str, object]:
    """A kubeconfig that carries its certificates, so that it works from wherever it is copied to."""

    def data(content: bytes) -> str:
        return base64.b64encode(content).decode()

    cluster = {"server": API_SERVER, "certificate-authority-data": data(authority)}
    user = {"client-certificate-data": data(certificate), "client-key-data": data(key)}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "local",
        "clusters": [{"name": "local", "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": "local", "context": {"cluster": "local", "user": name}}],
    }


def _authority(folder: Path, name: str) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = _template(subject, subject, key, is_authority=True).sign(key, hashes.SHA256())
    _store(folder, name, key, certificate)
    return Authority(key, certificate)


def _issue(
    folder: Path, file: str, by: Authority, user: str, group: str = "", names: list[str] | None = None
) -> None:
    """Write FILE.key and FILE.crt: for a server when it has `names`, for a client in any case."""
    key = ec.generate_private_key(ec.SECP256R1())
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group)] if group else []
    subject = x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, user)])
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH, *([ExtendedKeyUsageOID.SERVER_AUTH] if names else [])]
    builder = (
        _template(subject, by.certificate.subject, key, is_authority=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(by.key.public_key()), critical=False
        )
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    )
    if names:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([_name(n) for n in names]), critical=False
        )
    _store(folder, file, key, builder.sign(by.key, hashes.SHA256()))


def _template(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, *, is_authority: bool
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=not is_authority,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=365))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(usage, critical=True)
    )


def _name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _pem(key: PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _store(folder: Path, name: str, key: PrivateKey, certificate: x509.Certificate) -> None:
    _write(folder / f"{name}.key", _pem(key))
    _write(folder / f"{name}.crt", certificate.public_bytes(serialization.Encoding.PEM))


def _read(folder: Path, name: str) -> bytes:
    return (folder / name).read_bytes()


def _write(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)
