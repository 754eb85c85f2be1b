package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
)

// maxEntry is the length of the longest entry.
const maxEntry = 1024

var errNotOneLine = errors.New("an entry is one line of text")

// book is the entries, in memory and in a file, one a line.
type book struct {
	mu      sync.RWMutex // guards what follows
	file    *os.File
	size    int64
	entries []string
}

// openBook reads a book, or begins one. A last line without an end was never
// confirmed to anybody, and is dropped.
func openBook(path string) (*book, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the entries: %w", err)
	}
	data, err := io.ReadAll(file)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read the entries: %w", err), file.Close())
	}
	whole := data[:bytes.LastIndexByte(data, '\n')+1]
	b := &book{file: file, size: int64(len(whole))}
	for line := range strings.Lines(string(whole)) {
		b.entries = append(b.entries, strings.TrimSuffix(line, "\n"))
	}
	return b, nil
}

// add appends an entry, and returns once it is on disk.
func (b *book) add(entry string) error {
	if entry == "" || strings.ContainsAny(entry, "\r\n") {
		return errNotOneLine
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	line := []byte(entry + "\n")
	if _, err := b.file.WriteAt(line, b.size); err != nil {
		return fmt.Errorf("write an entry: %w", err)
	}
	if err := b.file.Sync(); err != nil {
		return fmt.Errorf("write an entry: %w", err)
	}
	b.size += int64(len(line))
	b.entries = append(b.entries, entry)
	return nil
}

func (b *book) all() []string {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return slices.Clone(b.entries)
}

func (b *book) len() int {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return len(b.entries)
}

func (b *book) close() { _ = b.file.Close() } // everything has been synced
