"""The certificates that every client trusts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioner.errors import ConfigurationError

if TYPE_CHECKING:
    import ssl
    from pathlib import Path


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """Return the TLS settings of a client.

    Args:
        ca_file: a file of trusted certificates in PEM form that replaces the system's, as ``SSL_CERT_FILE`` does in
            OpenSSL; ``None``: the system's.

    Raises:
        ConfigurationError: the file cannot be read or holds no certificate.
    """
    import ssl  # noqa: PLC0415 - a start with nothing to do must not pay for it

    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"SSL_CERT_FILE: {ca_file}: {error.strerror or 'holds no certificate'}",
            hint="Name a readable file with the trusted certificates in PEM form.",
        ) from error
