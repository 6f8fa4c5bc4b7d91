"""A registry over HTTP: contents, manifests, tags and what refers to them.

Source: OCI Distribution Specification 1.1; CNCF Distribution, token authentication.
"""

import base64
import ipaddress
import json
import re
from collections.abc import Collection, Mapping
from urllib.parse import urlencode, urljoin, urlsplit

from minbuild.archive.http_exchange import Answer, exchange
from minbuild.archive.http_request import hide_credentials
from minbuild.distribution.model import (
    INDEX_TYPE,
    MANIFEST_TYPE,
    MAX_MANIFEST_SIZE,
    Descriptor,
    PartMissing,
    compute_digest,
    decode_document,
    encode_image_index,
    list_descriptors,
    require_digest,
)
from minbuild.distribution.reference import Reference
from minbuild.distribution.registry_credentials import Credentials
from minbuild.errors import ArchiveError

_MAX_ANSWER = 1 << 20
"""Bytes of answers that hold no content."""
_ACCEPTED = f"{INDEX_TYPE}, {MANIFEST_TYPE}"
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')


class Registry:
    """One repository of a registry."""

    def __init__(
        self, reference: Reference, credentials: Credentials | None, *, plain_http: bool = False
    ) -> None:
        """Name a repository; nothing is sent yet. `plain_http`: without TLS."""
        scheme = "http" if plain_http else "https"
        self._base = f"{scheme}://{reference.api_host}/v2/{reference.repository}/"
        self._credentials = credentials
        self._authorization = ""
        self.name = f"{reference.host}/{reference.repository}"
        self.sent = 0
        """Bytes of contents and manifests that were sent."""
        self.received = 0

    def has_blob(self, digest: str) -> bool:
        """Tell whether the repository has a content. Raises: ArchiveError."""
        return self._ask("HEAD", f"blobs/{digest}", accepted={200, 404}).status == 200

    def push_blob(self, data: bytes) -> None:
        """Send a content that the repository has not. Source: "Pushing a blob monolithically".

        Raises: ArchiveError.
        """
        digest = compute_digest(data)
        if self.has_blob(digest):
            return
        started = self._ask("POST", "blobs/uploads/", accepted={202})
        location = urljoin(self._base, started.headers.get("location", ""))
        location += ("&" if "?" in location else "?") + urlencode({"digest": digest})
        fields = {"Content-Type": "application/octet-stream"}
        self._ask("PUT", location, body=data, headers=fields, accepted={201})
        self.sent += len(data)

    def push_manifest(self, manifest: bytes, descriptor: Descriptor, tag: str = "") -> bool:
        """Send a manifest, under a tag if one is given.

        Returns whether the registry keeps its subject in mind. Raises: ArchiveError.
        """
        name = tag or descriptor.digest
        answer = self._ask(
            "PUT", f"manifests/{name}", body=manifest,
            headers={"Content-Type": descriptor.media_type}, accepted={201},
        )  # fmt: skip
        self.sent += len(manifest)
        return "oci-subject" in answer.headers

    def add_referrer(self, subject: str, referrer: Descriptor) -> None:
        """List a referrer under the tag of its subject, where a registry has no referrers API.

        Source: OCI Distribution Specification 1.1, "Referrers Tag Schema".
        Raises: ArchiveError.
        """
        entries = [
            entry for entry in self._read_fallback(subject) if entry.digest != referrer.digest
        ]
        index = encode_image_index([*entries, referrer], {})
        described = Descriptor(INDEX_TYPE, compute_digest(index), len(index))
        self.push_manifest(index, described, subject.replace(":", "-"))

    def read_manifest(self, reference: str) -> bytes:
        """A manifest or index by its tag or digest. Raises: ArchiveError, PartMissing."""
        answer = self._ask(
            "GET", f"manifests/{reference}", headers={"Accept": _ACCEPTED}, accepted={200},
            limit=MAX_MANIFEST_SIZE,
        )  # fmt: skip
        self.received += len(answer.body)
        if reference.startswith("sha256:"):
            require_digest(answer.body, reference, self.name)
        return answer.body

    def read_blob(self, descriptor: Descriptor) -> bytes:
        """The bytes of a content, not compared with its digest. Raises: PartMissing."""
        answer = self._ask(
            "GET", f"blobs/{descriptor.digest}", accepted={200}, limit=max(descriptor.size, 1)
        )
        self.received += len(answer.body)
        return answer.body

    def list_referrers(self, digest: str) -> tuple[Descriptor, ...]:
        """The manifests whose subject is this one, by the API or by the tag of the subject.

        Raises: ArchiveError.
        """
        answer = self._ask(
            "GET", f"referrers/{digest}", headers={"Accept": INDEX_TYPE},
            accepted={200, 400, 404, 405, 501}, limit=MAX_MANIFEST_SIZE,
        )  # fmt: skip
        if answer.status != 200:
            return self._read_fallback(digest)
        return list_descriptors(decode_document(answer.body, self.name), "manifests", self.name)

    def _read_fallback(self, digest: str) -> tuple[Descriptor, ...]:
        answer = self._ask(
            "GET", f"manifests/{digest.replace(':', '-')}", headers={"Accept": _ACCEPTED},
            accepted={200, 404}, limit=MAX_MANIFEST_SIZE,
        )  # fmt: skip
        if answer.status == 404:
            return ()
        return list_descriptors(decode_document(answer.body, self.name), "manifests", self.name)

    def _ask(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        accepted: Collection[int],
        limit: int = _MAX_ANSWER,
    ) -> Answer:
        """Send a request; log in and send it again when the registry asks for that."""
        url = urljoin(self._base, path)
        answer = self._send(method, url, body, headers or {}, limit)
        if answer.status == 401:
            self._authorization = self._log_in(answer.headers.get("www-authenticate", ""))
            answer = self._send(method, url, body, headers or {}, limit)
        if answer.status in accepted:
            return answer
        raise self._explain(method, url, answer)

    def _send(
        self, method: str, url: str, body: bytes | None, headers: Mapping[str, str], limit: int
    ) -> Answer:
        """Send a request; a password or token only to the registry itself."""
        sent = dict(headers)
        if self._authorization and urlsplit(url)[:2] == urlsplit(self._base)[:2]:
            sent["Authorization"] = self._authorization
        return exchange(method, url, headers=sent, body=body, limit=max(limit, _MAX_ANSWER))

    def _log_in(self, challenge: str) -> str:
        """The Authorization header that a registry asks for."""
        kind, _, rest = challenge.partition(" ")
        parameters = dict(_PARAMETER.findall(rest))
        if kind.lower() == "basic":
            return self._encode_password(self._base)
        if kind.lower() != "bearer" or "realm" not in parameters:
            raise self._make_login_error(f"it asks for {kind or 'nothing that is known'}")
        realm = parameters["realm"]
        fields = {key: parameters[key] for key in ("service", "scope") if key in parameters}
        if self._credentials is not None and self._credentials.identity_token:
            _require_tls(realm)
            answer = self._trade_token(realm, fields, self._credentials.identity_token)
        else:
            login = {"Authorization": self._encode_password(realm)} if self._credentials else {}
            url = f"{realm}?{urlencode(fields)}"
            answer = exchange("GET", url, headers=login, limit=_MAX_ANSWER)
        try:
            document = json.loads(answer.body) if answer.status == 200 else {}
            token = str(document.get("token") or document["access_token"])
        except (ValueError, KeyError, AttributeError) as error:
            raise self._make_login_error(f"{realm} answers {answer.status}") from error
        return f"Bearer {token}"

    def _trade_token(self, realm: str, fields: Mapping[str, str], token: str) -> Answer:
        """Source: CNCF Distribution, OAuth 2 token authentication."""
        form = {**fields, "grant_type": "refresh_token", "refresh_token": token,
                "client_id": "minbuild"}  # fmt: skip
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return exchange("POST", realm, headers=headers, body=urlencode(form).encode(), limit=_MAX_ANSWER)  # fmt: skip

    def _encode_password(self, url: str) -> str:
        if self._credentials is None:
            raise self._make_login_error("it asks for a user and a password")
        _require_tls(url)
        text = f"{self._credentials.user}:{self._credentials.password}"
        return "Basic " + base64.b64encode(text.encode()).decode()

    def _make_login_error(self, problem: str) -> ArchiveError:
        return ArchiveError(
            f"the registry does not let us in: {problem}", where=self.name,
            fix=f"log in: podman login {self.name.partition('/')[0]}, or docker login",
        )  # fmt: skip

    def _explain(self, method: str, url: str, answer: Answer) -> ArchiveError:
        if answer.status in {401, 403}:
            return self._make_login_error(f"{method} {hide_credentials(url)}: {answer.status}")
        if answer.status == 404 and method == "GET":
            return PartMissing(
                f"the registry has no {url.removeprefix(self._base)}", where=self.name,
                fix="name a host that was pushed there; what a host refers to and is not there, "
                "the registry withholds",
            )  # fmt: skip
        text = answer.body[:200].decode("ascii", "replace")
        return ArchiveError(
            f"the registry answers {answer.status} to {method}: {text}", where=url,
            fix="ask who runs the registry; it has to take OCI artifacts",
        )  # fmt: skip


def _require_tls(url: str) -> None:
    """Accept an address that a password may be sent to. Raises: ArchiveError."""
    parts = urlsplit(url)
    if parts.scheme == "https" or _is_loopback(parts.hostname or ""):
        return
    raise ArchiveError(
        "a password is not sent without TLS", where=url,
        fix="use the registry by https, or one without a password",
    )  # fmt: skip


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
