package structural

import (
	"errors"
	"fmt"
	"strings"
)

// FieldAt returns the node of a schema that a path names: ".spec.replicas", or
// ".spec['a.b']" for names with other characters than letters, digits and
// underscores. Items of lists and values of maps have none.
func FieldAt(props *Props, path string) (*Props, error) {
	names, err := ParsePath(path)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		switch child, ok := props.Properties[name]; {
		case ok:
			props = &child
		case props.AdditionalProperties != nil && props.AdditionalProperties.Schema != nil:
			props = props.AdditionalProperties.Schema
		default:
			return nil, fmt.Errorf("does not refer to a valid field: %s", name)
		}
	}
	return props, nil
}

// ParsePath returns the names in a path of fields.
func ParsePath(path string) ([]string, error) {
	var names []string
	for rest := path; rest != ""; {
		var name string
		var err error
		switch {
		case strings.HasPrefix(rest, "['"):
			name, rest, err = quoted(rest[2:])
		case rest[0] == '.':
			name, rest, err = dotted(rest[1:])
		default:
			err = fmt.Errorf("expected [ or . but got: %q", rest)
		}
		if err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	if len(names) == 0 {
		return nil, errors.New("must not be empty")
	}
	return names, nil
}

func dotted(text string) (name, rest string, err error) {
	end := strings.IndexAny(text, ".[")
	if end < 0 {
		end = len(text)
	}
	name, rest = text[:end], text[end:]
	for i, r := range name {
		letter := r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return "", "", fmt.Errorf("%q is no name of a field after a dot", name)
		}
	}
	if name == "" {
		return "", "", errors.New("unexpected end of the path after a dot")
	}
	return name, rest, nil
}

// quoted reads what follows "['": a backslash makes the next character plain.
func quoted(text string) (name, rest string, err error) {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '\\' && i+1 < len(text):
			i++
			b.WriteByte(text[i])
		case strings.HasPrefix(text[i:], "']"):
			if b.Len() == 0 {
				return "", "", errors.New("a name in brackets is empty")
			}
			return b.String(), text[i+2:], nil
		default:
			b.WriteByte(text[i])
		}
	}
	return "", "", errors.New("unclosed bracket")
}
