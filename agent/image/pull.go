package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"
)

// Pull implements Images.
func (s *Store) Pull(ctx context.Context, reference string, credentials authn.Keychain) (_ Image, err error) {
	ctx, span := s.tracer.Start(ctx, "image.pull", trace.WithAttributes(attribute.String("container.image.name", reference)))
	defer func() {
		if err != nil {
			span.SetStatus(codes.Error, err.Error())
		}
		span.End()
	}()
	ref, err := s.parse(reference)
	if err != nil {
		return Image{}, err
	}
	if credentials == nil {
		credentials = authn.NewMultiKeychain()
	}
	sources, err := s.sources(ref)
	if err != nil {
		return Image{}, err
	}
	key, err := pullKey(ref, sources, credentials)
	if err != nil {
		return Image{}, fmt.Errorf("pull %s: %w", normalName(ref), err)
	}
	image, err := s.pullShared(ctx, key, func() (any, error) { return s.pull(ctx, ref, sources, credentials) })
	if err != nil {
		return Image{}, fmt.Errorf("pull %s: %w", normalName(ref), err)
	}
	return image, nil
}

// pullShared joins a pull of the same key, if there is one. When the one that
// began it gives up, those who joined begin anew.
func (s *Store) pullShared(ctx context.Context, key string, pull func() (any, error)) (Image, error) {
	for {
		result := s.pulls.DoChan(key, pull)
		select {
		case <-ctx.Done():
			return Image{}, ctx.Err()
		case r := <-result:
			if errors.Is(r.Err, context.Canceled) || errors.Is(r.Err, context.DeadlineExceeded) {
				if ctx.Err() == nil {
					continue
				}
			}
			image, _ := r.Val.(Image)
			return image, r.Err
		}
	}
}

// pullKey is the same for the same reference and credentials, so that nobody gets
// an image by another's rights.
func pullKey(ref name.Reference, sources []name.Reference, credentials authn.Keychain) (string, error) {
	hash := sha256.New()
	for _, source := range sources {
		authenticator, err := credentials.Resolve(source.Context())
		if err != nil {
			return "", err
		}
		auth, err := authenticator.Authorization()
		if err != nil {
			return "", err
		}
		encoded, err := json.Marshal(auth)
		if err != nil {
			return "", err
		}
		_, _ = hash.Write(encoded) // a hash takes everything
	}
	return ref.Name() + " " + hex.EncodeToString(hash.Sum(nil)), nil
}

// pull brings an image from the first source that has it.
func (s *Store) pull(ctx context.Context, ref name.Reference, sources []name.Reference, credentials authn.Keychain) (image Image, err error) {
	for _, source := range sources {
		image, err = s.pullFrom(ctx, source, ref, credentials)
		if err == nil || ctx.Err() != nil {
			break
		}
		if source.Context().RegistryStr() != ref.Context().RegistryStr() {
			err = fmt.Errorf("from mirror %s: %w", source.Context().RegistryStr(), err)
		}
	}
	return image, err
}

// pullFrom brings an image from one source. Credentials are those for the
// source: a mirror is not told the ones for the registry it stands for.
func (s *Store) pullFrom(ctx context.Context, source, ref name.Reference, credentials authn.Keychain) (Image, error) {
	descriptor, err := remote.Get(source, remote.WithContext(ctx), remote.WithAuthFromKeychain(credentials),
		remote.WithPlatform(s.platform), remote.WithUserAgent("navarch"), remote.WithTransport(newRegistryTransport()))
	if err != nil {
		return Image{}, classify(err)
	}
	chosen, err := s.choose(descriptor)
	if err != nil {
		return Image{}, classify(err)
	}
	var names []string
	if tag, ok := ref.(name.Tag); ok {
		names = []string{normalName(tag)}
	}
	return s.ingest(ctx, chosen, names, []string{withDigest(ref, descriptor.Digest)})
}

// choose finds the image for this machine.
func (s *Store) choose(descriptor *remote.Descriptor) (v1.Image, error) {
	if !descriptor.MediaType.IsIndex() {
		return descriptor.Image()
	}
	index, err := descriptor.ImageIndex()
	if err != nil {
		return nil, err
	}
	return s.chooseFrom(index)
}

