package server

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// maxLine is the longest line written whole; longer ones are written in parts.
const maxLine = 16 << 10

// timeFormat is RFC 3339 with nanoseconds, of constant width.
const timeFormat = "2006-01-02T15:04:05.000000000Z07:00"

// rotatedFormat is what is added to the path of a full log file; it sorts as text.
const rotatedFormat = "20060102-150405.000000000"

// logFile is a container's log: lines of both streams in the CRI format.
type logFile struct {
	path     string
	maxBytes int64
	maxFiles int

	mu   sync.Mutex
	file *os.File
	size int64
	// lost counts the bytes that could not be written, for the line that tells.
	lost    int
	lostErr error
}

func openLog(path string, maxBytes int64, maxFiles int) (*logFile, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make log folder: %w", err)
	}
	l := &logFile{path: path, maxBytes: maxBytes, maxFiles: maxFiles}
	if err := l.open(); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *logFile) open() error {
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return fmt.Errorf("open log: %w", err)
	}
	l.file, l.size = f, info.Size()
	return nil
}

// write appends whole CRI lines.
func (l *logFile) write(lines []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.maxBytes > 0 && l.size > 0 && l.size+int64(len(lines)) > l.maxBytes {
		l.rotate()
	}
	if l.lost > 0 {
		notice := fmt.Sprintf("%s stderr F navarch: %d bytes of output could not be logged: %v\n",
			time.Now().UTC().Format(timeFormat), l.lost, l.lostErr)
		lines = append([]byte(notice), lines...)
	}
	n, err := l.file.Write(lines)
	l.size += int64(n)
	if err != nil {
		l.lose(lines, n, err)
		return
	}
	l.lost, l.lostErr = 0, nil
}

// lose notes what a failed write (of a full disk) left out, and takes the cut
// line back, so that the file stays well-formed.
func (l *logFile) lose(lines []byte, written int, err error) {
	cut := written - (bytes.LastIndexByte(lines[:written], '\n') + 1)
	if cut > 0 && l.file.Truncate(l.size-int64(cut)) == nil {
		l.size -= int64(cut)
	}
	l.lost += len(lines) - written + cut
	l.lostErr = err
}

// rotate renames the full file and begins a new one. If the new one cannot be
// opened, the old one is written on.
func (l *logFile) rotate() {
	full := l.path + "." + time.Now().UTC().Format(rotatedFormat)
	if err := os.Rename(l.path, full); err != nil {
		return
	}
	old := l.file
	if err := l.open(); err != nil {
		_ = os.Rename(full, l.path)
		return
	}
	_ = old.Close()
	l.removeOldest()
}

func (l *logFile) removeOldest() {
	rotated, err := filepath.Glob(escapeGlob(l.path) + ".*")
	if err != nil || len(rotated) < l.maxFiles {
		return
	}
	slices.Sort(rotated)
	for _, path := range rotated[:len(rotated)-max(l.maxFiles-1, 0)] {
		_ = os.Remove(path)
	}
}

func escapeGlob(path string) string {
	var escaped []byte
	for _, b := range []byte(path) {
		if bytes.IndexByte([]byte(`*?[\`), b) >= 0 {
			escaped = append(escaped, '\\')
		}
		escaped = append(escaped, b)
	}
	return string(escaped)
}

func (l *logFile) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.file.Close()
}

// lineWriter turns one stream's output into CRI lines. It keeps the part of a
// line that has not ended yet.
type lineWriter struct {
	log    *logFile
	stream string
	rest   []byte
	out    []byte
}

func (w *lineWriter) write(data []byte) {
	now := time.Now().UTC()
	w.out = w.out[:0]
	for len(data) > 0 {
		end := bytes.IndexByte(data, '\n')
		part := data
		if end >= 0 {
			part = data[:end]
		}
		if room := maxLine - len(w.rest); len(part) > room {
			w.emit(now, 'P', part[:room])
			data = data[room:]
			continue
		}
		if end < 0 {
			w.rest = append(w.rest, part...)
			break
		}
		w.emit(now, 'F', part)
		data = data[end+1:]
	}
	if len(w.out) > 0 {
		w.log.write(w.out)
	}
}

// emit adds one line made of the kept rest and part.
func (w *lineWriter) emit(now time.Time, tag byte, part []byte) {
	w.out = now.AppendFormat(w.out, timeFormat)
	w.out = append(w.out, ' ')
	w.out = append(w.out, w.stream...)
	w.out = append(w.out, ' ', tag, ' ')
	w.out = append(w.out, w.rest...)
	w.out = append(w.out, part...)
	w.out = append(w.out, '\n')
	w.rest = w.rest[:0]
}

// flush writes a last line that has no end, as a part of one: whoever reads the
// log gets what was written and no more.
func (w *lineWriter) flush() {
	if len(w.rest) == 0 {
		return
	}
	w.out = w.out[:0]
	w.emit(time.Now().UTC(), 'P', nil)
	w.log.write(w.out)
}
