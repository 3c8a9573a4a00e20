"""The certificates that every client trusts."""

from __future__ import annotations

import errno
import stat
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from provisioner.errors import ConfigurationError

if TYPE_CHECKING:
    import ssl

    from provisioner.remote.pace import Pace


_LARGEST: Final = 16 << 20
"""Bytes; the certificates of a system have a fiftieth of that."""


def tls_context(ca_file: Path | None, pace: Pace | None = None) -> ssl.SSLContext:
    """Return the TLS settings of a client.

    Args:
        ca_file: a file of trusted certificates in PEM form that replaces the system's, as ``SSL_CERT_FILE`` does in OpenSSL,
            or ``None`` to use the system's.
        pace: counts what the connections of the run bring; ``None`` if they are not measured.

    Raises:
        ConfigurationError: the file cannot be read or holds no certificate.
    """
    import ssl  # noqa: PLC0415 - a start with nothing to do must not pay for it

    try:
        if ca_file is not None:
            _check_kind(ca_file)
        context = ssl.create_default_context(cafile=ca_file)
        # As in curl and Python 3.13: an authority given by the user is trusted even if it is an intermediate one.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        # Most servers do not end TLS properly; the code that reads a body decides whether that means truncation.
        context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
        usual = ssl.get_default_verify_paths()
        if ca_file is None and usual.cafile is None and Path(usual.openssl_cafile).is_file():
            # The library takes an empty SSL_CERT_FILE as the name of a file.
            context.load_verify_locations(usual.openssl_cafile)
    except OSError as error:
        reason = "holds no certificate" if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigurationError(
            f"SSL_CERT_FILE: {ca_file}: {reason}",
            hint="Name a readable file with the trusted certificates in PEM form.",
        ) from error
    if pace is not None:
        from provisioner.remote.sockets import tls_socket_class  # noqa: PLC0415 - as above

        context.sslsocket_class = tls_socket_class(pace)
    return context


class SharedTlsContext:
    """TLS settings that are created for the first connection, since reading the system's certificates takes time."""

    def __init__(self) -> None:
        """Create nothing yet."""
        self._lock = threading.Lock()
        self._context: ssl.SSLContext | None = None

    def get(self, ca_file: Path | None, pace: Pace | None) -> ssl.SSLContext:
        """Return the same settings on every call; for the arguments and errors, see :func:`tls_context`."""
        with self._lock:
            if self._context is None:
                self._context = tls_context(ca_file, pace)
            return self._context


def _check_kind(ca_file: Path) -> None:
    """Refuse files that the library would never finish reading: a FIFO, or a device without an end."""
    facts = ca_file.stat()
    if not stat.S_ISREG(facts.st_mode):
        raise OSError(errno.EINVAL, "is no regular file")
    if facts.st_size > _LARGEST:
        raise OSError(errno.EFBIG, f"has more than {_LARGEST:,} bytes")
