package logs

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// files are the log's files that are there, oldest first, the live one last.
func files(path string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []string
	live := false
	for _, entry := range entries { // sorted by name
		switch name := entry.Name(); {
		case name == filepath.Base(path):
			live = true
		case strings.HasPrefix(name, filepath.Base(path)+"."):
			all = append(all, filepath.Join(filepath.Dir(path), name))
		}
	}
	if live {
		all = append(all, path)
	}
	return all, nil
}

// Remove removes a log with its rotated files.
func Remove(path string) error {
	all, err := files(path)
	if err != nil {
		return err
	}
	var errs []error
	for _, file := range all {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (r *reader) openFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	r.closeFile()
	r.file = f
	if r.buffer == nil {
		r.buffer = bufio.NewReaderSize(f, readBuffer)
	} else {
		r.buffer.Reset(f)
	}
	return nil
}

func (r *reader) closeFile() {
	if r.file != nil {
		_ = r.file.Close()
		r.file = nil
	}
}

// advance opens the file after the present one, which has been read to its end.
// The present one is known by its inode, since it may have been renamed. It tells
// whether there was one.
func (r *reader) advance() (bool, error) {
	// A file may be renamed between the listing and the opening; what it is then
	// called is found by listing again.
	for range 100 {
		moved, err := r.tryAdvance()
		if !errors.Is(err, fs.ErrNotExist) {
			return moved, err
		}
	}
	return false, errors.New("the log's files change faster than they can be opened")
}

func (r *reader) tryAdvance() (bool, error) {
	all, err := files(r.path)
	if err != nil || len(all) == 0 {
		return false, err
	}
	next := all[0]
	if r.file != nil {
		at, err := r.position(all)
		if err != nil || at == len(all)-1 {
			return false, err
		}
		// If the present one was removed meanwhile, the oldest one left follows it.
		next = all[at+1]
		// It may have grown before it was renamed.
		if err := r.readToEnd(context.Background()); err != nil {
			return false, err
		}
		if err := r.flushRest(); err != nil {
			return false, err
		}
	}
	return true, r.openFile(next)
}

// position is the index of the open file, or -1 if it was removed.
func (r *reader) position(all []string) (int, error) {
	present, err := r.file.Stat()
	if err != nil {
		return 0, err
	}
	for i, path := range all {
		info, err := os.Stat(path)
		if err != nil {
			return 0, err
		}
		if os.SameFile(info, present) {
			return i, nil
		}
	}
	return -1, nil
}

// seek opens the file in which reading begins, at the right place.
func (r *reader) seek(ctx context.Context) error {
	if r.opts.TailLines == nil {
		_, err := r.advance()
		return err
	}
	all, err := files(r.path)
	if err != nil {
		return err
	}
	want := *r.opts.TailLines
	if want <= 0 {
		return r.seekToEnd(all)
	}
	for i, path := range slices.Backward(all) {
		offset, found, err := r.tail(ctx, path, want)
		if err != nil {
			return err
		}
		want -= found
		if want > 0 && i > 0 {
			continue
		}
		if err := r.openFile(path); err != nil {
			return err
		}
		_, err = r.file.Seek(offset, io.SeekStart)
		return err
	}
	return nil
}

func (r *reader) seekToEnd(all []string) error {
	if len(all) == 0 {
		return nil
	}
	if err := r.openFile(all[len(all)-1]); err != nil {
		return err
	}
	_, err := r.file.Seek(0, io.SeekEnd)
	return err
}

// tail finds where the last want lines of a file begin, and how many of them it
// has. It reads the file backwards, block by block. Only lines that will be
// written count, long ones once.
func (r *reader) tail(ctx context.Context, path string, want int64) (offset, found int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = f.Close() }()
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, 0, err
	}
	block := make([]byte, readBuffer)
	var line []byte // what is known of the line that the block before begins
	begin := end    // of the lines counted so far
	for end > 0 {
		if err := ctx.Err(); err != nil {
			return 0, 0, err
		}
		n := min(end, int64(len(block)))
		end -= n
		if _, err := f.ReadAt(block[:n], end); err != nil && !errors.Is(err, io.EOF) {
			return 0, 0, err
		}
		rest := block[:n]
		for {
			at := bytes.LastIndexByte(rest, '\n')
			if at < 0 {
				line = append(slices.Clone(rest), line...)
				break
			}
			line = append(slices.Clone(rest[at+1:]), line...)
			if r.counts(line) {
				if found == want {
					return begin, found, nil
				}
				found++
			}
			if found > 0 {
				begin = end + int64(at) + 1
			}
			line, rest = line[:0], rest[:at]
		}
	}
	if r.counts(line) {
		if found == want {
			return begin, found, nil
		}
		found++
	}
	return 0, found, nil
}

// counts tells whether a raw line is the last part of one that will be written.
func (r *reader) counts(raw []byte) bool {
	line, err := Parse(raw)
	return err == nil && !line.Partial && r.chosen(line)
}
