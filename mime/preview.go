package mime

import (
	"bufio"
	"html"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// PreviewLength is how many characters a preview has at most (RFC 8970 §3.2).
const PreviewLength = 200

// maxPreviewInput is how much text is looked at for a preview.
const maxPreviewInput = 64 << 10

// Preview returns the beginning of what a person would read (RFC 8970): of the first text that
// is no attachment, plain before HTML, at most n characters (0 means 200), in one line, without
// control characters, markup, quoted lines and what HTML does not show. It is "" if there is no
// such text. The error is one of reading.
func (s *Structure) Preview(c Content, n int) (string, error) {
	if n <= 0 {
		n = PreviewLength
	}
	plain, markup := s.textParts()
	for _, i := range [...]int{plain, markup} {
		if i < 0 {
			continue
		}
		text, err := s.previewOf(c, i, n)
		if text != "" || err != nil {
			return text, err
		}
	}
	return "", nil
}

// textParts finds the first plain and the first HTML text, -1 for none. Those of embedded
// messages come last: they are only taken if the message has none of its own, and then before
// anything that follows them.
func (s *Structure) textParts() (plain, markup int) {
	plain, markup = -1, -1
	for i := range s.Parts {
		p := &s.Parts[i]
		switch {
		case p.Kind != Leaf || p.Type.Type != "text" || p.Disposition == "attachment":
		case p.Type.Subtype == "plain" && plain < 0:
			plain = i
		case p.Type.Subtype == "html" && markup < 0:
			markup = i
		}
	}
	return plain, markup
}

func (s *Structure) previewOf(c Content, i, n int) (string, error) {
	r := s.Text(c, i)
	defer r.Close()
	in := bufio.NewReader(io.LimitReader(r, maxPreviewInput))
	w := previewWriter{left: n}
	if s.Parts[i].Type.Subtype == "html" {
		raw, err := io.ReadAll(in)
		if err != nil {
			return "", err
		}
		w.add(stripMarkup(string(raw)))
		return w.b.String(), nil
	}
	for w.left > 0 {
		line, err := in.ReadString('\n')
		if !strings.HasPrefix(line, ">") {
			w.add(line)
			w.add(" ")
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return "", err
		}
	}
	return w.b.String(), nil
}

// previewWriter takes text and keeps its first characters, each run of white space as one
// space.
type previewWriter struct {
	b     strings.Builder
	left  int
	space bool
}

func (w *previewWriter) add(s string) {
	for _, r := range s {
		if w.left == 0 {
			return
		}
		switch {
		case unicode.IsSpace(r) || isControl(r):
			w.space = w.b.Len() > 0
		case r == '\u200b' || r == '\u200c' || r == '\ufeff' || r == '\u034f': // invisible filling of newsletters
		case w.space && w.left == 1:
			w.left = 0
		default:
			if w.space {
				w.b.WriteByte(' ')
				w.left--
				w.space = false
			}
			if !utf8.ValidRune(r) {
				r = utf8.RuneError
			}
			w.b.WriteRune(r)
			w.left--
		}
	}
}

// stripMarkup returns the text between tags, without comments and elements that show nothing.
// It goes forward only.
func stripMarkup(s string) string {
	var b strings.Builder
	ends := map[string]bool{} // closing tags that are known not to come: they are not searched again
	for s != "" {
		i := strings.IndexByte(s, '<')
		if i < 0 {
			b.WriteString(s)
			break
		}
		b.WriteString(s[:i])
		s = s[i:]
		if !startsTag(s) {
			b.WriteByte('<')
			s = s[1:]
			continue
		}
		b.WriteByte(' ')
		if strings.HasPrefix(s, "<!--") {
			s = after(s, "-->", ends)
			continue
		}
		name := tagName(s)
		s = after(s, ">", ends)
		switch name {
		case "style", "script", "title", "head", "noscript":
			s = afterFold(s, "</"+name, ends)
		}
	}
	return html.UnescapeString(b.String())
}

// startsTag tells a tag from a less-than sign, as browsers do.
func startsTag(s string) bool {
	return len(s) > 1 && (s[1]|0x20 >= 'a' && s[1]|0x20 <= 'z' || s[1] == '/' || s[1] == '!' || s[1] == '?')
}

// tagName returns the name of the tag at the front of s in lower case.
func tagName(s string) string {
	n := 1
	for n < len(s) && n < 12 && (s[n]|0x20 >= 'a' && s[n]|0x20 <= 'z') {
		n++
	}
	return strings.ToLower(s[1:n])
}

// after returns what follows the first end; without one the mark at the front is text.
func after(s, end string, missing map[string]bool) string {
	if !missing[end] {
		if i := strings.Index(s, end); i >= 0 {
			return s[i+len(end):]
		}
		missing[end] = true
	}
	return s[1:]
}

// afterFold returns what begins with the closing tag in any case, s if there is none.
func afterFold(s, end string, missing map[string]bool) string {
	for from := 0; !missing[end]; {
		i := strings.Index(s[from:], "</")
		if i < 0 || from+i+len(end) > len(s) {
			missing[end] = true
			break
		}
		from += i
		if strings.EqualFold(s[from:from+len(end)], end) {
			return s[from:]
		}
		from += 2
	}
	return s
}
