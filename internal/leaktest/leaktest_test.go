package leaktest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { VerifyTestMain(m) }

// tests are those of a package that start a goroutine.
type tests struct {
	code int
	left func()
}

func (x tests) Run() int {
	go x.left()
	return x.code
}

// Who ends late has not leaked; who does not end has, and that is left to goleak to say.
func TestPatience(t *testing.T) {
	start := time.Now()
	require.Zero(t, patient{tests{0, func() { time.Sleep(time.Second) }}, time.Hour}.Run())
	require.GreaterOrEqual(t, time.Since(start), time.Second)
	require.NoError(t, goleak.Find())

	hold := make(chan struct{})
	defer close(hold)
	require.Zero(t, patient{tests{0, func() { <-hold }}, time.Millisecond}.Run())
	require.Error(t, goleak.Find())
	require.Equal(t, 1, patient{tests{1, func() { <-hold }}, time.Hour}.Run(), "tests that failed are not waited for")
}
