package console

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestLine(t *testing.T) {
	var b bytes.Buffer
	l := slog.New(NewHandler(&b)).With("protocol", "smtp").WithGroup("tx")
	l.Info("accepted", "id", "K7Q2", "to", "a@b", "took", 3*time.Millisecond, "empty", "", slog.Group("g", "n", 1))
	l.Debug("hidden")
	l.Warn("refused", "err", errors.New("line one\r\nline two"), "x", "\x1b[2J\u202e", "long", strings.Repeat("y", 5000))
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	require.Len(t, lines, 2, "a record is one line (L01)")
	require.Regexp(t, `^\d\d:\d\d:\d\d accepted protocol=smtp tx\.id=K7Q2 tx\.to=a@b tx\.took=3ms tx\.g\.n=1$`, lines[0])
	require.Contains(t, lines[1], `WARN refused protocol=smtp tx.err="line one\r\nline two" tx.x="\x1b[2J\u202e"`)
	require.Less(t, len(lines[1]), 1300)
}
