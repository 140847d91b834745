# Reads file names, one a line; prints one JSON object a line: what Python's email package makes of each message.
import datetime, email, email.header, email.policy, email.utils, hashlib, json, sys


def part(m):
    # Python makes a multipart only of what has parts, and calls anything else by its header.
    # Multiparts without parts, and message types other than a message, are leaves without a hash here: Python does not keep
    # the octets of the one and cuts the other into parts.
    if m.get_content_maintype() == "message" and m.get_content_type() not in ("message/rfc822", "message/global"):
        kind, body = "leaf", ""
    elif m.is_multipart():
        kind = "container"
        body = ""
    elif m.get_content_maintype() == "multipart":
        kind, body = "leaf", ""
    else:
        kind = "leaf"
        raw = m.get_payload(decode=True)
        if raw is None:
            raw = b""
        # Line ends as LF, and no white space before them or at the end, are compared: see the test.
        lines = raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        body = hashlib.sha256(b"\n".join(x.rstrip(b" \t") for x in lines).rstrip(b"\n")).hexdigest()
    return {"type": m.get_content_type(), "kind": kind, "sha256": body}


def walk(m):
    # Like m.walk(), but not into message types other than a message.
    yield m
    if m.is_multipart() and (m.get_content_maintype() != "message" or m.get_content_type() in ("message/rfc822", "message/global")):
        for p in m.get_payload():
            yield from walk(p)


def date(v):
    # Seconds since 1970; a date without zone is UTC.
    try:
        d = email.utils.parsedate_to_datetime(str(v))
        return int((d if d.tzinfo else d.replace(tzinfo=datetime.timezone.utc)).timestamp())
    except Exception:
        return None


def addresses(v):
    return [a for _, a in email.utils.getaddresses([str(v)]) if a]


def text(v):
    try:
        return str(email.header.make_header(email.header.decode_header(str(v))))
    except Exception as e:
        return repr(e)


def values(m):
    out = {}
    if m.get("date") is not None:
        out["date"] = date(m["date"])
    if m.get("subject") is not None:
        out["subject"] = text(m["subject"])
    for k in ("from", "to", "cc"):
        if m.get(k) is not None:
            out[k] = addresses(m[k])
    return out


for name in sys.stdin:
    name = name.rstrip("\n")
    with open(name, "rb") as f:
        raw = f.read()
    m = email.message_from_bytes(raw)
    # The newer interface decodes headers; it refuses some broken ones with an exception, so that it is only asked for what is sound.
    subject, senders, names, defects = "", [], [], []
    try:
        n = email.message_from_bytes(raw, policy=email.policy.default)
        subject = str(n["subject"] or "")
        senders = [str(a) for a in n["from"].addresses] if n["from"] else []
        names = [p.get_filename() for p in walk(n) if p.get_filename()]
        defects = [repr(d) for p in walk(n) for d in p.defects]
    except Exception as e:
        defects = [repr(e)]
    print(json.dumps({"parts": [part(p) for p in walk(m)], "subject": subject, "from": senders, "filenames": names, "defects": defects, "values": values(m)}), flush=True)
