package podcertificate

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"time"
)

// Credential is a key and the certificates that were issued for it.
type Credential struct {
	// Key and Chain are PEM; the certificate for the key is the chain's first.
	Key   []byte `json:"key"`
	Chain []byte `json:"chain"`
	// Refresh is when the signer would like to be asked for the next one.
	Refresh time.Time `json:"refresh"`
	// Expires is when the certificate ends.
	Expires time.Time `json:"expires"`
}

// newKey makes a key of a type that a volume's source names. It returns the key as
// PEM, and the request that proves that its maker has it, as DER.
func newKey(keyType string) (key, request []byte, err error) {
	signer, err := generate(keyType)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key of type %s: %w", keyType, err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(signer)
	if err != nil {
		return nil, nil, fmt.Errorf("encode the key: %w", err)
	}
	// What the certificate should say is the signer's business: it knows the pod.
	if request, err = x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, signer); err != nil {
		return nil, nil, fmt.Errorf("sign the request: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), request, nil
}

func generate(keyType string) (crypto.Signer, error) {
	switch keyType {
	case "RSA3072":
		return rsa.GenerateKey(rand.Reader, 3072)
	case "RSA4096":
		return rsa.GenerateKey(rand.Reader, 4096)
	case "ECDSAP256":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ECDSAP384":
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "ECDSAP521":
		return ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "ED25519":
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}
	return nil, fmt.Errorf("unknown type of keys %q", keyType)
}

// bare returns the certificates of a chain without what stands between them and
// what their blocks' headers say, which programs understand differently.
func bare(chain string) []byte {
	var out bytes.Buffer
	for block, rest := pem.Decode([]byte(chain)); block != nil; block, rest = pem.Decode(rest) {
		out.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: block.Bytes}))
	}
	return out.Bytes()
}
