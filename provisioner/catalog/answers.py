"""Responses that servers send in place of a file: pages for people, error documents, Git LFS pointers, and empty responses.

Pure functions from the first bytes of a file to what they look like. Whether that may be the requested file depends on its
name: a page requested as ``index.html`` is right. This is the only place where that is decided.
"""

from __future__ import annotations

import codecs
import json
import posixpath
import re
from dataclasses import dataclass
from html import unescape
from typing import Final, Literal

HEAD: Final = 4096
"""Number of bytes at the beginning of a file by which it is recognised."""
MAX_POINTER: Final = 1024
"""Largest number of bytes of a Git LFS pointer."""

AnswerKind = Literal["page", "json", "xml", "pointer", "nothing"]


@dataclass(frozen=True, slots=True)
class ServerAnswer:
    """A recognised answer that servers send in place of files."""

    kind: AnswerKind
    words: str
    """The phrase with which a message refers to it, with an article."""
    is_error: bool = False
    """Whether it is a JSON or XML document that reports an error."""


def recognise_answer(head: bytes, size: int) -> ServerAnswer | None:
    """Return what a file looks like, or ``None`` if it does not look like anything that servers send in place of files.

    Args:
        head: its first ``HEAD`` bytes, or all of it if it is smaller.
        size: bytes of the whole file.
    """
    if not size:
        return ServerAnswer("nothing", "an empty file")
    if size <= MAX_POINTER and is_pointer(head):
        return ServerAnswer("pointer", "a Git LFS pointer, which stands for a file that is stored elsewhere")
    # Most files are data, and their first byte shows that they are not text of these kinds.
    if not _TEXT_START.match(head):
        return None
    text = _decoded(head[:HEAD])
    if _PAGE_START.match(text):
        return ServerAnswer("page", _words_for_page(text))
    if found := _XML_ROOT.match(text):
        return _xml_answer(found["declaration"], found["root"], text)
    return _json_answer(text, is_whole=size <= min(len(head), HEAD))


def is_pointer(data: bytes | memoryview) -> bool:
    """Return whether a file that begins with ``data`` is a Git LFS pointer."""
    return bool(_POINTER.match(data))


def mistaken_answer(head: bytes, size: int, name: str, *, is_archive: bool) -> ServerAnswer | None:
    """Return what a file looks like if that cannot be the requested file, or ``None`` if it may be right.

    Args:
        head: see :func:`recognise_answer`.
        size: bytes of the whole file.
        name: the file's name, whose ending says what it may be.
        is_archive: whether it is to be unpacked.
    """
    answer = recognise_answer(head, size)
    if answer is None or is_archive or answer.kind in {"pointer", "nothing"}:
        return answer
    ending = posixpath.splitext(name)[1][1:].lower()
    if _MAY_BE[answer.kind].fullmatch(ending):
        return None
    return answer if answer.kind == "page" or answer.is_error or _NO_TEXT.fullmatch(ending) else None


def hint_for(answer: ServerAnswer) -> str:
    """Return what a user can do if a server sends this in place of a file."""
    match answer.kind:
        case "pointer":
            return (
                "The file itself is in the repository's LFS storage: use the URL that downloads it from there,"
                " or state the pointer's own digest if the pointer is what you want."
            )
        case "nothing":
            return "If the file is empty, an entry of a catalog can say so with 'size: 0'; otherwise use another URL or a mirror."
        case "page":
            return (
                "Open the URL in a browser: it may want a login or a confirmation, or the file was moved. Correct the URL or"
                " name a mirror; if the page is what you want, give it a 'name' that ends in .html, or its digest."
            )
    return (
        "Read what the server says at this URL, and correct the URL or name a mirror;"
        " if the document is what you want, state its digest."
    )


# --- pages -----------------------------------------------------------------------------------------------------------