func (s *Store) chooseFrom(index v1.ImageIndex) (v1.Image, error) {
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	for _, m := range manifest.Manifests {
		if m.MediaType.IsImage() && (m.Platform == nil || m.Platform.Satisfies(s.platform)) {
			return index.Image(m.Digest)
		}
	}
	return nil, fmt.Errorf("%w %s", ErrPlatform, s.platform.String())
}

// ingest stores an image, whatever it comes from. Its ID is computed, not believed.
func (s *Store) ingest(ctx context.Context, source v1.Image, names, digests []string) (Image, error) {
	config, id, err := readConfig(source)
	if err != nil {
		return Image{}, err
	}
	layers, err := source.Layers()
	if err != nil {
		return Image{}, classify(err)
	}
	if len(layers) != len(config.RootFS.DiffIDs) {
		return Image{}, fmt.Errorf("%w: %d layers, %d in its configuration", ErrCorrupt, len(layers), len(config.RootFS.DiffIDs))
	}
	image := Image{ID: id, Names: names, Digests: digests, Config: config.Config, LastUsed: time.Now().UTC()}
	for _, diffID := range config.RootFS.DiffIDs {
		image.Layers = append(image.Layers, diffID.String())
	}
	release := s.hold(image.Layers)
	defer release()
	if image.SizeBytes, err = s.ensureLayers(ctx, image.Layers, layers); err != nil {
		return Image{}, err
	}
	return s.add(image)
}

func readConfig(source v1.Image) (*v1.ConfigFile, string, error) {
	manifest, err := source.Manifest()
	if err != nil {
		return nil, "", classify(err)
	}
	raw, err := source.RawConfigFile()
	if err != nil {
		return nil, "", classify(err)
	}
	sum := sha256.Sum256(raw)
	id := "sha256:" + hex.EncodeToString(sum[:])
	if manifest.Config.Digest.String() != id {
		return nil, "", fmt.Errorf("%w: the configuration is %s, not %s", ErrCorrupt, id, manifest.Config.Digest)
	}
	var config v1.ConfigFile
	if err := json.Unmarshal(raw, &config); err != nil {
		return nil, "", fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return &config, id, nil
}

// ensureLayers unpacks the layers the store lacks, several at a time.
func (s *Store) ensureLayers(ctx context.Context, diffIDs []string, layers []v1.Layer) (int64, error) {
	group, ctx := errgroup.WithContext(ctx)
	sizes := make([]int64, len(layers))
	for i, layer := range layers {
		group.Go(func() (err error) {
			sizes[i], err = s.ensureLayer(ctx, diffIDs[i], layer)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return 0, classify(err)
	}
	var total int64
	for _, size := range sizes {
		total += size
	}
	return total, nil
}

// add lists an image. Its names are taken from the images that had them.
func (s *Store) add(image Image) (Image, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.images[image.ID]; ok {
		image.Names = union(old.Names, image.Names)
		image.Digests = union(old.Digests, image.Digests)
		image.Pinned = old.Pinned
	}
	for _, other := range s.images {
		if other.ID == image.ID || !slices.ContainsFunc(other.Names, func(n string) bool { return slices.Contains(image.Names, n) }) {
			continue
		}
		other.Names = slices.DeleteFunc(slices.Clone(other.Names), func(n string) bool { return slices.Contains(image.Names, n) })
		if err := s.saveLocked(other); err != nil {
			return Image{}, err
		}
	}
	return image, s.saveLocked(image)
}

func union(a, b []string) []string {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}

// classify says which of this package's errors a failure is.
func classify(err error) error {
	var refused *transport.Error
	var network net.Error
	var request *url.Error
	var disk *fs.PathError
	switch {
	case err == nil || isOurs(err) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.As(err, &refused):
		return fmt.Errorf("%w: %w", byStatus(refused), err)
	case errors.As(err, &disk): // whose cause would pass for the network's
		return err
	case errors.As(err, &network), errors.As(err, &request):
		return fmt.Errorf("%w: %w", ErrRegistryUnavailable, err)
	}
	return err
}

func isOurs(err error) bool {
	return slices.ContainsFunc([]error{ErrCorrupt, ErrPlatform, ErrNotFound, ErrRegistryNotFound, ErrUnauthorized,
		ErrRegistryUnavailable, ErrInvalidName}, func(ours error) bool { return errors.Is(err, ours) })
}

func byStatus(refused *transport.Error) error {
	switch refused.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		return ErrUnauthorized
	case http.StatusNotFound:
		return ErrRegistryNotFound
	default:
		return ErrRegistryUnavailable
	}
}
