package image_test

import (
	"errors"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"navarch.dev/navarch/agent/image"
	"navarch.dev/navarch/internal/telemetry"
)

func TestParseMirror(t *testing.T) {
	tests := []struct {
		text string
		want image.Mirror
		ok   bool
	}{
		{"localhost:5000=http://10.0.0.1:5000", image.Mirror{Host: "localhost:5000", Scheme: "http", Address: "10.0.0.1:5000"}, true},
		{"docker.io=https://mirror.example/", image.Mirror{Host: "index.docker.io", Scheme: "https", Address: "mirror.example"}, true},
		{"localhost:5000", image.Mirror{}, false},
		{"=http://10.0.0.1", image.Mirror{}, false},
		{"a host=http://10.0.0.1", image.Mirror{}, false},
		{"localhost:5000=10.0.0.1:5000", image.Mirror{}, false},
		{"localhost:5000=ftp://10.0.0.1", image.Mirror{}, false},
		{"localhost:5000=http://10.0.0.1/hub", image.Mirror{}, false},
		{"localhost:5000=http://me@10.0.0.1", image.Mirror{}, false},
		{"localhost:5000=http://", image.Mirror{}, false},
	}
	for _, tt := range tests {
		got, err := image.ParseMirror(tt.text)
		if (err == nil) != tt.ok {
			t.Errorf("ParseMirror(%q): %v", tt.text, err)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("ParseMirror(%q) (-want +got):\n%s", tt.text, diff)
		}
	}
}

// TestPullFromMirror pulls images of a registry that nobody serves.
func TestPullFromMirror(t *testing.T) {
	full, empty := startHub(t, nil), startHub(t, nil)
	closed := httptest.NewServer(nil)
	closed.Close()
	full.push(t, "team/app:1", build(t, layer(t, entry{name: "a", text: "a"})))
	digest := ""
	tests := []struct {
		name, reference string
		mirrors         []string
		want            error
	}{
		{"by tag", "registry.invalid/team/app:1", []string{"registry.invalid=http://" + full.host}, nil},
		{"by digest", "registry.invalid/team/app@", []string{"registry.invalid=http://" + full.host}, nil},
		{"the second mirror has it", "registry.invalid/team/app:1",
			[]string{"registry.invalid=" + closed.URL, "registry.invalid=http://" + empty.host, "registry.invalid=http://" + full.host}, nil},
		{"the registry is not asked", full.host + "/team/app:1", []string{full.host + "=http://" + empty.host}, image.ErrRegistryNotFound},
		{"the mirror is away", full.host + "/team/app:1", []string{full.host + "=" + closed.URL}, image.ErrRegistryUnavailable},
		{"another registry's mirror", full.host + "/team/app:1", []string{"registry.invalid=" + closed.URL}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := openWithMirrors(t, tt.mirrors)
			reference := tt.reference
			if strings.HasSuffix(reference, "@") {
				reference += digest
			}
			got, err := s.Pull(t.Context(), reference, nil)
			if !errors.Is(err, tt.want) {
				t.Fatalf("error %v, want %v", err, tt.want)
			}
			if tt.want != nil {
				return
			}
			repository, found, ok := strings.Cut(got.Digests[0], "@")
			if want := strings.Split(tt.reference, "/")[0] + "/team/app"; !ok || repository != want {
				t.Errorf("digests %v are not of %s", got.Digests, want)
			}
			digest = found
			if _, err := s.Get(reference); err != nil {
				t.Errorf("not there by the name it was asked by: %v", err)
			}
		})
	}
}

func openWithMirrors(t *testing.T, mirrors []string) *image.Store {
	t.Helper()
	cfg := image.DefaultConfig()
	cfg.Dir = t.TempDir()
	for _, text := range mirrors {
		mirror, err := image.ParseMirror(text)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Mirrors = append(cfg.Mirrors, mirror)
	}
	s, err := image.Open(cfg, telemetry.Discard("agent"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}