_BYTE_ORDER_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_TEXT_START: Final = re.compile(rb"\xef\xbb\xbf|\xff\xfe|\xfe\xff|\s*[<{\[]|(?:<\0|\0<)")
_POINTER: Final = re.compile(rb"version https://(?:git-lfs|hawser)\.github\.com/spec/v\d+\r?\n(?:ext-[^\n]+\n)*oid [a-z0-9]+:")
_BEFORE: Final = r"(?:\s|<!--.*?-->|<\?[^>]*>)*"
_PAGE_START: Final = re.compile(
    _BEFORE + r"<(?:!doctype\s+html|(?:html|head|body|title|script|noscript|meta|link|style|center|iframe|frameset)[\s/>])",
    re.IGNORECASE | re.DOTALL,
)
_TITLE: Final = re.compile(r"<title[^>]*>(.*?)</title", re.IGNORECASE | re.DOTALL)
_MAX_TITLE: Final = 80
_VIRUS_SCAN: Final = r"virus scan warning|can.t scan this file for viruses"
_CHALLENGE: Final = (
    r"just a moment|challenge-platform|\bcf[-_]chl|captcha|checking (?:if the site|your browser)|verify(?:ing)? you are"
    r"|you.re not a bot|are you a robot|enable javascript|requires javascript|aes\.js|awswaf|_incapsula_|ddos protection"
    r"|bm-verify|attention required"
)
_LOGIN: Final = (
    r"<title[^>]*>[^<]*(?:sign[ -]?in|log[ -]?in|log[ -]?on|authenticat|captive|portal|hotspot|wi-?fi|single sign)"
    r"|type\s*=\s*[\"']?password|(?:location|url|action)[^<>\n]{0,80}(?:login|signin|logon|captive|portal|/auth|/sso)"
)
_PAGES: Final = (
    (_VIRUS_SCAN, "an HTML page that warns that no virus scan was made"),
    (_CHALLENGE, "an HTML page with a challenge for browsers (JavaScript)"),
    (_LOGIN, "a login page (HTML)"),
)


def _words_for_page(text: str) -> str:
    words = next((words for pattern, words in _PAGES if re.search(pattern, text, re.IGNORECASE)), "an HTML page")
    found = _TITLE.search(text)
    title = " ".join(unescape(found[1]).split()) if found else ""
    if not title or not title.isprintable():
        return words
    return f'{words} with the title "{title if len(title) <= _MAX_TITLE else title[: _MAX_TITLE - 1] + "…"}"'


# --- documents -------------------------------------------------------------------------------------------------------

_XML_ROOT: Final = re.compile(
    r"(?:\s|<!--.*?-->|<!doctype[^>]*>|(?P<declaration><\?xml)[^>]*>|<\?[^>]*>)*<(?:[\w.-]+:)?(?P<root>[A-Za-z_][\w.-]*)[\s/>]",
    re.IGNORECASE | re.DOTALL,
)
_ERROR_ROOTS: Final = frozenset(
    {"error", "errors", "errorresponse", "fault", "exception", "exceptionreport", "serviceexceptionreport"}
    | {"listbucketresult", "enumerationresults", "listallmybucketsresult", "multistatus"}
)
_ERROR_KEYS: Final = frozenset(
    {"error", "errors", "errormessage", "errorcode", "errordescription", "fault", "exception", "stacktrace"}
)
_MESSAGE_KEYS: Final = frozenset({"message", "msg", "detail", "reason"})
_STATUS_KEYS: Final = frozenset({"status", "statuscode", "code", "success", "ok", "documentationurl", "requestid"})
_OTHER_KEYS: Final = frozenset({"type", "title", "instance", "path", "timestamp", "data", "url", "details", "description"})
_MAX_ERROR_KEYS: Final = 12
_JSON_ERROR_START: Final = re.compile(
    r"\s*\[?\s*\{\s*\"(?:error|errors|fault|errorMessage|error_message|errorCode|error_code)\"\s*:"
)


