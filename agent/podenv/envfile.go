package podenv

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// maxFileValue bounds a value of a file in bytes: Linux hands no longer variable to a
// program.
const maxFileValue = 128 << 10

// fromFile returns the variable that a file of one of the pod's volumes holds
// (KEP-3721); false if there is none and none is needed.
func fromFile(ref *corev1.FileKeySelector, files Files) (string, bool, error) {
	optional := ref.Optional != nil && *ref.Optional
	file, err := files(ref.VolumeName, ref.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && optional:
		return "", false, nil
	case err != nil:
		return "", false, fmt.Errorf("open the file %q of the volume %q: %w", ref.Path, ref.VolumeName, err)
	}
	defer file.Close()
	value, err := findInFile(file, ref.Key)
	switch {
	case err != nil:
		return "", false, fmt.Errorf("couldn't parse the env file %q of the volume %q: %w", ref.Path, ref.VolumeName, err)
	case value == "" && !optional:
		return "", false, fmt.Errorf("environment variable key %q not found in the file %q of the volume %q", ref.Key, ref.Path, ref.VolumeName)
	}
	return value, value != "", nil
}

// findInFile returns the first value of key in an env file, "" if it has none. A
// file is a subset of what shells read: comments, and KEY='value', where a value
// is taken as it is, over several lines if need be, and may be followed by a comment.
func findInFile(r io.Reader, key string) (string, error) {
	f := envFile{lines: bufio.NewScanner(r)}
	for f.next() {
		line := strings.TrimLeft(f.lines.Text(), blanks)
		if line == "" || line[0] == '#' {
			continue
		}
		name, rest, err := f.cut(line)
		if err != nil {
			return "", err
		}
		value := "" // of KEY= 'value', as in a shell
		if !strings.ContainsAny(rest[:min(1, len(rest))], blanks) {
			if value, err = f.quoted(rest); err != nil {
				return "", err
			}
		}
		if name == key {
			return value, nil
		}
	}
	return "", f.lines.Err()
}

const blanks = " \t"

// envFile reads an env file by lines.
type envFile struct {
	lines *bufio.Scanner
	at    int // the line's number
}

func (f *envFile) next() bool {
	f.at++
	return f.lines.Scan()
}

func (f *envFile) wrong(line int, what string) error {
	return fmt.Errorf("line %d: %s", line, what)
}

// cut splits a line into the name and what follows the equals sign.
func (f *envFile) cut(line string) (name, rest string, err error) {
	name, rest, ok := strings.Cut(line, "=")
	switch {
	case !ok:
		return "", "", f.wrong(f.at, "missing '='")
	case name == "":
		return "", "", f.wrong(f.at, "empty variable name")
	case strings.TrimRight(name, blanks) != name:
		return "", "", f.wrong(f.at, "whitespace before '=' is not allowed")
	}
	return name, rest, nil
}

// quoted reads a value up to its closing quote, which may be lines away.
func (f *envFile) quoted(rest string) (string, error) {
	begun := f.at
	rest, ok := strings.CutPrefix(rest, "'")
	if !ok {
		return "", f.wrong(begun, "the value must be enclosed in single quotes")
	}
	var value strings.Builder
	for {
		part, after, closed := strings.Cut(rest, "'")
		if value.Len()+len(part) > maxFileValue {
			return "", f.wrong(begun, fmt.Sprintf("the value is longer than %d bytes", maxFileValue))
		}
		value.WriteString(part)
		if closed {
			if after = strings.TrimLeft(after, blanks); after != "" && after[0] != '#' {
				return "", f.wrong(f.at, "unexpected content after the closing quote")
			}
			return value.String(), nil
		}
		value.WriteByte('\n')
		if !f.next() {
			if err := f.lines.Err(); err != nil {
				return "", err
			}
			return "", f.wrong(begun, "unclosed single quote")
		}
		rest = f.lines.Text()
	}
}
