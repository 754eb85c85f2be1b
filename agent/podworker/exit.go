package podworker

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"navarch.dev/navarch/agent/runtime"
)

const (
	// maxTailBytes and maxTailLines bound a termination message made of a log.
	maxTailBytes = 2048
	maxTailLines = 80
)

// explainExit completes what is known of a container that has ended: why it
// was ended, and its last words where its spec asks for them.
func (m *Manager) explainExit(c *container) {
	st := &c.current
	if st.State != runtime.StateExited {
		return
	}
	if c.stopReason != "" && st.Reason == runtime.ReasonError {
		st.Message = c.stopReason
	}
	if c.spec.TerminationMessagePolicy == corev1.TerminationMessageFallbackToLogsOnError &&
		st.ExitCode != 0 && st.TerminationMessage == "" {
		st.TerminationMessage = logTail(st.Spec.LogPath)
	}
	c.stopReason = ""
}

// logTail returns the end of a log in the CRI format, without its prefixes.
func logTail(path string) string {
	if path == "" {
		return ""
	}
	f, err := os.Open(filepath.Clean(path))
	if err != nil {
		return ""
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return ""
	}
	// Prefixes are about 50 bytes a line.
	buf := make([]byte, min(info.Size(), maxTailBytes+maxTailLines*64))
	n, err := f.ReadAt(buf, info.Size()-int64(len(buf)))
	if err != nil && n == 0 {
		return ""
	}
	return stripCRI(string(buf[:n]), int64(len(buf)) < info.Size())
}

// stripCRI removes the time, stream and tag of each line. cut says that the
// first line may be incomplete.
func stripCRI(text string, cut bool) string {
	lines := strings.SplitAfter(text, "\n")
	if cut && len(lines) > 0 {
		lines = lines[1:]
	}
	var out strings.Builder
	for _, line := range lines[max(0, len(lines)-maxTailLines):] {
		parts := strings.SplitN(line, " ", 4)
		if len(parts) < 4 {
			continue
		}
		rest := parts[3]
		if parts[2] == "P" {
			rest = strings.TrimSuffix(rest, "\n")
		}
		out.WriteString(rest)
	}
	s := out.String()
	return s[max(0, len(s)-maxTailBytes):]
}

// parseSignal understands "SIGTERM", "TERM" and "15".
func parseSignal(name string) (runtime.Signal, bool) {
	if n, err := strconv.Atoi(name); err == nil {
		return syscall.Signal(n), n > 0 && n < 65
	}
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	s := unix.SignalNum(name)
	return s, s != 0
}

// amount is a quantity as the events about resources show it.
func amount(name corev1.ResourceName, q resource.Quantity) int64 {
	if name == corev1.ResourceCPU {
		return q.MilliValue()
	}
	return q.Value()
}
