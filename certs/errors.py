"""The one error of this tree: a certificate, key, identity or file of them that is not acceptable.

Its text is a whole sentence part that names the thing and what was expected, fit to be shown to a
user after `weft: error:`. It never contains secret bytes.
"""

from __future__ import annotations


class CertificateError(ValueError):
    """Malformed or unacceptable input: an identity, key, certificate, CSR or one of their files."""
