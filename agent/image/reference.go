package image

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// dockerHub is what a name without a registry means, as people write it; the
// library says "index.docker.io".
const dockerHub = "docker.io"

// Normalize returns a reference in full: "nginx" is
// "docker.io/library/nginx:latest". It wraps ErrInvalidName.
func Normalize(reference string) (string, error) {
	ref, err := parseReference(reference)
	if err != nil {
		return "", err
	}
	return normalName(ref), nil
}

func parseReference(reference string, opts ...name.Option) (name.Reference, error) {
	ref, err := name.ParseReference(reference, opts...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalidName, err)
	}
	return ref, nil
}

// parse parses a reference with the scheme its registry is spoken to.
func (s *Store) parse(reference string) (name.Reference, error) {
	ref, err := parseReference(reference)
	if err != nil {
		return nil, err
	}
	if slices.Contains(s.cfg.InsecureRegistries, ref.Context().RegistryStr()) {
		return parseReference(reference, name.Insecure)
	}
	return ref, nil
}

func normalName(ref name.Reference) string {
	if rest, ok := strings.CutPrefix(ref.Name(), name.DefaultRegistry+"/"); ok {
		return dockerHub + "/" + rest
	}
	return ref.Name()
}

// withDigest is the reference's repository at a digest.
func withDigest(ref name.Reference, digest v1.Hash) string {
	return normalName(ref.Context().Digest(digest.String()))
}

func platformOf(cfg Config) v1.Platform {
	if cfg.Platform != nil {
		return *cfg.Platform
	}
	return v1.Platform{OS: "linux", Architecture: runtime.GOARCH}
}

// Credentials is a keychain made of the pod's pull secrets.
type Credentials struct {
	entries []credential
}

type credential struct {
	// registry and path are the key's, without a scheme.
	registry, path string
	auth           authn.AuthConfig
}

// ParseCredentials reads secrets of the types kubernetes.io/dockerconfigjson
// (".dockerconfigjson") and kubernetes.io/dockercfg (".dockercfg"): both forms
// are told apart by their content.
func ParseCredentials(secrets ...[]byte) (*Credentials, error) {
	c := &Credentials{}
	for _, secret := range secrets {
		var file struct {
			Auths map[string]authEntry `json:"auths"`
		}
		if err := json.Unmarshal(secret, &file); err != nil {
			return nil, fmt.Errorf("decode pull secret: %w", err)
		}
		if file.Auths == nil {
			if err := json.Unmarshal(secret, &file.Auths); err != nil {
				return nil, fmt.Errorf("decode pull secret: %w", err)
			}
		}
		for key, entry := range file.Auths {
			if err := c.add(key, entry); err != nil {
				return nil, err
			}
		}
	}
	// The longest path first: it fits best.
	slices.SortStableFunc(c.entries, func(a, b credential) int { return len(b.path) - len(a.path) })
	return c, nil
}

// authEntry is one registry's in a pull secret.
type authEntry struct {
	Username      string `json:"username"`
	Password      string `json:"password"`
	Auth          string `json:"auth"`
	IdentityToken string `json:"identitytoken"`
	RegistryToken string `json:"registrytoken"`
}

func (c *Credentials) add(key string, entry authEntry) error {
	if entry.Auth != "" && entry.Username == "" {
		decoded, err := base64.StdEncoding.DecodeString(entry.Auth)
		if err != nil {
			return fmt.Errorf("decode pull secret of %s: %w", key, err)
		}
		user, password, ok := strings.Cut(string(decoded), ":")
		if !ok {
			return fmt.Errorf("decode pull secret of %s: no user and password", key)
		}
		entry.Username, entry.Password = user, strings.TrimRight(password, "\x00")
	}
	if _, rest, ok := strings.Cut(key, "://"); ok {
		key = rest
	}
	registry, path, _ := strings.Cut(strings.TrimSuffix(key, "/"), "/")
	switch registry {
	case dockerHub, "registry-1." + dockerHub:
		registry = name.DefaultRegistry
	}
	if path == "v1" || path == "v2" {
		path = "" // "https://index.docker.io/v1/", as docker login writes it
	}
	c.entries = append(c.entries, credential{registry, path, authn.AuthConfig{
		Username: entry.Username, Password: entry.Password,
		IdentityToken: entry.IdentityToken, RegistryToken: entry.RegistryToken,
	}})
	return nil
}

// Resolve implements authn.Keychain.
func (c *Credentials) Resolve(target authn.Resource) (authn.Authenticator, error) {
	_, path, _ := strings.Cut(target.String(), "/")
	for _, entry := range c.entries {
		if entry.matches(target.RegistryStr(), path) {
			return authn.FromConfig(entry.auth), nil
		}
	}
	return authn.Anonymous, nil
}

func (e credential) matches(registry, path string) bool {
	if e.registry != registry && !wildcardMatch(e.registry, registry) {
		return false
	}
	return e.path == "" || path == e.path || strings.HasPrefix(path, e.path+"/")
}

// wildcardMatch matches "*.example.com": each asterisk is one part of the name.
func wildcardMatch(pattern, host string) bool {
	want, got := strings.Split(pattern, "."), strings.Split(host, ".")
	if !strings.Contains(pattern, "*") || len(want) != len(got) {
		return false
	}
	for i := range want {
		if want[i] != "*" && want[i] != got[i] {
			return false
		}
	}
	return true
}
