"""What servers send in place of a file is recognised by its bytes, and by the file's name whether it may be right."""

from __future__ import annotations

import pytest

from provisioner.catalog.answers import HEAD, mistaken_answer, recognise_answer

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 123456\n"
S3_ERROR = b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>NoSuchKey</Code><Message>m</Message></Error>'

LOOKS: dict[str, tuple[bytes, str]] = {
    "a page": (b"<!DOCTYPE html><html>", "HTML page"),
    "in capitals after blanks": (b"\r\n\t <HTML lang=en>", "HTML page"),
    "after a byte order mark": (b"\xef\xbb\xbf<!doctype html>", "HTML page"),
    "in UTF-16": ("<html><head>".encode("utf-16"), "HTML page"),
    "in UTF-16 of the other order": (b"\xfe\xff" + "<html><head>".encode("utf-16-be"), "HTML page"),
    "in UTF-16 without a mark": ("<html><head>".encode("utf-16-le"), "HTML page"),
    "after a comment": (b"<!-- saved from -->\n<html>", "HTML page"),
    "after a comment with an angle": (b"<!-- a > b --> <!-- c -->\n<html>", "HTML page"),
    "XHTML": (b'<?xml version="1.0"?>\n<!DOCTYPE html PUBLIC "x"><html xmlns="y">', "HTML page"),
    "without its beginning": (b"<head><title>Moved</title>", 'HTML page with the title "Moved"'),
    "a title with entities": (b"<html><title>\n 404 &amp;\n gone </title>", 'with the title "404 & gone"'),
    "a title with control characters": (b"<html><title>\x1b[31m</title>", "HTML page"),
    "a virus scan": (b"<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title>", "no virus scan was made"),
    "a challenge": (b"<!DOCTYPE html><html><head><title>Just a moment...</title>", "challenge for browsers"),
    "a challenge by a script": (b'<html><body><script type="text/javascript" src="/aes.js" >', "challenge for browsers"),
    "a login page": (b"<!DOCTYPE html><title>Sign in to X</title>", "login page"),
    "a form for a password": (b"<html><form><input name=p type=password></form>", "login page"),
    "a script that sends on": (b"<script>window.location='/login?next=1'</script>", "login page"),
    "a page that sends on to a portal": (b"<meta http-equiv=refresh content='0; url=http://1.1.1.1/portal'>", "login page"),
    "a captive portal": (b"<HTML><HEAD><TITLE>Hotel Wi-Fi</TITLE>", "login page"),
    "an error of an object store": (S3_ERROR, "error document in XML (NoSuchKey)"),
    "the same without a declaration": (b"<Error><Code>AccessDenied</Code></Error>", "error document in XML (AccessDenied)"),
    "the same after a byte order mark": (b"\xef\xbb\xbf" + S3_ERROR, "error document in XML"),
    "a list of a bucket": (b"<?xml version='1.0'?><ListBucketResult xmlns='x'><Name>b</Name>", "error document in XML"),
    "a SOAP fault": (b"<soap:Envelope><soap:Body><soap:Fault>", "error document in XML"),
    "another XML document": (b'<?xml version="1.0"?><score/>', "an XML document"),
    "an error of an API": (b'{"error": "gated"}', "error document in JSON"),
    "an error with a status": (b'{"status": 404, "message": "PID does not exist."}', "error document in JSON"),
    "an error with nothing else": (b'{"detail":"Not Found"}', "error document in JSON"),
    "a problem by RFC 9457": (b'{"type":"about:blank","title":"Gone","status":410,"detail":"x"}', "error document in JSON"),
    "an error in a list": (b'[{"errorCode": "X", "message": "y"}]', "error document in JSON"),
    "a long error": (b'{"error": {"message": "' + b"x" * HEAD, "error document in JSON"),
    "another JSON document": (b'{"name": "x", "values": [1, 2]}', "a JSON document"),
    "a pointer": (POINTER, "Git LFS pointer"),
    "a pointer with an extension": (POINTER.replace(b"oid", b"ext-0-a sha256:b\noid", 1), "Git LFS pointer"),
    "a pointer of the first version": (POINTER.replace(b"git-lfs", b"hawser"), "Git LFS pointer"),
    "a pointer with Windows line ends": (POINTER.replace(b"\n", b"\r\n"), "Git LFS pointer"),
    "nothing": (b"", "empty file"),
    "zeros": (bytes(HEAD), ""),
    "CSV": (b"id,genre\n1,rock\n", ""),
    "text with an angle": (b"<headphones> are 3", ""),
    "text with a fragment of HTML": (b"<b>bold</b>", ""),
    "text in braces": (b"{\\rtf1 hello}", ""),
    "numbers in brackets": (b"[1, 2, 3]", ""),
    "text about pointers": (b"version https://git-lfs.github.com/spec/v1 is a line of a pointer", ""),
    "WAV": (b"RIFF\x24\0\0\0WAVEfmt ", ""),
    "damaged JSON": (b'{"error": ', ""),
    "JSON too deep": (b"[" * HEAD, ""),
    "SVG without a declaration": (b"<svg xmlns='x'>", ""),
}


@pytest.mark.parametrize("row", LOOKS)
def test_what_it_looks_like(row: str) -> None:
    """Pages, error documents, pointers and nothing are told from data, and from each other."""
    data, words = LOOKS[row]
    answer = recognise_answer(data[:HEAD], len(data))
    assert (words in answer.words) if words and answer else (not words and answer is None), answer


PAGE = b"<!DOCTYPE html><html>"
ERROR = b'{"error": "gated"}'
DOCUMENT = b'{"name": "x"}'
XML = b'<?xml version="1.0"?><score/>'
NAMES: list[tuple[bytes, str, bool]] = [
    *((PAGE, name, False) for name in ("a.html", "a.HTM", "b/a.xhtml", "a.php", "README.md", "a.tmpl")),
    *((PAGE, name, True) for name in ("a.csv", "a.json", "a.xml", "a.txt", "a.parquet", "a.wav", "content", "a.html.gz")),
    *((ERROR, name, False) for name in ("a.json", "a.jsonl", "a.ipynb")),
    *((ERROR, name, True) for name in ("a.csv", "a.txt", "a.xml", "a.html", "a.parquet", "content")),
    *((DOCUMENT, name, False) for name in ("a.json", "a.txt", "a.bin", "content", "a.yaml")),
    *((DOCUMENT, name, True) for name in ("a.csv", "a.wav", "a.zip", "a.PARQUET")),
    *((XML, name, False) for name in ("a.xml", "a.musicxml", "a.svg", "a.txt", "content", "a.xhtml")),
    *((XML, name, True) for name in ("a.csv", "a.flac", "a.tar.gz")),
    *((S3_ERROR, name, True) for name in ("a.txt", "content", "a.json", "a.npz")),
    *((POINTER, name, True) for name in ("a.txt", "a.wav", "pointer")),
    *((b"", name, True) for name in ("a.txt", "a.wav", "a.html")),
]


@pytest.mark.parametrize(("data", "name", "mistaken"), NAMES)
def test_whether_it_can_be_the_file(data: bytes, name: str, *, mistaken: bool) -> None:
    """A file whose name says that it is a page or a document may be one; no archive is one, whatever its name."""
    assert (mistaken_answer(data, len(data), name, is_archive=False) is not None) == mistaken
    assert mistaken_answer(data, len(data), name, is_archive=True) is not None
