package imap_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"maps"
	"strings"
	"testing"
	"time"
)

// TestRecord turns dialogue sources without S lines ($RECORD/*.txt) into testdata.
func TestRecord(t *testing.T) {
	dir := os.Getenv("RECORD")
	if dir == "" {
		t.Skip()
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*.txt"))
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) { record(t, file) })
	}
}

func unescape(s string) string {
	s = strings.ReplaceAll(s, `\\`, "\x01")
	s = strings.ReplaceAll(s, `\r`, "\r")
	s = strings.ReplaceAll(s, `\n`, "\n")
	s = strings.ReplaceAll(s, `\x00`, "\x00")
	s = strings.ReplaceAll(s, `\$`, "$")
	return strings.ReplaceAll(s, "\x01", `\`)
}

func escape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\':
			b.WriteString(`\\`)
		case c == '$':
			b.WriteString(`\$`)
		case c < ' ' || c == 0x7f:
			fmt.Fprintf(&b, `\x%02X`, c)
		case i == 0 && (c == '~' || c == '<'):
			b.WriteString(`\` + string(c))
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

func record(t *testing.T, file string) {
	src, _ := os.ReadFile(file)
	f := newFixture(t)
	settings := map[string]string{}
	lines := strings.Split(strings.TrimRight(string(src), "\n"), "\n")
	for _, l := range lines {
		if strings.HasPrefix(l, "% ") {
			k, v, _ := strings.Cut(l[2:], " ")
			settings[k] = v
		}
	}
	for _, key := range slices.Sorted(maps.Keys(settings)) {
		f.setting(t, strings.TrimRight(key, "0123456789"), settings[key])
	}
	addr := f.start(t)
	hooks := f.hooks(t)
	conns := map[string]net.Conn{}
	bufs := map[string]*strings.Builder{}
	var out strings.Builder
	read := func() {
		for _, n := range slices.Sorted(maps.Keys(conns)) {
			c := conns[n]
			eof := false
			buf := make([]byte, 1<<20)
			for {
				c.SetReadDeadline(time.Now().Add(25 * time.Millisecond))
				m, err := c.Read(buf)
				bufs[n].Write(buf[:m])
				if err != nil {
					eof = !strings.Contains(err.Error(), "timeout")
					break
				}
			}
			text := bufs[n].String()
			for {
				i := strings.Index(text, "\r\n")
				if i < 0 {
					break
				}
				line := text[:i]
				text = text[i+2:]
				if strings.Contains(line, "mx.test ready") {
					fmt.Fprintf(&out, "S%s: ~ \\* OK .*\n", n)
				} else if strings.Contains(line, "logged in") {
					fmt.Fprintf(&out, "S%s: ~ \\S+ OK .*\n", n)
				} else {
					fmt.Fprintf(&out, "S%s: %s\n", n, escape(line))
				}
			}
			bufs[n].Reset()
			bufs[n].WriteString(text)
			if text != "" {
				fmt.Fprintf(&out, "# UNFINISHED %q\n", text)
			}
			if eof {
				fmt.Fprintf(&out, "S%s: <EOF>\n", n)
				delete(conns, n)
			}
		}
	}
	for _, l := range lines {
		switch {
		case strings.HasPrefix(l, "! "):
			out.WriteString(l + "\n")
			args := strings.Fields(l[2:])
			if err := hooks[args[0]](args2(args[1:])...); err != nil {
				t.Fatal(l, err)
			}
			read()
		case strings.HasPrefix(l, "C"):
			n, text, _ := strings.Cut(l[1:], ": ")
			if conns[n] == nil {
				c, err := net.Dial("tcp", addr)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				conns[n], bufs[n] = c, &strings.Builder{}
				read()
			}
			out.WriteString(l + "\n")
			end := "\r\n"
			if strings.HasSuffix(text, `\`) && !strings.HasSuffix(text, `\\`) {
				text, end = strings.TrimSuffix(text, `\`), ""
			}
			fmt.Fprint(conns[n], unescape(text)+end)
			read()
		default:
			out.WriteString(l + "\n")
		}
	}
	os.WriteFile("testdata/"+filepath.Base(file), []byte(out.String()), 0o644)
}

func args2(a []string) (out []string) {
	for _, s := range a {
		out = append(out, unescape(s))
	}
	return out
}
