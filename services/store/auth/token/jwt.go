package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// claims are what a service account token says.
type claims struct {
	jwt.RegisteredClaims
	Private privateClaims `json:"kubernetes.io"`
}

// privateClaims name the account and what the token is bound to.
type privateClaims struct {
	Namespace      string           `json:"namespace"`
	ServiceAccount reference        `json:"serviceaccount"`
	Pod            *reference       `json:"pod,omitempty"`
	Secret         *reference       `json:"secret,omitempty"`
	Node           *reference       `json:"node,omitempty"`
	WarnAfter      *jwt.NumericDate `json:"warnafter,omitempty"`
}

type reference struct {
	Name string `json:"name"`
	UID  string `json:"uid"`
}

// Key signs and verifies tokens. Keys are told apart by their id, so that an
// old one can go on verifying what it signed.
type Key struct {
	// ID is in the header of what the key signs.
	ID      string
	private crypto.Signer
	public  crypto.PublicKey
	method  jwt.SigningMethod
}

// NewKey makes a Key of an ECDSA P-256 or RSA private key.
func NewKey(private crypto.Signer) (Key, error) {
	k, err := NewVerifyingKey(private.Public())
	if err != nil {
		return Key{}, err
	}
	k.private = private
	return k, nil
}

// ParseKeys makes Keys of PEM blocks: private keys sign and verify, public
// keys and certificates verify.
func ParseKeys(text []byte) ([]Key, error) {
	var keys []Key
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "EC PARAMETERS" {
			continue // tools write it before the key, which names the curve again
		}
		key, err := parseKey(block)
		if err != nil {
			return nil, fmt.Errorf("parse a key of service account tokens: %w", err)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, errors.New("there is no PEM encoded key of service account tokens")
	}
	return keys, nil
}

// parseKey reads each of the forms in which tools write keys.
func parseKey(block *pem.Block) (Key, error) {
	switch block.Type {
	case "EC PRIVATE KEY":
		return signingKey(x509.ParseECPrivateKey(block.Bytes))
	case "RSA PRIVATE KEY":
		return signingKey(x509.ParsePKCS1PrivateKey(block.Bytes))
	case "PRIVATE KEY":
		return signingKey(x509.ParsePKCS8PrivateKey(block.Bytes))
	case "PUBLIC KEY":
		return verifyingKey(x509.ParsePKIXPublicKey(block.Bytes))
	case "RSA PUBLIC KEY":
		return verifyingKey(x509.ParsePKCS1PublicKey(block.Bytes))
	case "CERTIFICATE":
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return Key{}, err
		}
		return NewVerifyingKey(cert.PublicKey)
	}
	return Key{}, fmt.Errorf("a PEM block %q holds no key", block.Type)
}

func signingKey[K any](key K, err error) (Key, error) {
	if err != nil {
		return Key{}, err
	}
	signer, ok := any(key).(crypto.Signer)
	if !ok {
		return Key{}, fmt.Errorf("a %T cannot sign", key)
	}
	return NewKey(signer)
}

func verifyingKey[K any](key K, err error) (Key, error) {
	if err != nil {
		return Key{}, err
	}
	return NewVerifyingKey(key)
}

// Signs says whether the key can sign, or only verify.
func (k Key) Signs() bool { return k.private != nil }

// NewVerifyingKey makes a Key that only verifies.
func NewVerifyingKey(public crypto.PublicKey) (Key, error) {
	method, err := methodOf(public)
	if err != nil {
		return Key{}, err
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return Key{}, fmt.Errorf("encode the public key of service account tokens: %w", err)
	}
	sum := sha256.Sum256(der)
	return Key{ID: base64.RawURLEncoding.EncodeToString(sum[:]), public: public, method: method}, nil
}

func methodOf(public crypto.PublicKey) (jwt.SigningMethod, error) {
	switch p := public.(type) {
	case *ecdsa.PublicKey:
		if p.Curve == elliptic.P256() {
			return jwt.SigningMethodES256, nil
		}
	case *rsa.PublicKey:
		return jwt.SigningMethodRS256, nil
	}
	return nil, errors.New("the key of service account tokens must be an ECDSA P-256 or RSA key")
}

// sign returns the token of claims.
func (k Key) sign(c claims) (string, error) {
	t := jwt.NewWithClaims(k.method, c)
	t.Header["kid"] = k.ID
	return t.SignedString(k.private)
}

// parse verifies a token's signature, times and issuer. Tokens that are no
// JWT, or somebody else's, give ok false and no error.
func parse(raw string, keys []Key, issuers []string, now func() time.Time) (claims, bool) {
	var c claims
	_, err := jwt.ParseWithClaims(raw, &c, func(t *jwt.Token) (any, error) { return keyFor(t, keys) },
		jwt.WithValidMethods([]string{jwt.SigningMethodES256.Alg(), jwt.SigningMethodRS256.Alg()}),
		jwt.WithExpirationRequired(), jwt.WithTimeFunc(now))
	return c, err == nil && slices.Contains(issuers, c.Issuer)
}

func keyFor(t *jwt.Token, keys []Key) (any, error) {
	id, _ := t.Header["kid"].(string)
	for _, k := range keys {
		if k.ID == id && k.method.Alg() == t.Method.Alg() {
			return k.public, nil
		}
	}
	return nil, errors.New("no key verifies the token")
}
