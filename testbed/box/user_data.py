"""User data as cloud-init takes it: a script, or a multipart message with scripts in it."""

import email
import gzip


def scripts(data):
    """([script text as bytes], [what was not understood])."""
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    if not data.strip():
        return [], []
    if data.startswith(b"#!"):
        return [data], []
    head = data[:2000].lower()
    if head.startswith((b"content-type:", b"mime-version:")):
        found, unknown = [], []
        for part in email.message_from_bytes(data).walk():
            if part.is_multipart():
                continue
            body = part.get_payload(decode=True)
            if part.get_content_type() == "text/x-shellscript" or body.startswith(b"#!"):
                found.append(body)
            else:
                unknown.append(part.get_content_type())
        return found, unknown
    return [], [data.split(b"\n")[0][:80].decode("utf-8", "replace")]
