package token

import (
	"context"
	"crypto/sha256"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strings"

	"navarch.dev/navarch/internal/identity"
)

// Static knows a fixed set of tokens. It keeps their hashes, so that looking
// one up takes no time that depends on how much of it is right.
type Static map[[sha256.Size]byte]identity.Identity

// ReadStatic reads a token file: lines of CSV with the token, the user's name,
// the user's uid and, optionally, the groups as one quoted, comma separated
// field.
func ReadStatic(r io.Reader) (Static, error) {
	lines := csv.NewReader(r)
	lines.FieldsPerRecord = -1
	lines.TrimLeadingSpace = true
	lines.Comment = '#'
	s := Static{}
	for {
		record, err := lines.Read()
		if errors.Is(err, io.EOF) {
			return s, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the token file: %w", err)
		}
		line, _ := lines.FieldPos(0)
		if err := s.add(record); err != nil {
			return nil, fmt.Errorf("read the token file, line %d: %w", line, err)
		}
	}
}

func (s Static) add(record []string) error {
	if len(record) < 3 {
		return fmt.Errorf("a line has a token, a user name and a uid, this one has %d fields", len(record))
	}
	if record[0] == "" || record[1] == "" {
		return errors.New("the token and the user name must not be empty")
	}
	key := sha256.Sum256([]byte(record[0]))
	if _, twice := s[key]; twice {
		return errors.New("the token was given before")
	}
	id := identity.Identity{Name: record[1], UID: record[2]}
	if len(record) > 3 {
		for group := range strings.SplitSeq(record[3], ",") {
			if group = strings.TrimSpace(group); group != "" {
				id.Groups = append(id.Groups, group)
			}
		}
	}
	id.Groups = append(id.Groups, identity.GroupAuthenticated)
	s[key] = id
	return nil
}

// AuthenticateToken implements access.Authenticator. A static token says
// nothing of audiences: Own decides which it is good for.
func (s Static) AuthenticateToken(_ context.Context, token string, _ []string) (identity.Identity, bool, error) {
	id, ok := s[sha256.Sum256([]byte(token))]
	return id, ok, nil
}
