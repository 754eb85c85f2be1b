package image_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"navarch.dev/navarch/agent/image"
	"navarch.dev/navarch/internal/telemetry"
)

// entry is one of a layer's.
type entry struct {
	name, text, link string
	kind             byte
	mode             int64
	uid              int
}

func layer(t testing.TB, entries ...entry) v1.Layer {
	t.Helper()
	var buffer bytes.Buffer
	w := tar.NewWriter(&buffer)
	for _, e := range entries {
		if e.kind == 0 {
			e.kind = tar.TypeReg
		}
		if e.mode == 0 {
			e.mode = 0o644
		}
		header := &tar.Header{Name: e.name, Typeflag: e.kind, Mode: e.mode, Uid: e.uid, Linkname: e.link, Size: int64(len(e.text))}
		if err := w.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buffer.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func build(t testing.TB, layers ...v1.Layer) v1.Image {
	t.Helper()
	img, err := mutate.AppendLayers(empty.Image, layers...)
	if err != nil {
		t.Fatal(err)
	}
	img, err = mutate.Config(img, v1.Config{Cmd: []string{"/app"}})
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// hub is a registry on loopback that counts the blobs it hands out.
type hub struct {
	host  string
	blobs atomic.Int64
}

func startHub(t testing.TB, middleware func(http.Handler) http.Handler) *hub {
	t.Helper()
	h := &hub{}
	handler := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	if middleware != nil {
		handler = middleware(handler)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			h.blobs.Add(1)
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	h.host = strings.TrimPrefix(server.URL, "http://")
	return h
}

func (h *hub) push(t testing.TB, repository string, img v1.Image) string {
	t.Helper()
	ref, err := name.ParseReference(h.host + "/" + repository)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, img); err != nil {
		t.Fatal(err)
	}
	return ref.Name()
}

func open(t testing.TB, dir string) *image.Store {
	t.Helper()
	cfg := image.DefaultConfig()
	cfg.Dir = dir
	s, err := image.Open(cfg, telemetry.Discard("agent"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newStore(t testing.TB) *image.Store {
	t.Helper()
	s := open(t, t.TempDir())
	t.Cleanup(func() {
		mounts, _ := s.Mounts()
		for _, id := range mounts {
			if err := s.Unmount(context.Background(), id); err != nil {
				t.Error(err)
			}
		}
		_ = s.Close()
	})
	return s
}

func TestPullAndMount(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	base := layer(t, entry{name: "etc", kind: tar.TypeDir, mode: 0o755}, entry{name: "etc/a", text: "base"}, entry{name: "etc/b", text: "gone"},
		entry{name: "var/x", text: "hidden"}, entry{name: "su", text: "x", mode: 0o4755, uid: 0}, entry{name: "owned", text: "o", uid: 1234})
	top := layer(t, entry{name: "etc/.wh.b"}, entry{name: "var/.wh..wh..opq"}, entry{name: "var/y", text: "seen"},
		entry{name: "link", kind: tar.TypeSymlink, link: "/etc/a"}, entry{name: "etc/hard", kind: tar.TypeLink, link: "var/y"})
	h, s := startHub(t, nil), newStore(t)
	reference := h.push(t, "team/app:1", build(t, base, top))
	pulled, err := s.Pull(t.Context(), reference, nil)
	if err != nil {
		t.Fatal(err)
	}
	root, err := s.Mount(t.Context(), pulled.ID, "c1", nil)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"etc/a": "base", "etc/hard": "seen", "var/y": "seen", "owned": "o", "su": "x"}
	if diff := cmp.Diff(want, regularFiles(t, root.Path)); diff != "" {
		t.Error(diff)
	}
	if target, err := os.Readlink(filepath.Join(root.Path, "link")); err != nil || target != "/etc/a" {
		t.Errorf("link %q, %v", target, err)
	}
	if info, err := os.Stat(filepath.Join(root.Path, "su")); err != nil || info.Mode()&os.ModeSetuid == 0 {
		t.Errorf("set-user-ID bit: %v, %v", info.Mode(), err)
	}
	if diff := cmp.Diff([]string{"/app"}, root.Config.Cmd); diff != "" {
		t.Error(diff)
	}
	if err := s.Remove(t.Context(), reference); !errors.Is(err, image.ErrInUse) {
		t.Errorf("remove while mounted: %v", err)
	}
	if err := s.Unmount(t.Context(), "c1"); err != nil {
		t.Error(err)
	}
	if err := s.Remove(t.Context(), reference); err != nil {
		t.Error(err)
	}
	if usage, _ := os.ReadDir(filepath.Join(filepath.Dir(filepath.Dir(filepath.Dir(root.Path))), "layers")); len(usage) > 0 {
		t.Errorf("layers left: %v", usage)
	}
}

func regularFiles(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		files[name] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestPullSharesWork(t *testing.T) {
	h, s := startHub(t, nil), newStore(t)
	shared := layer(t, entry{name: "shared", text: strings.Repeat("x", 1<<20)})
	first := h.push(t, "a:1", build(t, shared, layer(t, entry{name: "a", text: "a"})))
	second := h.push(t, "b:1", build(t, shared, layer(t, entry{name: "b", text: "b"})))
	var pulls sync.WaitGroup
	for range 8 {
		for _, reference := range []string{first, second} {
			pulls.Go(func() {
				if _, err := s.Pull(t.Context(), reference, nil); err != nil {
					t.Error(err)
				}
			})
		}
	}
	pulls.Wait()
	// Three layers; and the configurations, once per pull that was not shared.
	if _, err := s.Pull(t.Context(), first, nil); err != nil {
		t.Error(err)
	}
	if n := len(s.List()); n != 2 {
		t.Errorf("%d images", n)
	}
}

func TestPullErrors(t *testing.T) {
	wantsLogin := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if user, password, _ := r.BasicAuth(); user != "me" || password != "secret" {
				w.Header().Set("WWW-Authenticate", `Basic realm="hub"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
	elsewhere := func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/v2/" {
				http.Redirect(w, r, r.URL.Path+"x", http.StatusFound)
			}
		})
	}
	plain, private, circular := startHub(t, nil), startHub(t, wantsLogin), startHub(t, elsewhere)
	closed := httptest.NewServer(nil)
	closed.Close()
	other, err := mutate.ConfigFile(build(t), &v1.ConfigFile{OS: "plan9", Architecture: "mips"})
	if err != nil {
		t.Fatal(err)
	}
	index := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: other,
		Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "plan9", Architecture: "mips"}}})
	ref, _ := name.ParseReference(plain.host + "/multi:1")
	if err := remote.WriteIndex(ref, index); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, reference, reason string
		want                    error
	}{
		{"invalid", "UPPER/case", image.ReasonInvalidImageName, image.ErrInvalidName},
		{"missing", plain.host + "/none:1", image.ReasonErrImagePull, image.ErrRegistryNotFound},
		{"unauthorized", private.host + "/app:1", image.ReasonErrImagePull, image.ErrUnauthorized},
		{"unreachable", strings.TrimPrefix(closed.URL, "http://") + "/app:1", image.ReasonRegistryUnvailable, image.ErrRegistryUnavailable},
		{"redirected for ever", circular.host + "/app:1", image.ReasonRegistryUnvailable, image.ErrRegistryUnavailable},
		{"platform", plain.host + "/multi:1", image.ReasonErrImagePull, image.ErrPlatform},
	}
	s := newStore(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := s.Pull(t.Context(), tt.reference, nil)
			if !errors.Is(err, tt.want) || image.Reason(err) != tt.reason {
				t.Errorf("error %v, reason %s", err, image.Reason(err))
			}
		})
	}
	t.Run("credentials", func(t *testing.T) {
		secret := `{"auths":{"` + private.host + `":{"username":"me","password":"secret"}}}`
		credentials, err := image.ParseCredentials([]byte(secret))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Pull(t.Context(), private.host+"/none:1", credentials); !errors.Is(err, image.ErrRegistryNotFound) {
			t.Errorf("error %v, want one past the login", err)
		}
	})
}

func TestCorruptLayer(t *testing.T) {
	corrupt := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
				_, _ = io.WriteString(w, "nonsense")
				return
			}
			next.ServeHTTP(w, r)
		})
	}
	h, s := startHub(t, corrupt), newStore(t)
	reference := h.push(t, "a:1", build(t, layer(t, entry{name: "a", text: "a"})))
	if _, err := s.Pull(t.Context(), reference, nil); err == nil {
		t.Error("a corrupt image was accepted")
	}
	if n := len(s.List()); n != 0 {
		t.Errorf("%d images", n)
	}
}

func TestLoad(t *testing.T) {
	img := build(t, layer(t, entry{name: "a", text: "a"}))
	tag, err := name.NewTag("example.com/app:2")
	if err != nil {
		t.Fatal(err)
	}
	var docker bytes.Buffer
	if err := tarball.Write(tag, img, &docker); err != nil {
		t.Fatal(err)
	}
	for form, archive := range map[string]io.Reader{"docker": &docker, "oci": ociTar(t, img)} {
		t.Run(form, func(t *testing.T) {
			s := newStore(t)
			if _, err := s.Load(t.Context(), archive); err != nil {
				t.Fatal(err)
			}
			got, err := s.Get("example.com/app:2")
			if err != nil {
				t.Fatal(err)
			}
			id, _ := img.ConfigName()
			if got.ID != id.String() {
				t.Errorf("ID %s, want %s", got.ID, id)
			}
		})
	}
	t.Run("neither", func(t *testing.T) {
		if _, err := newStore(t).Load(t.Context(), strings.NewReader("text")); !errors.Is(err, image.ErrCorrupt) {
			t.Errorf("error %v", err)
		}
	})
}

func ociTar(t testing.TB, img v1.Image) io.Reader {
	t.Helper()
	dir := t.TempDir()
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	annotation := map[string]string{"io.containerd.image.name": "example.com/app:2"}
	if err := path.AppendImage(img, layout.WithAnnotations(annotation)); err != nil {
		t.Fatal(err)
	}
	var buffer bytes.Buffer
	w := tar.NewWriter(&buffer)
	if err := w.AddFS(os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	return &buffer
}

func TestReopen(t *testing.T) {
	h, dir := startHub(t, nil), t.TempDir()
	reference := h.push(t, "a:1", build(t, layer(t, entry{name: "a", text: "a"})))
	s := open(t, dir)
	if _, err := s.Pull(t.Context(), reference, nil); err != nil {
		t.Fatal(err)
	}
	want := s.List()
	cfg := image.DefaultConfig()
	cfg.Dir = dir
	if _, err := image.Open(cfg, telemetry.Discard("agent")); err == nil {
		t.Error("opened twice")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	defer func() { _ = s.Close() }()
	if diff := cmp.Diff(want, s.List()); diff != "" {
		t.Error(diff)
	}
	collected, err := s.CollectGarbage(t.Context(), image.Policy{})
	if err != nil || len(collected.Images) != 1 || len(s.List()) != 0 {
		t.Errorf("collected %+v, %v", collected, err)
	}
}

func TestNormalize(t *testing.T) {
	for reference, want := range map[string]string{
		"nginx":                               "docker.io/library/nginx:latest",
		"docker.io/me/app:1":                  "docker.io/me/app:1",
		"localhost:5000/a":                    "localhost:5000/a:latest",
		"a@sha256:" + strings.Repeat("0", 64): "docker.io/library/a@sha256:" + strings.Repeat("0", 64),
	} {
		if got, err := image.Normalize(reference); err != nil || got != want {
			t.Errorf("Normalize(%q) = %q, %v, want %q", reference, got, err, want)
		}
	}
}
