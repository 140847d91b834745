package mailboxtest

import (
	"errors"
	"fmt"
	"strings"

	"github.com/goniec-mail/goniec/mailbox"
	"github.com/stretchr/testify/require"
)

// What is private in a folder that several users share can belong to one of them alone: it may be refused to others.
func testMetadata(f *fixture) {
	b := f.inbox()
	md := need[mailbox.Metadata](f, b.Mailbox)
	get := func() map[string][]byte {
		all, err := mailbox.Annotations(f.ctx, f.inbox().Mailbox)
		require.NoError(f, err)
		return all
	}
	checkMetadata(f, md, "/shared/", get)
	err := md.SetAnnotation(f.ctx, "/private/comment", []byte("mine"))
	if errors.Is(err, mailbox.ErrForbidden) {
		require.NotContains(f, get(), "/private/comment")
		return
	}
	require.NoError(f, err)
	require.Equal(f, []byte("mine"), get()["/private/comment"])
	require.NoError(f, mailbox.SetAnnotation(f.ctx, b.Mailbox, "/private/comment", nil))
	require.NotContains(f, get(), "/private/comment")
}

func testAccountMetadata(f *fixture) {
	md := need[mailbox.Metadata](f, f.acc)
	checkMetadata(f, md, "/private/", func() map[string][]byte {
		all, err := mailbox.AccountAnnotations(f.ctx, f.account(f.suite.User))
		require.NoError(f, err)
		return all
	})
	require.NoError(f, mailbox.SetAccountAnnotation(f.ctx, f.acc, "/private/own", []byte("x")))
	other, err := mailbox.AccountAnnotations(f.ctx, f.account("bob@example.org"))
	require.NoError(f, err)
	require.NotContains(f, other, "/private/own", "of one account only")
	if m, ok := mailbox.As[mailbox.Metadata](f.inbox().Mailbox); ok {
		all, err := m.Annotations(f.ctx)
		require.NoError(f, err)
		require.NotContains(f, all, "/private/own", "INBOX has its own")
	}
}

// checkMetadata sets, changes and removes annotations of one kind; another handle sees each.
func checkMetadata(f *fixture, md mailbox.Metadata, kind string, get func() map[string][]byte) {
	f.Helper()
	comment, empty, second := kind+"comment", kind+"empty", kind+"second"
	require.Empty(f, get())
	value := []byte("mine\x00\r\n)\xff")
	require.NoError(f, md.SetAnnotation(f.ctx, comment, value))
	value[0] = 'X' // the store keeps a copy
	require.NoError(f, md.SetAnnotation(f.ctx, empty, []byte{}))
	want := map[string][]byte{comment: []byte("mine\x00\r\n)\xff"), empty: {}}
	require.Equal(f, want, get(), "an empty value is a value")
	require.NoError(f, md.SetAnnotation(f.ctx, comment, []byte("other")))
	require.NoError(f, md.SetAnnotation(f.ctx, empty, nil))
	require.NoError(f, md.SetAnnotation(f.ctx, kind+"never", nil))
	require.Equal(f, map[string][]byte{comment: []byte("other")}, get())
	get()[comment][0] = 'X' // what was handed out is the caller's
	require.NoError(f, md.SetAnnotation(f.ctx, second, []byte("2")))
	require.Equal(f, map[string][]byte{comment: []byte("other"), second: []byte("2")}, get())
}

// testMetadataFollows: annotations go with the folder when it is renamed, and go when it is deleted.
func testMetadataFollows(f *fixture) {
	b := f.folder("annotated")
	md := need[mailbox.Metadata](f, b.Mailbox)
	require.NoError(f, md.SetAnnotation(f.ctx, "/shared/comment", []byte("x")))
	require.NoError(f, f.acc.Rename(f.ctx, "annotated", "renamed"))
	all, err := mailbox.Annotations(f.ctx, f.open("renamed").Mailbox)
	require.NoError(f, err)
	require.Equal(f, []byte("x"), all["/shared/comment"])
	require.NoError(f, f.acc.Delete(f.ctx, "renamed"))
	all, err = mailbox.Annotations(f.ctx, f.folder("renamed").Mailbox)
	require.NoError(f, err)
	require.Empty(f, all, "another folder of the same name")
}

// testMetadataLimit: what a store does not take is refused as a whole.
func testMetadataLimit(f *fixture) {
	b := f.inbox()
	md := need[mailbox.Metadata](f, b.Mailbox)
	for _, value := range []string{"x", strings.Repeat("x", 60<<10)} {
		n := 0
		for ; n < 200; n++ {
			err := md.SetAnnotation(f.ctx, fmt.Sprintf("/shared/%d", n), []byte(value))
			if err != nil {
				require.ErrorIs(f, err, mailbox.ErrOverQuota)
				break
			}
		}
		all, err := md.Annotations(f.ctx)
		require.NoError(f, err)
		require.Len(f, all, n)
		require.GreaterOrEqual(f, n, 4, "some there must be")
		for entry := range all {
			require.NoError(f, md.SetAnnotation(f.ctx, entry, nil))
		}
	}
}

func testMetadataReopened(f *fixture) {
	if f.suite.Reopen == nil {
		f.Skip("the store does not survive a restart")
	}
	md := need[mailbox.Metadata](f, f.inbox().Mailbox)
	require.NoError(f, md.SetAnnotation(f.ctx, "/shared/comment", []byte("x")))
	account, ok := mailbox.As[mailbox.Metadata](f.acc)
	if ok {
		require.NoError(f, account.SetAnnotation(f.ctx, "/private/comment", []byte("y")))
	}
	again := *f
	again.store = f.suite.Reopen(f.T, f.base)
	again.acc = again.account(f.suite.User)
	all, err := mailbox.Annotations(f.ctx, again.inbox().Mailbox)
	require.NoError(f, err)
	require.Equal(f, map[string][]byte{"/shared/comment": []byte("x")}, all)
	if ok {
		all, err := mailbox.AccountAnnotations(f.ctx, again.acc)
		require.NoError(f, err)
		require.Equal(f, map[string][]byte{"/private/comment": []byte("y")}, all)
	}
}
