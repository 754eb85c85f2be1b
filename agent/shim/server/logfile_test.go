package server

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"navarch.dev/navarch/agent/shim"
)

// TestLineWriter gives output in pieces and looks at tags and texts.
func TestLineWriter(t *testing.T) {
	long := strings.Repeat("x", maxLine)
	tests := []struct {
		name   string
		pieces []string
		want   []string
	}{
		{"one line", []string{"a\n"}, []string{"F a"}},
		{"a line in pieces", []string{"a", "b", "c\nd\n"}, []string{"F abc", "F d"}},
		{"no end", []string{"a\nb"}, []string{"F a", "P b"}},
		{"empty lines", []string{"\n\n"}, []string{"F ", "F "}},
		{"just fits", []string{long + "\n"}, []string{"F " + long}},
		{"too long", []string{long + "yz\n"}, []string{"P " + long, "F yz"}},
		{"too long in pieces", []string{"y" + long[1:], "z", "\n"}, []string{"P y" + long[1:], "F z"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "logs", "0.log")
			log, err := openLog(path, 0, 0)
			if err != nil {
				t.Fatal(err)
			}
			w := &lineWriter{log: log, stream: "stdout"}
			for _, piece := range tt.pieces {
				w.write([]byte(piece))
			}
			w.flush()
			log.close()
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for line := range strings.Lines(string(data)) {
				_, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " stdout ")
				got = append(got, rest)
			}
			if strings.Join(got, "|") != strings.Join(tt.want, "|") {
				t.Errorf("lines %.80q, want %.80q", got, tt.want)
			}
		})
	}
}

func TestRotationKeepsTheNewest(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	log, err := openLog(path, 100, 3)
	if err != nil {
		t.Fatal(err)
	}
	defer log.close()
	w := &lineWriter{log: log, stream: "stdout"}
	for range 50 {
		w.write([]byte("twenty bytes of text\n"))
	}
	files, err := filepath.Glob(path + "*")
	if err != nil || len(files) != 3 {
		t.Errorf("files %v, %v", files, err)
	}
}

func FuzzRequest(f *testing.F) {
	f.Add(shim.FrameRequest, []byte(`{"version":1,"op":"kill","container":"c","signal":9}`))
	f.Add(shim.FrameRequest, []byte(`{"version":1,"op":"create","container":"../x","create":{}}`))
	f.Fuzz(func(t *testing.T, kind byte, payload []byte) {
		request, err := parseRequest(kind, payload)
		if err == nil && request.Container != "" && strings.ContainsAny(request.Container, "/\x00") {
			t.Errorf("container ID %q was accepted", request.Container)
		}
	})
}
