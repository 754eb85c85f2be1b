package token

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"navarch.dev/navarch/services/store/access"
)

// The paths of the documents, below the gateway's and the issuer's address.
const (
	configurationPath = "/.well-known/openid-configuration"
	keysPath          = "/openid/v1/jwks"
)

// configuration is what OpenID Connect Discovery 1.0 asks of an issuer that
// hands out tokens by its own ways.
type configuration struct {
	Issuer        string   `json:"issuer"`
	KeysURL       string   `json:"jwks_uri"`
	ResponseTypes []string `json:"response_types_supported"`
	SubjectTypes  []string `json:"subject_types_supported"`
	Algorithms    []string `json:"id_token_signing_alg_values_supported"`
}

// publicKey is a key as a JSON Web Key (RFC 7517).
type publicKey struct {
	Use       string `json:"use"`
	Type      string `json:"kty"`
	ID        string `json:"kid"`
	Algorithm string `json:"alg"`
	Curve     string `json:"crv,omitempty"`
	X         string `json:"x,omitempty"`
	Y         string `json:"y,omitempty"`
	Modulus   string `json:"n,omitempty"`
	Exponent  string `json:"e,omitempty"`
}

// Documents implements access.Documents: what those who trust the cluster's
// tokens need to verify them. There are none unless the issuer is an https URL,
// which OpenID Connect demands.
func (s *ServiceAccounts) Documents() (map[string]access.Document, error) {
	issuer := s.settings.Issuers[0]
	if !strings.HasPrefix(issuer, "https://") {
		return nil, nil
	}
	at := s.settings.KeysURL
	if at == "" {
		at = strings.TrimSuffix(issuer, "/") + keysPath
	}
	about := configuration{Issuer: issuer, KeysURL: at, ResponseTypes: []string{"id_token"}, SubjectTypes: []string{"public"}}
	keys := []publicKey{}
	for _, k := range s.settings.Keys {
		about.Algorithms = append(about.Algorithms, k.method.Alg())
		encoded, err := k.encode()
		if err != nil {
			return nil, err
		}
		keys = append(keys, encoded)
	}
	slices.Sort(about.Algorithms)
	about.Algorithms = slices.Compact(about.Algorithms)
	first, err := json.Marshal(about)
	if err != nil {
		return nil, fmt.Errorf("encode the issuer's configuration: %w", err)
	}
	second, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		return nil, fmt.Errorf("encode the issuer's keys: %w", err)
	}
	return map[string]access.Document{
		configurationPath: {ContentType: "application/json", Content: first},
		keysPath:          {ContentType: "application/jwk-set+json", Content: second},
	}, nil
}

func (k Key) encode() (publicKey, error) {
	out := publicKey{Use: "sig", ID: k.ID, Algorithm: k.method.Alg()}
	text := base64.RawURLEncoding.EncodeToString
	switch p := k.public.(type) {
	case *ecdsa.PublicKey:
		point, err := p.Bytes()
		if err != nil {
			return out, fmt.Errorf("encode the issuer's key %s: %w", k.ID, err)
		}
		// An uncompressed point is a byte that says so, and two numbers.
		half := (len(point) - 1) / 2
		out.Type, out.Curve = "EC", p.Curve.Params().Name
		out.X, out.Y = text(point[1:1+half]), text(point[1+half:])
	case *rsa.PublicKey:
		out.Type, out.Modulus, out.Exponent = "RSA", text(p.N.Bytes()), text(big.NewInt(int64(p.E)).Bytes())
	default:
		return out, fmt.Errorf("encode the issuer's key %s: a %T has no form as a JSON Web Key", k.ID, p)
	}
	return out, nil
}