def _xml_answer(declaration: str | None, root: str, text: str) -> ServerAnswer | None:
    is_error = root.lower() in _ERROR_ROOTS or (root.lower() == "envelope" and "fault>" in text.lower())
    if is_error:
        code = re.search(r"<code>([\w.-]{1,60})</code>", text, re.IGNORECASE)
        shown = f" ({code[1]})" if code else ""
        return ServerAnswer("xml", f"an error document in XML{shown}", is_error=True)
    return ServerAnswer("xml", "an XML document") if declaration else None


def _json_answer(text: str, *, is_whole: bool) -> ServerAnswer | None:
    if not is_whole:
        is_error = bool(_JSON_ERROR_START.match(text))
        is_object = re.match(r'\s*\{\s*"(?:[^"\\]|\\.)*"\s*:', text) is not None
        return _json(is_error=is_error) if is_error or is_object else None
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(document, list) and len(document) == 1:
        document = document[0]
    return _json(is_error=_is_error_document(document)) if isinstance(document, dict) else None


def _json(*, is_error: bool) -> ServerAnswer:
    return ServerAnswer("json", "an error document in JSON" if is_error else "a JSON document", is_error=is_error)


def _is_error_document(document: dict[str, object]) -> bool:
    keys = {re.sub(r"[^a-z]", "", key.lower()) for key in document}
    if not keys or len(document) > _MAX_ERROR_KEYS:
        return False
    if keys & _ERROR_KEYS:
        return True
    # Documents such as {"detail": "Not Found"} or {"status": 404, "message": …}, which hold nothing else.
    is_about_failure = bool(keys & _MESSAGE_KEYS) and (len(keys) == 1 or bool(keys & _STATUS_KEYS))
    return is_about_failure and keys <= _MESSAGE_KEYS | _STATUS_KEYS | _OTHER_KEYS


def _decoded(head: bytes) -> str:
    for mark, encoding in _BYTE_ORDER_MARKS:
        if head.startswith(mark):
            return head[len(mark) :].decode(encoding, "replace")
    if b"\0\0" in {head[0:4:2], head[1:5:2]}:
        # UTF-16 without a byte order mark: the letters of the markup remain.
        head = head.replace(b"\0", b"")
    return head.decode("utf-8", "replace")


# --- what a file of a name may be --------------------------------------------------------------------------------------

_PAGE_ENDINGS: Final = (
    "html|htm|xhtml|xht|shtml|mht|mhtml|php|asp|aspx|jsp|cgi|md|markdown|tmpl|tpl|j2|jinja|jinja2|ejs|erb|hbs|vue|svelte|eml"
)
_XML_ENDINGS: Final = (
    "xml|svg|rss|atom|kml|gpx|xsd|xsl|xslt|plist|musicxml|mei|tei|xmp|dae|graphml|gexf|rdf|owl|wsdl|vtu|urdf|sdf|ui|opf|ncx"
)
_MAY_BE: Final = {
    "page": re.compile(_PAGE_ENDINGS),
    "xml": re.compile(f"{_XML_ENDINGS}|{_PAGE_ENDINGS}"),
    "json": re.compile("json|jsonl|ndjson|geojson|topojson|ipynb|jsonld|json5|har|gltf|map|avsc|webmanifest"),
}
_NO_TEXT: Final = re.compile(
    "parquet|arrow|feather|orc|avro|h5|hdf5|hdf|nc|npy|npz|mat|pkl|pickle|pt|pth|ckpt|safetensors|onnx|tfrecords?|lmdb|mdb"
    "|sqlite3?|gguf|wav|flac|mp3|ogg|oga|opus|m4a|aac|aiff?|wma|midi?|mp4|mkv|webm|avi|mov|png|jpe?g|gif|webp|bmp|tiff?|heic|jp2"
    "|pdf|xlsx?|docx|pptx|ods|zip|tar|tgz|gz|t?bz2|t?xz|zst|7z|rar|lz4|jar|whl|iso|csv|tsv"
)
"""Endings of files that are never a JSON object or an XML document."""
