package image

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// sizeFile marks a layer as whole.
const sizeFile = "size"

func (s *Store) layerDir(diffID string) string {
	return s.path("layers", strings.TrimPrefix(diffID, "sha256:"))
}

// layerSize tells whether a layer is there, and its size.
func (s *Store) layerSize(diffID string) (int64, bool) {
	data, err := os.ReadFile(filepath.Join(s.layerDir(diffID), sizeFile))
	if err != nil {
		return 0, false
	}
	size, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
	return size, err == nil
}

// ensureLayer returns the size of a layer, after unpacking it if it is not there.
// Images that share it share the work.
func (s *Store) ensureLayer(ctx context.Context, diffID string, layer v1.Layer) (int64, error) {
	for {
		if size, ok := s.layerSize(diffID); ok {
			return size, nil
		}
		result := s.unpacks.DoChan(diffID, func() (any, error) { return nil, s.unpack(ctx, diffID, layer) })
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case r := <-result:
			// Another's failure need not be ours: its context or credentials differ.
			if r.Err != nil && (!r.Shared || ctx.Err() != nil || !errors.Is(r.Err, context.Canceled)) {
				return 0, r.Err
			}
		}
	}
}

// unpack unpacks a layer in tmp, checks its digest and renames it to its place.
func (s *Store) unpack(ctx context.Context, diffID string, layer v1.Layer) error {
	if err := s.slots.Acquire(ctx, 1); err != nil {
		return err
	}
	defer s.slots.Release(1)
	if _, ok := s.layerSize(diffID); ok {
		return nil
	}
	temporary, err := os.MkdirTemp(s.path("tmp"), "layer-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(temporary) }()
	size, err := extract(ctx, filepath.Join(temporary, "fs"), diffID, layer)
	if err != nil {
		return fmt.Errorf("layer %s: %w", diffID, err)
	}
	if err := os.WriteFile(filepath.Join(temporary, sizeFile), []byte(strconv.FormatInt(size, 10)), 0o600); err != nil {
		return err
	}
	return s.place(temporary, diffID)
}

// extract unpacks a layer into a new folder and checks that it was the right one.
func extract(ctx context.Context, dir, diffID string, layer v1.Layer) (int64, error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return 0, err
	}
	if err := os.Chmod(dir, 0o755); err != nil { // whatever the umask: it becomes the container's root
		return 0, err
	}
	content, err := layer.Uncompressed()
	if err != nil {
		return 0, err
	}
	defer func() { _ = content.Close() }()
	hash := sha256.New()
	reader := io.TeeReader(&contextReader{ctx, content}, hash)
	size, err := untar(reader, dir)
	if err != nil {
		return 0, err
	}
	// What follows the archive's end belongs to the digest, too.
	if _, err := io.Copy(io.Discard, reader); err != nil {
		return 0, err
	}
	if got := "sha256:" + hex.EncodeToString(hash.Sum(nil)); got != diffID {
		return 0, fmt.Errorf("%w: the content is %s", ErrCorrupt, got)
	}
	return size, nil
}

// contextReader ends reading with its context.
type contextReader struct {
	ctx context.Context //nolint:containedctx // it is the reader's whole purpose
	r   io.Reader
}

func (r *contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// place makes an unpacked layer and its short name visible.
func (s *Store) place(temporary, diffID string) error {
	dir := s.layerDir(diffID)
	if err := os.RemoveAll(dir); err != nil { // left over from a crash, if there
		return err
	}
	link := s.path("l", shortName(diffID))
	if err := os.Remove(link); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.Symlink(filepath.Join("..", "layers", filepath.Base(dir), "fs"), link); err != nil {
		return err
	}
	return os.Rename(temporary, dir)
}

// shortName is a layer's name in mount options, of which a page full is allowed.
func shortName(diffID string) string {
	sum := sha256.Sum256([]byte(diffID))
	return base32.StdEncoding.EncodeToString(sum[:10])
}

// hold keeps layers from being collected until release is called.
func (s *Store) hold(diffIDs []string) (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range diffIDs {
		s.held[id]++
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, id := range diffIDs {
			if s.held[id]--; s.held[id] == 0 {
				delete(s.held, id)
			}
		}
	}
}

// removeLayersLocked removes the layers that no image has.
func (s *Store) removeLayersLocked() error {
	used := map[string]bool{}
	for _, image := range s.images {
		for _, id := range image.Layers {
			used[id] = true
		}
	}
	entries, err := os.ReadDir(s.path("layers"))
	if err != nil {
		return fmt.Errorf("remove layers: %w", err)
	}
	var errs []error
	for _, entry := range entries {
		id := "sha256:" + entry.Name()
		if !used[id] && s.held[id] == 0 {
			errs = append(errs, s.removeLayer(id))
		}
	}
	return errors.Join(errs...)
}

// removeLayer renames the layer away first, so that it is never there in part.
func (s *Store) removeLayer(diffID string) error {
	temporary, err := os.MkdirTemp(s.path("tmp"), "removed-")
	if err != nil {
		return fmt.Errorf("remove layer %s: %w", diffID, err)
	}
	if err := os.Rename(s.layerDir(diffID), filepath.Join(temporary, "layer")); err != nil {
		return fmt.Errorf("remove layer %s: %w", diffID, err)
	}
	_ = os.Remove(s.path("l", shortName(diffID)))
	return os.RemoveAll(temporary)
}

func readJSON(path string, value any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, value)
}

// writeJSON writes a file by way of a temporary one in the folder tmp.
func writeJSON(path, tmp string, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(tmp, "json-")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(f.Name())
		return err
	}
	return os.Rename(f.Name(), path)
}
