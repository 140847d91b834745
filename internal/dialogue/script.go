package dialogue

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// script is a parsed dialogue file.
type script struct {
	name     string
	lines    []string // of the file, to be rewritten by -update
	settings map[string]string
	steps    []step
}

// step is one line of a dialogue.
type step struct {
	line int    // in the file, from 1
	side byte   // 'C', 'S', or '!' for a hook
	conn int    // from 1
	text string // as written, without the prefix
}

// speech is "C: text" or "S2: text".
var speech = regexp.MustCompile(`^([CS])([1-9][0-9]?)?:(?: (.*))?$`)

// parse reads a dialogue file.
func parse(name, file string) (*script, error) {
	s := &script{name: name, settings: map[string]string{}}
	s.lines = strings.Split(file, "\n")
	for i, line := range s.lines {
		line = strings.TrimSuffix(line, "\r") // a checkout with CRLF
		if err := s.parseLine(i+1, line); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, i+1, err)
		}
	}
	if len(s.steps) == 0 {
		return nil, fmt.Errorf("%s: no dialogue", name)
	}
	return s, nil
}

func (s *script) parseLine(n int, line string) error {
	switch {
	case strings.TrimSpace(line) == "", line[0] == '#':
		return nil
	case line[0] == '%':
		if len(s.steps) > 0 {
			return fmt.Errorf("settings come before the dialogue")
		}
		key, value, _ := strings.Cut(strings.TrimSpace(line[1:]), " ")
		if _, twice := s.settings[key]; twice || key == "" {
			return fmt.Errorf("setting %q is empty or there twice", key)
		}
		s.settings[key] = strings.TrimSpace(value)
		return nil
	case line[0] == '!':
		s.steps = append(s.steps, step{line: n, side: '!', text: strings.TrimSpace(line[1:])})
		return nil
	}
	m := speech.FindStringSubmatch(line)
	if m == nil {
		return fmt.Errorf("%q is not a line of a dialogue", line)
	}
	conn := 1
	if m[2] != "" {
		conn, _ = strconv.Atoi(m[2])
	}
	s.steps = append(s.steps, step{line: n, side: m[1][0], conn: conn, text: m[3]})
	return nil
}

// prefix is what stands before the text of a step.
func (st step) prefix() string {
	switch {
	case st.side == '!':
		return "! "
	case st.conn == 1:
		return string(st.side) + ": "
	}
	return fmt.Sprintf("%c%d: ", st.side, st.conn)
}

// directive returns the words of a text like <TLS> or <NOTHING 50ms>, and nil for other text.
func (st step) directive() []string {
	if !strings.HasPrefix(st.text, "<") || !strings.HasSuffix(st.text, ">") {
		return nil
	}
	words := strings.SplitN(st.text[1:len(st.text)-1], " ", 3)
	switch words[0] {
	case "CONNECT", "TLS", "CLOSE", "HALFCLOSE", "RESET", "PAUSE", "REPEAT", "PLAIN", "EOF", "NOTHING":
		return words
	}
	return nil
}
