// Package system asks what the machine has: its passwd and shadow files (Accounts), and programs that
// speak the checkpassword protocol (Program). Both only read.
//
// Accounts sees local files, not what NSS would add (LDAP, SSSD), and not what PAM would ask for; a Dovecot
// with a pam passdb gives those through package auth/dovecot, without cgo.
//
// Limits: files and lines as in package passwd; a Program has Timeout for its answer, Parallel bounds how many run,
// and 64 KiB of what it prints are read. Program needs Unix.
package system
