package registry

import (
	"encoding/json"
	"errors"
)

// jsonSpace is what may stand between the tokens of JSON (RFC 8259, section 2).
const jsonSpace = " \t\r\n"

var errNotJSON = errors.New("the document is no JSON object")

// member is one name and value of a JSON object, as they are written.
type member struct {
	name       string
	key, value []byte
}

// membersOf returns the members of a JSON object, which it takes apart without
// decoding what is in them: a value that is no JSON may be returned as one. Every
// patch does so several times; encoding/json's Decoder, which looks into all values,
// takes four times as long.
func membersOf(object []byte) ([]member, error) {
	s := scanner{json: object}
	if !s.take('{') {
		return nil, errNotJSON
	}
	var found []member
	for first := true; !s.take('}'); first = false {
		if !first && !s.take(',') {
			return nil, errNotJSON
		}
		m := member{key: s.value()}
		if len(m.key) < 2 || m.key[0] != '"' || !s.take(':') {
			return nil, errNotJSON
		}
		if m.value = s.value(); len(m.value) == 0 {
			return nil, errNotJSON
		}
		if err := json.Unmarshal(m.key, &m.name); err != nil {
			return nil, err
		}
		found = append(found, m)
	}
	if s.skipSpace(); s.at != len(object) {
		return nil, errNotJSON
	}
	return found, nil
}

// scanner finds where the parts of a JSON document end.
type scanner struct {
	json []byte
	at   int
}

func (s *scanner) skipSpace() {
	for s.at < len(s.json) {
		switch s.json[s.at] {
		case ' ', '\t', '\r', '\n':
			s.at++
		default:
			return
		}
	}
}

// take passes over a token, if it comes next.
func (s *scanner) take(token byte) bool {
	s.skipSpace()
	if s.at == len(s.json) || s.json[s.at] != token {
		return false
	}
	s.at++
	return true
}

// value passes over a value and returns it; it is empty if there is none.
func (s *scanner) value() []byte {
	s.skipSpace()
	start, open := s.at, 0
	for s.at < len(s.json) {
		switch s.json[s.at] {
		case '"':
			if !s.skipString() {
				return nil
			}
		case '{', '[':
			open++
			s.at++
		case '}', ']':
			if open == 0 { // of what holds the value
				return s.json[start:s.at]
			}
			open--
			s.at++
		case ',', ':', ' ', '\t', '\r', '\n':
			if open == 0 {
				return s.json[start:s.at]
			}
			s.at++
			continue
		default:
			s.at++
			continue
		}
		if open == 0 {
			return s.json[start:s.at]
		}
	}
	if open > 0 {
		return nil
	}
	return s.json[start:s.at]
}

// skipString passes over a string, which begins here; false if it has no end.
func (s *scanner) skipString() bool {
	for s.at++; s.at < len(s.json); s.at++ {
		switch s.json[s.at] {
		case '\\':
			s.at++
		case '"':
			s.at++
			return true
		}
	}
	return false
}

// objectWriter writes a JSON object.
type objectWriter struct{ json []byte }

func (w *objectWriter) add(key, value []byte) {
	separator := byte(',')
	if len(w.json) == 0 {
		separator = '{'
	}
	w.json = append(w.json, separator)
	w.json = append(w.json, key...)
	w.json = append(w.json, ':')
	w.json = append(w.json, value...)
}

func (w *objectWriter) end() []byte {
	if len(w.json) == 0 {
		return []byte("{}")
	}
	return append(w.json, '}')
}
