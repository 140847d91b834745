// Package mbox reads and writes mbox files.
package mbox
