package image

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

// Mirror says that images of one registry come from another.
type Mirror struct {
	// Host is the registry in images' names: "docker.io", "localhost:5000".
	Host string
	// Address is the host and port that is asked instead, Scheme how: "http" or
	// "https".
	Scheme, Address string
}

// ParseMirror reads "HOST=URL". The URL has a scheme, a host and perhaps a port.
func ParseMirror(text string) (Mirror, error) {
	host, address, ok := strings.Cut(text, "=")
	if !ok || host == "" {
		return Mirror{}, fmt.Errorf("registry mirror %q must be HOST=URL", text)
	}
	registry, err := name.NewRegistry(host)
	if err != nil {
		return Mirror{}, fmt.Errorf("registry mirror %q: %w", text, err)
	}
	u, err := url.Parse(address)
	if err != nil {
		return Mirror{}, fmt.Errorf("registry mirror %q: %w", text, err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil {
		return Mirror{}, fmt.Errorf("registry mirror %q: the URL must be http://HOST[:PORT] or https://HOST[:PORT]", text)
	}
	if _, err := name.NewRegistry(u.Host); err != nil {
		return Mirror{}, fmt.Errorf("registry mirror %q: %w", text, err)
	}
	return Mirror{Host: registry.RegistryStr(), Scheme: u.Scheme, Address: u.Host}, nil
}

// sources are the references that an image is pulled by: at its registry's
// mirrors, in their order, or at the registry itself if it has none. A registry
// with mirrors is never asked itself: whoever set them decides where images
// come from.
func (s *Store) sources(ref name.Reference) ([]name.Reference, error) {
	var sources []name.Reference
	for _, m := range s.cfg.Mirrors {
		if m.Host != ref.Context().RegistryStr() {
			continue
		}
		source, err := m.reference(ref)
		if err != nil {
			return nil, err
		}
		sources = append(sources, source)
	}
	if len(sources) == 0 {
		sources = append(sources, ref)
	}
	return sources, nil
}

// reference is the same image at the mirror.
func (m Mirror) reference(ref name.Reference) (name.Reference, error) {
	separator := ":"
	if _, ok := ref.(name.Digest); ok {
		separator = "@"
	}
	var opts []name.Option
	if m.Scheme == "http" {
		opts = append(opts, name.Insecure)
	}
	return parseReference(m.Address+"/"+ref.Context().RepositoryStr()+separator+ref.Identifier(), opts...)
}
