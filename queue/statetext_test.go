package queue

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

// States and kinds are words in JSON, as people read them in "queue show", and come back from it.
func TestStateAndKindInJSON(t *testing.T) {
	for state := StateIncoming; state <= StateCorrupt; state++ {
		for kind := KindMail; kind <= KindNotice; kind++ {
			text, err := json.Marshal(Entry{Kind: kind, Jobs: []Job{{State: state}}})
			require.NoError(t, err)
			require.Contains(t, string(text), `"State":"`+state.String()+`"`)
			require.Contains(t, string(text), `"Kind":"`+kind.String()+`"`)
			var e Entry
			require.NoError(t, json.Unmarshal(text, &e))
			require.Equal(t, kind, e.Kind)
			require.Equal(t, state, e.Jobs[0].State)
			require.Equal(t, stateNames()[state], state.String(), "one list of names")
		}
	}
	var s State
	require.ErrorContains(t, s.UnmarshalText([]byte("asleep")), `no state is called "asleep"`)
	var k Kind
	require.ErrorContains(t, k.UnmarshalText([]byte("spam")), `no kind of message is called "spam"`)
	require.Equal(t, "unknown", Kind(9).String())
}
