package reply

import (
	"bytes"
	"compress/gzip"
	"errors"
	"hash/crc32"
	"io"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/klauspost/compress/flate"
)

// deflate compresses as the Store does.
func deflate(t testing.TB, content []byte) []byte {
	t.Helper()
	var blocks bytes.Buffer
	w, err := flate.NewWriter(&blocks, flate.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return blocks.Bytes()
}

func TestSpliceIsOneMember(t *testing.T) {
	long := bytes.Repeat([]byte("0123456789"), 20_000) // more than a stored block holds
	for _, tc := range []struct {
		name  string
		parts []string // those with an upper-case letter first are compressed
	}{
		{"nothing", nil},
		{"stored", []string{"abc", "", "def"}},
		{"compressed", []string{"Abc", "Def"}},
		{"alternating", []string{"{items:[", "A" + string(long), ",", "B" + string(long), "]}"}},
		{"a long part as it is", []string{string(long)}},
		{"an empty compressed part", []string{"a", "Z", "b"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var body, want bytes.Buffer
			s := NewSplice(&body)
			for _, part := range tc.parts {
				want.WriteString(part)
				var err error
				if part != "" && part[0] >= 'A' && part[0] <= 'Z' {
					err = s.Deflated(deflate(t, []byte(part)), int64(len(part)), crc32.ChecksumIEEE([]byte(part)))
				} else {
					_, err = io.WriteString(s, part)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			r, err := gzip.NewReader(&body)
			if err != nil {
				t.Fatal(err)
			}
			r.Multistream(false)
			got, err := io.ReadAll(r) // checks length and checksum
			if err != nil || !bytes.Equal(got, want.Bytes()) {
				t.Errorf("unpacked %d bytes, want %d: %v", len(got), want.Len(), err)
			}
			if body.Len() > 0 {
				t.Errorf("%d bytes follow the member", body.Len())
			}
		})
	}
}

func TestJoinCRC(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		content := make([]byte, random.IntN(5000))
		for i := range content {
			content[i] = byte(random.Uint32())
		}
		cut := random.IntN(len(content) + 1)
		first, second := content[:cut], content[cut:]
		got := joinCRC(crc32.ChecksumIEEE(first), crc32.ChecksumIEEE(second), int64(len(second)))
		if want := crc32.ChecksumIEEE(content); got != want {
			t.Fatalf("of %d and %d bytes: %08x, want %08x", len(first), len(second), got, want)
		}
	}
	if got := joinCRC(0, 7, math.MaxInt64); got != 7 {
		t.Errorf("of nothing and a long content: %08x, want 7", got)
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestSpliceTellsErrors(t *testing.T) {
	for name, write := range map[string]func(*Splice) error{
		"as it is":   func(s *Splice) error { _, err := s.Write([]byte("a")); return err },
		"compressed": func(s *Splice) error { return s.Deflated([]byte{0}, 1, 1) },
		"the end":    (*Splice).Close,
	} {
		if err := write(NewSplice(broken{})); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("%s: the error is %v, want %v", name, err, io.ErrClosedPipe)
		}
	}
}
