// Package webhook posts mail to a web application: a goniec.Deliverer that sends each message as
// one signed JSON document by HTTP POST, and takes responsibility for it only when the application
// answered 2xx.
//
//	hook := &webhook.Hook{URL: "https://app.example/mail", Secrets: []auth.Secret{secret}}
//	server := &smtp.Server{Handler: smtp.DeliverTo(hook, "example.org")}
//
// It stands below examples because it needs HTTP, which no room of the module links; the example's
// program has flags and wiring only, and this package can be imported or copied.
//
// # What becomes of a message
//
//	2xx                                     250: the application has it
//	422 with "webhook-verdict: refuse"      554 5.7.1: the application refuses this message for good
//	anything else                           451 4.3.0: no answer, a time-out, a redirect, 4xx, 5xx; the sender tries again
//	the message is larger than the limit    552 5.3.4
//
// Nothing is stored here between attempts: the sender's queue does that. So nothing is lost, but a
// message may come twice, when the application took it and its answer did not arrive.
// The header webhook-id is then the same, for it is made of the envelope and the message without
// the Received field that our server put on top: an application that remembers the ids for as long as
// senders try (5 days, RFC 5321 §4.5.4.1) has each message exactly once.
//
// 401, 403, 404, 413 and a bare 422 are temporary on purpose: they are what a hook answers that was
// configured wrongly or is being deployed (many frameworks say 422 by themselves), and mail must not bounce for that.
//
// # Request
//
//	POST /mail HTTP/1.1
//	Content-Type: application/json
//	webhook-id: 0f3a…                     64 hexadecimal digits, the same at each attempt
//	webhook-timestamp: 1767322800         seconds since 1970, when this attempt was signed
//	webhook-signature: v1,K5oZ…= v1,9a…=  one signature for each secret, so that secrets can be changed
//
// The body is UTF-8 JSON with the members of Message, in that order. New members may be added
// later; Version changes only if the meaning of one does.
//
//	{
//	  "version": 1,
//	  "id": "01ARZ3NDEKTS",                  our id, which is in the SMTP reply, the Received field and the log
//	  "received": "2026-01-02T03:04:05Z",
//	  "size": 1234,                          octets of the message as received
//	  "envelope": {"from": "you@example.net", "recipients": ["hooks@example.org"], …},
//	  "origin": {"remote": "192.0.2.1:4711", "helo": "mx.example.net", "protocol": "ESMTPS", "tls": "TLS1.3", …},
//	  "subject": "…", "message_id": "…", "date": "…", "from": [{"name": "…", "address": "…"}], "to": […], "cc": […], "reply_to": […],
//	  "headers": [{"name": "Subject", "value": "=?utf-8?…", "text": "…"}, …],
//	  "text": "…",
//	  "html": "…",
//	  "attachments": [{"part": "2", "filename": "a.pdf", "raw_filename": "../a.pdf", "type": "application/pdf", "content": "base64", "size": 4, …}],
//	  "warnings": ["…"],
//	  "truncated": false
//	}
//
// Envelope and origin are what SMTP said: recipients are who gets the message. Headers and what is made
// of them (from, to, …) are what its author wrote: they prove nothing. Text and html are the first
// text/plain and text/html part that is neither an attachment nor a named file. Every other part
// without parts of its own is an attachment, embedded messages as a whole included, so that no content is missing; what
// stands between parts (preambles) is, unless Hook.Raw adds the message itself as "raw". Filename is
// safe to create in a folder, and may be ""; raw_filename is what the sender wrote, and never is a path to use. HTML is
// not cleaned: show it in a sandbox.
//
// # Verifying the signature
//
// The scheme is that of Standard Webhooks, so its libraries for many languages can be used. In Go:
//
//	func handle(w http.ResponseWriter, r *http.Request) {
//		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 100<<20))
//		if err != nil {
//			http.Error(w, "can not read it", http.StatusServiceUnavailable)
//			return
//		}
//		if err := webhook.Verify(r.Header, body, time.Now(), secret); err != nil {
//			http.Error(w, "not for us", http.StatusUnauthorized)
//			return
//		}
//		// Store it under r.Header.Get("webhook-id") unless it is there; answer only then.
//	}
//
// In Python, with nothing but its library:
//
//	key = base64.b64decode(secret.removeprefix("whsec_"))
//	signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
//	want = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
//	ok = any(hmac.compare_digest(want, s) for s in headers["webhook-signature"].split(" "))
//	ok = ok and abs(time.time() - int(headers["webhook-timestamp"])) < 300
//
// # Limits
//
// A message has at most Hook.MaxMessageBytes octets (50 MiB) and 1 MiB of header; it waits in memory up to
// 64 KiB and in a temporary file beyond that. The JSON document is made twice from there, once for the signature and once for
// the wire, in pieces of 6 KiB: neither it nor an attachment is ever held in memory. All parts' headers may have 4 MiB, of
// which more is kept and not interpreted ("truncated" says so), and the limits of package mime hold. The hook has Hook.Timeout (5 min) for
// everything. At most 512 octets of its answer are read, for the log. Redirects are not followed: they would
// carry mail to where nobody meant it to go.
//
// Not here: a queue (put package queue in front to answer senders at once), several hooks, retries within a transaction.
package webhook
