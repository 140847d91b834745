package mbox

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
)

// holderLine is the second line of our dotlocks, "" where /proc does not tell: boot of the system, namespace of process
// numbers, and when this process began. With the number it names one process for ever, whatever the clock says. Other
// programs read the number in the first line alone.
var holderLine = sync.OnceValue(func() string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	space, err := os.Readlink("/proc/self/ns/pid")
	self, _ := os.Readlink("/proc/self") // another number where /proc is that of another namespace: then it tells of others
	began := beganAt(os.Getpid())
	if err != nil || began == "" || self != strconv.Itoa(os.Getpid()) {
		return ""
	}
	return fmt.Sprintf("%s%s %s %s", holderMark, bytes.TrimSpace(boot), strings.ReplaceAll(space, ":", "="), began)
})

const holderMark = "goniec 1 "

// beganAt reads when a process began, in ticks since the system did; "" when that can not be had.
func beganAt(pid int) string {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return ""
	}
	// proc_pid_stat(5): the name, in parentheses, may hold anything; the time is the 22nd field.
	if fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:])); len(fields) > 19 {
		return fields[19]
	}
	return ""
}

// holderDead reports that the process that wrote a dotlock is surely dead: it ran on this very system, since it
// was started, and its number is free or another process's now.
func holderDead(pid int, line string) bool {
	theirs, ours := strings.Fields(line), strings.Fields(holderLine())
	if len(theirs) != len(ours) || len(ours) < 5 {
		return false
	}
	for i := range ours[:len(ours)-1] {
		if theirs[i] != ours[i] {
			return false
		}
	}
	if !processAlive(pid) {
		return true
	}
	began := beganAt(pid)
	return began != "" && began != theirs[len(theirs)-1]
}
