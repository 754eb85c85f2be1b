package etcd

import (
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/pflag"
	"go.etcd.io/etcd/client/pkg/v3/transport"
)

// Config says which etcd to use.
type Config struct {
	// Endpoints are the URLs of an external etcd cluster. Empty: etcd runs in
	// this process and keeps its data in Dir.
	Endpoints []string
	// CAFile, CertFile and KeyFile are for TLS with the external cluster.
	CAFile, CertFile, KeyFile string
	// Dir is the embedded etcd's data folder.
	Dir string
	// QuotaBytes is the size at which the embedded etcd refuses writes.
	QuotaBytes int64
	// ReadLease is for how long a Store that is alone on an external etcd may answer
	// consistent reads without asking etcd. 0 asks for each.
	ReadLease time.Duration
	// registrationTTL is for how long the external etcd keeps a Store registered that
	// it does not hear of, in whole seconds.
	registrationTTL time.Duration
}

// DefaultConfig returns the stock settings: embedded, Dir unset.
func DefaultConfig() Config {
	return Config{QuotaBytes: 4 << 30, ReadLease: 2 * time.Second, registrationTTL: registrationTTL}
}

// AddFlags registers a flag for every setting but Dir, which follows from
// where the process keeps its data.
func (c *Config) AddFlags(fs *pflag.FlagSet) {
	fs.StringSliceVar(&c.Endpoints, "etcd-endpoints", c.Endpoints, "URLs of an external etcd cluster (default: etcd runs inside the store)")
	fs.StringVar(&c.CAFile, "etcd-ca-file", c.CAFile, "certificate authority of the external etcd cluster")
	fs.StringVar(&c.CertFile, "etcd-cert-file", c.CertFile, "client certificate for the external etcd cluster")
	fs.StringVar(&c.KeyFile, "etcd-key-file", c.KeyFile, "key of --etcd-cert-file")
	fs.DurationVar(&c.ReadLease, "etcd-read-lease", c.ReadLease, "how long a store that is alone on an external etcd may answer consistent reads without asking it; 0: it asks for each")
	fs.Int64Var(&c.QuotaBytes, "etcd-quota-bytes", c.QuotaBytes, "size at which the embedded etcd refuses writes")
}

// Validate says what is wrong with the settings.
func (c *Config) Validate() error {
	var errs []error
	if (c.CertFile == "") != (c.KeyFile == "") {
		errs = append(errs, errors.New("--etcd-cert-file and --etcd-key-file go together"))
	}
	if len(c.Endpoints) == 0 && c.Dir == "" {
		errs = append(errs, errors.New("flag --etcd-data-dir: required for the embedded etcd, unless --etcd-endpoints names another"))
	}
	if c.QuotaBytes < 64<<20 {
		errs = append(errs, fmt.Errorf("--etcd-quota-bytes %d must be at least 64 MiB", c.QuotaBytes))
	}
	if c.ReadLease < 0 || c.ReadLease > maxReadLease {
		errs = append(errs, fmt.Errorf("--etcd-read-lease %s must be between 0 and %s", c.ReadLease, maxReadLease))
	}
	return errors.Join(errs...)
}

// clientTLS returns the TLS settings for an external cluster, nil for none.
func (c *Config) clientTLS() (*tls.Config, error) {
	info := transport.TLSInfo{TrustedCAFile: c.CAFile, CertFile: c.CertFile, KeyFile: c.KeyFile}
	if c.CAFile == "" && info.Empty() {
		return nil, nil
	}
	cfg, err := info.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("read the certificates for etcd: %w", err)
	}
	return cfg, nil
}
