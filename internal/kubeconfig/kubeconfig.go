// Package kubeconfig writes the file by which kubectl and other clients find a
// cluster and prove who they are.
package kubeconfig

import (
	"encoding/base64"
	"fmt"

	"navarch.dev/navarch/internal/atomicfile"
	"navarch.dev/navarch/internal/certs"
)

// Config is a cluster and a user of it.
type Config struct {
	// Server is the gateway's host:port.
	Server string
	// Authority is the cluster's authority, PEM.
	Authority []byte
	// User is the user's client certificate.
	User certs.Pair
}

const format = `apiVersion: v1
kind: Config
clusters:
- name: navarch
  cluster:
    certificate-authority-data: %s
    server: https://%s
contexts:
- name: navarch
  context:
    cluster: navarch
    user: navarch-admin
current-context: navarch
users:
- name: navarch-admin
  user:
    client-certificate-data: %s
    client-key-data: %s
`

// Write replaces the file at path; only its owner may read it.
func Write(path string, c Config) error {
	encode := base64.StdEncoding.EncodeToString
	text := fmt.Sprintf(format, encode(c.Authority), c.Server, encode(c.User.Cert), encode(c.User.Key))
	if err := atomicfile.Write(path, []byte(text), 0o600); err != nil {
		return fmt.Errorf("write the kubeconfig: %w", err)
	}
	return nil
}
